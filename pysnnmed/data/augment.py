"""Light augmentation of 2-D pictures: what a lesion can look like without becoming another one.

Flips and turns by quarters move pixels without changing any; a change of scale resamples picture and mask from the same
places (the mask is foreground where at least half is); brightness and contrast change the picture alone:

    picture' = clip((picture - mean) contrast + mean + brightness, 0, 1)

All random numbers come from the generator passed in, in one order that does not depend on the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ParameterError, ShapeError
from .resize import resample


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are changed. The ranges hold 0 and 1, respectively: `Augmentation.none()` changes nothing.

    flips       mirror each axis with probability 1/2
    turns       turn by 0 to 3 quarters; where height and width differ, by 0 or 2
    scale       zoom about the centre by a factor exp(u), u uniform in [-log scale, log scale]; at least 1
    brightness  added, uniform in [-brightness, brightness]; intensities are in [0, 1]
    contrast    factor exp(u), u uniform in [-log contrast, log contrast]; at least 1
    """

    flips: bool = True
    turns: bool = True
    scale: float = 1.2
    brightness: float = 0.1
    contrast: float = 1.2

    def __post_init__(self) -> None:
        for name in ("scale", "contrast"):
            if not 1 <= getattr(self, name) <= 10:
                raise ParameterError(f"Augmentation: {name} must be in [1, 10], not {getattr(self, name)}")
        if not 0 <= self.brightness <= 1:
            raise ParameterError(f"Augmentation: brightness must be in [0, 1], not {self.brightness}")

    @classmethod
    def none(cls) -> Augmentation:
        """Nothing changes."""
        return cls(flips=False, turns=False, scale=1, brightness=0, contrast=1)


def augment(
    picture: np.ndarray, mask: np.ndarray, generator: np.random.Generator, settings: Augmentation | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A changed copy of a picture [C, H, W] float32 in [0, 1] and its mask [H, W], or several [K, H, W], bool.

    Raises `ShapeError` where the mask has another height or width.
    """
    settings = settings or Augmentation()
    if picture.ndim != 3 or mask.ndim not in (2, 3) or mask.shape[-2:] != picture.shape[1:]:
        raise ShapeError(f"augment: expected a picture [C, H, W] and a mask [H, W], not {picture.shape}, {mask.shape}")
    height, width = picture.shape[1:]
    mirrored, quarters = generator.integers(0, 2, 2), int(generator.integers(0, 4))
    zoom, brightness, contrast = generator.uniform(-1, 1, 3)
    picture, mask = picture.astype(np.float32), mask != 0
    for axis in (-2, -1):
        if settings.flips and mirrored[axis]:
            picture, mask = np.flip(picture, axis), np.flip(mask, axis)
    if settings.turns:
        quarters = quarters if height == width else quarters // 2 * 2
        picture, mask = np.rot90(picture, quarters, (-2, -1)), np.rot90(mask, quarters, (-2, -1))
    if settings.scale > 1:
        picture, mask = _zoomed(picture, mask, settings.scale**zoom)
    if settings.contrast > 1 or settings.brightness:
        mean = picture.mean()
        picture = (picture - mean) * settings.contrast**contrast + (mean + settings.brightness * brightness)
    return np.clip(picture, 0, 1, dtype=np.float32), np.ascontiguousarray(mask)


def _zoomed(picture: np.ndarray, mask: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Both enlarged by `factor` about the centre; what comes from outside repeats the border."""
    foreground = mask.astype(np.float32)
    for axis in (-2, -1):
        size = mask.shape[axis]
        centre = (size - 1) / 2
        places = np.clip((np.arange(size) - centre) / factor + centre, 0, size - 1)
        picture, foreground = (resample(data, places, 1 / factor, axis) for data in (picture, foreground))
    return picture, foreground >= 0.5
