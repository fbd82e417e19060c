"""What a segmentation network was trained to see, as its card says it, and images brought into that form and back.

A network keeps nothing of the data it has learned from but its weights. How large a pixel was, which way a volume was
cut, what 0 and 1 meant: whoever trains writes that into the facts of the weights file, under the key `input`, and
whoever uses the network reads it there.

    facts = {"input": NetworkInput("volumes", channels=1, labels={1: "anterior", 2: "posterior"}, ...).facts()}
    form = NetworkInput.from_facts(card.facts)

Training and use call the same functions here, so that a slice is prepared in one way only.

    pictures    [C, H, W] in [0, 1]. `fit` "resize": a picture is brought to `size` as a whole, whatever its
                proportions, and what the network says of it is brought back. "window": it keeps its pixels, and the
                network looks at windows of `size` of it
    volumes     slices of the reordered volume (see `slices`) whose pixels are `spacing` mm apart. Smaller ones lie in
                the middle of `size`, behind floor((N - n) / 2) pixels of padding; larger ones are looked at in windows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np

from ..errors import ImageError, ParameterError, ShapeError, WeightsError
from .images import Image, normalize_intensity
from .pictures import MAX_PIXELS
from .resize import resample
from .slices import Plane, slices_of, stack_of
from .windows import Padding, pad, padding_to

KEY = "input"
Kind = Literal["pictures", "volumes"]
Fit = Literal["resize", "window"]
SAME_SPACING = 0.01  # relative: pixels this close to the wanted ones are kept as they are
MOST_LABELS = 255  # label maps are uint8


@dataclass(frozen=True)
class NetworkInput:
    """The form of the images that a segmentation network has learned from.

    kind        "pictures" or "volumes"
    channels    of a picture: 1 or 3; a volume has 1. With its neighbours a slice has (2 context + 1) of them
    convert     grey pictures may be repeated to three channels, and colour be weighted into grey; else they are refused
    size        height and width of what the network looks at, in pixels of the spacing below
    fit         "resize" or "window", of pictures; volumes are never resized to a size
    padding     what lies around an image that is smaller than `size`: itself mirrored, its edge, or zeros
    plane       how volumes are cut, and `context`: slices on either side that are further channels
    spacing     mm between the pixels of a slice, height and width; None: those of the volume
    slice_step  mm between a slice and its neighbours of the context; None: that of the volume
    labels      value in the map of labels and name of each structure, in the order of the channels of the network,
                which may have one more in front for the background
    threshold   of the probability of a structure, for networks without a channel for the background
    """

    kind: Kind = "pictures"
    channels: int = 3
    convert: bool = True
    size: tuple[int, int] = (128, 128)
    fit: Fit = "resize"
    padding: Padding = "reflect"
    plane: Plane = "axial"
    context: int = 0
    spacing: tuple[float, float] | None = None
    slice_step: float | None = None
    labels: Mapping[int, str] = field(default_factory=lambda: {1: "foreground"})
    threshold: float = 0.5

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[Any, ...]] = {
            "kind": get_args(Kind),
            "fit": get_args(Fit),
            "padding": get_args(Padding),
            "plane": get_args(Plane),
            "channels": (1, 3),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise _broken(name, f"one of {', '.join(map(str, values))}", getattr(self, name))
        if self.kind == "volumes" and self.channels != 1:
            raise _broken("channels", "1 for volumes; neighbouring slices are context", self.channels)
        if not _whole(self.context, 0) or self.context > 32 or (self.context and self.kind == "pictures"):
            raise _broken("context", "a whole number from 0 to 32, and 0 for pictures", self.context)
        _set(self, "size", _pair("size", self.size, int))
        if self.spacing is not None:
            _set(self, "spacing", _pair("spacing", self.spacing, float))
        if self.slice_step is not None:
            _set(self, "slice_step", _positive("slice_step", self.slice_step))
        if not isinstance(self.threshold, int | float) or not 0 < self.threshold < 1:
            raise _broken("threshold", "between 0 and 1", self.threshold)
        _set(self, "labels", _labels(self.labels))

    # ------------------------------------------------------------------------------------------------- the card

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], source: str = "the model") -> NetworkInput:
        """What the facts of a card say. Raises WeightsError, naming `source`, where they say nothing or nonsense."""
        found = facts.get(KEY)
        if not isinstance(found, Mapping):
            raise WeightsError(
                f"{source}: does not say what images it has learned from (facts[{KEY!r}] is missing); it is no "
                "network for segmentation, or was saved without its facts"
            )
        unknown = set(found) - {f.name for f in fields(cls)}
        if unknown:
            raise WeightsError(f"{source}: facts[{KEY!r}] holds what nobody knows here: {', '.join(sorted(unknown))}")
        try:
            return cls(**found)
        except (ParameterError, TypeError) as error:
            raise WeightsError(f"{source}: facts[{KEY!r}] cannot be used: {error}") from error

    def facts(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {
            **asdict(self),
            "size": list(self.size),
            "spacing": None if self.spacing is None else list(self.spacing),
            "labels": {str(value): name for value, name in self.labels.items()},
        }

    @property
    def in_channels(self) -> int:
        """Channels that the network takes."""
        return self.channels * (2 * self.context + 1)

    @property
    def values(self) -> tuple[int, ...]:
        """The values of the labels, in the order of the channels."""
        return tuple(self.labels)

    def has_background(self, classes: int) -> bool:
        """Whether the first of `classes` channels is the background's; they exclude each other then (softmax).

        Raises WeightsError for a number of channels that does not fit the labels.
        """
        if classes not in (len(self.labels), len(self.labels) + 1):
            raise WeightsError(
                f"facts[{KEY!r}]: {len(self.labels)} labels need as many channels of the network, or one more for the "
                f"background, not {classes}"
            )
        return classes == len(self.labels) + 1

    # ------------------------------------------------------------------------------------------------- volumes

    def shape_of(self, image: Image) -> tuple[int, int]:
        """Height and width of the slices of a volume at the spacing of the network."""
        (height, width), steps = stack_of(image, self.plane).shape, self._steps(image)
        return _grid_size(height, steps[0]), _grid_size(width, steps[1])

    def slices(self, image: Image, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Slices `start` to `stop` of a volume with intensities in [0, 1] (see `intensities`): [n, C, h, w] float32."""
        self._must_be("volumes")
        stack = slices_of(image, self.plane)[:, 0]
        steps = self._steps(image)
        chosen = range(*slice(start, stop).indices(len(stack)))
        found = np.empty((len(chosen), self.in_channels, *self.shape_of(image)), np.float32)
        step = self._slice_step(image)
        for row, i in zip(found, chosen, strict=True):
            for channel, distance in zip(row, range(-self.context, self.context + 1), strict=True):
                channel[...] = _regridded(_between(stack, i + distance * step), steps)
        return found

    def label_slices(self, labels: Image) -> np.ndarray:
        """A map of labels on the pixels of `slices`, [N, h, w] of the type of the map; each keeps the nearest value."""
        self._must_be("volumes")
        stack = slices_of(labels, self.plane)[:, 0]
        for axis, step in zip((-2, -1), self._steps(labels), strict=True):
            if step != 1:
                size = stack.shape[axis]
                near = np.floor(_places(size, _grid_size(size, step), step) + 0.5).astype(np.intp)
                stack = stack.take(near.clip(0, size - 1), axis)
        return np.ascontiguousarray(stack)

    def to_pixels(self, maps: np.ndarray, image: Image) -> np.ndarray:
        """Maps [..., h, w] on the pixels of `slices(image)` back on those of the slices of the volume, [..., H, W]."""
        shape = stack_of(image, self.plane).shape
        if maps.shape[-2:] != self.shape_of(image):
            raise ShapeError(f"to_pixels: the maps must be [..., {self.shape_of(image)}], not {maps.shape}")
        for axis, size, step in zip((-2, -1), shape, self._steps(image), strict=True):
            if step != 1:
                maps = resample(maps, _places(maps.shape[axis], size, 1 / step), 1 / step, axis)
        return maps

    def intensities(self, image: Image) -> Image:
        """The volume with the intensities that the network knows: percentiles 1 and 99 are 0 and 1, float32.

        Raises ImageError, naming the volume, for NaN and infinite voxels.
        """
        if not (np.isfinite(image.data.min()) and np.isfinite(image.data.max())):
            raise ImageError(f"{image.source}: the volume holds NaN or infinite voxels; replace them first")
        return image.with_data(normalize_intensity(image.data))

    def _steps(self, image: Image) -> tuple[float, float]:
        """Pixels of the volume to a pixel of the network."""
        own = stack_of(image, self.plane).spacing
        height, width = (_ratio(w, o) for w, o in zip(self.spacing or own, own, strict=True))
        return height, width

    def _slice_step(self, image: Image) -> float:
        """Slices of the volume to a slice of the network."""
        own = stack_of(image, self.plane).step
        return _ratio(self.slice_step or own, own)

    def _must_be(self, kind: Kind) -> None:
        if self.kind != kind:
            raise ParameterError(f"NetworkInput: the network has learned from {self.kind}, not from {kind}")

    # ------------------------------------------------------------------------------------------------- padding

    def padded(self, pixels: np.ndarray, shape: Sequence[int] | None = None) -> np.ndarray:
        """[..., H, W] in the middle of at least `shape` (default: `size`), surrounded as `padding` says."""
        return pad(pixels, padding_to(pixels.shape[-2:], shape or self.size), self.padding)


