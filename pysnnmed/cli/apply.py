"""Apply a displacement file to an image or a label map."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from ..data.displacements import DisplacementFormat, read_displacement
from ..data.geometry import warp_image
from ..data.nifti import read_nifti, write_nifti
from .common import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--moving", type=Path, required=True, metavar="FILE", help="NIfTI image or label map")
    parser.add_argument("--warp", type=Path, required=True, metavar="FILE", help="displacement file")
    parser.add_argument(
        "--warp-format", choices=get_args(DisplacementFormat), help="default: what the file says, where it says so"
    )
    parser.add_argument("--fixed", type=Path, metavar="FILE", help="the fixed image; needed by formats l2r and vxm")
    parser.add_argument("--moved", type=Path, required=True, metavar="FILE", help="where to write the result")
    parser.add_argument(
        "--interpolation", choices=["linear", "nearest"], default="linear", help="nearest for labels; default: linear"
    )


def run(arguments: argparse.Namespace) -> None:
    moving = read_nifti(arguments.moving)
    fixed = None if arguments.fixed is None else read_nifti(arguments.fixed)
    displacement = read_displacement(arguments.warp, arguments.warp_format, fixed=fixed, moving=moving)
    write_nifti(arguments.moved, warp_image(moving, displacement, interpolation=arguments.interpolation))
    say(f"wrote {arguments.moved}")
