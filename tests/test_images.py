"""Images say where they lie, and intensities of any scanner end in [0, 1]."""

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysnnmed.data import Image, normalize_intensity
from pysnnmed.errors import ImageError, ParameterError, ShapeError

AFFINE = np.diag([2.0, 1.5, 3.0, 1.0])
SCANNER = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)), ids=str)
def test_orientation_and_spacing_of_the_48_axis_orientations(order, signs):
    affine = np.eye(4)
    affine[:3, :3] = np.diag([2.0, 1.5, 3.0])[:, order] * signs
    image = Image(np.zeros((2, 3, 4)), affine)
    assert image.orientation == "".join(nibabel.aff2axcodes(affine))
    np.testing.assert_allclose(image.spacing, np.array([2.0, 1.5, 3.0])[list(order)])


def test_an_image_says_what_it_is():
    image = Image(np.zeros((2, 3, 4), np.int16), AFFINE, source="scan.nii")
    assert repr(image) == "<Image scan.nii: (2, 3, 4) int16, RAS, 2x1.5x3 mm>"


@pytest.mark.parametrize("shape", [(), (3,), (3, 3), (3, 3, 3, 1), (3, 0, 3)])
def test_an_image_has_three_axes(shape):
    with pytest.raises(ShapeError, match="3 axes"):
        Image(np.zeros(shape), AFFINE)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), "4x4"),
        (np.zeros((4, 4)), "last row"),
        (np.diag([1, 1, np.nan, 1]), "finite"),
        (np.diag([1, 1, 0, 1]), "singular"),
        (np.diag([1, 1, 1, 2]), "last row"),
    ],
)
def test_an_image_lies_somewhere(affine, message):
    with pytest.raises(ImageError, match=message):
        Image(np.zeros((2, 2, 2)), affine)


def test_an_image_holds_real_numbers():
    with pytest.raises(ImageError, match="complex"):
        Image(np.zeros((2, 2, 2), complex), AFFINE)


def test_the_affine_of_an_image_is_its_own():
    affine = AFFINE.copy()
    image = Image(np.zeros((2, 2, 2)), affine)
    affine[0, 0] = 0
    np.testing.assert_array_equal(image.affine, AFFINE)


def test_other_data_lies_on_the_same_voxels():
    image = Image(np.zeros((2, 3, 4)), AFFINE, source="a", form_code=4)
    labels = image.with_data(np.ones((2, 3, 4), np.uint8))
    assert (labels.data.dtype, labels.form_code, labels.source) == (np.uint8, 4, "a")
    with pytest.raises(ShapeError, match=r"\(2, 3, 4\)"):
        image.with_data(np.ones((4, 3, 2)))


@given(hnp.arrays("f4", hnp.array_shapes(max_dims=3, max_side=6), elements=SCANNER))
def test_normalized_intensities_lie_in_the_unit_interval_and_keep_their_order(data):
    scaled = normalize_intensity(data)
    assert scaled.dtype == np.float32
    assert scaled.shape == data.shape
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    order = np.argsort(data, axis=None)
    assert (np.diff(scaled.ravel()[order]) >= 0).all()
    assert (scaled == 0).all() == (data.min() == data.max())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e2, 1.7e6])
@pytest.mark.parametrize("offset", [0.0, -1024.0])
def test_units_of_the_scanner_do_not_matter(scale, offset, rng):
    data = rng.random((10, 10, 10))
    np.testing.assert_allclose(normalize_intensity(data * scale + offset), normalize_intensity(data), atol=1e-5)


def test_the_percentiles_become_0_and_1():
    data = np.arange(101).reshape(1, 1, 101)
    np.testing.assert_allclose(normalize_intensity(data, 10, 90)[0, 0, [0, 10, 50, 90, 100]], [0, 0, 0.5, 1, 1])


def test_a_nearly_empty_volume_uses_its_extremes():
    data = np.zeros((10, 10, 10), np.int32)
    data[0, 0, :2] = 50, 100
    np.testing.assert_array_equal(np.unique(normalize_intensity(data)), np.float32([0, 0.5, 1]))


def test_wrong_percentiles_and_wrong_values_are_refused():
    with pytest.raises(ParameterError, match="low=50 and high=50"):
        normalize_intensity(np.zeros(3), 50, 50)
    for bad in (np.nan, np.inf):
        with pytest.raises(ImageError, match="NaN or infinite"):
            normalize_intensity(np.array([0, bad]))
    for bad in (np.zeros(0), np.array(["a"]), np.zeros(2, complex)):
        with pytest.raises(ImageError, match="real numbers"):
            normalize_intensity(bad)


def test_real_volumes_of_very_different_units(real_data):
    from pysnnmed.data import read_nifti

    for path in sorted(real_data.glob("msd_hippocampus/images/*.nii.gz"))[::20]:
        scaled = normalize_intensity(read_nifti(path).data)
        assert 0.1 < scaled.mean() < 0.9
