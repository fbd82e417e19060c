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
from typing import Any, Literal

import numpy as np

from . import kernels
from .data.displacements import Displacement
from .data.geometry import ModelGrid, warp_image
from .data.images import Image, normalize_intensity
from .data.nifti import read_nifti
from .deploy.pretrained import Card, load_model
from .errors import ImageError, WeightsError
from .metrics.deformation import folding_fraction
from .models.operations import count_operations
from .models.spikereg import FIELD, SpikeReg
from .synops import Report
from .tensor import Tensor, no_grad

DEFAULT_MODEL = "hippocampus"


@dataclass(frozen=True)
class Registration:
    """What `register` found.

    moved          the moving image on the voxels of the fixed one
    moved_labels   the moving labels there, if labels were given
    displacement   moved(x) = moving(x + displacement(x))
    folding        fraction of voxels of the model grid where the mapping folds (Jacobian determinant <= 0)
    operations     exact counts of the spiking network on this pair, and of its analog teacher on the same grid
    spikes         {layer: spikes [T, C, *S]} of this pair, bool
    model          the card of the network; backend and threads it ran on; seconds the network took
    """

    moved: Image
    displacement: Displacement
    moved_labels: Image | None
    folding: float
    operations: Report
    teacher_operations: Report
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
        }


def register(
    moving: Image | str | Path,
    fixed: Image | str | Path,
    *,
    moving_labels: Image | str | Path | None = None,
    model: str | Path = DEFAULT_MODEL,
    align: Literal["world", "centre"] = "world",
    backend: str | None = None,
    threads: int | None = None,
) -> Registration:
    """Register `moving` to `fixed`, images or NIfTI files of one modality.

    `align` says how the two images lie to each other before registration: as their headers say ("world"), or centre on
    centre ("centre"), for crops that each have an origin of their own. `moving_labels` lie on the voxels of `moving`.
    `backend` defaults to the fastest installed, `threads` to all cores.

    Raises ImageError for files or geometries that cannot be trusted, WeightsError for an unknown or damaged model.
    """
    fixed, moving = _image(fixed), _image(moving)
    labels = None if moving_labels is None else _image(moving_labels)
    if labels is not None and labels.shape != moving.shape:
        raise ImageError(f"{labels.source}: labels {labels.shape} must lie on the voxels of the moving image {moving.shape}")
    network, card = load_model(model)
    if not isinstance(network, SpikeReg):
        raise WeightsError(f"{card.path}: holds a {card.network}, registration needs a SpikeReg")
    grid = ModelGrid(
        fixed, moving, spacing=card.facts.get("spacing", 1.0), multiple=network.config.shape_multiple, align=align
    )
    images = [
        Tensor(on_grid(normalize_intensity(image.data))[None, None])
        for on_grid, image in ((grid.fixed, fixed), (grid.moving, moving))
    ]
    spikes: dict[str, Tensor] = {}
    began = time.perf_counter()
    with kernels.use_backend(backend or kernels.fastest()), kernels.use_threads(threads), no_grad():
        used = kernels.active()
        voxels = network(*images, observe=spikes.__setitem__).data[0]
    seconds = time.perf_counter() - began
    del spikes[FIELD]
    displacement = grid.displacement(voxels)
    return Registration(
        moved=warp_image(moving, displacement, "linear"),
        moved_labels=None if labels is None else warp_image(labels, displacement, "nearest"),
        displacement=displacement,
        folding=folding_fraction(voxels),
        operations=count_operations(network, images[0].shape, {name: s.data for name, s in spikes.items()}),
        teacher_operations=count_operations(network, images[0].shape),
        spikes={name: s.data[:, 0].astype(bool) for name, s in spikes.items()},
        model=card,
        backend=used,
        seconds=seconds,
    )


def _image(image: Image | str | Path) -> Image:
    return image if isinstance(image, Image) else read_nifti(image)
