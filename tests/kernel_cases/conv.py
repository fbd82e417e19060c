"""Convolutions of whole numbers, so that every order of summation gives the same result."""

import numpy as np
from hypothesis import strategies as st

from . import KernelCase

MAX_WIDTH = 40  # of the last axis: more than one vector of every instruction set


@st.composite
def geometries(draw):
    """(input shape, weight shape, output shape, stride, padding, dilation, groups) that fit together."""
    ndim = draw(st.integers(1, 3))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(ndim))

    kernel, stride, padding, dilation = per_axis(1, 3), per_axis(1, 3), per_axis(0, 2), per_axis(1, 2)
    shortest = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    longest = [6] * (ndim - 1) + [MAX_WIDTH]
    size = tuple(draw(st.integers(a, max(a, b))) for a, b in zip(shortest, longest, strict=True))
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    out_size = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
    groups, batch = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    n_in, n_out = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    return (
        (batch, groups * n_in, *size),
        (groups * n_out, n_in, *kernel),
        (batch, groups * n_out, *out_size),
        stride,
        padding,
        dilation,
        groups,
    )


@st.composite
def whole_numbers(draw, shape, dtype):
    """Small whole numbers of a floating-point type, laid out forwards, backwards or transposed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layout = draw(st.sampled_from(["contiguous", "reversed", "transposed"]))
    array = rng.integers(-4, 5, shape[::-1] if layout == "transposed" else shape).astype(dtype)
    return {"contiguous": array, "reversed": array[..., ::-1], "transposed": array.T}[layout]


dtypes = st.sampled_from([np.float32, np.float64])


@st.composite
def forward_arguments(draw):
    x, weight, _, *geometry = draw(geometries())
    dtype = draw(dtypes)
    bias = draw(whole_numbers(weight[:1], dtype)) if draw(st.booleans()) else None
    return (draw(whole_numbers(x, dtype)), draw(whole_numbers(weight, dtype)), bias, *geometry)


@st.composite
def backward_input_arguments(draw):
    x, weight, g, *geometry = draw(geometries())
    dtype = draw(dtypes)
    return (draw(whole_numbers(g, dtype)), draw(whole_numbers(weight, dtype)), x, *geometry)


@st.composite
def backward_weight_arguments(draw):
    x, weight, g, *geometry = draw(geometries())
    dtype = draw(dtypes)
    return (draw(whole_numbers(g, dtype)), draw(whole_numbers(x, dtype)), weight[2:], *geometry)


CASES = {
    "conv_forward": KernelCase(forward_arguments()),
    "conv_backward_input": KernelCase(backward_input_arguments()),
    "conv_backward_weight": KernelCase(backward_weight_arguments()),
}
