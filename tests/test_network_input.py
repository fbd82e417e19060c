"""What cards say of the images that networks have learned from, and volumes brought into that form and back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ALL_48, turned

from pysnnmed.data import Image
from pysnnmed.data.network_input import NetworkInput
from pysnnmed.errors import ImageError, ParameterError, WeightsError

VOLUMES = NetworkInput(
    "volumes",
    channels=1,
    size=(32, 32),
    padding="zeros",
    plane="coronal",
    context=1,
    spacing=(1.0, 1.5),
    slice_step=2.0,
    labels={1: "anterior", 2: "posterior"},
)


def volume(rng, shape=(20, 30, 12), spacing=(1.0, 1.0, 1.0)):
    return Image(rng.random(shape), np.diag([*spacing, 1]))


@pytest.mark.parametrize("form", [NetworkInput(), VOLUMES, NetworkInput(fit="window", channels=1, convert=False)])
def test_a_card_keeps_everything(form):
    assert NetworkInput.from_facts(json.loads(json.dumps({"input": form.facts(), "licence": "?"}))) == form


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "sounds"}, "kind must be one of pictures, volumes"),
        ({"channels": 2}, "channels must be one of 1, 3"),
        ({"kind": "volumes"}, "channels must be 1 for volumes"),
        ({"context": -1}, "context must be"),
        ({"context": 1}, "0 for pictures"),
        ({"size": [64]}, "size must be a height and a width"),
        ({"size": [0, 8]}, "size must be two whole numbers"),
        ({"size": [2**16, 2**16]}, "size must be two whole numbers"),
        ({"spacing": [1, -1]}, "spacing must be a positive number"),
        ({"spacing": [1, float("nan")]}, "spacing must be a positive number"),
        ({"slice_step": 0}, "slice_step must be a positive number"),
        ({"threshold": 1.0}, "threshold must be between 0 and 1"),
        ({"labels": {}}, "labels must be"),
        ({"labels": {"0": "background"}}, "labels must be"),
        ({"labels": {"256": "far"}}, "labels must be"),
        ({"labels": {"x": "far"}}, "labels must be"),
        ({"labels": ["far"]}, "labels must be"),
        ({"colour": "red"}, "nobody knows here: colour"),
    ],
)
def test_a_card_with_nonsense_is_refused_by_name(change, words):
    with pytest.raises(WeightsError, match=words) as found:
        NetworkInput.from_facts({"input": {**NetworkInput().facts(), **change}}, "some.safetensors")
    assert str(found.value).startswith("some.safetensors: ")


def test_a_card_that_says_nothing_is_refused():
    with pytest.raises(WeightsError, match="is missing"):
        NetworkInput.from_facts({"spacing": 1.0})


def test_channels_of_the_network_must_fit_the_labels():
    assert not VOLUMES.has_background(2)
    assert VOLUMES.has_background(3)
    with pytest.raises(WeightsError, match="not 1"):
        VOLUMES.has_background(1)


# ------------------------------------------------------------------------------------------------ slices


def test_at_its_own_spacing_a_slice_is_the_volume_itself_and_context_its_neighbours(rng):
    image = volume(rng)
    form = NetworkInput("volumes", channels=1, plane="axial", context=1, size=(32, 32))
    slices = form.slices(image)
    assert slices.shape == (12, 3, 20, 30)
    upright = np.moveaxis(image.data, 2, 0).astype(np.float32)
    for i in range(12):
        expected = [upright[max(i - 1, 0)], upright[i], upright[min(i + 1, 11)]]
        np.testing.assert_array_equal(slices[i], expected)
    np.testing.assert_array_equal(form.slices(image, 3, 5), slices[3:5])
    np.testing.assert_array_equal(form.to_pixels(slices, image), slices)


@given(heights=st.integers(3, 40), own=st.floats(0.3, 4), wanted=st.floats(0.3, 4))
def test_the_middle_stays_the_middle_and_a_ramp_stays_a_ramp(heights, own, wanted):
    """World positions are kept: the value of a ramp is its position; where it shrinks, up to the filter's ripple."""
    ramp = np.broadcast_to(np.arange(heights, dtype=np.float64)[:, None, None] * own, (heights, 5, 2))
    image = Image(ramp, np.diag([own, own, 1, 1]))
    form = NetworkInput("volumes", channels=1, spacing=(wanted, wanted))
    (first, second) = form.slices(image)[:, 0]
    np.testing.assert_array_equal(first, second)
    found = first[:, 0]
    np.testing.assert_allclose(found + found[::-1], own * (heights - 1), rtol=1e-5)
    step = own if abs(wanted / own - 1) <= 0.01 else wanted
    there = own * (heights - 1) / 2 + step * (np.arange(len(found)) - (len(found) - 1) / 2)
    inner = (there >= max(own, step)) & (there <= own * (heights - 1) - max(own, step))
    np.testing.assert_allclose(found[inner], there[inner], atol=0.1 * own if step > own else 1e-4)
    assert len(found) * step >= heights * own - 1e-4
    assert (len(found) - 1) * step < heights * own
    assert form.to_pixels(form.slices(image), image).shape == (2, 1, heights, 5)


