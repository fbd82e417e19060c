"""Overlap of soft labels: bounds, the counted Dice for whole voxels, derivatives, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.losses.labels import one_hot, soft_dice
from pysnnmed.metrics.overlap import dice
from pysnnmed.tensor import Tensor

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, shape=st.lists(st.integers(2, 5), min_size=1, max_size=3))
def test_of_whole_voxels_it_is_the_counted_dice(seed, shape):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 4, shape) for _ in range(2))
    present = [k for k in range(4) if (a == k).any() or (b == k).any()]
    ours = soft_dice(one_hot(a, present), one_hot(b, present)).item()
    np.testing.assert_allclose(ours, np.mean(dice(a, b, present, absent="both")), rtol=1e-5)


@given(seed=seeds)
def test_it_lies_between_0_and_1_and_is_symmetric(seed):
    rng = np.random.default_rng(seed)
    a, b = (Tensor(rng.random((2, 3, 4, 5)) + 1e-3) for _ in range(2))
    value = soft_dice(a, b).item()
    assert value >= 0
    np.testing.assert_allclose(value, soft_dice(b, a).item())
    whole = Tensor(np.round(a.data))
    full = Tensor(np.ones_like(a.data))
    assert soft_dice(full, full).item() == 1
    assert soft_dice(full, Tensor(1 - full.data)).item() == 0
    assert soft_dice(full, whole).item() <= 1


def test_one_hot_has_a_channel_per_label():
    labels = np.array([[0, 7], [3, 7]])
    out = one_hot(labels, [7, 3, 5])
    assert out.shape == (1, 3, 2, 2)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out.data[0, 0], [[0, 1], [0, 1]])
    np.testing.assert_array_equal(out.data[0].sum(axis=(1, 2)), [2, 1, 0])


def test_wrong_inputs_are_refused():
    full = Tensor(np.ones((1, 2, 3)))
    empty = Tensor(np.stack([np.ones(3), np.zeros(3)])[None])
    with pytest.raises(ParameterError, match="absent from both"):
        soft_dice(empty, empty)
    with pytest.raises(ShapeError, match="one shape"):
        soft_dice(full, Tensor(np.ones((1, 2, 4))))
    with pytest.raises(ShapeError, match="one shape"):
        soft_dice(Tensor(np.ones((1, 2))), Tensor(np.ones((1, 2))))
