"""Encoders: an image of intensities [B, C, *S] in [0, 1] becomes input over time [T, B, C, *S] of the same type.

Their inverses stand in `decode`. Chance comes from the generator given and from nowhere else. Steps are counted from
t = 0; counts and signs are spikes too: 2 stands for two spikes in one step, -1 for one from the "falling" channel.
"""

from __future__ import annotations

import numpy as np

from .errors import ParameterError


def direct(x: np.ndarray, steps: int) -> np.ndarray:
    """s[t] = x: the image itself as input current at every step; the first layer of neurons makes the spikes.

    A read-only view that costs no memory. Rueckauer et al. 2017, "Conversion of continuous-valued deep networks to
    efficient event-driven networks for image classification".
    """
    return np.broadcast_to(_image("direct", x), (_steps("direct", steps), *x.shape))


def bernoulli(x: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """P(s[t] = 1) = x, independently at every step: intensity 0 is silent, intensity 1 fires always.

    The rate over T steps has mean x and variance x (1 - x) / T. What most libraries call a Poisson encoder;
    SpikingJelly's compares with <=, so that intensity 0 fires where the draw is exactly 0. Diehl and Cook 2015,
    "Unsupervised learning of digit recognition using spike-timing-dependent plasticity", whose steps are too short to
    tell the two apart.
    """
    s = np.empty((_steps("bernoulli", steps), *x.shape), _image("bernoulli", x).dtype)
    for step in s:
        step[...] = rng.random(x.shape, dtype=x.dtype) < x
    return s


def poisson(x: np.ndarray, steps: int, rng: np.random.Generator, gain: float = 1.0) -> np.ndarray:
    """s[t] ~ Poisson(gain x), independently at every step: the counts of a Poisson process, `gain` spikes a step at 1.

    The rate over T steps has mean gain x and variance gain x / T: a step may hold several spikes, which integer-valued
    neurons and kernels take as they are. Heeger 2000, "Poisson model of spike generation".
    """
    if not 0 < gain < np.inf:
        raise ParameterError(f"poisson: gain must be positive and finite, not {gain}")
    s = np.empty((_steps("poisson", steps), *x.shape), _image("poisson", x).dtype)
    for step in s:
        step[...] = rng.poisson(gain * x)
    return s


def latency(x: np.ndarray, steps: int) -> np.ndarray:
    """One spike at t = T - k, k = floor(T x + 1/2): the brighter, the earlier; k = 0 is silence.

    T steps tell T + 1 intensities apart, at a distance of at most 1 / (2 T) from x. Thorpe, Delorme and Van Rullen
    2001, "Spike-based strategies for rapid processing".
    """
    first = _steps("latency", steps) - np.floor(steps * _image("latency", x) + 0.5)
    return (np.arange(steps).reshape(-1, *[1] * x.ndim) == first).astype(x.dtype)


def phase(x: np.ndarray, steps: int) -> np.ndarray:
    """The binary digits of x, the highest first: a spike at step t weighs 2^-(t+1).

    x is rounded to k / 2^T with k = 0 ... 2^T - 1, so at most 2^-(T+1) away for x <= 1 - 2^-T and 2^-T for all x: T
    steps tell 2^T intensities apart. Kim et al. 2018, "Deep neural networks with weighted spikes".
    """
    most = np.finfo(_image("phase", x).dtype).nmant + 1
    if _steps("phase", steps) > most:
        raise ParameterError(f"phase: {x.dtype} holds at most {most} binary digits, so steps must not be {steps}")
    k = np.minimum(np.floor(np.ldexp(x.astype(np.float64), steps) + 0.5), 2.0**steps - 1).astype(np.int64)
    digit = np.arange(steps - 1, -1, -1).reshape(-1, *[1] * x.ndim)
    return (k >> digit & 1).astype(x.dtype)


def delta(frames: np.ndarray, threshold: float, limit: int | None = None) -> np.ndarray:
    """Changes of a sequence [T, ...] in units of theta = `threshold`: s = trunc((x[t] - r) / theta); r += theta s.

    r, at first 0, is what `decode.delta` has reconstructed so far, so errors do not add up: |x[t] - r| < threshold
    after every step. (An encoder that compares with the frame before instead loses every change that is slow.) With
    `limit` a step holds at most that many spikes and r may lag behind: limit 1 gives spikes -1, 0, 1. A still image is
    the sequence `direct(x, steps)`. Lichtsteiner, Posch and Delbruck 2008, "A 128x128 120 dB 15 µs latency asynchronous
    temporal contrast vision sensor".
    """
    if not 0 < threshold < np.inf:
        raise ParameterError(f"delta: threshold must be positive and finite, not {threshold}")
    if limit is not None and limit < 1:
        raise ParameterError(f"delta: limit must be None or at least 1, not {limit}")
    if not np.isfinite(_floating("delta", frames)).all():
        raise ParameterError("delta: every frame must be finite, but one holds NaN or infinity")
    s, sent = np.empty_like(frames), np.zeros_like(frames[0])
    for frame, step in zip(frames, s, strict=True):
        np.trunc((frame - threshold * sent) / threshold, out=step)
        if limit is not None:
            np.clip(step, -limit, limit, out=step)
        sent += step
    return s


def _image(name: str, x: np.ndarray) -> np.ndarray:
    _floating(name, x)
    if x.size and not (x.min() >= 0 and x.max() <= 1):  # written so that NaN is refused
        raise ParameterError(f"{name}: intensities must be in [0, 1], not in [{x.min()}, {x.max()}]; rescale the image")
    return x


def _floating(name: str, x: np.ndarray) -> np.ndarray:
    if x.dtype not in (np.float32, np.float64):
        raise ParameterError(f"{name}: input must be float32 or float64, not {x.dtype}; convert it with astype")
    return x


def _steps(name: str, steps: int) -> int:
    if steps < 1:
        raise ParameterError(f"{name}: steps must be at least 1, not {steps}")
    return steps
