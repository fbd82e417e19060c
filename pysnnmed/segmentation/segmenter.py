"""From an image to the windows that a network looks at, and from what it says back to the pixels of the image."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .. import kernels
from ..data.geometry import reorient
from ..data.images import Image
from ..data.nifti import read_nifti
from ..data.pictures import Picture, picture_of, read_picture, with_channels
from ..data.resize import resample, resize
from ..data.slices import stack_of, volume_of
from ..data.windows import OVERLAP, Windows, seen_through
from ..deploy.memory import machine_memory
from ..deploy.running_weights import RunningWeights
from ..errors import ImageError, ParameterError
from . import planning
from .planning import Plan
from .result import Segmentation
from .runner import Runner, Tally

DEFAULT_MODEL = "hippocampus-seg"
_VOLUME_ENDINGS = (".nii", ".nii.gz")
_ONE = np.float32(1)
_ROWS = 128  # of a picture that are brought back to their size at once
Progress = Callable[[int, int, str], object]
Source: TypeAlias = Image | Picture | np.ndarray | str | os.PathLike[str]


def segment(
    image: Source,
    model: str | Path = DEFAULT_MODEL,
    *,
    probability: bool = False,
    weights: RunningWeights = "int8",
    window: int | tuple[int, int] | None = None,
    overlap: float = OVERLAP,
    threshold: float | None = None,
    backend: str | None = None,
    threads: int | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Find the structures that `model` knows in a picture or a volume.

    `image` is what the model has learned from: a picture in a file, as `Picture` or as an array [H, W] or [H, W, C],
    uint8, uint16 or floating-point numbers in [0, 1]; or a volume in NIfTI, or an `Image`. Volumes are looked at slice
    by slice, at the spacing and in the direction that the card of the model names, and the labels lie on the voxels of
    the input, whatever its orientation.
    `window` is the height and width that the network looks at, in pixels as the network knows them; larger images are
    looked at in windows of which neighbours share at least `overlap` of their size. None is what the model has learned
    from; a model that has learned from whole pictures is then shown the whole picture, brought to that size.
    `threshold`: the probability from which on a pixel belongs to a structure, None for that of the card.
    `weights`, `backend`, `threads` and `memory_limit` are those of `register`; a network without a program runs as
    trained. `probability=True` keeps the probabilities. `progress` hears how many windows are done, of how many.

    Raises ImageError for images that cannot be trusted or that the model cannot know, WeightsError for a model that is
    unknown, damaged or made for another task, ProgramError, with the plan, for what would take too much memory.
    """
    segmenter = Segmenter(
        model,
        probability=probability,
        weights=weights,
        window=window,
        overlap=overlap,
        threshold=threshold,
        backend=backend,
        threads=threads,
        memory_limit=memory_limit,
    )
    return segmenter(image, progress)


