"""One labelled phantom, stored in all 48 orders and directions of its axes: the answer is one place in the world."""

import numpy as np
import pytest
from phantoms import ALL_48, turned

from pysnnmed import register
from pysnnmed.affine import align_affine
from pysnnmed.affine.guesses import rotation
from pysnnmed.data import Image, reorient
from pysnnmed.data.generate import random_shapes, synthesize_contrast
from pysnnmed.data.sampling import resample, transformed
from pysnnmed.deploy.pretrained import save_model
from pysnnmed.errors import ImageError
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig

AFFINE = np.array([[1.25, 0, 0, -20], [0, 1.0, 0, -16], [0, 0, 1.5, -15], [0, 0, 0, 1.0]])  # exact in binary
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = rotation([0.3, -0.2, 0.25]) @ AFFINE[:3, :3]
OBLIQUE[:3, 3] = [-18.0, -21.0, -9.0]
SHAPE = (32, 34, 22)
LEFT, RIGHT = 1, 2


def phantom(affine, seed=0):
    """A pair of labelled images: shapes inside a body, and one small mark at the left of each, another at the right."""
    rng = np.random.default_rng(seed)
    labels = random_shapes(SHAPE, 5, rng)
    labels[labels > 0] += 2
    for side, place in ((LEFT, 8), (RIGHT, SHAPE[0] - 9)):
        labels[place - 2 : place + 3, 14:20, 8:13] = side
    truth = np.eye(4)
    truth[:3, :3] = rotation([0.05, -0.1, 0.08]) * 1.04
    middle = transformed(affine, (np.array(SHAPE) - 1.0) / 2)
    truth[:3, 3] = middle - truth[:3, :3] @ middle + [1.5, -2, 1]
    there = resample(labels, np.linalg.inv(truth @ affine) @ affine, SHAPE, "nearest")
    fixed, moving = (Image(synthesize_contrast(v, np.random.default_rng(5)), affine) for v in (labels, there))
    return fixed, moving, Image(labels, affine), Image(there, affine)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network, trained or not does not matter: its field is neither zero nor symmetric."""
    path = tmp_path_factory.mktemp("models") / "net.safetensors"
    model = SpikeReg(SpikeRegConfig(encoder=(4, 6), decoder=(4,), steps=2), np.random.default_rng(1))
    model.head.weight.data[:] = np.random.default_rng(2).normal(0, 0.3, model.head.weight.data.shape)
    model.head.bias.data[:] = (0.6, -0.4, 0.3)
    save_model(path, model, {"align": "world"})
    return path


def registered(fixed, moving, labels, network, **arguments):
    return register(moving, fixed, moving_labels=labels, model=network, backend="numpy", **arguments)


@pytest.mark.parametrize(("i", "j"), [(i, (7 * i + 5) % 48) for i in range(48)])
def test_48_orientations_give_one_answer_in_the_world(i, j, network):
    """The fixed image in the i-th orientation, the moving one in the j-th; exactly the same labels, voxel by voxel."""
    fixed, moving, _, labels = phantom(AFFINE)
    plain = registered(fixed, moving, labels, network)
    assert np.abs(plain.displacement.world).max() > 0.5
    f, m = ALL_48[i], ALL_48[j]
    other = registered(turned(fixed, *f), turned(moving, *m), turned(labels, *m), network)
    np.testing.assert_array_equal(other.moved.affine, turned(fixed, *f).affine)
    again, expected = reorient(other.moved_labels), reorient(plain.moved_labels)
    np.testing.assert_array_equal(again.data, expected.data)
    np.testing.assert_array_equal(again.affine, expected.affine)
    np.testing.assert_allclose(reorient(other.moved).data, reorient(plain.moved).data, atol=1e-5)
    assert other.operations.total == plain.operations.total


@pytest.mark.parametrize(("i", "j"), [(i, (5 * i + 11) % 48) for i in range(0, 48, 6)])
def test_oblique_images_agree_but_for_rounding(i, j, network):
    fixed, moving, _, labels = phantom(OBLIQUE)
    plain = registered(fixed, moving, labels, network)
    f, m = ALL_48[i], ALL_48[j]
    other = registered(turned(fixed, *f), turned(moving, *m), turned(labels, *m), network)
    again, expected = reorient(other.moved_labels), reorient(plain.moved_labels)
    np.testing.assert_allclose(again.affine, expected.affine, atol=1e-9)
    assert np.mean(again.data != expected.data) < 1e-3


@pytest.mark.parametrize(("order", "signs"), ALL_48, ids=str)
def test_left_stays_left(order, signs, network):
    """The mark at the left of the world is moved to the left, whatever order the voxels are stored in."""
    fixed, moving, fixed_labels, labels = phantom(AFFINE)
    result = registered(turned(fixed, order, signs), moving, labels, network)
    places = {}
    for side in (LEFT, RIGHT):
        voxels = np.argwhere(result.moved_labels.data == side).T.astype(float)
        places[side] = transformed(result.moved_labels.affine, voxels).mean(axis=1)
        voxels = np.argwhere(fixed_labels.data == side).T.astype(float)
        assert np.linalg.norm(places[side] - transformed(AFFINE, voxels).mean(axis=1)) < 6
    assert places[LEFT][0] < 0 < places[RIGHT][0]


def same_affine(orientations, network):
    fixed, moving, _, labels = phantom(AFFINE)
    plain = registered(fixed, moving, labels, network, affine=True)
    for i in orientations:
        f, m = ALL_48[i], ALL_48[(7 * i + 5) % 48]
        other = registered(turned(fixed, *f), turned(moving, *m), turned(labels, *m), network, affine=True)
        np.testing.assert_array_equal(other.affine.matrix, plain.affine.matrix)
        again, expected = reorient(other.moved_labels), reorient(plain.moved_labels)
        assert np.mean(again.data != expected.data) < 2e-4  # a label half-way between two voxels
        np.testing.assert_array_equal(again.affine, expected.affine)
        assert np.linalg.det(other.affine.matrix[:3, :3]) > 0


def test_an_affine_map_is_the_same_in_another_orientation(network):
    same_affine((11,), network)


@pytest.mark.slow
def test_an_affine_map_is_the_same_for_48_orientations(network):
    same_affine(range(48), network)


def test_an_affine_map_brings_the_labels_together(network):
    fixed, moving, fixed_labels, labels = phantom(AFFINE)
    found = align_affine(fixed, moving)
    index_map = np.linalg.solve(AFFINE, found.matrix @ AFFINE)
    after = resample(labels.data, index_map, SHAPE, "nearest")
    before = np.mean(labels.data == fixed_labels.data)
    assert np.mean(after == fixed_labels.data) > before + 0.5 * (1 - before)


# Pairs that have no answer, and one that has


@pytest.mark.parametrize("affine", [False, True])
def test_images_without_contrast_or_numbers_are_refused(affine, network):
    fixed, _, _, _ = phantom(AFFINE)
    for value, message in ((7.0, "constant image"), (np.nan, "NaN")):
        bad = Image(np.full(SHAPE, value), AFFINE, "bad.nii")
        for pair in ((fixed, bad), (bad, fixed)):
            with pytest.raises(ImageError, match=f"bad.nii: .*{message}"):
                registered(*pair, None, network, affine=affine)


def test_an_image_registered_to_itself_starts_from_the_identity(network):
    fixed, _, labels, _ = phantom(AFFINE)
    result = registered(fixed, fixed, labels, network, affine=True)
    assert np.abs(result.start.world).max() < 0.05


def test_empty_labels_stay_empty(network):
    fixed, moving, labels, _ = phantom(AFFINE)
    nothing = labels.with_data(np.zeros(SHAPE, np.uint8))
    assert not registered(fixed, moving, nothing, network).moved_labels.data.any()


def test_a_mirrored_header_is_believed_and_never_undone(network):
    """What lies left by the header stays left: the map does not mirror, and nothing is exchanged silently."""
    fixed, moving, _, labels = phantom(AFFINE)
    mirror = np.diag([-1.0, 1, 1, 1])
    wrong = [Image(image.data, mirror @ image.affine) for image in (moving, labels)]
    sides = {
        side: transformed(wrong[1].affine, np.argwhere(labels.data == side).T).mean(axis=1)[0] for side in (LEFT, RIGHT)
    }
    assert sides[RIGHT] < 0 < sides[LEFT]  # as the header has it
    result = registered(fixed, *wrong, network, affine=True, align="world")
    assert np.linalg.det(result.affine.matrix[:3, :3]) > 0
    after = result.moved_labels
    places = {side: transformed(AFFINE, np.argwhere(after.data == side).T).mean(axis=1)[0] for side in (LEFT, RIGHT)}
    assert places[RIGHT] < places[LEFT]
