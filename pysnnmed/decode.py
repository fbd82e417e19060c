"""Decoders: spikes or membranes over time [T, B, C, *S] become values [B, C, *S].

`rate`, `membrane` and `phase` are linear and take Tensors as well as arrays, so networks can be trained through them.
Which decoder belongs to which code: `rate` to direct, Bernoulli and Poisson input, the others to the encoder of
the same name in `encode`, `membrane` to an output layer that does not fire.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np

from .errors import ParameterError
from .tensor import Tensor

Values = TypeVar("Values", np.ndarray, Tensor)


def rate(s: Values, gain: float = 1.0) -> Values:
    """x = sum_t s[t] / (gain T): spikes for each step, divided by those of intensity 1.

    Adrian and Zotterman 1926, "The impulses produced by sensory nerve endings", part 2.
    """
    return s.mean(axis=0) / gain


def membrane(v: Values, how: Literal["last", "mean"] = "last") -> Values:
    """The membrane of an output that never fires, after the last step or as the mean over time.

    A real number for each output, which regression needs, and no surrogate on the way back. Eshraghian et al. 2023,
    "Training spiking neural networks using lessons from deep learning".
    """
    if how not in ("last", "mean"):
        raise ParameterError(f"membrane: how must be 'last' or 'mean', not {how!r}")
    return v[-1] if how == "last" else v.mean(axis=0)


def first_spike(s: np.ndarray) -> np.ndarray:
    """x = (T - t) / T with t the step of the first spike, 0 where none comes: the inverse of `encode.latency`.

    Thorpe, Delorme and Van Rullen 2001, "Spike-based strategies for rapid processing".
    """
    fired = s != 0
    steps = len(s)
    x = np.where(fired.any(axis=0), steps - fired.argmax(axis=0), 0) / steps
    return x.astype(s.dtype) if np.issubdtype(s.dtype, np.floating) else x


def phase(s: Values) -> Values:
    """x = sum_t 2^-(t+1) s[t]: the inverse of `encode.phase`, exact while T digits fit the type.

    Kim et al. 2018, "Deep neural networks with weighted spikes".
    """
    dtype = s.dtype if np.issubdtype(s.dtype, np.floating) else np.dtype(np.float64)
    weights = np.ldexp(np.ones(len(s), dtype), -1 - np.arange(len(s))).reshape(-1, *[1] * (s.ndim - 1))
    return (s * weights).sum(axis=0)


def delta(s: np.ndarray, threshold: float) -> np.ndarray:
    """r[t] = threshold (s[0] + ... + s[t]), a sequence [T, ...]: what `encode.delta` has sent up to each step."""
    return threshold * np.cumsum(s, axis=0)
