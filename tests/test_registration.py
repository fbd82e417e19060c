"""The main job: geometry, backends, the shipped weights on generated and on real pairs."""

import shutil

import numpy as np
import pytest

from pysnnmed import kernels
from pysnnmed.cli.demo import SEED
from pysnnmed.data import Image, read_nifti, reorient, warp_image
from pysnnmed.data.generate import generate_pair
from pysnnmed.data.geometry import ModelGrid
from pysnnmed.deploy.memory import plan
from pysnnmed.deploy.pretrained import load_model, save_model, shipped
from pysnnmed.deploy.programs import load_program
from pysnnmed.deploy.running_weights import RUNNING_WEIGHTS
from pysnnmed.errors import ImageError, ParameterError, ProgramError, WeightsError
from pysnnmed.metrics import mean_dice
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig
from pysnnmed.registration import predict, register


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A network that says "stay": its head is almost zero."""
    path = tmp_path_factory.mktemp("models") / "untrained.safetensors"
    config = SpikeRegConfig(encoder=(3, 4), decoder=(3,), steps=2)
    save_model(path, SpikeReg(config, np.random.default_rng(0)), {"align": "world"})
    return path


def volume(rng, shape, affine=None):
    data = rng.random(shape, dtype=np.float32)
    return Image(data, np.diag([1.0, 1.0, 1.0, 1.0]) if affine is None else affine)


@pytest.mark.parametrize("weights", RUNNING_WEIGHTS)
def test_a_network_that_stays_leaves_the_moving_image_alone(untrained, rng, weights):
    moving, fixed = volume(rng, (13, 10, 9)), volume(rng, (13, 10, 9))
    result = register(moving, fixed, model=untrained, weights=weights, backend="numpy")
    np.testing.assert_allclose(result.moved.data, moving.data, atol=1e-3)
    assert result.folding == 0
    assert result.moved_labels is None
    assert (result.backend, result.weights) == ("numpy", weights)
    trains = list(result.spikes.values())
    assert all(train.shape[0] == 2 and train.ndim == 5 for train in trains)
    assert result.spike_rate == pytest.approx(sum(t.sum() for t in trains) / sum(t.size for t in trains))
    assert result.operations.total.neuron_updates == sum(train.size for train in trains)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PSR", "AIL"])
def test_orientation_of_either_image_does_not_matter(untrained, rng, codes):
    affine = np.array([[1.2, 0, 0, -4], [0, 1.0, 0, 7], [0, 0, 1.5, 2], [0, 0, 0, 1.0]])
    moving, fixed = volume(rng, (12, 14, 8), affine), volume(rng, (12, 14, 8), affine)
    plain = register(moving, fixed, model=untrained, backend="numpy")
    turned = register(reorient(moving, codes), reorient(fixed, codes), model=untrained, backend="numpy")
    np.testing.assert_allclose(reorient(turned.moved, "RAS").data, plain.moved.data, atol=1e-3)


def test_the_result_lies_on_the_voxels_of_the_fixed_image(untrained, rng):
    fixed = volume(rng, (11, 9, 12), np.diag([-2.0, 1.0, 1.5, 1.0]))
    moving = volume(rng, (20, 9, 17), np.diag([-1.0, 1.1, 1.0, 1.0]))
    labels = moving.with_data((moving.data > 0.5).astype(np.uint8))
    result = register(moving, fixed, moving_labels=labels, model=untrained, backend="numpy")
    for image in (result.moved, result.moved_labels):
        assert image.shape == fixed.shape
        np.testing.assert_array_equal(image.affine, fixed.affine)
    assert result.moved_labels.data.dtype == np.uint8
    assert result.displacement.shape == fixed.shape


def test_images_that_do_not_fit_are_refused(untrained, rng):
    here, far = volume(rng, (8, 8, 8)), volume(rng, (8, 8, 8), np.array([*np.eye(4)[:3, :], [0, 0, 0, 1.0]]))
    far.affine[:3, 3] = 500
    with pytest.raises(ImageError, match="centre"):
        register(far, here, model=untrained, backend="numpy")
    with pytest.raises(ImageError, match="must lie on the voxels of the moving image"):
        register(here, here, moving_labels=volume(rng, (8, 8, 4)), model=untrained, backend="numpy")
    with pytest.raises(WeightsError, match="no model"):
        register(here, here, model="nowhere")


def test_choices_that_are_none_are_refused(untrained, rng):
    image = volume(rng, (8, 8, 8))
    with pytest.raises(ParameterError, match=r"int8, int16, float32, trained, not 'float16'"):
        register(image, image, model=untrained, weights="float16")
    with pytest.raises(ParameterError, match="memory_limit needs a program"):
        register(image, image, model=untrained, weights="trained", memory_limit=10**9)


def test_a_pair_that_takes_too_much_memory_is_refused_with_the_plan(untrained, rng, monkeypatch):
    image = volume(rng, (32, 32, 32))
    peak = plan(load_program(untrained)[0], image.shape, ("encoder.0.conv1",)).peak
    assert register(image, image, model=untrained, backend="numpy", memory_limit=2 * peak).folding == 0

    def grid_values(*args):
        raise AssertionError("the images were brought onto the grid before the memory was checked")

    monkeypatch.setattr(ModelGrid, "fixed_on_grid", grid_values)
    with pytest.raises(ProgramError, match=rf"(?s)the limit is {peak // 4:,}.*encoder\.0\.conv1"):
        register(image, image, model=untrained, backend="numpy", memory_limit=peak // 4)


def test_a_program_is_lowered_once_until_its_file_changes(untrained, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    shutil.copy(untrained, path)
    first, card = load_program(path)
    assert load_program(path)[0] is first
    assert load_program(path, "int16")[0] is not first
    assert (first.facts["name"], card.name, card.path) == ("net", "net", path)
    network, _ = load_model(path)
    network.head.bias.data += 1
    save_model(path, network, {"align": "world", "longer": "metadata"})
    again, _ = load_program(path)
    assert again is not first
    assert again.operations[-2].bias != pytest.approx(first.operations[-2].bias)


def test_the_teacher_has_no_program():
    with pytest.raises(WeightsError, match=r"Teacher.*SpikeReg"):
        load_program("hippocampus-teacher")


# --- the shipped weights


def pair_of_images(seed):
    pair = generate_pair((64, 64, 64), np.random.default_rng(seed))
    return pair, Image(pair.moving, np.eye(4)), Image(pair.fixed, np.eye(4))


LICENCES = {
    "brain": "Apache License 2.0",
    "hippocampus": "CC BY-SA 4.0",
    "hippocampus-seg": "CC BY-SA 4.0",
    "lesions": "(MIT)",
}


def test_shipped_weights_are_small_and_documented():
    assert "hippocampus" in shipped()
    for name in shipped():
        network, card = load_model(name)
        assert card.path.stat().st_size < 2_000_000
        note = card.path.with_name(name.removesuffix("-teacher") + ".md").read_text()
        assert "## Source and licence" in note
        assert LICENCES[name.removesuffix("-teacher")] in note
        assert f"{network.n_parameters:,} parameters" in note or f"| {network.n_parameters:,} |" in note


def test_the_pair_of_the_demo_improves_clearly():
    pair, moving, fixed = pair_of_images(SEED)
    labels = moving.with_data(pair.moving_labels)
    result = register(moving, fixed, moving_labels=labels, align="world")
    before = mean_dice(pair.fixed_labels, pair.moving_labels, range(1, 9))
    after = mean_dice(pair.fixed_labels, result.moved_labels.data, range(1, 9))
    assert after - before >= 0.15
    assert result.folding < 0.005
    assert result.operations.total.synops > 0


def test_backends_predict_the_same_field():
    network, _ = load_model("hippocampus")
    pair, _, _ = pair_of_images(3)
    crop = (slice(16, 48),) * 3
    fields = []
    for backend in kernels.available():
        with kernels.use_backend(backend):
            fields.append(predict(network, pair.fixed[crop], pair.moving[crop])[0])
    for field in fields[1:]:  # a sum in another order may flip a spike that sits on its threshold
        assert np.abs(field - fields[0]).mean() < 0.01


def test_real_pairs_of_the_test_set_improve(real_data):
    folder = real_data / "msd_hippocampus"
    names = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))[160:]
    gains = []
    for i in (0, 7, 13):
        moving_labels = read_nifti(folder / "labels" / names[39 - i])
        fixed_labels = read_nifti(folder / "labels" / names[i]).data
        images = (folder / "images" / names[39 - i], folder / "images" / names[i])
        result = register(*images, moving_labels=moving_labels)
        before = warp_image(moving_labels, result.start, interpolation="nearest").data
        after = result.moved_labels.data
        gains.append(mean_dice(fixed_labels, after, (1, 2)) - mean_dice(fixed_labels, before, (1, 2)))
    assert np.mean(gains) > 0.1
