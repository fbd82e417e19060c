"""Pairs that conversion looks at: made, or read from their files, each time one is asked for; none is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.generate import generate_pair
from ..data.geometry import ModelGrid
from ..data.images import normalize_intensity
from ..data.nifti import read_nifti
from ..errors import ImageError
from ..models.spikereg import SpikeRegConfig
from ..tensor import Tensor
from .evaluation import batch

SIDE = 48  # voxels of a generated pair along each axis, or the next larger multiple that the network takes


class GeneratedPairs(Sequence):
    """`n` pairs of generated shapes, the same for the same seed. An element is (fixed, moving) [1, 1, *S]."""

    def __init__(self, n: int, config: SpikeRegConfig, seed: int):
        multiple = config.shape_multiple
        self.n, self.seed, self.shape = n, seed, (-(-SIDE // multiple) * multiple,) * config.ndim
        self.description = f"{n} generated pairs of {self.shape[0]}^{config.ndim}, seed {seed}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: Any) -> tuple[Tensor, Tensor]:
        if not 0 <= i < self.n:
            raise IndexError(i)
        pair = generate_pair(self.shape, np.random.default_rng([self.seed, i]))
        return batch(pair.fixed), batch(pair.moving)


class FolderPairs(Sequence):
    """Each of the first `n` volumes of a folder, by name, as the moving image of the one before it: two or more.

    They are laid on one grid of `spacing` mm, as `register` does it. An element is (fixed, moving) [1, 1, *S].
    """

    def __init__(self, folder: Path, n: int, config: SpikeRegConfig, spacing: Any, align: Any):
        inside = folder / "images"
        paths = sorted(path for path in (inside if inside.is_dir() else folder).glob("*.nii*") if path.is_file())
        if len(paths) < 2:
            raise ImageError(f"{folder}: conversion looks at pairs of NIfTI volumes, there are {len(paths)}")
        self.paths, self.config, self.spacing, self.align = paths[: n + 1], config, spacing, align
        self.description = f"{len(self)} pairs of volumes of {folder.name}"

    def __len__(self) -> int:
        return len(self.paths) - 1

    def __getitem__(self, i: Any) -> tuple[Tensor, Tensor]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        fixed, moving = (read_nifti(path) for path in self.paths[i : i + 2])
        multiple = self.config.shape_multiple
        grid = ModelGrid.around(fixed, moving, spacing=self.spacing, multiple=multiple, align=self.align)
        on_grid = (
            grid.fixed_on_grid(normalize_intensity(fixed.data)),
            grid.moving_on_grid(normalize_intensity(moving.data)),
        )
        return batch(on_grid[0]), batch(on_grid[1])
