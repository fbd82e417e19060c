"""Arguments of the neuron kernels: every combination of options, one block of neurons and several."""

import numpy as np
from hypothesis import strategies as st

from ...neurons.firing import ROUNDINGS, Binary, Count, Ternary
from ...surrogate import Surrogate
from . import KernelCase

_SIZES = [(2, 3), (1, 2, 3, 4), (1,), (2, 4100)]  # the last is more than one block of the compiled kernels
_SURROGATES = [kind() for kind in Surrogate.registry.values()] + [lambda z: np.exp(-z * z)]


@st.composite
def _firing(draw):
    """Every spike function, with surrogates that compiled kernels know and one that they do not."""
    surrogate, kind = draw(st.sampled_from(_SURROGATES)), draw(st.sampled_from([Binary, Ternary, Count]))
    if kind is not Count:
        return kind(draw(st.booleans()), surrogate)
    levels, rounding = draw(st.sampled_from([1, 3, np.inf])), draw(st.sampled_from(ROUNDINGS))
    return Count(levels, rounding, draw(st.sampled_from([None, surrogate])))


@st.composite
def _recurrence(draw):
    """Sizes, a generator, and beta, v_threshold, amount, v_reset, soft, firing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    options = (
        draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
        draw(st.sampled_from([1.0, 0.5, 1.25])),
        draw(st.sampled_from([0.0, 1.0, 1.3])),
        draw(st.sampled_from([0.0, -0.25])),
        draw(st.booleans()),
        draw(_firing()),
    )
    return draw(st.integers(1, 5)), draw(st.sampled_from(_SIZES)), rng, options


def _start(draw, v0):
    """v0, or one number of it for all neurons without an array of its own."""
    return np.broadcast_to(v0.flat[0], v0.shape) if draw(st.booleans()) else v0


@st.composite
def _forward(draw):
    steps, size, rng, options = draw(_recurrence())
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    rows = 1 if draw(st.booleans()) else steps
    # multiples of 1/8, so that membranes meet the threshold exactly and the tie rule counts
    x, v0 = (rng.integers(-16, 24, (n, *size)) / 8 for n in (rows, 1))
    return (x.astype(dtype), _start(draw, v0[0].astype(dtype)), steps, *options)


@st.composite
def _backward(draw):
    steps, size, rng, options = draw(_recurrence())
    rows = 1 if draw(st.booleans()) else steps
    x, v0 = (rng.integers(-16, 24, (n, *size)) / 8 for n in (rows, 1))
    g_s = rng.normal(size=(steps, *size))
    g_v_last = rng.normal(size=size) if draw(st.booleans()) else None
    flags = (draw(st.booleans()) for _ in range(3))  # detach_reset, learnable, initial
    return (g_s, g_v_last, x, _start(draw, v0[0]), *options, *flags)


CASES = {
    "lif_forward": KernelCase(_forward()),
    "lif_backward": KernelCase(_backward(), rtol=1e-11, atol=1e-11),
}
