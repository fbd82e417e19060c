"""The options that refine.py has beyond those of every benchmark."""

from __future__ import annotations

from pathlib import Path

from options import PARSER

PARSER.add_argument("--data", type=Path, required=True, help="folder of the recipe's volumes (images/, labels/)")
PARSER.add_argument("--recipe", default="hippocampus", help="whose held-out pairs, and whose shipped network")
PARSER.add_argument("--iterations", type=int, nargs="+", default=[10, 20, 40], help="ours, at each resolution")
PARSER.add_argument("--pairs", type=int, help="so many of the held-out pairs (default: all)")
PARSER.add_argument("--peers", nargs="*", metavar="NAME", help="these of the peers, by name (default: all)")
