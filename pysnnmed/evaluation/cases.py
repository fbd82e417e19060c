"""Pairs with labels, each registered by a network in the way in which users would."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from .. import kernels
from ..affine import Kind
from ..data.affines import largest_shift
from ..data.displacements import Displacement, displacement_to_indices, displacement_to_voxels
from ..data.geometry import Alignment, warp_image
from ..data.images import Image
from ..data.nifti import read_nifti
from ..data.pairs_table import PairFiles
from ..deploy.lower import NETWORKS
from ..deploy.pretrained import Card, load_model
from ..deploy.program import Program
from ..deploy.programs import load_program
from ..deploy.running_weights import RunningWeights
from ..errors import ImageError, ParameterError, WeightsError
from ..models.spikereg import SpikeReg, Teacher
from ..refine import refined
from ..registration import register, register_analog
from ..synops import Report
from ..train.evaluation import runner
from ..train.pairs import Pair
from ..warp import warp_nearest

SAME_PLACE = 0.5  # voxels: labels whose header is farther off than this do not lie on their image
_LARGEST_LABEL = 2**31 - 1
_REHEARSAL = 4  # times the smallest shape that a network takes


@dataclass(frozen=True)
class Settings:
    """How networks run: arguments of `registration.register`."""

    weights: RunningWeights = "int8"
    align: Alignment | None = None
    affine: bool | Kind = False
    refine: int = 0
    backend: str | None = None
    threads: int | None = None
    memory_limit: int | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """A network by name, ready to run: a program, or as it was trained where it has no program."""

    name: str
    card: Card
    weights: RunningWeights
    runnable: Teacher | SpikeReg | Program
    settings: Settings

    @classmethod
    def load(cls, name: str, settings: Settings) -> Network:
        """Raises WeightsError for an unknown or damaged model, ParameterError for settings that it cannot have."""
        network, card = load_model(name)
        if not isinstance(network, Teacher | SpikeReg):
            raise WeightsError(f"{card.path}: holds a {card.network}, registration needs a SpikeReg or a Teacher")
        if isinstance(network, Teacher) and (settings.affine or settings.refine):
            raise ParameterError(
                f"{name}: an analog network is registered as it is; affine and refine belong to spiking ones"
            )
        weights = settings.weights if type(network) in NETWORKS else "trained"
        return cls(name, card, weights, network if weights == "trained" else load_program(name, weights)[0], settings)

    def rehearse(self) -> None:
        """Run on a small noisy pair, so that whatever is compiled or looked up once does not cost the first case."""
        config, rng = self.card.config, np.random.default_rng(0)
        shape = (_REHEARSAL * config.shape_multiple,) * config.ndim
        with self.running():
            runner(self.runnable, self.settings.memory_limit)(*rng.random((2, *shape), np.float32))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The backend and the threads of the settings, or the best there are."""
        with (
            kernels.use_backend(self.settings.backend or kernels.fastest()),
            kernels.use_threads(self.settings.threads),
        ):
            yield


class Registered(NamedTuple):
    """A registration with labels that judge it, all on the voxels of the fixed image [*S].

    moving_labels   on the voxels of the moving image
    start_labels    the moving labels before registration, moved_labels after it
    voxels          [ndim, *S], moved(x) = moving(x + voxels(x)) in voxels of the fixed image
    indices         [ndim, *S], index into the moving array minus index into the fixed one (Learn2Reg)
    spacing         of the fixed image, mm
    seconds         that the network took, seconds_all: that the whole registration took, without reading files
    rate            spikes for each neuron and time step; None without spiking neurons
    """

    fixed_labels: np.ndarray
    moving_labels: np.ndarray
    start_labels: np.ndarray
    moved_labels: np.ndarray
    voxels: np.ndarray
    indices: np.ndarray
    spacing: tuple[float, ...]
    seconds: float
    seconds_all: float
    rate: float | None
    operations: Report
    displacement: Displacement | None = None


class Case(Protocol):
    """A pair that can be registered, and the names that tell it from others."""

    @property
    def name(self) -> str: ...

    @property
    def fixed(self) -> str: ...

    @property
    def moving(self) -> str: ...

    def register(self, network: Network) -> Registered: ...


