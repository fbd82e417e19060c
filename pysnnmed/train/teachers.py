"""Teachers that are there already: a run may learn from one instead of training its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ..data.splits import file_digest
from ..deploy.pretrained import find_model, load_model
from ..errors import WeightsError

T = TypeVar("T")


def load_teacher(name: Path, kind: type[T], config: Any, free: Collection[str]) -> tuple[T, str]:
    """The analog network in a weights file, or the shipped one of that name, and the SHA-256 of its file.

    Its configuration must be `config` but for the fields `free`, which only concern the spiking network. It comes back
    with `config` whole, in evaluation mode. Raises WeightsError for anything else.
    """
    path = find_model(name)
    found, card = load_model(path)
    if not isinstance(found, kind):
        raise WeightsError(f"{path}: the teacher must be a {kind.__name__}, not a {card.network}")
    for field in fields(config):
        theirs, ours = (getattr(one, field.name) for one in (card.config, config))
        if field.name not in free and theirs != ours:
            raise WeightsError(
                f"{path}: the teacher was made with {field.name} = {theirs!r}, and the recipe says {ours!r}; "
                "give a teacher of the same network"
            )
    found.config = config
    return found, file_digest(path)
