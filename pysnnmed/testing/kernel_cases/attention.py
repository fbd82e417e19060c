"""Packed spikes of one and several words a position, and matrices of whole numbers."""

import numpy as np
from hypothesis import strategies as st

from ...deploy.values import Packed, pack
from . import KernelCase

_widths = st.integers(1, 5) | st.sampled_from(
    [8, 15, 16, 17, 33, 64, 65]
)  # of a head; 64 and 16 fill words and vectors


@st.composite
def _spikes(draw):
    """A function that draws packed spikes of so many channels, and the heads, at positions of one shape."""
    slots, heads = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 3]))
    last = draw(st.integers(1, 9) | st.sampled_from([63, 64, 65, 130, 300]))
    shape = (*draw(st.sampled_from([(), (2,)])), last)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def packed(channels):
        rate = draw(st.sampled_from([0.0, 0.15, 0.5, 1.0]))
        return Packed(pack(rng.random((slots, channels, *shape)) < rate), channels)

    return rng, slots, heads, packed


@st.composite
def _two(draw):
    _, _, heads, packed = draw(_spikes())
    return packed(heads * draw(_widths)), packed(heads * draw(_widths)), heads


@st.composite
def _rows(draw):
    rng, slots, heads, packed = draw(_spikes())
    channels, width = heads * draw(_widths), draw(_widths | st.sampled_from([100, 129]))
    n_products, n_outputs = draw(st.integers(0, 2)), draw(st.integers(1, 4))
    product = tuple(draw(st.integers(-1, n_products - 1)) for _ in range(n_outputs))
    sign = tuple(draw(st.sampled_from([1, -1])) for _ in range(n_outputs))
    matrix = rng.integers(-99, 100, (slots, n_products, channels, width)).astype(np.int32)
    return packed(channels), matrix, product, sign, rng.integers(-9, 9, (slots, n_outputs, heads * width), np.int32)


CASES = {"coincidences": KernelCase(_two()), "add_rows": KernelCase(_rows())}