class Segmenter:
    """A model, loaded once and ready for many images. The arguments are those of `segment`."""

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        probability: bool = False,
        weights: RunningWeights = "int8",
        window: int | tuple[int, int] | None = None,
        overlap: float = OVERLAP,
        threshold: float | None = None,
        backend: str | None = None,
        threads: int | None = None,
        memory_limit: int | None = None,
    ):
        self.runner = Runner(model, weights, memory_limit)
        self.form, self.card = self.runner.form, self.runner.card
        self.whole = window is None and self.form.kind == "pictures" and self.form.fit == "resize"
        self.window = self.form.size if window is None else (window, window) if isinstance(window, int) else window
        self.runner.check_window(self.window)
        Windows.over(self.window, self.window, overlap)  # checks the overlap
        self.probability, self.overlap = probability, overlap
        if threshold is not None and self.runner.exclusive:
            raise ParameterError(
                f"segment: {self.card.name} knows the background as a structure of its own, and the likeliest wins; "
                "it has no threshold"
            )
        self.threshold = self.form.threshold if threshold is None else threshold
        if not 0 < self.threshold < 1:
            raise ParameterError(f"segment: threshold must be between 0 and 1, not {threshold}")
        self.backend, self.threads, self.memory_limit = backend, threads, memory_limit

    def __call__(self, image: Source, progress: Progress | None = None) -> Segmentation:
        """Segment one image."""
        found = self.read(image)
        with self.running():
            plan = self.plan(found)
            limit = machine_memory() if self.memory_limit is None else self.memory_limit
            plan.require_room(limit, found.source)
            tally = _Told(plan.windows, progress)
            labels, probability = (
                self._volume(found, tally) if isinstance(found, Image) else self._picture(found, tally)
            )
            used = kernels.active()
        return Segmentation(
            labels=labels,
            names=self.form.labels,
            volume=found.with_data(labels) if isinstance(found, Image) else None,
            probability=probability,
            operations=tally.report(),
            rates=tally.rates,
            spike_rate=tally.rate,
            model=self.card,
            weights=self.runner.weights,
            backend=used,
            seconds=tally.seconds,
            windows=tally.windows,
            peak=plan.peak,
            plane=self.form.plane,
            source=found.source,
        )

    def read(self, image: Source) -> Picture | Image:
        """The image, if it is one that the model can know; files are read, arrays become pictures."""
        if isinstance(image, np.ndarray):
            if self.form.kind == "volumes":
                raise ParameterError(
                    f"segment: an array of shape {image.shape} does not say how large its voxels are and which way it "
                    "was cut; give an Image, or a NIfTI file"
                )
            image = picture_of(image)
        if isinstance(image, Picture | Image):
            kind = "volumes" if isinstance(image, Image) else "pictures"
            name = image.source
        else:
            name = os.fspath(image)
            kind = "volumes" if name.lower().endswith(_VOLUME_ENDINGS) else "pictures"
        if kind != self.form.kind:
            raise ImageError(
                f"{name}: {self.card.name} has learned from {self.form.kind}, and this is a {kind.removesuffix('s')}"
            )
        if isinstance(image, Image):
            return image
        if kind == "volumes":
            return read_nifti(name)
        picture = image if isinstance(image, Picture) else read_picture(name)
        return self._of_channels(picture)

    def plan(self, image: Picture | Image) -> Plan:
        """The memory that an image will take and the windows it is seen in, with the kernels now in use."""
        classes, structures = self.runner.classes, len(self.form.labels)
        network = self.runner.nbytes(self.window)
        pixels = math.prod(image.shape)
        if isinstance(image, Image):
            stack, windows = stack_of(image, self.form.plane), self._windows(self.form.shape_of(image))
            planes = (math.prod(windows.size), math.prod(stack.shape))
            seeing = planning.volumes(pixels, self.form.in_channels, classes, planes) + windows.nbytes(classes)
            kept = planning.results(pixels, structures, self.probability, copies=2)
            return Plan(network, seeing, kept, stack.number * len(windows), self.window)
        kept = planning.results(pixels, structures, self.probability)
        if self.whole:
            windows = self._windows(self.window)
            seeing = planning.resizing(self.form.channels, classes, image.shape, self.window, _ROWS)
            seeing += planning.slab(classes, _ROWS, image.shape[1])
        else:
            windows = self._windows(image.shape)
            seeing = planning.slab(classes, self.window[0], windows.size[1])
            if windows.size != image.shape:
                seeing += self.form.channels * math.prod(windows.size) * image.data.itemsize
        return Plan(network, seeing + windows.nbytes(classes), kept, len(windows), self.window)

    def rehearse(self) -> None:
        """Look at noise, so that whatever is compiled or looked up once does not cost the first image."""
        noise = np.random.default_rng(0).random((self.form.in_channels, *self.window), np.float32)
        with self.running():
            self.runner(noise, Tally())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The kernels and threads that were asked for, or the best there are."""
        with kernels.use_backend(self.backend or kernels.fastest()), kernels.use_threads(self.threads):
            yield

    # ---------------------------------------------------------------------------------------------- two kinds

    def _picture(self, picture: Picture, tally: Tally) -> tuple[np.ndarray, np.ndarray | None]:
        seen = self._resized(picture, tally) if self.whole else self._seen(picture.data, _white(picture.data), tally)
        return self._labels(seen, picture.shape)

    def _resized(self, picture: Picture, tally: Tally) -> Iterator[tuple[slice, np.ndarray]]:
        """What the network says of the whole picture at its own size, brought back by slabs of rows."""
        shown = resize(picture.data, self.window) / _white(picture.data)
        small = np.concatenate([slab for _, slab in self._seen(np.clip(shown, 0, 1), _ONE, tally)], axis=1)
        places = [(np.arange(n) + 0.5) * (m / n) - 0.5 for n, m in zip(picture.shape, self.window, strict=True)]
        steps = [m / n for n, m in zip(picture.shape, self.window, strict=True)]
        for start in range(0, picture.shape[0], _ROWS):
            rows = slice(start, min(start + _ROWS, picture.shape[0]))
            slab = resample(small, places[0][rows], steps[0], -2)
            yield rows, resample(slab, places[1], steps[1], -1)

    def _volume(self, image: Image, tally: Tally) -> tuple[np.ndarray, np.ndarray | None]:
        upright = reorient(self.form.intensities(image))
        labels, probabilities = [], []
        for i in range(stack_of(upright, self.form.plane).number):
            (pixels,) = self.form.slices(upright, i, i + 1)
            whole = np.concatenate([slab for _, slab in self._seen(pixels, _ONE, tally)], axis=1)
            back = self.form.to_pixels(whole, upright)
            found, sure = self._labels(iter([(slice(None), back)]), back.shape[1:])
            labels.append(found)
            if sure is not None:
                probabilities.append(sure)
        place = volume_of(np.stack(labels), image, self.form.plane)
        if not probabilities:
            return place.data, None
        stacks = np.stack(probabilities, axis=1)
        return place.data, np.stack([volume_of(stack, image, self.form.plane).data for stack in stacks])

    # ---------------------------------------------------------------------------------------------- shared parts

    def _seen(self, pixels: np.ndarray, white: np.float32, tally: Tally) -> Iterator[tuple[slice, np.ndarray]]:
        """Probabilities of pixels [C, H, W], window by window: (rows, [K, n, W]) from the top to the bottom.

        `white` is the intensity that is 1 to the network.
        """

        def look(seen: np.ndarray) -> np.ndarray:
            return self.runner(seen / white, tally)

        return seen_through(pixels, self.window, self.form.padding, look, self.overlap)

    def _labels(
        self, seen: Iterator[tuple[slice, np.ndarray]], shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels [H, W], and probabilities [structures, H, W] if they are wanted, from slabs of probabilities."""
        labels = np.empty(shape, np.uint8)
        kept = np.empty((len(self.form.labels), *shape), np.float32) if self.probability else None
        values = np.array((0,) * self.runner.exclusive + self.form.values, np.uint8)
        for rows, probability in seen:
            best = values[probability.argmax(axis=0)]
            if not self.runner.exclusive:
                best[probability.max(axis=0) < self.threshold] = 0
            labels[rows] = best
            if kept is not None:
                kept[:, rows] = np.clip(probability[-len(kept) :], 0, 1)
        return labels, kept

    def _windows(self, size: tuple[int, int]) -> Windows:
        height, width = (max(n, w) for n, w in zip(size, self.window, strict=True))
        return Windows.over((height, width), self.window, self.overlap)

    def _of_channels(self, picture: Picture) -> Picture:
        wanted, found = self.form.channels, len(picture.data)
        try:
            data = with_channels(picture.data, wanted, self.form.convert)
        except ImageError:
            raise ImageError(
                f"{picture.source}: the picture has {found} channel{'s' if found > 1 else ''}, and {self.card.name} "
                f"has learned from pictures with {wanted} and takes no others, as its card says"
            ) from None
        return Picture(data, picture.source, picture.orientation)


class _Told(Tally):
    """A tally that tells how far it is."""

    def __init__(self, windows: int, progress: Progress | None):
        super().__init__()
        self._all, self._progress = windows, progress

    def add(self, *run: Any) -> None:
        super().add(*run)
        if self._progress:
            self._progress(self.windows, self._all, "")


def _white(data: np.ndarray) -> np.float32:
    """The largest intensity that the type of a picture has: what is 1 to a network, as in `Picture.unit`."""
    return _ONE if data.dtype.kind == "f" else np.float32(np.iinfo(data.dtype).max)
