"""Convolutions of whole numbers, so that every order of summation gives the same result."""

import numpy as np
from hypothesis import strategies as st

from ..strategies import convolution_geometries
from . import KernelCase


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
    x, weight, _, *geometry = draw(convolution_geometries())
    dtype = draw(dtypes)
    bias = draw(whole_numbers(weight[:1], dtype)) if draw(st.booleans()) else None
    return (draw(whole_numbers(x, dtype)), draw(whole_numbers(weight, dtype)), bias, *geometry)


@st.composite
def backward_input_arguments(draw):
    x, weight, g, *geometry = draw(convolution_geometries())
    dtype = draw(dtypes)
    return (draw(whole_numbers(g, dtype)), draw(whole_numbers(weight, dtype)), x, *geometry)


@st.composite
def backward_weight_arguments(draw):
    x, weight, g, *geometry = draw(convolution_geometries())
    dtype = draw(dtypes)
    return (draw(whole_numbers(g, dtype)), draw(whole_numbers(x, dtype)), weight[2:], *geometry)


CASES = {
    "conv_forward": KernelCase(forward_arguments()),
    "conv_backward_input": KernelCase(backward_input_arguments()),
    "conv_backward_weight": KernelCase(backward_weight_arguments()),
}
