"""The memory that a segmentation takes, said before it is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ProgramError

_DECODING = 24  # bytes for a pixel of a slab while its label is chosen
_SCALING = 20  # bytes for a voxel while intensities are scaled: a copy in float64, another to find percentiles, float32


@dataclass(frozen=True)
class Plan:
    """Bytes besides the image itself. The parts live at one time, so the peak is their sum.

    network   one run on a window; None of a network that runs as trained, whose memory nobody plans
    seeing    what is kept to show the network its windows and to put together what it says
    results   labels and, if they were asked for, probabilities
    windows   how many of them, of which size
    """

    network: int | None
    seeing: int
    results: int
    windows: int
    window: tuple[int, int]

    @property
    def peak(self) -> int:
        """All that is known."""
        return (self.network or 0) + self.seeing + self.results

    def require_room(self, limit: int | None, source: str) -> None:
        """Raise ProgramError if more than `limit` bytes are needed, before any is taken."""
        if limit is not None and self.peak > limit:
            raise ProgramError(
                f"{source}: to segment it takes {self}, the limit is {limit:,} bytes; use a smaller window, ask for no "
                "probabilities, or allow more"
            )

    def __str__(self) -> str:
        network = "the network as trained, which is not planned" if self.network is None else f"{self.network:,} for it"
        return (
            f"{self.peak:,} bytes for {self.windows:,} window{'s' if self.windows != 1 else ''} of {self.window[0]} x "
            f"{self.window[1]} ({network}, {self.seeing:,} to see, {self.results:,} for results)"
        )


def results(pixels: int, structures: int, probability: bool, copies: int = 1) -> int:
    """Bytes of labels and probabilities; `copies` of both live while they are brought into another order."""
    return copies * pixels * (1 + (4 * structures if probability else 0))


def slab(classes: int, rows: int, columns: int) -> int:
    """Bytes to choose the labels of a slab."""
    return rows * columns * (_DECODING + 4 * classes)


def resizing(channels: int, classes: int, picture: tuple[int, int], size: tuple[int, int], rows: int) -> int:
    """Bytes to bring a picture to `size`, and what is said of it back by slabs of so many rows."""
    (_, width), area = picture, math.prod(size)
    small = 3 * 4 * channels * size[0] * width + 2 * 4 * channels * area
    return small + 4 * classes * area + 3 * 4 * classes * rows * width


def volumes(voxels: int, channels: int, classes: int, planes: tuple[int, int]) -> int:
    """Bytes to scale a volume and to look at one slice of it: [classes] maps of a slice of two sizes, `planes`."""
    return _SCALING * voxels + 4 * (3 * channels + 4 * (classes + 1)) * sum(planes)
