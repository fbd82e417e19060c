"""Arguments of the neuron kernels: every combination of options, one block of neurons and several."""

import numpy as np
from hypothesis import strategies as st

from ..strategies import surrogates
from . import KernelCase

_SIZES = [(1,), (2, 3), (1, 2, 3, 4), (2, 4100)]  # the last is more than one block of the compiled kernels


def _bell(z):
    """A surrogate that no compiled kernel knows."""
    return np.exp(-z * z)


@st.composite
def _recurrence(draw):
    """Sizes, a generator, and beta, v_threshold, v_reset, soft, strict."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    options = (
        draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
        draw(st.sampled_from([0.5, 1.0, 1.3])),
        draw(st.sampled_from([0.0, -0.25])),
        draw(st.booleans()),
        draw(st.booleans()),
    )
    return draw(st.integers(1, 5)), draw(st.sampled_from(_SIZES)), rng, options


@st.composite
def _forward(draw):
    steps, size, rng, options = draw(_recurrence())
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    rows = 1 if draw(st.booleans()) else steps
    # multiples of 1/8, so that membranes meet the threshold exactly and the tie rule counts
    x, v0 = (rng.integers(-8, 16, (n, *size)) / 8 for n in (rows, 1))
    return (x.astype(dtype), v0[0].astype(dtype), steps, *options, draw(st.booleans()))


@st.composite
def _backward(draw):
    steps, size, rng, options = draw(_recurrence())
    h = rng.integers(-8, 16, (steps, *size)) / 8
    g_s, v0 = rng.normal(size=(steps, *size)), rng.normal(size=size)
    g_v_last = rng.normal(size=size) if draw(st.booleans()) else None
    surrogate = draw(surrogates() | st.just(_bell))
    detach_reset, constant, learnable = (draw(st.booleans()) for _ in range(3))
    return (g_s, g_v_last, h, v0, *options, detach_reset, surrogate, constant, learnable)


CASES = {
    "lif_forward": KernelCase(_forward()),
    "lif_backward": KernelCase(_backward(), rtol=1e-11, atol=1e-11),
}
