"""Masks as pictures: which pixels are foreground, told by one rule and reported where the file leaves doubt.

Annotators store masks as 0 and 255, 0 and 1, coloured palettes, grey in three channels, and as JPEG, which blurs every
edge. `read_mask` reads them so:

    palette   where its used colours are grey, these are the values; otherwise the indices are: 0 is background
    channels  three are read as one where they are equal, in JPEG up to 16 of 255 (chroma is rounded)
    two       a lossless file with no value or one value beside 0: that value is foreground, however small it is
    more      values from half of the range on (128 of 255) are foreground. Those farther than an eighth of the range
              from both ends are ambiguous; their share is reported, and refused above `max_ambiguous`. A file that
              does not reach half of the range is a map of labels or a photograph, not a mask, and refused; a JPEG in
              which all are within an eighth of 0 is an empty mask

`read_labels` reads a map of several labels: indices of a palette or grey values, lossless.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from ..errors import ImageError, ParameterError
from .nifti import naming
from .pictures import MAX_PIXELS, Decoded, decode

_CHROMA_ROUNDING = 16


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary mask: `data` [H, W] bool; `ambiguous` is the share of pixels that were neither near 0 nor near white.

    `orientation` is that of `Picture`.
    """

    data: np.ndarray
    ambiguous: float = 0.0
    source: str = "mask"
    orientation: int = 1


def read_mask(path: str | os.PathLike[str], *, max_ambiguous: float = 0.1, max_pixels: int = MAX_PIXELS) -> Mask:
    """The mask in a .png, .jpg or .tif file, by the rule of the module.

    Raises `ImageError`, naming the file, for everything that is not a sound picture (see `pictures`) or no mask.
    """
    if not 0 <= max_ambiguous <= 1:
        raise ParameterError(f"read_mask: max_ambiguous must be in [0, 1], not {max_ambiguous}")
    with naming(path):
        decoded = decode(path, max_pixels)
        foreground, ambiguous = _binary(_single_channel(decoded), decoded.lossy)
        if ambiguous > max_ambiguous:
            raise ImageError(
                f"{ambiguous:.1%} of the pixels are neither near black nor near white: this is no mask; give another "
                f"file, or raise max_ambiguous={max_ambiguous:g}"
            )
    return Mask(foreground, ambiguous, os.fspath(path), decoded.orientation)


def read_labels(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The map of labels in a lossless file, [H, W] uint8 or uint16. Raises as `read_mask` does."""
    with naming(path):
        decoded = decode(path, max_pixels)
        if decoded.lossy:
            raise ImageError("JPEG changes values, so it cannot hold labels; save them as PNG")
        return decoded.values if decoded.palette is not None else _one_channel(decoded.values, 0) // decoded.spread


def _single_channel(decoded: Decoded) -> np.ndarray:
    if decoded.palette is not None:
        used = decoded.palette[np.unique(decoded.values)]
        if (used != used[:, :1]).any():
            return decoded.values
        return decoded.palette[decoded.values, 0]
    return _one_channel(decoded.values, _CHROMA_ROUNDING if decoded.lossy else 0)


def _one_channel(values: np.ndarray, tolerance: int) -> np.ndarray:
    if values.ndim == 2:
        return values
    spread = int(np.ptp(values, axis=-1).max())
    if spread > tolerance:
        raise ImageError(
            f"the mask has colours (its channels differ by up to {spread}), and nothing says which one means what; "
            "save it as grey: 0 for background, 255 for foreground"
        )
    return values[..., 1]


def _binary(values: np.ndarray, lossy: bool) -> tuple[np.ndarray, float]:
    """Foreground [H, W] and the share of ambiguous pixels."""
    low, high = int(values.min()), int(values.max())
    white = int(np.iinfo(values.dtype).max)
    if not lossy and ((values == 0) | (values == high)).all():
        return values != 0, 0.0
    eighth = white // 8
    if lossy and high <= eighth:
        return np.zeros(values.shape, bool), 0.0
    if high <= white // 2:
        raise ImageError(
            f"its values go from {low} to {high} of {white}, and a mask has two: this is a map of labels or a "
            "photograph; read labels with read_labels"
        )
    ambiguous = (values > eighth) & (values < white - eighth)
    return values > white // 2, float(ambiguous.mean())
