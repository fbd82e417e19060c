"""Affine maps in files: ITK reads ours, we read ITK's, and both take a point to the same place."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from test_fields import gentle

from pysnnmed.data.transforms import is_affine_file, read_affine, write_affine
from pysnnmed.errors import ImageError, ParameterError

LPS = np.array([-1.0, -1, 1])
GOOD = """#Insight Transform File V1.0
#Transform 0
Transform: AffineTransform_double_3_3
Parameters: 1 0 0 0 1 0 0 0 1 4 5 6
FixedParameters: 0 0 0
"""


@pytest.mark.parametrize("ending", [".tfm", ".txt", ".json", ".TXT"])
@given(seed=st.integers(0, 2**32 - 1))
def test_an_affine_map_survives_writing_and_reading(ending, seed, tmp_path_factory):
    matrix = gentle(np.random.default_rng(seed))
    path = tmp_path_factory.mktemp("affine") / f"a{ending}"
    write_affine(path, matrix)
    np.testing.assert_allclose(read_affine(path), matrix, rtol=1e-15, atol=1e-14)


@pytest.mark.parametrize("ending", [".tfm", ".txt"])
def test_itk_takes_a_point_where_we_take_it(ending, tmp_path, rng):
    matrix, point = gentle(rng), rng.normal(size=3) * 50
    path = tmp_path / f"a{ending}"
    write_affine(path, matrix)
    theirs = sitk.ReadTransform(str(path)).TransformPoint((point * LPS).tolist())
    np.testing.assert_allclose(np.array(theirs) * LPS, matrix[:3, :3] @ point + matrix[:3, 3], atol=1e-9)


def test_we_read_what_itk_writes_with_its_centre(tmp_path, rng):
    matrix, point = gentle(rng), rng.normal(size=3) * 50
    theirs = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), [1.0, -2, 3], [10.0, 20, -30])
    path = tmp_path / "theirs.tfm"
    sitk.WriteTransform(theirs, str(path))
    ours = read_affine(path)
    expected = np.array(theirs.TransformPoint((point * LPS).tolist())) * LPS
    np.testing.assert_allclose(ours[:3, :3] @ point + ours[:3, 3], expected, atol=1e-9)


def test_a_shift_in_lps_is_a_shift_in_ras(tmp_path):
    (tmp_path / "a.txt").write_text(GOOD)
    np.testing.assert_array_equal(read_affine(tmp_path / "a.txt")[:3, 3], [-4, -5, 6])
    write_affine(tmp_path / "a.json", read_affine(tmp_path / "a.txt"))
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["from"], content["to"], content["world"]) == ("fixed", "moving", "RAS")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "hello", "first line"),
        ("a.txt", GOOD.replace("AffineTransform", "Euler3DTransform"), "must be one of AffineTransform"),
        ("a.txt", GOOD.replace(" 4 5 6", ""), "12 parameters"),
        ("a.txt", GOOD.replace("4 5 6", "4 5 six"), "no numbers"),
        ("a.txt", GOOD.replace("4 5 6", "4 5 nan"), "finite"),
        ("a.txt", GOOD + GOOD, "more than one"),
        ("a.txt", GOOD.replace("1 0 0 0 1 0", "0 0 0 0 0 0"), "singular"),
        ("a.json", "{", "expected an object"),
        ("a.json", "[]", "expected an object"),
        ("a.json", '{"from": "moving", "to": "fixed", "world": "RAS", "unit": "mm", "matrix": [[1]]}', "must say"),
        ("a.json", '{"from": "fixed", "to": "moving", "world": "RAS", "unit": "mm", "matrix": [[1]]}', "4x4"),
        ("a.json", "[" * 100_000, "expected an object"),
        ("a.txt", "x" * (2**20 + 1), "too large"),
    ],
)
def test_what_is_no_affine_map_is_refused(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ImageError, match=f"{name}: cannot be read as an affine map: .*{message}"):
        read_affine(path)


def test_names_and_matrices_are_checked(tmp_path):
    assert is_affine_file("x.TFM")
    assert not is_affine_file("x.nii.gz")
    with pytest.raises(ParameterError, match="must end in"):
        write_affine(tmp_path / "a.mat", np.eye(4))
    with pytest.raises(ImageError, match="singular"):
        write_affine(tmp_path / "a.txt", np.diag([1.0, 0, 1, 1]))
    with pytest.raises(ImageError, match="No such file"):
        read_affine(tmp_path / "absent.txt")
    assert not list(tmp_path.iterdir())
