"""Which cases train and which test: by hash, so that no patient is on both sides and new cases move no old ones.

A patient's place is SHA-256 of the salt and the patient's id, read as a number in [0, 1); the sides take their shares
of that interval. So a place depends on nothing but the id: not on the order of files, the number of cases or a random
state. Shares are reached on average, not exactly; `hold_out` takes a wanted number instead, at the price that adding
cases can move others.

The same image under two ids is a leak as well. `duplicates` finds equal files; patients who share one are one group,
which goes where its alphabetically first id goes.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import ImageError, ParameterError
from .cases import Case
from .pictures import read_picture

_BLOCK = 2**20


def place(patient: str, salt: str = "") -> float:
    """Where an id lies in [0, 1): the first 53 bits of SHA-256 of the salt, a zero byte and the id."""
    digest = hashlib.sha256(f"{salt}\0{patient}".encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_cases(
    cases: Sequence[Case],
    shares: Mapping[str, float],
    *,
    salt: str = "",
    same: Sequence[Sequence[Case]] = (),
) -> dict[str, list[Case]]:
    """The cases of each side, in their order, as in `split_cases(cases, {"train": 0.8, "test": 0.2})`.

    shares  the sides and their parts of the patients, which must add up to 1
    salt    another salt is another split: one for each seed of an experiment
    same    cases that must stay together, as `duplicates` finds them

    Raises ParameterError for shares that are no parts of 1, and where two cases have one name.
    """
    if not shares or any(not 0 <= share <= 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ParameterError(f"split_cases: shares must be in [0, 1] and add up to 1, not {dict(shares)}")
    groups = _groups(cases, same)
    sides: dict[str, list[Case]] = {side: [] for side in shares}
    for case in cases:
        sides[_side(place(groups[case.patient], salt), shares)].append(case)
    return sides


def hold_out(
    cases: Sequence[Case], count: int, *, salt: str = "", same: Sequence[Sequence[Case]] = ()
) -> tuple[list[Case], list[Case]]:
    """The other cases and those held out: whole groups in the order of their place until there are `count` cases.

    There are more only where the last group has several cases. Raises as `split_cases` does.
    """
    if not 0 <= count <= len(cases):
        raise ParameterError(f"hold_out: count must be 0 to {len(cases)}, the number of cases, not {count}")
    groups = _groups(cases, same)
    members = defaultdict(list)
    for case in cases:
        members[groups[case.patient]].append(case)
    held: set[str] = set()
    for group in sorted(members, key=lambda name: (place(name, salt), name)):
        if len(held) >= count:
            break
        held |= {case.name for case in members[group]}
    return [case for case in cases if case.name not in held], [case for case in cases if case.name in held]


def file_digest(path: Path) -> str:
    """SHA-256 of a file. Raises `ImageError`, naming the file, where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def pixel_digest(path: Path) -> str:
    """SHA-256 of the pixels of a picture, whatever file they are kept in. Raises as `read_picture` does."""
    data = read_picture(path).data
    facts = f"{data.dtype.name} {data.shape} "
    return hashlib.sha256(facts.encode() + np.ascontiguousarray(data).tobytes()).hexdigest()


def duplicates(cases: Sequence[Case], digest: Callable[[Path], str] = file_digest) -> list[tuple[Case, ...]]:
    """The groups of cases that share an image, each in the order of the cases.

    `digest` says what equal means: `file_digest` finds copies of a file without decoding it, `pixel_digest` also
    pictures that were stored anew without loss. A picture that was resized, cropped or stored as JPEG again is found by
    neither.
    """
    found: dict[str, dict[str, Case]] = defaultdict(dict)
    for case in cases:
        for image in case.images:
            found[digest(image)][case.name] = case
    groups = {tuple(members): tuple(members.values()) for members in found.values() if len(members) > 1}
    return list(groups.values())


def _groups(cases: Sequence[Case], same: Sequence[Sequence[Case]]) -> dict[str, str]:
    """For each patient the alphabetically first of those who must stay together."""
    names: set[str] = set()
    for case in cases:
        if case.name in names:
            raise ParameterError(f"the case {case.name!r} is there twice; every case needs a name of its own")
        names.add(case.name)
    group = {case.patient: case.patient for case in cases}

    def first(patient: str) -> str:
        while group.setdefault(patient, patient) != patient:
            patient = group[patient]
        return patient

    for members in same:
        for member in members[1:]:
            a, b = sorted((first(members[0].patient), first(member.patient)))
            group[b] = a
    return {patient: first(patient) for patient in tuple(group)}


def _side(where: float, shares: Mapping[str, float]) -> str:
    sides = [side for side, share in shares.items() if share > 0]
    ends = (math.fsum(shares[side] for side in sides[: i + 1]) for i in range(len(sides)))
    return next((side for side, end in zip(sides, ends, strict=True) if where < end), sides[-1])
