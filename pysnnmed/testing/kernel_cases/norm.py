import numpy as np
from hypothesis import strategies as st

from . import KernelCase


@st.composite
def _images(draw):
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *draw(st.lists(st.integers(1, 7), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return rng, rng.normal(1, 2, shape).astype(dtype)


@st.composite
def _affine(draw):
    rng, x = draw(_images())
    gamma, beta = rng.normal(size=(2, x.shape[1])).astype(x.dtype)
    moments = rng.normal(size=x.shape[1]), rng.uniform(0.5, 2, x.shape[1])
    return rng, x, gamma, beta, *moments, 1e-3


@st.composite
def _backward(draw):
    rng, x, gamma, _, *moments = draw(_affine())
    return rng.normal(size=x.shape).astype(x.dtype), x, gamma, *moments, draw(st.booleans())


CASES = {
    "channel_moments": KernelCase(_images().map(lambda drawn: drawn[1:]), rtol=1e-12, atol=1e-12),
    "batch_norm_forward": KernelCase(_affine().map(lambda drawn: drawn[1:]), rtol=1e-5, atol=1e-5),
    "batch_norm_backward": KernelCase(_backward(), rtol=1e-5, atol=2e-4),
}
