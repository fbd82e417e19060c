"""The main job: find the displacement that aligns a moving image with a fixed one.

    result = register("moving.nii.gz", "fixed.nii.gz")
    write_nifti("moved.nii.gz", result.moved)

The two images are brought onto one grid of the spacing the network was trained at, the program of the spiking network
computes the displacement there, `refine=N` improves it for this one pair, and it is carried back to the voxels of the
fixed image. The moving image is interpolated once, from its own voxels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import kernels
from .affine import KINDS, Affine, Kind, align_affine
from .data.displacements import Displacement
from .data.geometry import Alignment, ModelGrid, warp_image
from .data.images import Image, normalize_intensity, require_contrast
from .data.nifti import read_nifti
from .deploy import memory
from .deploy.executor import Executor
from .deploy.pretrained import Card, load_model
from .deploy.program import Program
from .deploy.programs import load_program, mean_rate
from .deploy.running_weights import COST_TABLES, RUNNING_WEIGHTS, RunningWeights
from .errors import ImageError, ParameterError, WeightsError
from .metrics.deformation import folding_fraction
from .models.operations import count_analog_operations, count_operations
from .models.spikereg import FIELD, SpikeReg, Teacher
from .refine import Progress, Refinement, checked_iterations, refined
from .synops import Report, projected_energy
from .tensor import Tensor, no_grad

DEFAULT_MODEL = "hippocampus"


@dataclass(frozen=True)
class Registration:
    """What `register` found.

    moved          the moving image on the voxels of the fixed one
    moved_labels   the moving labels there, if labels were given
    displacement   moved(x) = moving(x + displacement(x))
    start          the same before the network: zero, the shift that lays the centres on each other, or the affine map
    folding        fraction of voxels of the model grid where the mapping folds (Jacobian determinant <= 0)
    operations     exact counts of the spiking network on this pair, and of the analog network with the same layers
    spikes         {layer: spikes [T, C, *S'] uint8} of this pair; of a program, packed until they are asked for
    spike_rate     spikes for each neuron and time step, over all neurons
    model          the card of the network; weights it ran with, backend it ran on; seconds the network took
    affine         the affine registration before, if one was asked for
    refinement     what refinement did after the network, None without; it is dense arithmetic in float32, and neither
                   `operations` nor the projected energy nor `seconds` holds any of it
    """

    moved: Image
    displacement: Displacement
    start: Displacement
    moved_labels: Image | None
    folding: float
    operations: Report
    spikes: Mapping[str, np.ndarray] = field(repr=False)
    spike_rate: float
    model: Card
    weights: RunningWeights
    backend: str
    seconds: float
    affine: Affine | None = None
    refinement: Refinement | None = None

    def summary(self) -> dict[str, Any]:
        """The numbers of this registration, JSON-able. Counts and energies are those of the network alone."""
        refinement = {} if self.refinement is None else {"refinement": self.refinement.facts()}
        return {
            "model": self.model.name,
            "weights": self.weights,
            "backend": self.backend,
            "seconds": round(self.seconds, 3),
            "folding_percent": 100 * self.folding,
            "spike_rate": self.spike_rate,
            "steps": self.operations.steps,
            "synops": self.operations.total.synops,
            "macs": self.operations.total.macs,
            "ann_macs": self.operations.ann_macs,
            "projected_energy": projected_energy(self.operations, self.cost_table).facts(),
            **({} if self.affine is None else {"affine": self.affine.summary()}),
            **refinement,
        }

    @property
    def cost_table(self) -> str:
        """The cost table of the arithmetic that this registration ran in, for both networks."""
        return COST_TABLES[self.weights]


def register(
    moving: Image | str | Path,
    fixed: Image | str | Path,
    *,
    moving_labels: Image | str | Path | None = None,
    model: str | Path = DEFAULT_MODEL,
    weights: RunningWeights = "int8",
    align: Alignment | None = None,
    affine: bool | Kind = False,
    refine: int = 0,
    backend: str | None = None,
    threads: int | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Registration:
    """Register `moving` to `fixed`, images or NIfTI files of one modality.

    `align` says how the two images lie to each other before registration: as their headers say ("world"), or centre on
    centre ("centre"), for crops that each have an origin of their own; None takes what the model was trained for.
    `affine` finds an affine map first, for images that are turned, shifted or scaled against each other: "rigid",
    "similarity" or, as True, "affine"; see `align_affine`. It starts from `align`, or where that is None from whatever
    the headers and the images suggest. It is part of the displacement, and the moving image is still interpolated once.
    `moving_labels` lie on the voxels of `moving`.
    `weights`: the network runs as a program (see `deploy.lower`) with weights rounded to "int8" or "int16", neurons in
    whole numbers, the same on every machine, or in "float32"; "trained" runs the network itself, as training does.
    `refine`: so many iterations at each resolution improve what the network found (see `refine.refined`), 0 for none;
    `progress` hears how far they are: iterations done, all of them, and a note.
    `backend` defaults to the fastest installed, `threads` to all cores. `memory_limit` is in bytes, by default those of
    this machine: a program that would take more is refused before it allocates anything.

    Raises ImageError for files or geometries that cannot be trusted and for constant images, WeightsError for an
    unknown or damaged model, ProgramError, with the plan of the memory, for a pair that is too large.
    """
    if weights not in RUNNING_WEIGHTS:
        raise ParameterError(f"register: weights must be {', '.join(RUNNING_WEIGHTS)}, not {weights!r}")
    if weights == "trained" and memory_limit is not None:
        raise ParameterError("register: memory_limit needs a program, which plans its memory; weights are 'trained'")
    checked_iterations(refine)  # before the work, not after it
    fixed, moving = _image(fixed), _image(moving)
    require_contrast(fixed)
    require_contrast(moving)
    labels = None if moving_labels is None else _image(moving_labels)
    if labels is not None and labels.shape != moving.shape:
        raise ImageError(
            f"{labels.source}: labels {labels.shape} must lie on the voxels of the moving image {moving.shape}"
        )
    network, card = _ready(model, weights)
    prior = _affine(fixed, moving, affine, align)
    grid = _model_grid(fixed, moving, card, align if prior is None else prior.matrix)
    with kernels.use_backend(backend or kernels.fastest()), kernels.use_threads(threads):
        used = kernels.active()
        if isinstance(network, Program):
            memory.require_room(memory.plan(network, grid.shape, _layers(network)), memory_limit)
        pair = _on_grid(grid, fixed, moving)
        if isinstance(network, Program):
            found = _by_program(network, *pair, memory_limit)
        else:
            found = _as_trained(network, *pair)
        voxels, refinement = refined(*pair, found.voxels, refine, progress) if refine else (found.voxels, None)
        displacement = grid.displacement(voxels)
        moved = warp_image(moving, displacement)
        moved_labels = None if labels is None else warp_image(labels, displacement, interpolation="nearest")
    return Registration(
        moved=moved,
        moved_labels=moved_labels,
        displacement=displacement,
        start=grid.start(),
        folding=folding_fraction(voxels),
        operations=found.operations,
        spikes=found.spikes,
        spike_rate=found.spike_rate,
        model=card,
        weights=weights,
        backend=used,
        seconds=found.seconds,
        affine=prior,
        refinement=refinement,
    )


class _Found(NamedTuple):
    """What a network found on the model grid: displacement [3, *S] in voxels, and how."""

    voxels: np.ndarray
    operations: Report
    spikes: Mapping[str, np.ndarray]
    spike_rate: float
    seconds: float


def _ready(model: str | Path, weights: RunningWeights) -> tuple[Program | SpikeReg, Card]:
    """The program, or the network as it was trained."""
    network, card = load_model(model) if weights == "trained" else load_program(model, weights)
    if card.network != SpikeReg.__name__ or not isinstance(network, Program | SpikeReg):
        raise WeightsError(f"{card.path}: holds a {card.network}, registration needs a SpikeReg")
    return network, card


def _by_program(program: Program, fixed: np.ndarray, moving: np.ndarray, memory_limit: int | None) -> _Found:
    executor = Executor(program, keep=_layers(program), memory_limit=memory_limit)
    run = executor({"fixed": fixed[None], "moving": moving[None]})
    (voxels,) = run.outputs.values()
    return _Found(voxels, run.report, run.kept, mean_rate(run), run.total_seconds)


def _as_trained(network: SpikeReg, fixed: np.ndarray, moving: np.ndarray) -> _Found:
    began = time.perf_counter()
    voxels, spikes = predict(network, fixed, moving)
    seconds = time.perf_counter() - began
    rate = sum(int(s.sum()) for s in spikes.values()) / sum(s.size for s in spikes.values())
    operations = count_operations(network.config, np.stack([fixed, moving])[None], spikes)
    return _Found(voxels, operations, {name: s[:, 0] for name, s in spikes.items()}, rate, seconds)


def _layers(program: Program) -> tuple[str, ...]:
    return tuple(layer.name for layer in program.layers)


def predict(network: SpikeReg, fixed: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Run the network on two volumes [*S] in [0, 1], on the active backend.

    -> (displacement [ndim, *S] in voxels, {layer: spikes [T, 1, C, *S'] uint8})
    """
    spikes: dict[str, np.ndarray] = {}

    def keep(name: str, x: Tensor) -> None:
        if name != FIELD:
            spikes[name] = x.data.astype(np.uint8)

    images = (Tensor(np.asarray(image, np.float32)[None, None]) for image in (fixed, moving))
    with no_grad():
        displacement = network(*images, observe=keep)
    return displacement.data[0], spikes


@dataclass(frozen=True)
class AnalogRegistration:
    """What the analog network found: fields of `Registration`, and `seconds` of the whole network."""

    displacement: Displacement
    start: Displacement
    operations: Report
    model: Card
    seconds: float


def register_analog(
    moving: Image | str | Path,
    fixed: Image | str | Path,
    *,
    model: str | Path,
    align: Alignment | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> AnalogRegistration:
    """Register `moving` to `fixed` with the analog network `model`, as trained: what a spiking network is judged by.

    Its `operations` are MACs, those that meet the zero of a ReLU apart. The arguments are those of `register`. Raises
    WeightsError for a model that is no Teacher.
    """
    fixed, moving = _image(fixed), _image(moving)
    network, card = load_model(model)
    if not isinstance(network, Teacher):
        raise WeightsError(f"{card.path}: holds a {card.network}, an analog network is a Teacher")
    activations: dict[str, np.ndarray] = {}

    def keep(name: str, x: Tensor) -> None:
        activations[name] = x.data

    grid = _model_grid(fixed, moving, card, align)
    on_grid = _on_grid(grid, fixed, moving)
    with kernels.use_backend(backend or kernels.fastest()), kernels.use_threads(threads), no_grad():
        began = time.perf_counter()
        voxels = network(*(Tensor(np.asarray(image, np.float32)[None, None]) for image in on_grid), observe=keep)
        seconds = time.perf_counter() - began
    operations = count_analog_operations(network.config, np.stack(on_grid)[None], activations)
    return AnalogRegistration(grid.displacement(voxels.data[0]), grid.start(), operations, card, seconds)


def _affine(fixed: Image, moving: Image, affine: bool | Kind, align: Alignment | None) -> Affine | None:
    """The affine registration that was asked for."""
    if affine is False:
        return None
    kind = "affine" if affine is True else affine
    if kind not in KINDS:
        raise ParameterError(f"register: affine must be True, False, {', '.join(KINDS)}, not {affine!r}")
    return align_affine(fixed, moving, kind, align or "search")


def _model_grid(fixed: Image, moving: Image, card: Card, align: Alignment | np.ndarray | None) -> ModelGrid:
    """The grid that a network sees."""
    return ModelGrid.around(
        fixed,
        moving,
        spacing=card.facts.get("spacing"),
        multiple=card.config.shape_multiple,
        align=card.facts.get("align", "world") if align is None else align,
    )


def _on_grid(grid: ModelGrid, fixed: Image, moving: Image) -> tuple[np.ndarray, np.ndarray]:
    """The fixed and the moving image there, float32 in [0, 1]."""
    return grid.fixed_on_grid(normalize_intensity(fixed.data)), grid.moving_on_grid(normalize_intensity(moving.data))


def _image(image: Image | str | Path) -> Image:
    return image if isinstance(image, Image) else read_nifti(image)
