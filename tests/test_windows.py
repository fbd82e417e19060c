"""Windows over large pictures: they cover, they share, they blend without a trace, they keep memory small."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.data.windows import Windows, pad, padding_to
from pysnnmed.errors import ParameterError

WINDOWS = st.tuples(st.integers(1, 24), st.integers(1, 24))
MORE = st.tuples(st.integers(0, 50), st.integers(0, 50))
OVERLAPS = st.sampled_from([0, 0.25, 0.5, 0.9])


def size_of(window, more):
    return window[0] + more[0], window[1] + more[1]


@given(window=WINDOWS, more=MORE, overlap=OVERLAPS)
def test_windows_cover_everything_and_neighbours_share_enough(window, more, overlap):
    size = size_of(window, more)
    windows = Windows.over(size, window, overlap)
    for starts, n, w in zip((windows.tops, windows.lefts), size, window, strict=True):
        assert starts[0] == 0
        assert starts[-1] == n - w
        steps = np.diff(starts)
        assert (steps >= 1).all()
        assert (w - steps >= min(w - 1, int(np.floor(w * overlap)))).all()
    assert len(windows) == len(windows.tops) * len(windows.lefts)


@given(window=WINDOWS, more=MORE, overlap=OVERLAPS)
def test_what_every_window_sees_alike_comes_out_as_it_is_each_row_once(window, more, overlap):
    size = size_of(window, more)
    picture = np.random.default_rng(0).random((2, *size), np.float32)
    slabs = list(Windows.over(size, window, overlap).blended(lambda rows, columns: picture[:, rows, columns]))
    ends = [0, *(rows.stop for rows, _ in slabs)]
    assert [rows.start for rows, _ in slabs] == ends[:-1]
    assert ends[-1] == size[0]
    np.testing.assert_allclose(np.concatenate([slab for _, slab in slabs], axis=1), picture, rtol=3e-6)


@given(window=WINDOWS)
def test_one_window_is_given_back_bit_for_bit(window):
    seen = np.random.default_rng(0).random((3, *window), np.float32)
    ((rows, slab),) = Windows.over(window, window).blended(lambda rows, columns: seen)
    assert rows == slice(0, window[0])
    np.testing.assert_array_equal(slab, seen)


def test_the_middle_of_a_window_counts_more_than_its_border():
    """Windows that each see another constant: between two of them the blend runs smoothly, in steps of 1 / n."""
    windows = Windows.over((8, 24), (8, 16), 0.5)
    assert windows.lefts == (0, 8)
    ((_, slab),) = windows.blended(lambda rows, columns: np.full((1, 8, 16), columns.start / 8))
    across = slab[0, 0]
    assert (across[:8] == 0).all()
    assert (across[16:] == 1).all()
    np.testing.assert_allclose(across[8:16], np.arange(1, 9) / 9, rtol=1e-6)


@pytest.mark.parametrize("rows", [400, 1600])
def test_memory_is_that_of_one_row_of_windows_and_as_announced(rows):
    windows = Windows.over((rows, 600), (64, 64))
    seen = np.zeros((2, 64, 64), np.float32)
    tracemalloc.start()
    for _ in windows.blended(lambda rows, columns: seen):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= windows.nbytes(2) < 3 * peak


@pytest.mark.parametrize(
    ("size", "window", "overlap", "words"),
    [((8, 8), (16, 8), 0.5, "do not fit"), ((8, 8), (8, 0), 0.5, "do not fit"), ((8, 8), (8, 8), 0.95, "overlap")],
)
def test_impossible_windows_are_refused(size, window, overlap, words):
    with pytest.raises(ParameterError, match=words):
        Windows.over(size, window, overlap)


@given(size=WINDOWS, shape=WINDOWS, padding=st.sampled_from(["reflect", "edge", "zeros"]))
def test_padding_puts_the_picture_in_the_middle(size, shape, padding):
    pixels = np.random.default_rng(0).random((2, *size), np.float32) + 1
    (top, bottom), (left, right) = border = padding_to(size, shape)
    padded = pad(pixels, border, padding)
    assert padded.shape == (2, max(size[0], shape[0]), max(size[1], shape[1]))
    assert bottom - top in (0, 1)
    assert right - left in (0, 1)
    np.testing.assert_array_equal(padded[:, top : top + size[0], left : left + size[1]], pixels)
    assert padding != "zeros" or np.count_nonzero(padded) == pixels.size
    assert padding == "zeros" or padded.min() >= 1


def test_a_mirror_does_not_repeat_the_outermost_pixel():
    assert pad(np.array([[1, 2, 3]]), ((0, 0), (2, 2)), "reflect").tolist() == [[3, 2, 1, 2, 3, 2, 1]]
