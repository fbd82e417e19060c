"""Large pictures seen through small windows: where they lie, how what they show is blended, what that takes in memory.

A network looks at windows of one size. Windows overlap, and where they do, each counts by a weight that falls linearly
towards its border, where a network sees least of the surroundings. What they show is put together row of windows by
row of windows: rows of pixels that no later window reaches are given away, so that memory holds one row of windows and
never the whole picture.

A picture that is smaller than a window is surrounded by a border, which is cut off again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import ParameterError

Padding = Literal["reflect", "edge", "zeros"]
Border = tuple[tuple[int, int], tuple[int, int]]  # pixels before and after, of height and width
LookAt = Callable[[slice, slice], np.ndarray]  # rows and columns of a window -> what is seen there, [K, h, w]
Look = Callable[[np.ndarray], np.ndarray]  # the pixels of a window -> the same
OVERLAP = 0.5  # of neighbouring windows


@dataclass(frozen=True)
class Windows:
    """Windows [h, w] over a picture [H, W] at least as large, from top to bottom and from left to right.

    `tops` and `lefts` are where they begin: evenly spread, the first at the first pixel, the last up to the last one.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @classmethod
    def over(cls, size: Sequence[int], window: Sequence[int], overlap: float = OVERLAP) -> Windows:
        """The fewest windows of which neighbours share at least `overlap` of their height or width."""
        if not 0 <= overlap <= 0.9:
            raise ParameterError(f"overlap must be in [0, 0.9], as a share of the window, not {overlap}")
        (height, width), (h, w) = size, window
        if min(h, w) < 1 or h > height or w > width:
            raise ParameterError(f"windows of {h} x {w} pixels do not fit into a picture of {height} x {width}")
        return cls((height, width), (h, w), _starts(height, h, overlap), _starts(width, w, overlap))

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def nbytes(self, channels: int) -> int:
        """Bytes that `blended` holds for what windows show in so many channels: sums, weights, slab and one window."""
        (_, width), (h, w) = self.size, self.window
        return 4 * (2 * (channels + 1) * h * width + 3 * (channels + 1) * h * w)

    def blended(self, look: LookAt) -> Iterator[tuple[slice, np.ndarray]]:
        """What the windows show together: (rows, [K, n, W] float32), each row of the picture once, from the top.

        Where one window alone covers the picture, that is what it shows, unchanged.
        """
        (height, width), (h, w) = self.size, self.window
        weight = _importance(h, len(self.tops))[:, None] * _importance(w, len(self.lefts))
        sums = weights = np.empty(0, np.float32)
        for top, following in zip(self.tops, (*self.tops[1:], height), strict=True):
            for left in self.lefts:
                seen = np.asarray(look(slice(top, top + h), slice(left, left + w)), np.float32)
                if not sums.size:
                    sums, weights = np.zeros((len(seen), h, width), np.float32), np.zeros((h, width), np.float32)
                sums[..., left : left + w] += seen * weight
                weights[:, left : left + w] += weight
            done = following - top
            yield slice(top, following), sums[:, :done] / weights[:done]
            for array in (sums, weights):
                array[..., : h - done, :] = array[..., done:, :].copy()
                array[..., h - done :, :] = 0


def padding_to(size: Sequence[int], shape: Sequence[int]) -> Border:
    """Pixels to add for at least `shape`: floor((N - n) / 2) in front, the rest behind."""
    (top, bottom), (left, right) = (
        (missing // 2, missing - missing // 2)
        for missing in (max(0, wanted - n) for n, wanted in zip(size, shape, strict=True))
    )
    return (top, bottom), (left, right)


def pad(pixels: np.ndarray, border: Border, padding: Padding) -> np.ndarray:
    """[..., H, W] with a border: mirrored without repeating the outermost pixel, however wide it is, or as it says."""
    if not any(map(any, border)):
        return pixels
    widths = [(0, 0)] * (pixels.ndim - 2) + list(border)
    if padding == "zeros":
        return np.pad(pixels, widths)
    return np.pad(pixels, widths, "reflect" if padding == "reflect" else "edge")


def seen_through(
    pixels: np.ndarray, window: Sequence[int], padding: Padding, look: Look, overlap: float = OVERLAP
) -> Iterator[tuple[slice, np.ndarray]]:
    """What windows over pixels [..., H, W] show, whatever the size of these: (rows, [K, n, W]), from the top.

    `look` gets the pixels of a window, [..., h, w], and says what is seen there, [K, h, w].
    """
    height, width = pixels.shape[-2:]
    (top, _), (left, _) = border = padding_to((height, width), window)
    padded = pad(pixels, border, padding)
    windows = Windows.over(padded.shape[-2:], window, overlap)
    for rows, seen in windows.blended(lambda rows, columns: look(padded[..., rows, columns])):
        start, stop = max(rows.start - top, 0), min(rows.stop - top, height)
        first = start + top - rows.start
        yield slice(start, stop), seen[:, first : first + stop - start, left : left + width]


def _starts(size: int, window: int, overlap: float) -> tuple[int, ...]:
    step = max(1, int(window * (1 - overlap)))
    count = 1 + -(-(size - window) // step)
    return tuple(i * (size - window) // max(1, count - 1) for i in range(count))


def _importance(size: int, windows: int) -> np.ndarray:
    """Weight of each pixel of a window along an axis, symmetric; 1 where there is no other window to share with."""
    if windows == 1:
        return np.ones(size, np.float32)
    ahead = np.arange(1, size + 1, dtype=np.float32)
    return np.minimum(ahead, ahead[::-1]) / np.float32((size + 1) // 2)