def test_neighbours_are_as_far_apart_as_those_that_were_learned_from(rng):
    """Slices 1 mm apart, learned from slices 2 mm apart: the neighbour is the slice after the next one; at 0.5 mm it
    lies halfway."""
    image = volume(rng)
    for step, neighbour in ((2.0, lambda d, i: d[i + 2]), (0.5, lambda d, i: (d[i] + d[i + 1]) / 2)):
        form = NetworkInput("volumes", channels=1, plane="sagittal", context=1, slice_step=step)
        found = form.slices(image)[5]
        np.testing.assert_allclose(found[2], neighbour(image.data, 5), rtol=1e-6)


def test_labels_lie_on_the_pixels_of_the_slices(rng):
    """A label map and the same map as intensities agree wherever the interpolated map is not undecided."""
    image = Image((rng.random((5, 6, 7)) > 0.5).astype(np.uint8).repeat(4, 0).repeat(4, 1).repeat(4, 2), np.eye(4))
    labels, shown = VOLUMES.label_slices(image), VOLUMES.slices(image)[:, 1]
    assert labels.shape == shown.shape
    assert labels.dtype == np.uint8
    sure = np.abs(shown - 0.5) > 0.45
    assert sure.mean() > 0.5
    np.testing.assert_array_equal(labels[sure], shown[sure] > 0.5)


@pytest.mark.parametrize(("order", "signs"), ALL_48[::5])
def test_slices_do_not_depend_on_the_orientation_of_the_file(rng, order, signs):
    image = volume(rng, spacing=(0.7, 1.1, 2.3))
    other = turned(image, order, signs)
    np.testing.assert_array_equal(VOLUMES.slices(other), VOLUMES.slices(image))
    assert VOLUMES.shape_of(other) == VOLUMES.shape_of(image)


def test_small_slices_lie_in_the_middle_of_zeros(rng):
    padded = VOLUMES.padded(VOLUMES.slices(volume(rng)))
    assert padded.shape[-2:] == (32, 32)
    assert not padded[..., :2, :].any()
    assert not padded[..., -1, :].any()


def test_intensities_are_those_of_the_percentiles(rng):
    image = Image(rng.normal(1000, 100, (20, 20, 20)), np.eye(4))
    found = VOLUMES.intensities(image).data
    assert found.dtype == np.float32
    assert found.min() == 0
    assert found.max() == 1
    assert abs((found == 0).mean() - 0.01) < 0.002


def test_a_volume_with_nan_is_refused_by_name(rng):
    data = rng.random((4, 4, 4))
    data[1, 2, 3] = np.nan
    with pytest.raises(ImageError, match=r"broken\.nii: the volume holds NaN"):
        VOLUMES.intensities(Image(data, np.eye(4), "broken.nii"))


def test_pictures_have_no_slices(rng):
    with pytest.raises(ParameterError, match="learned from pictures"):
        NetworkInput().slices(volume(rng))
