"""The exceptions that bad input raises. Every message is a sentence: subject, rule, offending value, cure."""

from __future__ import annotations

import importlib
from collections.abc import Set
from types import ModuleType


class PysnnmedError(Exception):
    """Base of everything this package raises on purpose."""


class ParameterError(PysnnmedError, ValueError):
    """An argument or a model parameter breaks its rule."""


class ShapeError(PysnnmedError, ValueError):
    """An array has the wrong number of axes, channels or elements."""


class ImageError(PysnnmedError, ValueError):
    """An image or displacement file cannot be read safely, or two geometries do not fit together."""


class FileError(PysnnmedError, OSError):
    """A file cannot be written (no room, no permission, no such folder); what stood there before is untouched."""


class WeightsError(PysnnmedError, ValueError):
    """A weights or checkpoint file is damaged, incomplete or made for another network."""


class ProgramError(PysnnmedError, ValueError):
    """A program is damaged, its operations do not fit together, or its inputs do not fit it."""


class MissingExtraError(PysnnmedError, ImportError):
    """An optional dependency is needed and not installed."""


def require_same_names(title: str, owner: str, own: Set[str], given: Set[str]) -> None:
    """Raise WeightsError unless a state `given` to `title` names exactly what `owner` has."""
    if own != given:
        missing, unexpected = (", ".join(sorted(names)) or "none" for names in (own - given, given - own))
        raise WeightsError(
            f"{title}: the state must name exactly the {owner}; missing: {missing}; unexpected: {unexpected}"
        )


def reason_of_one(error: Exception) -> str:
    """Why one case of many failed, to be told while the others go on.

    Bad input, a file that cannot be read, too little memory are reasons of one case. A missing package or a file that
    cannot be written would meet all others too: these are raised again.
    """
    if isinstance(error, FileError | MissingExtraError):
        raise error
    return str(error) or type(error).__name__


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or say which extra installs it.

    >>> require("json", extra="med", purpose="reading JSON").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{purpose} needs the package {package!r}, which cannot be imported ({error}); "
            f"install it with: pip install 'pysnnmed[{extra}]'"
        ) from error
