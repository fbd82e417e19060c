"""Kernels for convolutions of few channels, which the conformance suite meets too rarely, against the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.backends import numpy_kernels as reference
from pysnnmed.deploy.operations import Convolve, Geometry, Synapses
from pysnnmed.deploy.values import pack
from pysnnmed.kernels import use_threads

pytest.importorskip("numba")

from pysnnmed.backends.numba_kernels import octet_sums, plane_sums
from pysnnmed.backends.packed import Packed

from pysnnmed.backends import numba_kernels as compiled

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple) | st.just((5, 70))
seeds = st.integers(0, 999)


def convolution(rng, weight, geometry):
    n_out = len(weight)
    factor, bias = (np.ldexp(rng.integers(-5, 6, n_out), -2).astype(np.float32) for _ in range(2))
    return Convolve("c", geometry, Synapses(("x",), weight, factor), bias)


def spikes(rng, steps, channels, shape):
    return Packed(pack((rng.random((steps, channels, *shape)) < 0.3).astype(np.uint8)), channels)


def both(kernel, *arguments):
    """What the reference and the compiled kernel make of the same arguments, the latter on one thread and on three."""
    want, ours = getattr(reference, kernel)(*arguments), getattr(compiled, kernel)
    for n in (1, 3):
        with use_threads(n, split_small=True):
            result, counted = ours(*arguments)
        np.testing.assert_array_equal(result, want[0])
        assert counted == want[1]


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@given(shape=shapes, channels=st.integers(1, 17), n_out=st.integers(1, 10), steps=st.integers(1, 3), seed=seeds)
def test_sums_of_few_channels_are_looked_up(dtype, shape, channels, n_out, steps, seed):
    rng, ones = np.random.default_rng(seed), (1,) * len(shape)
    largest = np.iinfo(dtype).max
    weight = rng.integers(-largest, largest + 1, (n_out, channels, *ones)).astype(dtype)
    operation = convolution(rng, weight, Geometry(ones, ones, (0,) * len(shape), ones))
    source = spikes(rng, steps, channels, shape)
    assert octet_sums.fits(operation, (source,), steps)
    both("convolve_spikes", operation, (source,), steps)


def test_what_is_not_looked_up(rng):
    def fits(weight, sources=1, levels=1, **changes):
        geometry = Geometry(**{"kernel": (1,), "stride": (1,), "padding": (0,), "dilation": (1,), **changes})
        trains = tuple(spikes(rng, 2 * levels, 8, (6,)) for _ in range(sources))
        return octet_sums.fits(convolution(rng, weight, geometry), trains, 2)

    whole = np.ones((8, 8, 1), np.int8)
    assert fits(whole)
    assert not fits(whole.astype(np.float32))  # sums of other numbers depend on their order
    assert not fits(np.ones((33, 8, 1), np.int8))
    assert not fits(np.ones((8, 16, 1), np.int8), sources=2)
    assert not fits(whole, levels=2)
    assert not fits(np.ones((8, 1, 1), np.int8), groups=8)
    assert not fits(whole, stride=(2,))
    assert not fits(whole, padding=(1,))
    assert not fits(np.ones((8, 8, 3), np.int8), kernel=(3,))


@given(shape=shapes, groups=st.integers(1, 9), dilation=st.integers(1, 2), steps=st.integers(1, 3), seed=seeds)
def test_depthwise_sums_of_real_numbers_and_of_spikes(shape, groups, dilation, steps, seed):
    rng, n = np.random.default_rng(seed), len(shape)
    geometry = Geometry((3,) * n, (1,) * n, (dilation,) * n, (dilation,) * n, groups)
    operation = convolution(rng, rng.integers(-3, 4, (groups, 1, *geometry.kernel)).astype(np.int8), geometry)
    x = (rng.integers(-8, 9, (steps, groups, *shape)) / 8).astype(np.float32)
    both("convolve_reals", operation, (x,))
    both("convolve_spikes", operation, (spikes(rng, steps, groups, shape),), steps)


def test_groups_of_few_outputs_are_summed_by_planes_where_processors_have_masks():
    shape, ones = (6, 7), (1, 1)
    near = Geometry((3, 3), ones, ones, ones, 4)
    assert (plane_sums.reading_of(near, shape, 4) is not None) == plane_sums.depthwise.MASKED
    assert plane_sums.reading_of(Geometry((3, 3), (2, 2), ones, ones, 4), shape, 4) is None
    assert plane_sums.reading_of(Geometry((3, 3), ones, ones, ones, 4, True), shape, 4) is None
    assert plane_sums.reading_of(Geometry((3, 3), ones, ones, ones), shape, 4) is None
