from typing import Any

import numpy as np
from hypothesis import strategies as st

from . import KernelCase


@st.composite
def _images(draw, smallest=1, largest=8):
    """Whole numbers, few of them: sums are exact and maxima often tie."""
    shape = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        *draw(st.lists(st.integers(smallest, largest), min_size=1, max_size=3)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(-4, 5, shape).astype(draw(st.sampled_from([np.float32, np.float64])))


@st.composite
def _pooling(draw):
    x = draw(_images(smallest=3))
    n = x.ndim - 2
    kernel = draw(st.tuples(*[st.integers(1, 3)] * n))
    stride = draw(st.tuples(*[st.integers(1, 3)] * n))
    return x, kernel, stride, draw(st.tuples(*[st.integers(0, k // 2) for k in kernel]))


def _pooled(x, kernel, stride, padding):
    sizes = zip(x.shape[2:], kernel, stride, padding, strict=True)
    return *x.shape[:2], *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)


@st.composite
def _max_pool_backward(draw):
    x, *window = draw(_pooling())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = _pooled(x, *window)
    index = rng.integers(0, np.prod(x.shape[2:]), shape).astype(np.int32)
    return rng.integers(-4, 5, shape).astype(x.dtype), index, x.shape[2:]


@st.composite
def _avg_pool_backward(draw):
    x, *window = draw(_pooling())
    return np.resize(x, _pooled(x, *window)), x.shape[2:], *window


@st.composite
def _repeats(draw):
    x = draw(_images(largest=4))
    return x, draw(st.tuples(*[st.integers(1, 3)] * (x.ndim - 2)))


@st.composite
def _copies(draw):
    x, factors = draw(_repeats())
    return np.resize(x, (*x.shape[:2], *(n * f for n, f in zip(x.shape[2:], factors, strict=True)))), factors


@st.composite
def _resizing(draw):
    x = draw(_images())
    return x, draw(st.tuples(*[st.integers(1, 9)] * (x.ndim - 2))), draw(st.booleans())


ROUNDING: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
CASES = {
    "max_pool_forward": KernelCase(_pooling()),
    "max_pool_backward": KernelCase(_max_pool_backward()),
    "avg_pool_forward": KernelCase(_pooling(), **ROUNDING),
    "avg_pool_backward": KernelCase(_avg_pool_backward(), **ROUNDING),
    "upsample_nearest_forward": KernelCase(_repeats()),
    "upsample_nearest_backward": KernelCase(_copies()),
    "upsample_linear_forward": KernelCase(_resizing(), **ROUNDING),
    "upsample_linear_backward": KernelCase(_resizing(), **ROUNDING),
}
