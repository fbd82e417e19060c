"""What the commands share that look at images with a segmentation network: its options, and the network itself."""

from __future__ import annotations

import argparse

from ..data.windows import OVERLAP
from ..segmentation import Segmenter
from .common import add_memory_argument, add_running_arguments, add_weights_argument, size


def add_looking_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--window",
        type=size,
        metavar="H[xW]",
        help="what the network looks at, in pixels (default: what it has learned from)",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=OVERLAP,
        metavar="SHARE",
        help="of neighbouring windows, at least (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="probability of a structure (default: that of the model)"
    )
    add_weights_argument(parser)
    add_memory_argument(parser)
    add_running_arguments(parser)


def segmenter_of(arguments: argparse.Namespace, model: str, probability: bool = False) -> Segmenter:
    """The network, ready to look as the options say."""
    return Segmenter(
        model,
        probability=probability,
        weights=arguments.weights,
        window=arguments.window,
        overlap=arguments.overlap,
        threshold=arguments.threshold,
        backend=arguments.backend,
        threads=arguments.threads,
        memory_limit=arguments.memory,
    )
