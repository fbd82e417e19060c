"""Register a moving image to a fixed one and write the moved image and the displacement."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

from ..affine import KINDS
from ..data.displacements import DisplacementFormat, write_displacement
from ..data.fields import TOLERANCE, invert
from ..data.nifti import read_nifti, write_nifti
from ..data.transforms import write_affine
from ..errors import ParameterError, require
from ..registration import DEFAULT_MODEL, register
from .common import add_memory_argument, add_running_arguments, add_weights_argument, say, tell_progress, warm_up
from .report import as_text, save_preview, write_energy
from .warps import tell_inverse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--moving", type=Path, required=True, metavar="FILE", help="NIfTI image to be aligned")
    parser.add_argument("--fixed", type=Path, required=True, metavar="FILE", help="NIfTI image that stays where it is")
    parser.add_argument("--moved", type=Path, metavar="FILE", help="write the moving image on the fixed grid")
    parser.add_argument("--warp", type=Path, metavar="FILE", help="write the displacement field")
    parser.add_argument(
        "--warp-format",
        choices=get_args(DisplacementFormat),
        default="itk",
        help="convention of the field (default: itk, which ANTs and ITK read)",
    )
    parser.add_argument("--moving-labels", type=Path, metavar="FILE", help="label map on the moving voxels")
    parser.add_argument("--moved-labels", type=Path, metavar="FILE", help="write the labels on the fixed grid")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|FILE", help="default: %(default)s")
    parser.add_argument(
        "--align",
        choices=["world", "centre"],
        help="before registration, trust the headers or lay centre on centre (default: as the model was trained)",
    )
    parser.add_argument(
        "--affine",
        nargs="?",
        const="affine",
        choices=KINDS,
        help="find a rigid, similarity or (default) affine map first, for images that are not aligned; the warp "
        "contains it",
    )
    parser.add_argument(
        "--affine-out", type=Path, metavar="FILE", help="write that map: .tfm or .txt as ITK reads it, .json in RAS mm"
    )
    parser.add_argument(
        "--inverse-warp", type=Path, metavar="FILE", help="write the way back, from the moving image to the fixed one"
    )
    parser.add_argument(
        "--refine",
        type=int,
        default=0,
        metavar="N",
        help="improve what the network found by N iterations at each of three resolutions (default: %(default)s, none)",
    )
    parser.add_argument("--energy", type=Path, metavar="FILE", help="write exact counts and projected energy as JSON")
    parser.add_argument("--preview", type=Path, metavar="FILE", help="draw the result as PNG")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_weights_argument(parser)
    add_memory_argument(parser)
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    if (arguments.moving_labels is None) != (arguments.moved_labels is None):
        raise ParameterError("--moving-labels and --moved-labels go together: give both or neither")
    if arguments.affine_out and not arguments.affine:
        raise ParameterError("--affine-out writes what --affine finds: give both")
    if arguments.preview:
        require("matplotlib", extra="plot", purpose="drawing the preview")  # before the work, not after it
    moving, fixed = read_nifti(arguments.moving), read_nifti(arguments.fixed)
    warm_up(arguments, arguments.model, arguments.weights)
    result = register(
        moving,
        fixed,
        moving_labels=arguments.moving_labels,
        model=arguments.model,
        weights=arguments.weights,
        align=arguments.align,
        affine=arguments.affine or False,
        refine=arguments.refine,
        backend=arguments.backend,
        threads=arguments.threads,
        memory_limit=arguments.memory,
        progress=tell_progress("refining"),
    )
    if arguments.moved:
        write_nifti(arguments.moved, result.moved)
    if arguments.warp:
        write_displacement(arguments.warp, result.displacement, arguments.warp_format)
    if arguments.inverse_warp:
        back = invert(result.displacement, moving, allow_folding=True)
        write_displacement(arguments.inverse_warp, back.displacement, arguments.warp_format)
        if not arguments.json:
            tell_inverse(back, TOLERANCE)
    if arguments.affine_out and result.affine is not None:
        write_affine(arguments.affine_out, result.affine.matrix)
    if result.moved_labels is not None:
        write_nifti(arguments.moved_labels, result.moved_labels)
    if arguments.energy:
        write_energy(arguments.energy, result.summary(), result.operations)
    if arguments.preview:
        save_preview(arguments.preview, moving, fixed, result)
    say(json.dumps(result.summary()) if arguments.json else as_text(result.summary()))
