"""Reading the warps that commands take: displacement files and affine maps, one or several in order."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ..data.displacements import Displacement, DisplacementFormat, read_displacement
from ..data.fields import Inverse, Link, compose
from ..data.images import Image
from ..data.transforms import is_affine_file, read_affine
from ..errors import ParameterError
from .common import say


def add_warp_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--warp",
        type=Path,
        required=True,
        action="append",
        metavar="FILE",
        help="displacement file, or affine map (.tfm, .txt, .json). Give it again to compose several, in the order in "
        "which an image passes through them: the first starts from the moving image, the last arrives at the fixed one "
        "(ANTs lists them the other way round)",
    )
    parser.add_argument(
        "--warp-format",
        choices=get_args(DisplacementFormat),
        help="of the displacement files (default: what the file says, where it says so)",
    )


def read_warps(
    paths: Sequence[Path], format: DisplacementFormat | None, fixed: Image | None, moving: Image | None
) -> list[Link]:
    """The warps in order. The moving image belongs to the first of them, the fixed one to the last."""
    links: list[Link] = []
    for i, path in enumerate(paths):
        if is_affine_file(path):
            links.append(read_affine(path))
            continue
        own_fixed = fixed if i == len(paths) - 1 else None
        links.append(read_displacement(path, format, fixed=own_fixed, moving=moving if i == 0 else None))
    return links


def as_one(links: Sequence[Link], fixed: Image | None) -> Displacement:
    """What the warps do together, as one displacement on the voxels of the fixed image."""
    last = links[-1]
    if not isinstance(last, Displacement):
        if fixed is None:
            raise ParameterError(
                "the last --warp is an affine map: give --fixed, which says where the fixed image lies"
            )
        return compose(*links, onto=fixed)
    return last if len(links) == 1 else compose(*links)


def tell_inverse(found: Inverse, tolerance: float) -> None:
    """What the user must know of an inverse."""
    lost = float((found.error > tolerance).mean())
    say(f"inverse        largest error {found.error.max():.2g} voxels, {lost:.3%} of the voxels above {tolerance:g}")
    say(f"               {found.outside:.1%} of the moving image lies outside the fixed one")
    say(f"               the displacement folds at {found.folding:.3%} of its voxels")