# ------------------------------------------------------------------------------------------------ grids of slices


def _grid_size(size: int, step: float) -> int:
    return size if step == 1 else max(1, int(np.ceil(size / step - 1e-6)))


def _places(size: int, new: int, step: float) -> np.ndarray:
    """Where `new` pixels lie among `size`, `step` apart, the middle of both at one point."""
    return (size - 1) / 2 + (np.arange(new) - (new - 1) / 2) * step


def _regridded(plane: np.ndarray, steps: tuple[float, float]) -> np.ndarray:
    for axis, step in zip((-2, -1), steps, strict=True):
        if step != 1:
            size = plane.shape[axis]
            plane = resample(plane, _places(size, _grid_size(size, step), step), step, axis)
    return plane


def _between(stack: np.ndarray, place: float) -> np.ndarray:
    """The slice at a place of a stack, linear between two; beyond the ends the outermost one."""
    place = min(max(place, 0.0), len(stack) - 1.0)
    low = int(place)
    weight = np.float32(place - low)
    return stack[low] if not weight else stack[low] * (1 - weight) + stack[low + 1] * weight


def _ratio(wanted: float, own: float) -> float:
    ratio = wanted / own
    return 1.0 if abs(ratio - 1) <= SAME_SPACING else ratio


# ------------------------------------------------------------------------------------------------- checking facts


def _broken(name: str, rule: str, value: Any) -> ParameterError:
    return ParameterError(f"NetworkInput: {name} must be {rule}, not {value!r}")


def _set(owner: NetworkInput, name: str, value: Any) -> None:
    object.__setattr__(owner, name, value)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-6 < value < 1e6:
        raise _broken(name, "a positive number of mm", value)
    return float(value)


def _pair(name: str, value: Any, kind: type) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _broken(name, "a height and a width", value)
    if kind is float:
        return _positive(name, value[0]), _positive(name, value[1])
    if not all(_whole(v, 1) for v in value) or value[0] * value[1] > MAX_PIXELS:
        raise _broken(name, f"two whole numbers of at least 1 and at most {MAX_PIXELS} pixels", value)
    return int(value[0]), int(value[1])


def _labels(labels: Any) -> dict[int, str]:
    try:
        found = {int(value): name for value, name in labels.items()}
    except (AttributeError, TypeError, ValueError):
        raise _broken("labels", "a name for each value", labels) from None
    fine = len(found) == len(labels) and all(1 <= v <= MOST_LABELS and isinstance(n, str) for v, n in found.items())
    if not found or not fine:
        raise _broken("labels", f"names of different values from 1 to {MOST_LABELS}", labels)
    return found
