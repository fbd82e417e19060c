"""The command `pysnnmed`: parse, call, report.

Exit status: 0 done, 2 bad input or usage, 3 an optional package is missing, 130 interrupted; 1 is a bug of ours.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import MissingExtraError, PysnnmedError
from . import apply, convert, demo, energy, evaluate, info, jacobian, register, segment, train

COMMANDS = (register, segment, apply, jacobian, info, train, convert, evaluate, energy, demo)
NOTICE = "Research software, not a medical device. Energy figures are projections from operation counts."


def parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    top = argparse.ArgumentParser(
        prog="pysnnmed", description="Spiking neural networks for medical images.", epilog=NOTICE
    )
    top.add_argument("--version", action="version", version=f"pysnnmed {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        summary = (command.__doc__ or "").partition("\n")[0]
        sub = commands.add_parser(name, help=summary, description=command.__doc__, epilog=NOTICE)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. -> exit status"""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except MissingExtraError as error:
        return _fail(error, 3)
    except (PysnnmedError, OSError) as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return 0


def _fail(reason: object, status: int) -> int:
    sys.stderr.write(f"pysnnmed: {reason}\n")
    return status
