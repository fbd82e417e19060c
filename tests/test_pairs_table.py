"""Lists of pairs: CSV files, folders and Learn2Reg files; what is wrong with one is said with file and line."""

import itertools
import json
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.data import pairs_table
from pysnnmed.data.pairs_table import read_pairs, stem
from pysnnmed.errors import ParameterError

HEADER = "fixed,moving,fixed_labels,moving_labels"


@pytest.fixture
def folder(tmp_path):
    """Four subjects: images/a_0001.nii.gz ... and labels of equal names. Nothing opens them."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for name in ("a_0001.nii.gz", "a_0002.nii.gz", "a_0003.nii", "b_0001.nii.gz"):
            (tmp_path / kind / name).touch()
    return tmp_path


def row(fixed, moving, *more):
    return ",".join([*(f"{kind}/{name}.nii.gz" for kind in ("images", "labels") for name in (fixed, moving)), *more])


def table(folder, *lines, name="pairs.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_csv_names_its_pairs_and_paths_start_at_its_folder(folder, monkeypatch):
    path = table(folder, HEADER + ",name", row("a_0001", "a_0002", "first"), "", row("a_0002", "b_0001", ""))
    monkeypatch.chdir("/")
    first, second = read_pairs(path)
    assert (first.name, second.name) == ("first", "a_0002_b_0001")
    assert first.fixed == folder / "images" / "a_0001.nii.gz"
    assert second.moving_labels == folder / "labels" / "b_0001.nii.gz"
    assert second.where == f"{path}: line 4"


def test_columns_come_in_any_order_with_others_between_and_absolute_paths_stay(folder):
    cells = [f"{folder}/{kind}/{name}.nii.gz" for kind in ("labels", "images") for name in ("a_0001", "a_0002")]
    head = "\ufefffixed_labels, moving_labels ,age,fixed,moving"
    (pair,) = read_pairs(table(folder, head, ",".join([*cells[:2], "41", *cells[2:]])))
    assert str(pair.fixed) == cells[2]
    assert str(pair.moving_labels) == cells[1]


def test_quoted_paths_may_hold_commas_and_rows_may_end_as_windows_ends_them(folder):
    (folder / "images" / "x, y.nii.gz").touch()
    (folder / "labels" / "x, y.nii.gz").touch()
    text = f'{HEADER}\r\n"images/x, y.nii.gz",images/a_0001.nii.gz,"labels/x, y.nii.gz",labels/a_0001.nii.gz\r\n'
    (folder / "t.csv").write_bytes(text.encode())
    (pair,) = read_pairs(folder / "t.csv")
    assert pair.name == "x, y_a_0001"


def test_a_folder_pairs_neighbours_or_all(folder):
    neighbours, everyone = read_pairs(folder), read_pairs(folder, "all")
    names = ["a_0001", "a_0002", "a_0003", "b_0001"]
    assert [pair.name for pair in neighbours] == [f"{f}_{m}" for f, m in itertools.pairwise(names)]
    assert len({(p.fixed, p.moving) for p in everyone}) == 12
    assert all(p.fixed != p.moving for p in everyone)
    for pair in everyone:
        assert pair.fixed_labels == folder / "labels" / pair.fixed.name
        assert pair.moving_labels == folder / "labels" / pair.moving.name


@pytest.mark.parametrize("key", ["registration_val", "registration_test", "eval_pairs"])
def test_a_learn2reg_file(folder, key):
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir()
        for i in (395, 396):
            (folder / kind / f"OASIS_0{i}_0000.nii.gz").touch()
    pair = {"fixed": "./imagesTr/OASIS_0395_0000.nii.gz", "moving": "./imagesTr/OASIS_0396_0000.nii.gz"}
    path = folder / "OASIS_dataset.json"
    path.write_text(json.dumps({"name": "OASIS", "training": [{"image": "no"}], key: [pair]}))
    (found,) = read_pairs(path)
    assert found.fixed.samefile(folder / "imagesTr" / "OASIS_0395_0000.nii.gz")
    assert found.moving_labels.samefile(folder / "labelsTr" / "OASIS_0396_0000.nii.gz")
    assert found.name == "OASIS_0395_0000_OASIS_0396_0000"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["fixed,moving,fixed_labels"], "line 1: the columns .* are needed; moving_labels not among"),
        ([], "line 1: the columns"),
        ([HEADER + ",fixed", row("a_0001", "a_0002", "x")], "line 1: the column fixed stands there twice"),
        ([HEADER], "names no pair"),
        ([HEADER, row("a_0001", "a_0002"), row("a_0001", "a_0009")], r"line 3: moving: there is no file .*a_0009"),
        ([HEADER, row("a_0001", "a_0002", "more")], "line 2: has 5 fields, the header 4"),
        ([HEADER, "images/a_0001.nii.gz"], "line 2: has 1 fields"),
        ([HEADER, "images/a_0001.nii.gz,,labels/a_0001.nii.gz,"], "line 2: the column moving is empty"),
        ([HEADER, '"images/a_0001.nii.gz'], "line 2: no valid CSV"),
        ([HEADER, row("a_0001", "a_0002"), row("a_0001", "a_0002")], r"line 3: the name .* already that of .*line 2"),
        ([HEADER + ",name", row("a_0001", "a_0002", "x"), row("a_0002", "a_0001", "x")], "line 3: the name 'x'"),
        ([HEADER, row("a_0001", "a\0")], "line 2: (a path must not hold the character NUL|no valid CSV)"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(folder, lines, says):
    with pytest.raises(ParameterError, match=says) as caught:
        read_pairs(table(folder, *lines))
    assert str(caught.value).startswith(str(folder / "pairs.csv"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("[]", "holds none of the lists"),
        ('{"registration_val": []}', "holds none of the lists"),
        ('{"registration_val": {"fixed": 1}}', "must be a list, not dict"),
        ('{"registration_val": [3]}', r"registration_val\[0\]: must be"),
        ('{"registration_val": [{"fixed": "images/a_0001.nii.gz"}]}', r"registration_val\[0\]: must be"),
        ('{"eval_pairs": [{"fixed": "a.nii.gz", "moving": "images/a_0001.nii.gz"}]}', "name holds 'images'"),
        ('{"eval_pairs": [{"fixed": "images/q.nii.gz", "moving": "images/a_0001.nii.gz"}]}', "there is no file"),
    ],
)
def test_a_bad_learn2reg_file_is_refused(folder, text, says):
    path = folder / "set.json"
    path.write_text(text)
    with pytest.raises(ParameterError, match=says):
        read_pairs(path)


def test_other_bad_lists_are_refused(folder, tmp_path_factory, monkeypatch):
    with pytest.raises(ParameterError, match=r"no images/\*\.nii\.gz"):
        read_pairs(tmp_path_factory.mktemp("empty"))
    with pytest.raises(ParameterError, match=r"cannot be read: No such file"):
        read_pairs(folder / "absent.csv")
    with pytest.raises(ParameterError, match="pairing must be"):
        read_pairs(folder, "some")
    (folder / "labels" / "a_0002.nii.gz").unlink()
    with pytest.raises(ParameterError, match=r"moving_labels: there is no file .*a_0002"):
        read_pairs(folder)
    (folder / "latin.csv").write_bytes(b"fixed,moving\xe9")
    with pytest.raises(ParameterError, match=r"no text in UTF-8 .* at byte 12"):
        read_pairs(folder / "latin.csv")
    monkeypatch.setattr(pairs_table, "LARGEST_LIST", 5)
    with pytest.raises(ParameterError, match="larger than 5 bytes"):
        read_pairs(folder / "latin.csv")
    for kind in ("images", "labels"):
        for path in list((folder / kind).iterdir())[1:]:
            path.unlink()
    with pytest.raises(ParameterError, match="at least two images"):
        read_pairs(folder)


@given(st.text(string.printable, max_size=300))
def test_no_text_gets_past_the_reader(text):
    """Whatever a table holds, it is read or refused with a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pairs.csv")
        path.write_text(f"{HEADER}\n{text}", encoding="utf-8")
        with pytest.raises(ParameterError, match=r"pairs\.csv"):
            read_pairs(path)


def test_stems():
    assert [stem(Path(p)) for p in ("a/b.nii.gz", "b.NII", "c.d.nii.gz", "e.mha")] == ["b", "b", "c.d", "e"]
