"""What the scripts of experiments take on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from pysnnmed import kernels

TABLES, ALL = "tables", "all"


def parser(document: str | None, names: Iterable[str], out: str, quick: str) -> argparse.ArgumentParser:
    """Of a script with this docstring, for experiments of these names; `quick` says what --quick does."""
    made = argparse.ArgumentParser(description=(document or "").splitlines()[0])
    made.add_argument("names", nargs="+", choices=[*names, ALL, TABLES], metavar="NAME", help="%(choices)s")
    made.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 ... N - 1 (default: %(default)s)")
    made.add_argument("--out", type=Path, default=Path(out), help="default: %(default)s")
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--backend", choices=kernels.available(), help="default: the fastest that is installed")
    return made


def backend_of(arguments: argparse.Namespace) -> str:
    """A toy is done before its kernels are compiled."""
    return arguments.backend or (kernels.REFERENCE if arguments.quick else kernels.fastest())
