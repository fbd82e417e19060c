"""One case after the other: what fails is named, the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import PysnnmedError, reason_of_one
from .cases import Case, FileCase, Network
from .learn2reg import Submission
from .scores import CaseScores, score


@dataclass(frozen=True)
class Row:
    """A case by a network: its scores, or why there are none."""

    model: str
    name: str
    fixed: str
    moving: str
    error: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    label_dice: Mapping[int, float] = field(default_factory=dict)


def evaluate(
    network: Network,
    cases: Sequence[Case],
    labels: Sequence[int] | None = None,
    submission: Submission | None = None,
) -> Iterator[Row]:
    """Register and score every case, in order; a case that cannot be registered gives a row with the reason.

    What would meet all others too passes through, see `errors.reason_of_one`, as does whatever is a bug.
    """
    for case in cases:
        try:
            found = _one(network, case, labels, submission)
        except (PysnnmedError, OSError, MemoryError) as error:
            yield Row(network.name, case.name, case.fixed, case.moving, error=reason_of_one(error))
        else:
            yield Row(network.name, case.name, case.fixed, case.moving, "", found.scores, found.label_dice)


def _one(network: Network, case: Case, labels: Sequence[int] | None, submission: Submission | None) -> CaseScores:
    registered = case.register(network)
    stored = None
    if submission is not None and isinstance(case, FileCase) and registered.displacement is not None:
        stored = submission.write(case.files, registered.displacement)
    return score(registered, stored, labels)
