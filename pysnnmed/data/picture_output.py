"""Writing masks, probabilities and overlays as PNG, each whole or not at all (see `files`)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import ParameterError, ShapeError, require
from .files import atomic_write

PREDICTED, TRUE = (255, 200, 0), (0, 220, 255)  # contours; told apart in every common form of colour blindness
STRUCTURES = (PREDICTED, (230, 60, 160), (120, 220, 90), (240, 120, 40), (150, 130, 255))  # in turns, after their value
_STEPS = np.iinfo(np.uint16).max


def write_mask(path: str | os.PathLike[str], mask: np.ndarray) -> None:
    """Write a mask [H, W] as grey PNG, 0 and 255. Nonzero is foreground; a float array is refused."""
    if mask.dtype.kind not in "bui":
        raise ParameterError(f"write_mask: a mask must hold bool or integers, not {mask.dtype}; threshold it first")
    _write(path, (mask != 0).astype(np.uint8) * np.uint8(255), ndim=2)


def write_labels(path: str | os.PathLike[str], labels: np.ndarray) -> None:
    """Write a map of labels [H, W] from 0 to 65535 as grey PNG of 8 bits where they fit, else 16."""
    if labels.dtype.kind not in "bui" or (labels.size and not 0 <= labels.min() <= labels.max() <= _STEPS):
        raise ParameterError(f"write_labels: labels must be integers from 0 to {_STEPS}, not {labels.dtype}")
    small = not labels.size or labels.max() <= np.iinfo(np.uint8).max
    _write(path, labels.astype(np.uint8 if small else np.uint16), ndim=2)


def write_probability(path: str | os.PathLike[str], probability: np.ndarray) -> None:
    """Write probabilities [H, W] in [0, 1] as grey PNG of 16 bits: `read_picture(path).unit()` is within 1 / 131070."""
    if probability.size and not (probability.min() >= 0 and probability.max() <= 1):  # NaN fails both
        raise ParameterError("write_probability: probabilities must lie in [0, 1]; pass logits through a sigmoid first")
    _write(path, np.rint(probability.astype(np.float64) * _STEPS).astype(np.uint16), ndim=2)


def write_overlay(
    path: str | os.PathLike[str], picture: np.ndarray, mask: np.ndarray, target: np.ndarray | None = None
) -> None:
    """Write `overlay(picture, mask, target)` as colour PNG."""
    _write(path, np.moveaxis(overlay(picture, mask, target), 0, -1), ndim=3)


def write_label_overlay(path: str | os.PathLike[str], picture: np.ndarray, labels: np.ndarray) -> None:
    """Write `label_overlay(picture, labels)` as colour PNG."""
    _write(path, np.moveaxis(label_overlay(picture, labels), 0, -1), ndim=3)


def label_overlay(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The contour of every structure of a map of labels [H, W], value v in colour v of STRUCTURES, as `overlay` has it.

    The first colour is that of `overlay`.
    """
    canvas = overlay(picture, np.zeros_like(labels))
    for value in np.unique(labels[labels != 0]):
        colour = STRUCTURES[(int(value) - 1) % len(STRUCTURES)]
        canvas[:, contour(labels == value)] = np.array(colour, np.uint8)[:, None]
    return canvas


def overlay(picture: np.ndarray, mask: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
    """The contour of a mask [H, W] on a picture [C, H, W], C = 1 or 3, in [0, 1] or uint8: [3, H, W] uint8.

    The contour is the outermost pixels of the mask. That of `target`, the true mask, is drawn below it.
    """
    if picture.ndim != 3 or len(picture) not in (1, 3):
        raise ShapeError(f"overlay: the picture must be [C, H, W] with C = 1 or 3, not {picture.shape}")
    canvas = picture
    if picture.dtype != np.uint8:
        if not (picture.min() >= 0 and picture.max() <= 1):
            raise ParameterError("overlay: a picture that is not uint8 must lie in [0, 1]; use Picture.unit()")
        canvas = np.rint(picture * 255).astype(np.uint8)
    canvas = np.repeat(canvas, 3 // len(canvas), axis=0)
    for drawn, colour in ((target, TRUE), (mask, PREDICTED)):
        if drawn is not None:
            if drawn.shape != picture.shape[1:]:
                raise ShapeError(f"overlay: the mask must have the shape {picture.shape[1:]}, not {drawn.shape}")
            canvas[:, contour(drawn != 0)] = np.array(colour, np.uint8)[:, None]
    return canvas


def contour(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask [H, W] with one of four neighbours outside it; outside the picture is outside."""
    padded = np.pad(mask, 1)
    deep = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~deep


def _write(path: str | os.PathLike[str], pixels: np.ndarray, ndim: int) -> None:
    if Path(path).suffix.lower() != ".png":
        raise ParameterError(f"{os.fspath(path)}: the name must end in .png; only PNG keeps every value")
    if pixels.ndim != ndim or pixels.size == 0:
        raise ShapeError(f"{os.fspath(path)}: a picture must have height and width of at least 1, not {pixels.shape}")
    pillow = require("PIL.Image", extra="med", purpose="writing pictures")
    image = pillow.fromarray(np.ascontiguousarray(pixels))
    atomic_write(path, lambda stream: image.save(stream, "PNG"))
