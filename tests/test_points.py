"""Landmarks: files that say what they mean, and one way only from one image to the other."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from phantoms import random_affine, shifted, world_points
from test_fields import SHAPE, bumps, gentle, inner_points

from pysnnmed.data import Displacement, Image, warp_image, warp_points, write_displacement
from pysnnmed.data.displacements import affine_displacement
from pysnnmed.data.fields import compose
from pysnnmed.data.points import Landmarks, carry, read_landmarks, write_landmarks
from pysnnmed.errors import ImageError, ParameterError, ShapeError

seeds = st.integers(0, 2**32 - 1)
TABLE = 'name,x_ras,y_ras,z_ras,note\nAC,1.5,-2,3,"a, b"\nPC,0,0,1e1,\n'


def saved(tmp_path, text, name="points.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


# Carrying


@given(seeds)
def test_points_of_the_fixed_image_go_by_the_field_and_come_back_by_its_inverse(seed):
    rng = np.random.default_rng(seed)
    d = bumps(rng, random_affine(rng))
    fixed = Landmarks(inner_points(rng, d.affine, SHAPE).T, "fixed", {"name": [str(i) for i in range(40)]})
    moving = carry(fixed, d)
    assert (moving.image, moving.columns) == ("moving", fixed.columns)
    np.testing.assert_allclose(moving.points, warp_points(fixed.points, d), atol=1e-9)
    back = carry(moving, d, tolerance=1e-6)
    assert back.image == "fixed"
    np.testing.assert_allclose(back.points, fixed.points, atol=1e-4)


@given(seeds)
def test_points_go_through_several_maps_as_images_do(seed):
    rng = np.random.default_rng(seed)
    affine = random_affine(rng)
    a, b = gentle(rng, 0.1), bumps(rng, affine)
    both = compose(a, b)
    fixed = Landmarks(inner_points(rng, affine, SHAPE).T, "fixed")
    np.testing.assert_allclose(carry(fixed, a, b).points, carry(fixed, both).points, atol=1e-6)
    moving = carry(fixed, a, b)
    np.testing.assert_allclose(carry(moving, a, b, tolerance=1e-7).points, fixed.points, atol=1e-5)
    np.testing.assert_allclose(carry(moving, both, tolerance=1e-7).points, fixed.points, atol=1e-5)


@given(seeds)
def test_points_and_images_move_consistently(seed):
    """A landmark of the moving image marks the same bright spot after both have gone to the fixed image."""
    rng = np.random.default_rng(seed)
    affine, fixed_affine = np.diag([1.0, 1.1, 0.9, 1]), np.diag([-1.0, 1.0, 1.0, 1])
    fixed_affine[0, 3] = 23
    prior = gentle(rng, 0.1)
    prior[:3, 3] += np.array([12.0, 12, 12]) - (prior @ [12, 12, 12, 1])[:3]
    d = compose(prior, bumps(rng, fixed_affine, (24, 24, 24), moving_affine=affine, size=0.8))
    spot = np.array([11.0, 12.5, 12.0]) + rng.uniform(-2, 2, 3)
    points = world_points(affine, (24, 24, 27))
    bright = np.exp(-((points - spot.reshape(3, 1, 1, 1)) ** 2).sum(axis=0) / (2 * 2.0**2))
    moved = warp_image(Image(bright, affine), d)
    where = world_points(fixed_affine, (24, 24, 24)).reshape(3, -1)
    peak = where @ moved.data.ravel() ** 4 / (moved.data**4).sum()
    carried = carry(Landmarks(spot[None], "moving"), d).points[0]
    assert np.linalg.norm(carried - peak) < 0.35
    away = np.linalg.norm(carry(Landmarks(spot[None], "fixed"), d).points[0] - peak)  # the wrong way
    assert away > np.linalg.norm(carried - peak) or np.linalg.norm(carried - spot) < 0.2


def test_points_agree_with_itk(tmp_path):
    """ITK takes points of the fixed image to the moving one by the same file, in LPS."""
    rng = np.random.default_rng(3)
    d = bumps(rng, random_affine(rng), dtype=np.float32)
    write_displacement(tmp_path / "w.nii.gz", d, "itk")
    field = sitk.ReadImage(str(tmp_path / "w.nii.gz"), sitk.sitkVectorFloat64)
    theirs = sitk.DisplacementFieldTransform(field)
    fixed = Landmarks(inner_points(rng, d.affine, SHAPE).T, "fixed")
    lps = np.array([-1.0, -1, 1])
    expected = [np.array(theirs.TransformPoint((p * lps).tolist())) * lps for p in fixed.points]
    np.testing.assert_allclose(carry(fixed, d).points, expected, atol=1e-3)


def test_points_where_nothing_is_known_are_refused():
    d = Displacement(affine_displacement(shifted(np.eye(4), 3, 0, 0), np.eye(4), (8, 8, 8)), np.eye(4))
    with pytest.raises(ImageError, match=r"1 of 2 points lie outside the fixed image.*remove"):
        carry(Landmarks([[1, 1, 1], [9, 1, 1]], "fixed"), d)
    with pytest.raises(ImageError, match=r"1 of 2 points lie outside the fixed image"):
        carry(Landmarks([[4, 1, 1], [1, 1, 1]], "moving"), d)  # 1 - 3 is left of the fixed image
    world = np.zeros((3, 20, 4, 4))
    world[0, 9:11] = np.array([4.0, -4.0]).reshape(-1, 1, 1)
    torn = Landmarks(np.stack([np.linspace(3, 16, 53), np.full(53, 1.5), np.full(53, 1.5)], axis=1), "moving")
    folded = carry(torn, Displacement(world, np.eye(4)))  # continuous: every point has a preimage, one of several
    np.testing.assert_allclose(carry(folded, Displacement(world, np.eye(4))).points, torn.points, atol=0.01)


def test_points_without_a_counterpart_are_refused():
    i = np.arange(20.0)
    flat = np.zeros((3, 20, 4, 4))
    flat[0] = np.where(i < 10, 0, -(i - 9)).reshape(-1, 1, 1)  # everything right of 9 is taken to 9
    points = Landmarks([[15.0, 1, 1]], "moving")
    with pytest.raises(ImageError, match=r"no counterpart within 0\.001 voxels|lie outside"):
        carry(points, Displacement(flat, np.eye(4)))


# Files


@pytest.mark.parametrize("axes", ["RAS", "LPS"])
def test_what_is_written_says_everything_and_reads_back(axes, tmp_path, rng):
    ours = Landmarks(rng.normal(size=(5, 3)) * 50, "moving", {"name": [*"abcde"], "note": ["1, 2", "", '"', "ä", "x"]})
    path = tmp_path / "p.csv"
    write_landmarks(path, ours, axes)
    read = read_landmarks(path)
    np.testing.assert_allclose(read.points, ours.points, atol=1e-6)
    assert (read.image, read.columns, read.axes) == ("moving", ours.columns, axes)
    write_landmarks(tmp_path / "again.csv", read)
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    first = path.read_text().splitlines()[1].split(",")
    assert float(first[0]) == pytest.approx(ours.points[0, 0] * (1 if axes == "RAS" else -1), abs=1e-6)


def test_axes_and_image_must_be_said_once_and_agree(tmp_path):
    path = saved(tmp_path, TABLE)
    with pytest.raises(ParameterError, match="does not say whether its points mark the fixed or the moving"):
        read_landmarks(path)
    marks = read_landmarks(path, image="fixed")
    np.testing.assert_array_equal(marks.points, [[1.5, -2, 3], [0, 0, 10]])
    assert marks.columns == {"name": ["AC", "PC"], "note": ["a, b", ""]}
    with pytest.raises(ImageError, match="x_ras, y_ras, z_ras, not LPS"):
        read_landmarks(path, image="fixed", axes="LPS")
    plain = saved(tmp_path, "x,y,z,image\n1,2,3,moving\n")
    with pytest.raises(ParameterError, match="say RAS or LPS"):
        read_landmarks(plain)
    np.testing.assert_array_equal(read_landmarks(plain, axes="LPS").points, [[-1, -2, 3]])
    with pytest.raises(ImageError, match="says 'moving', not 'fixed'"):
        read_landmarks(plain, axes="LPS", image="fixed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "needs one set of columns"),
        ("x_ras,y_ras,z_ras,x_lps,y_lps,z_lps\n", "needs one set of columns"),
        ("x_ras,y_ras,z_ras\n1,2\n", "point 1 has 2 columns"),
        ("x_ras,y_ras,z_ras\n1,2,three\n", "no number"),
        ("x_ras,y_ras,z_ras\n1,2,nan\n", "must be finite"),
        ("x_ras,y_ras,z_ras,x_ras\n1,2,3,4\n", "a name of its own"),
        ("x_ras,y_ras,z_ras,image\n1,2,3,fixed\n1,2,3,moving\n", "in every row"),
        ("x_ras,y_ras,z_ras,image\n1,2,3,left\n", "in every row"),
        ('x_ras,y_ras,z_ras\n"1,2,3\n', "no CSV file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text, message, tmp_path):
    with pytest.raises(ImageError, match=message):
        read_landmarks(saved(tmp_path, text), image=None if "image" in text else "fixed")


def test_bytes_and_absent_files_are_refused(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(ImageError, match="UTF-8"):
        read_landmarks(tmp_path / "p.csv", image="fixed")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_landmarks(tmp_path / "absent.csv", image="fixed")


def test_no_points_are_points(tmp_path):
    empty = read_landmarks(saved(tmp_path, "x_ras,y_ras,z_ras\n"), image="moving")
    carried = carry(empty, np.eye(4))
    assert carried.points.shape == (0, 3)
    assert carried.image == "fixed"


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"\[N, 3\]"):
        Landmarks([1, 2, 3], "fixed")
    with pytest.raises(ParameterError, match="'fixed' or the 'moving'"):
        Landmarks([[1, 2, 3]], "both")
    with pytest.raises(ShapeError, match="needs 1 entries"):
        Landmarks([[1, 2, 3]], "fixed", {"name": []})
    with pytest.raises(ParameterError, match="RAS or LPS"):
        write_landmarks(tmp_path / "p.csv", Landmarks([[1, 2, 3]], "fixed"), "LAS")
