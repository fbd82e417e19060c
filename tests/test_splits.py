"""Hashed splits: disjoint, whole, the same for ever, and blind to everything but the patient."""

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.data import Case, duplicates, hold_out, split_cases
from pysnnmed.data.splits import file_digest, pixel_digest, place
from pysnnmed.errors import ImageError, ParameterError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
names = st.lists(st.text("abcdefgh0123", min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


def case_of(name, patient=""):
    return Case(name, name, None, patient)


def side_of(sides):
    return {case.name: side for side, cases in sides.items() for case in cases}


@given(names, st.text(max_size=3))
def test_every_case_is_on_exactly_one_side(names, salt):
    cases = [case_of(name) for name in names]
    sides = split_cases(cases, SHARES, salt=salt)
    assert list(sides) == list(SHARES)
    assert sorted(case.name for side in sides.values() for case in side) == sorted(names)


@given(names, st.randoms(use_true_random=False), st.integers(0, 30))
def test_order_and_other_cases_move_nobody(names, random, kept):
    whole = side_of(split_cases([case_of(name) for name in names], SHARES))
    some = random.sample(names, min(kept, len(names)))
    assert side_of(split_cases([case_of(name) for name in some], SHARES)).items() <= whole.items()


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), st.integers(0, 9)), min_size=1, unique=True))
def test_a_patient_is_never_on_two_sides(pairs):
    cases = [case_of(f"{patient}-{i}", patient) for patient, i in pairs]
    for sides in (split_cases(cases, SHARES), dict(enumerate(hold_out(cases, len(cases) // 2)))):
        patients = [{case.patient for case in side} for side in sides.values()]
        assert sum(map(len, patients)) == len(set.union(*patients))


@given(names, st.data())
def test_the_same_images_stay_together_and_move_nobody_else(names, data):
    cases = [case_of(name) for name in names]
    same = data.draw(st.lists(st.lists(st.sampled_from(cases), min_size=2, max_size=3), max_size=4))
    alone, together = side_of(split_cases(cases, SHARES)), side_of(split_cases(cases, SHARES, same=same))
    for group in same:
        assert len({together[case.name] for case in group}) == 1
    linked = {case.name for group in same for case in group}
    assert all(together[name] == alone[name] for name in names if name not in linked)


@given(names, st.integers(0, 30), st.text(max_size=2))
def test_hold_out_takes_the_number_that_was_asked_for(names, count, salt):
    cases = [case_of(name) for name in names]
    count = min(count, len(cases))
    rest, held = hold_out(cases, count, salt=salt)
    assert len(held) == count
    assert sorted(case.name for case in rest + held) == sorted(names)
    order = sorted(names, key=lambda name: place(name, salt))
    assert {case.name for case in held} == set(order[:count])
    assert {case.name for case in hold_out(cases[::-1], count, salt=salt)[1]} == {case.name for case in held}


def test_places_are_those_of_sha256():
    # printf 'seed\0case_1' | sha256sum, the first 53 bits
    assert place("case_1", "seed") == (0x0EB1A09F677B53FD >> 11) / 2**53
    assert place("ab", "c") != place("b", "ca")


def test_shares_are_reached_on_average():
    sides = split_cases([case_of(f"case_{i}") for i in range(20_000)], SHARES)
    for side, share in SHARES.items():
        # five standard deviations of a binomial
        assert abs(len(sides[side]) - 20_000 * share) < 5 * np.sqrt(20_000 * share * (1 - share))


def test_another_salt_is_another_split():
    cases = [case_of(f"case_{i}") for i in range(200)]
    a, b = (side_of(split_cases(cases, {"train": 0.5, "test": 0.5}, salt=salt)) for salt in "ab")
    assert 60 < sum(a[name] == b[name] for name in a) < 140


def test_a_share_of_nothing_gets_nothing():
    cases = [case_of(f"case_{i}") for i in range(50)]
    assert split_cases(cases, {"train": 1.0, "test": 0.0}) == {"train": cases, "test": []}
    assert split_cases(cases, {"test": 0, "train": 1}) == {"train": cases, "test": []}


def test_nonsense_is_refused():
    cases = [case_of("a"), case_of("b")]
    for shares in ({}, {"train": 0.5}, {"train": 1.5, "test": -0.5}, {"train": float("nan")}):
        with pytest.raises(ParameterError, match="add up to 1"):
            split_cases(cases, shares)
    with pytest.raises(ParameterError, match="'a' is there twice"):
        split_cases([*cases, case_of("a")], SHARES)
    with pytest.raises(ParameterError, match="'a' is there twice"):
        hold_out([*cases, case_of("a")], 1)
    with pytest.raises(ParameterError, match="0 to 2"):
        hold_out(cases, 3)
    with pytest.raises(ParameterError, match="must not be empty"):
        case_of("")


def test_copies_are_found_under_every_name(tmp_path):
    for name, content in {"a": b"1", "b": b"2", "c": b"1", "d": b"1", "e": b"2", "f": b"3"}.items():
        (tmp_path / name).write_bytes(content)
    cases = [Case(name, tmp_path / name, None) for name in "abcdef"]
    assert [[case.name for case in group] for group in duplicates(cases)] == [["a", "c", "d"], ["b", "e"]]
    sides = side_of(split_cases(cases, {"train": 0.5, "test": 0.5}, same=duplicates(cases)))
    assert sides["a"] == sides["c"] == sides["d"]
    assert sides["b"] == sides["e"]
    assert duplicates(cases, digest=lambda path: path.name) == []
    with pytest.raises(ImageError, match="absent: cannot be read"):
        file_digest(tmp_path / "absent")


def test_a_picture_that_was_stored_anew_is_found_by_its_pixels(tmp_path, rng):
    pixels = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    for name in ("a.png", "b.tif"):
        PIL.Image.fromarray(pixels).save(tmp_path / name)
    PIL.Image.fromarray(pixels.reshape(9, 7, 3)).save(tmp_path / "c.png")  # the same bytes in another shape
    cases = [Case(name, tmp_path / name, None) for name in ("a.png", "b.tif", "c.png")]
    assert duplicates(cases) == []
    assert [[case.name for case in group] for group in duplicates(cases, pixel_digest)] == [["a.png", "b.tif"]]
