"""The main job: find the displacement that aligns a moving image with a fixed one.

    result = register("moving.nii.gz", "fixed.nii.gz")
    write_nifti("moved.nii.gz", result.moved)

The two images are brought onto one grid of the spacing the network was trained at, the spiking network predicts the
displacement there, and the displacement is carried back to the voxels of the fixed image. The moving image is
interpolated once, from its own voxels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import kernels
from .data.displacements import Displacement
from .data.geometry import Alignment, ModelGrid, warp_image
from .data.images import Image, normalize_intensity
from .data.nifti import read_nifti
from .deploy.pretrained import Card, load_model
from .errors import ImageError, WeightsError
from .metrics.deformation import folding_fraction
from .models.operations import count_analog_operations, count_operations
from .models.spikereg import FIELD, SpikeReg, Teacher
from .synops import Report, projected_energy
from .tensor import Tensor, no_grad

DEFAULT_MODEL = "hippocampus"


@dataclass(frozen=True)
class Registration:
    """What `register` found.

    moved          the moving image on the voxels of the fixed one
    moved_labels   the moving labels there, if labels were given
    displacement   moved(x) = moving(x + displacement(x))
    start          the same before registration: zero, or the shift that lays the centres on each other
    folding        fraction of voxels of the model grid where the mapping folds (Jacobian determinant <= 0)
    operations     exact counts of the spiking network on this pair, and of the analog network with the same layers
    spikes         {layer: spikes [T, 1, C, *S'] uint8} of this pair
    model          the card of the network; backend and threads it ran on; seconds the network took
    """

    moved: Image
    displacement: Displacement
    start: Displacement
    moved_labels: Image | None
    folding: float
    operations: Report
    spikes: Mapping[str, np.ndarray] = field(repr=False)
    model: Card
    backend: str
    seconds: float

    @property
    def spike_rate(self) -> float:
        """Spikes per neuron and time step, over all neurons."""
        return sum(int(s.sum()) for s in self.spikes.values()) / sum(s.size for s in self.spikes.values())

    def summary(self) -> dict[str, Any]:
        """The numbers of this registration, JSON-able."""
        return {
            "model": self.model.name,
            "backend": self.backend,
            "seconds": round(self.seconds, 3),
            "folding_percent": 100 * self.folding,
            "spike_rate": self.spike_rate,
            "steps": self.operations.steps,
            "synops": self.operations.total.synops,
            "macs": self.operations.total.macs,
            "ann_macs": self.operations.ann_macs,
            "projected_energy": energy_facts(self.operations),
        }


def register(
    moving: Image | str | Path,
    fixed: Image | str | Path,
    *,
    moving_labels: Image | str | Path | None = None,
    model: str | Path = DEFAULT_MODEL,
    align: Alignment | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Registration:
    """Register `moving` to `fixed`, images or NIfTI files of one modality.

    `align` says how the two images lie to each other before registration: as their headers say ("world"), or centre on
    centre ("centre"), for crops that each have an origin of their own; None takes what the model was trained for.
    `moving_labels` lie on the voxels of `moving`.
    `backend` defaults to the fastest installed, `threads` to all cores.

    Raises ImageError for files or geometries that cannot be trusted, WeightsError for an unknown or damaged model.
    """
    fixed, moving = _image(fixed), _image(moving)
    labels = None if moving_labels is None else _image(moving_labels)
    if labels is not None and labels.shape != moving.shape:
        raise ImageError(
            f"{labels.source}: labels {labels.shape} must lie on the voxels of the moving image {moving.shape}"
        )
    network, card = load_model(model)
    if not isinstance(network, SpikeReg):
        raise WeightsError(f"{card.path}: holds a {card.network}, registration needs a SpikeReg")
    grid, on_grid = _on_grid(fixed, moving, card, align)
    with kernels.use_backend(backend or kernels.fastest()), kernels.use_threads(threads):
        used = kernels.active()
        began = time.perf_counter()
        voxels, spikes = predict(network, *on_grid)
        seconds = time.perf_counter() - began
    displacement = grid.displacement(voxels)
    return Registration(
        moved=warp_image(moving, displacement),
        moved_labels=None if labels is None else warp_image(labels, displacement, interpolation="nearest"),
        displacement=displacement,
        start=grid.start(),
        folding=folding_fraction(voxels),
        operations=count_operations(network.config, np.stack(on_grid)[None], spikes),
        spikes=spikes,
        model=card,
        backend=used,
        seconds=seconds,
    )


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


def energy_facts(report: Report, table: str = "fp32") -> dict[str, Any]:
    """The projected energy of a report, with everything a figure of energy must be quoted with."""
    return projected_energy(report, table).facts()


def analog_operations(
    moving: Image | str | Path,
    fixed: Image | str | Path,
    *,
    model: str | Path,
    align: Alignment | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Report:
    """Run the analog network `model` on a pair and count its MACs, those that meet the zero of a ReLU apart.

    The other arguments are those of `register`. Raises WeightsError for a model that is no Teacher.
    """
    fixed, moving = _image(fixed), _image(moving)
    network, card = load_model(model)
    if not isinstance(network, Teacher):
        raise WeightsError(f"{card.path}: holds a {card.network}, an analog network is a Teacher")
    activations: dict[str, np.ndarray] = {}

    def keep(name: str, x: Tensor) -> None:
        activations[name] = x.data

    _, on_grid = _on_grid(fixed, moving, card, align)
    with kernels.use_backend(backend or kernels.fastest()), kernels.use_threads(threads), no_grad():
        network(*(Tensor(np.asarray(image, np.float32)[None, None]) for image in on_grid), observe=keep)
    return count_analog_operations(network.config, np.stack(on_grid)[None], activations)


def _on_grid(
    fixed: Image, moving: Image, card: Card, align: Alignment | None
) -> tuple[ModelGrid, tuple[np.ndarray, np.ndarray]]:
    """The grid that a network sees, and on it the fixed and the moving image, float32 in [0, 1]."""
    grid = ModelGrid.around(
        fixed,
        moving,
        spacing=card.facts.get("spacing"),
        multiple=card.config.shape_multiple,
        align=align or card.facts.get("align", "world"),
    )
    return grid, (
        grid.fixed_on_grid(normalize_intensity(fixed.data)),
        grid.moving_on_grid(normalize_intensity(moving.data)),
    )


def _image(image: Image | str | Path) -> Image:
    return image if isinstance(image, Image) else read_nifti(image)
