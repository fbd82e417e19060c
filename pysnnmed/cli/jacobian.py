"""Map how a displacement changes volume: the Jacobian determinant at every voxel of the fixed image."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ..data.fields import determinant
from ..data.images import Image
from ..data.nifti import read_nifti, write_nifti
from .common import add_running_arguments, running, say
from .warps import add_warp_arguments, as_one, read_warps

SMALLEST = 1e-3  # what a logarithm is taken of where the determinant is less


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_warp_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="NIfTI map: above 1 the moving image is larger"
    )
    parser.add_argument(
        "--log", action="store_true", help=f"natural logarithm; of {SMALLEST:g} where the determinant is less"
    )
    parser.add_argument(
        "--fixed", type=Path, metavar="FILE", help="the fixed image, for warps that do not say where it lies"
    )
    parser.add_argument("--moving", type=Path, metavar="FILE", help="the moving image; for the formats l2r and vxm")
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    moving, fixed = (None if path is None else read_nifti(path) for path in (arguments.moving, arguments.fixed))
    links = read_warps(arguments.warp, arguments.warp_format, fixed, moving)
    with running(arguments):
        total = as_one(links, fixed)
        j = determinant(total)
    values = np.log(np.maximum(j, SMALLEST)) if arguments.log else j
    write_nifti(arguments.out, Image(values.astype(np.float32), total.affine, form_code=total.form_code))
    facts = f"determinant {j.min():.3f} to {j.max():.3f}, mean {j.mean():.3f}; folding {np.mean(j <= 0):.3%}"
    say(f"wrote {arguments.out}: {facts}")
