"""Carry an image, a label map or landmarks from one image of a registration to the other.

An image goes from the moving image to the fixed one, with --inverse from the fixed image to the moving one. Landmarks
go from the image that they mark to the other. --moving and --fixed keep their meaning of the registration throughout.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ..data.displacements import DisplacementFormat, write_displacement
from ..data.fields import TOLERANCE, Link, invert
from ..data.geometry import warp_image
from ..data.images import Image
from ..data.nifti import read_nifti, write_nifti
from ..data.points import carry, read_landmarks, write_landmarks
from ..errors import ParameterError
from .common import add_running_arguments, running, say
from .warps import add_warp_arguments, as_one, read_warps, tell_inverse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_warp_arguments(parser)
    parser.add_argument("--moving", type=Path, metavar="FILE", help="the moving image, or a label map on its voxels")
    parser.add_argument(
        "--fixed",
        type=Path,
        metavar="FILE",
        help="the fixed image, or a label map on its voxels; needed by --inverse, by the formats l2r and vxm, and "
        "where the last warp is an affine map",
    )
    parser.add_argument("--moved", type=Path, metavar="FILE", help="write the moved image")
    parser.add_argument(
        "--interpolation", choices=["linear", "nearest"], default="linear", help="nearest for labels; default: linear"
    )
    parser.add_argument(
        "--out-warp", type=Path, metavar="FILE", help="write the composed, or the inverse, displacement"
    )
    parser.add_argument("--out-warp-format", choices=get_args(DisplacementFormat), default="itk", help="default: itk")
    parser.add_argument(
        "--inverse", action="store_true", help="bring --fixed to the voxels of --moving instead, through the inverse"
    )
    parser.add_argument(
        "--inverse-error", type=Path, metavar="FILE", help="write how exact the inverse is, in voxels of the fixed grid"
    )
    parser.add_argument(
        "--allow-folding", action="store_true", help="invert a field that folds, one preimage of several"
    )
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, metavar="VOXELS", help="of the inverse (default: %(default)s)"
    )
    parser.add_argument(
        "--points", type=Path, metavar="CSV", help="landmarks: columns x_ras,y_ras,z_ras or x_lps,... mm"
    )
    parser.add_argument(
        "--points-of", choices=["fixed", "moving"], help="whose anatomy they mark, if no column image says"
    )
    parser.add_argument("--points-axes", choices=["RAS", "LPS"], help="needed where the columns are called x, y, z")
    parser.add_argument("--out-points", type=Path, metavar="CSV", help="write the landmarks in the other image")
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    moving, fixed = (None if path is None else read_nifti(path) for path in (arguments.moving, arguments.fixed))
    links = read_warps(arguments.warp, arguments.warp_format, fixed, moving)
    with running(arguments):
        if arguments.points:
            _carry_points(arguments, links)
        if arguments.moved or arguments.out_warp or arguments.inverse_error:
            _carry_image(arguments, links, fixed, moving)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what makes no sense together, before any file is read."""
    image = arguments.moved or arguments.out_warp or arguments.inverse_error
    if not (image or arguments.points):
        raise ParameterError("apply: nothing to write; give --moved, --out-warp, or --points with --out-points")
    if (arguments.points is None) != (arguments.out_points is None):
        raise ParameterError("--points and --out-points go together: give both or neither")
    if arguments.points is None and (arguments.points_of or arguments.points_axes):
        raise ParameterError("--points-of and --points-axes describe --points, which is missing")
    if arguments.inverse:
        if arguments.points:
            raise ParameterError(
                "--inverse is for images: landmarks go from the image they mark to the other, which --points-of or "
                "their column image says"
            )
        if not (arguments.moving and arguments.fixed):
            raise ParameterError("--inverse brings --fixed to the voxels of --moving: give both")
    elif arguments.inverse_error or arguments.allow_folding:
        raise ParameterError("--inverse-error and --allow-folding belong to --inverse")
    elif arguments.moved and not arguments.moving:
        raise ParameterError("--moved needs --moving, the image to be moved")


def _carry_points(arguments: argparse.Namespace, links: Sequence[Link]) -> None:
    landmarks = read_landmarks(arguments.points, axes=arguments.points_axes, image=arguments.points_of)
    carried = carry(landmarks, *links, tolerance=arguments.tolerance)
    write_landmarks(arguments.out_points, carried)
    say(
        f"wrote {arguments.out_points}: {len(carried.points)} points of the {landmarks.image} image, now in the "
        f"{carried.image} image, mm {carried.axes}"
    )


def _carry_image(
    arguments: argparse.Namespace, links: Sequence[Link], fixed: Image | None, moving: Image | None
) -> None:
    total = as_one(links, fixed)
    source = moving
    if arguments.inverse:
        found = invert(total, moving, tolerance=arguments.tolerance, allow_folding=arguments.allow_folding)
        total, source = found.displacement, fixed
        tell_inverse(found, arguments.tolerance)
        if arguments.inverse_error:
            write_nifti(arguments.inverse_error, Image(found.error, total.affine, form_code=total.form_code))
            say(f"wrote {arguments.inverse_error}")
    if arguments.out_warp:
        write_displacement(arguments.out_warp, total, arguments.out_warp_format)
        say(f"wrote {arguments.out_warp}")
    if arguments.moved and source is not None:
        write_nifti(arguments.moved, warp_image(source, total, interpolation=arguments.interpolation))
        say(f"wrote {arguments.moved}")