@dataclass(frozen=True)
class FileCase:
    """A pair in files, registered as `pysnnmed register` would: geometry, intensities and all."""

    files: PairFiles

    @property
    def name(self) -> str:
        """The name of the pair in its list."""
        return self.files.name

    @property
    def fixed(self) -> str:
        """Path of the fixed image."""
        return str(self.files.fixed)

    @property
    def moving(self) -> str:
        """Path of the moving image."""
        return str(self.files.moving)

    def register(self, network: Network) -> Registered:
        """Raises ImageError for files that cannot be trusted, or that do not fit together."""
        fixed, moving = read_nifti(self.files.fixed), read_nifti(self.files.moving)
        fixed_labels, moving_labels = (
            read_labels(self.files.fixed_labels, fixed),
            read_labels(self.files.moving_labels, moving),
        )
        began = time.perf_counter()
        displacement, start, seconds, rate, operations = _displacement(network, moving, fixed)
        seconds_all = time.perf_counter() - began
        world, affine = displacement.world, displacement.affine
        return Registered(
            fixed_labels=fixed_labels.data,
            moving_labels=moving_labels.data,
            start_labels=warp_image(moving_labels, start, interpolation="nearest").data,
            moved_labels=warp_image(moving_labels, displacement, interpolation="nearest").data,
            voxels=displacement_to_voxels(world, affine),
            indices=displacement_to_indices(world, affine, moving.affine),
            spacing=fixed.spacing,
            seconds=seconds,
            seconds_all=seconds_all,
            rate=rate,
            operations=operations,
            displacement=displacement,
        )


class _Found(NamedTuple):
    displacement: Displacement
    start: Displacement
    seconds: float
    rate: float | None
    operations: Report


def _displacement(network: Network, moving: Image, fixed: Image) -> _Found:
    """Of the files of a pair, by a network with or without spikes."""
    s = network.settings
    if isinstance(network.runnable, Teacher):
        found = register_analog(moving, fixed, model=network.name, align=s.align, backend=s.backend, threads=s.threads)
        return _Found(found.displacement, found.start, found.seconds, None, found.operations)
    result = register(
        moving,
        fixed,
        model=network.name,
        weights=network.weights,
        align=s.align,
        affine=s.affine,
        refine=s.refine,
        backend=s.backend,
        threads=s.threads,
        memory_limit=s.memory_limit,
    )
    return _Found(result.displacement, result.start, result.seconds, result.spike_rate, result.operations)


def read_labels(path: Path, image: Image) -> Image:
    """The label map of an image, whole numbers of 32 bits.

    Raises ImageError where it is none, and where it does not lie on the voxels of the image.
    """
    labels = read_nifti(path)
    if labels.shape != image.shape:
        raise ImageError(f"{path}: labels {labels.shape} must lie on the voxels of {image.source}, {image.shape}")
    shift = largest_shift(image.affine, labels.affine, image.shape)
    if shift > SAME_PLACE:
        raise ImageError(
            f"{path}: its header puts the labels up to {shift:.4g} voxels away from {image.source}; correct the header "
            "of the one that is wrong"
        )
    whole = labels.data.dtype.kind != "f" or np.array_equal(np.rint(labels.data), labels.data)
    if not whole or int(labels.data.min()) < 0 or int(labels.data.max()) > _LARGEST_LABEL:
        raise ImageError(f"{path}: labels must be whole numbers from 0 to {_LARGEST_LABEL}; is this the image?")
    return Image(labels.data.astype(np.int32), image.affine, str(path), image.form_code)


@dataclass(frozen=True)
class ArrayCase:
    """A pair on the grid of a recipe, registered there, as in training: no geometry, no scaling of intensities."""

    pair: Pair
    spacing: float

    @property
    def name(self) -> str:
        """After both subjects."""
        return f"{self.fixed}_{self.moving}"

    @property
    def fixed(self) -> str:
        """Name of the fixed subject."""
        return self.pair.fixed.name

    @property
    def moving(self) -> str:
        """Name of the moving subject."""
        return self.pair.moving.name

    def register(self, network: Network) -> Registered:
        """Run the network on both arrays."""
        fixed, moving = self.pair.fixed, self.pair.moving
        began = time.perf_counter()
        with network.running():
            run = runner(network.runnable, network.settings.memory_limit)(fixed.image, moving.image)
            voxels = run.displacement
            if network.settings.refine:
                voxels, _ = refined(fixed.image, moving.image, voxels, network.settings.refine)
            moved = warp_nearest(moving.labels[None, None], voxels[None])[0, 0]
        return Registered(
            fixed_labels=fixed.labels,
            moving_labels=moving.labels,
            start_labels=moving.labels,
            moved_labels=moved,
            voxels=voxels,
            indices=voxels,
            spacing=(self.spacing,) * fixed.image.ndim,
            seconds=run.seconds,
            seconds_all=time.perf_counter() - began,
            rate=run.rate,
            operations=run.operations(),
        )
