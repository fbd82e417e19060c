"""segment(): pictures and volumes of any size and orientation, and what it refuses."""

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ALL_48, turned, voxel_indices, world_points
from standin_networks import install
from tiny_segmenters import VOLUMES as TINY_VOLUMES
from tiny_segmenters import save_tiny

from pysnnmed.data import Image, Picture, label_overlay, overlay, read_nifti, read_picture, write_nifti
from pysnnmed.data.masks import read_labels, read_mask
from pysnnmed.data.network_input import NetworkInput
from pysnnmed.data.nifti import write_array
from pysnnmed.data.picture_output import STRUCTURES
from pysnnmed.data.resize import resize
from pysnnmed.data.slices import slices_of
from pysnnmed.errors import ImageError, ParameterError, ProgramError, ShapeError, WeightsError
from pysnnmed.segmentation import Segmenter, segment

WINDOWED = NetworkInput(size=(16, 24), fit="window")
BRAIN = NetworkInput(
    "volumes", channels=1, size=(32, 32), padding="zeros", plane="coronal", context=1, labels={1: "outer", 2: "inner"}
)


def pillow():
    return pytest.importorskip("PIL.Image")


@pytest.fixture
def colour(rng):
    """A picture with structure at several scales, and not square."""
    coarse = rng.random((3, 8, 9))
    return np.moveaxis(resize(coarse, (70, 101)), 0, -1)


# ------------------------------------------------------------------------------------------------ pictures


def test_a_whole_picture_is_shown_at_the_size_of_the_network_and_brought_back(monkeypatch, colour):
    network = install(monkeypatch, NetworkInput(size=(64, 64)))
    found = segment(colour, "any", probability=True)
    assert network.shapes == [(64, 64)]
    assert found.labels.shape == (70, 101)
    assert found.labels.dtype == np.uint8
    shown = resize(np.moveaxis(colour, -1, 0), (64, 64))
    expected = resize(1 / (1 + np.exp(-20.0 * (shown.mean(axis=0, keepdims=True) - 0.5))), (70, 101))
    np.testing.assert_allclose(found.probability, expected, atol=2e-6)
    np.testing.assert_array_equal(found.labels, found.probability[0] >= 0.5)
    assert 0.2 < found.mask.mean() < 0.8


def test_windows_of_a_network_that_judges_every_pixel_alone_leave_no_seam(monkeypatch, colour):
    install(monkeypatch, WINDOWED)
    found = segment(colour, "any", probability=True)
    expected = 1 / (1 + np.exp(-20.0 * (colour.mean(axis=-1) - 0.5)))
    np.testing.assert_allclose(found.probability[0], expected, atol=3e-6)
    assert found.windows > 30


@given(height=st.integers(1, 40), width=st.integers(1, 60), overlap=st.sampled_from([0, 0.5, 0.75]))
def test_pictures_of_any_size_come_back_in_their_size(height, width, overlap):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    with pytest.MonkeyPatch.context() as monkeypatch:
        network = install(monkeypatch, WINDOWED)
        found = segment(pixels, "any", overlap=overlap)
    np.testing.assert_array_equal(found.labels, pixels > 127)
    assert set(network.shapes) == {(16, 24)}
    assert len(network.shapes) == found.windows


def test_overlap_hides_the_borders_of_windows(monkeypatch, rng):
    """A network with a neighbourhood sees zeros beyond its windows; blended, that shows less than side by side."""
    install(monkeypatch, WINDOWED, blur=True)
    flat = np.full((96, 96, 3), 0.55, np.float32)
    inner = slice(16, 80)
    errors = []
    for overlap in (0, 0.5, 0.75):
        sure = segment(flat, "any", probability=True, overlap=overlap).probability[0, inner, inner]
        errors.append(float(np.abs(sure - 1 / (1 + np.exp(-1.0))).max()))
    assert errors[0] > 0.5 > 0.2 > errors[1] > errors[2]


def test_one_window_is_the_whole_picture_bit_for_bit(monkeypatch, rng):
    install(monkeypatch, NetworkInput(size=(48, 64)), blur=True)
    picture = rng.random((48, 64, 3), np.float32)
    whole = segment(picture, "any", probability=True)
    windowed = segment(picture, "any", probability=True, window=(48, 64))
    np.testing.assert_array_equal(whole.probability, windowed.probability)
    assert whole.windows == windowed.windows == 1


def test_a_small_picture_is_mirrored_around_and_cut_out_again(monkeypatch, rng):
    install(monkeypatch, NetworkInput(size=(32, 32), fit="window"), blur=True)
    small = rng.random((10, 12, 3), np.float32)
    by_hand = np.pad(small, ((11, 11), (10, 10), (0, 0)), "reflect")
    expected = segment(by_hand, "any", probability=True).probability[:, 11:21, 10:22]
    np.testing.assert_array_equal(segment(small, "any", probability=True).probability, expected)


def test_a_window_of_the_user_takes_the_place_of_the_card(monkeypatch, colour):
    network = install(monkeypatch, NetworkInput(size=(64, 64)))
    segment(colour, "any", window=40)
    assert set(network.shapes) == {(40, 40)}


def test_grey_and_colour_of_every_type_show_the_same(monkeypatch, tmp_path, rng):
    install(monkeypatch, WINDOWED)
    grey = rng.integers(0, 256, (20, 30), np.uint8)
    expected = segment(grey, "any").labels
    pillow().fromarray(grey).save(tmp_path / "grey.png")
    for same in (
        np.stack([grey] * 3, axis=-1),
        grey.astype(np.uint16) * 257,
        grey.astype(np.float64) / 255,
        Picture(grey[None]),
        tmp_path / "grey.png",
        str(tmp_path / "grey.png"),
    ):
        np.testing.assert_array_equal(segment(same, "any").labels, expected)


def test_colour_is_weighted_into_grey_where_the_card_allows(monkeypatch, rng):
    install(monkeypatch, NetworkInput(channels=1, size=(16, 24), fit="window"), levels=(0.5,))
    colour = rng.random((16, 24, 3), np.float32)
    expected = colour @ np.array([0.299, 0.587, 0.114], np.float32) >= 0.5
    assert (segment(colour, "any").mask == expected).mean() > 0.999


def test_threshold_and_labels(monkeypatch, rng):
    install(monkeypatch, NetworkInput(size=(8, 8), fit="window", labels={7: "far", 3: "near"}), levels=(0.4, 0.7))
    pixels = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    found = segment(pixels, "any", probability=True)
    np.testing.assert_array_equal(found.labels, np.where(pixels >= 0.4, 7, 0))
    assert found.probability.shape == (2, 8, 8)
    stricter = segment(pixels, "any", threshold=0.99)
    assert 0 < stricter.mask.sum() < found.mask.sum()
    assert found.sizes() == {"far": float((pixels >= 0.4).sum()), "near": 0.0}


def test_a_channel_for_the_background_makes_the_likeliest_win(monkeypatch, rng):
    install(monkeypatch, NetworkInput(size=(8, 8), fit="window", labels={1: "a", 2: "b"}), levels=(0.5, 0.6, 0.4))
    pixels = rng.random((8, 8), np.float32)
    found = segment(pixels, "any", probability=True)
    assert (found.labels == 2).all()  # its logit is always the largest of the three
    scores = np.exp(-20 * np.array([0.5, 0.6, 0.4]))
    np.testing.assert_allclose(found.probability[:, 0, 0], (scores / scores.sum())[1:], rtol=1e-4)
    with pytest.raises(ParameterError, match="no threshold"):
        segment(pixels, "any", threshold=0.3)


def test_what_is_found_depends_on_nothing_seen_before(monkeypatch, rng):
    install(monkeypatch, WINDOWED, blur=True)
    segmenter = Segmenter("any", probability=True)
    pictures = [rng.random((40, 50, 3), np.float32) for _ in range(3)]
    alone = [segmenter(picture).probability for picture in pictures]
    for picture, expected in reversed(list(zip(pictures, alone, strict=True))):
        np.testing.assert_array_equal(segmenter(picture).probability, expected)


def test_progress_and_rates(monkeypatch, rng):
    install(monkeypatch, WINDOWED)
    picture, told = rng.random((40, 50, 3), np.float32), []
    found = segment(picture, "any", progress=lambda done, of, note: told.append((done, of)))
    assert told == [(i, found.windows) for i in range(1, found.windows + 1)]
    assert found.weights == "trained"
    assert found.operations is None
    assert 0.3 < found.spike_rate == found.rates["layer"] < 0.7
    assert "projected_energy" not in found.summary()


# ------------------------------------------------------------------------------------------------ volumes


def ball(radius=11.0):
    """Bright inside, half bright around, over a world of 30 x 36 x 26 mm."""

    def field(points):
        distance = np.linalg.norm(points - np.array([15, 17, 12.0]).reshape(3, 1, 1, 1), axis=0)
        return np.where(distance < radius / 2, 1.0, np.where(distance < radius, 0.5, 0.0)).astype(np.float32)

    return field


@pytest.fixture
def phantom():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    return Image(ball()(world_points(affine, (30, 36, 26))), affine, "ball", form_code=2, description="a ball")


def test_a_volume_is_labelled_slice_by_slice_on_its_own_voxels(monkeypatch, phantom):
    """Without context a pixelwise network labels each voxel by its own intensity, so that the result is known."""
    form = NetworkInput("volumes", channels=1, size=(32, 32), padding="zeros", plane="sagittal")
    network = install(monkeypatch, form, levels=(0.3,))
    found = segment(phantom, "any", probability=True)
    np.testing.assert_array_equal(found.labels, phantom.data >= 0.5)
    assert found.volume.form_code == 2
    assert found.volume.description == "a ball"
    np.testing.assert_array_equal(found.volume.affine, phantom.affine)
    assert found.probability.shape == (1, 30, 36, 26)
    assert set(network.shapes) == {(32, 32)}
    assert found.windows == 30 * 2  # slices of 36 x 26 pixels, in windows of 32 x 32
    assert found.sizes()["foreground"] == np.count_nonzero(phantom.data)


@pytest.mark.parametrize(("order", "signs"), ALL_48)
def test_the_orientation_of_the_file_does_not_matter(monkeypatch, phantom, order, signs):
    install(monkeypatch, BRAIN, levels=(0.3, 0.75))
    skewed = phantom.with_data(phantom.data + np.linspace(0, 0.2, 26, dtype=np.float32))
    expected = segment(skewed, "any").volume
    found = segment(turned(skewed, order, signs), "any").volume
    back = turned(expected, order, signs)
    np.testing.assert_array_equal(found.data, back.data)
    np.testing.assert_allclose(found.affine, back.affine)
    assert {0, 1} <= set(np.unique(found.data))


@pytest.mark.parametrize("spacing", [(0.8, 1.0, 1.3), (2.0, 1.0, 1.0), (0.5, 0.7, 3.0)])
def test_at_another_spacing_labels_stay_where_they_are_in_the_world(monkeypatch, spacing):
    form = NetworkInput("volumes", channels=1, size=(48, 48), padding="zeros", plane="coronal", spacing=(1.0, 1.0))
    install(monkeypatch, form, levels=(0.25,))
    affine = np.diag([*spacing, 1.0])
    shape = tuple(int(n / s) for n, s in zip((30, 34, 26), spacing, strict=True))
    image = Image(ball()(world_points(affine, shape)), affine)
    found = segment(image, "any")
    assert found.labels.shape == shape
    truth = image.data > 0
    dice = 2 * (truth & found.mask).sum() / (truth.sum() + found.mask.sum())
    assert dice > 0.9
    middles = [voxel_indices(world_points(affine, shape), np.eye(4))[:, m].mean(axis=1) for m in (truth, found.mask)]
    np.testing.assert_allclose(*middles, atol=0.15)


def test_the_file_that_comes_out_has_the_geometry_of_the_one_that_went_in(monkeypatch, tmp_path, rng):
    install(monkeypatch, BRAIN, levels=(0.3, 0.75))
    affine = np.array([[0, -1.5, 0.2, 10], [0.9, 0, 0, -20], [0, 0.3, -2.0, 5], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "in.nii.gz", Image(rng.random((14, 9, 12)).astype(np.float32), affine, form_code=1))
    image = read_nifti(tmp_path / "in.nii.gz")
    found = segment(tmp_path / "in.nii.gz", "any", probability=True)
    found.save(tmp_path / "out.nii.gz")
    out = read_nifti(tmp_path / "out.nii.gz")
    assert out.data.dtype == np.uint8
    assert out.shape == image.shape
    assert out.form_code == image.form_code
    np.testing.assert_array_equal(out.affine, image.affine)
    np.testing.assert_array_equal(out.data, found.labels)
    assert found.save_probability(tmp_path / "p.nii.gz") == [tmp_path / "p.nii.gz"]
    found.save_overlay(tmp_path / "o.png", BRAIN.intensities(image).data)
    assert read_picture(tmp_path / "o.png").data.shape == (3, *np.rot90(slices_of(image, "coronal")[0, 0]).shape)


def test_a_slice_larger_than_the_window_is_seen_in_windows(monkeypatch, rng):
    install(monkeypatch, NetworkInput("volumes", channels=1, size=(16, 16), padding="edge"), levels=(0.5,))
    image = Image(rng.random((50, 20, 3)), np.eye(4))
    found = segment(image, "any")
    assert found.windows > 3 * 6
    scaled = NetworkInput("volumes", channels=1).intensities(image).data
    sure = np.abs(scaled - 0.5) > 1e-5
    np.testing.assert_array_equal(found.mask[sure], (scaled > 0.5)[sure])


# ------------------------------------------------------------------------------------------------ files


def test_masks_probabilities_and_overlays_of_pictures(monkeypatch, tmp_path, colour):
    install(monkeypatch, WINDOWED)
    found = segment(colour, "any", probability=True)
    found.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png").data, found.mask)
    (file,) = found.save_probability(tmp_path / "sure.png")
    np.testing.assert_allclose(read_picture(file).unit(), found.probability, atol=1e-5)
    found.save_overlay(tmp_path / "drawn.png", np.moveaxis(colour, -1, 0))
    assert read_picture(tmp_path / "drawn.png").shape == (70, 101)
    with pytest.raises(ParameterError, match=r"\.png"):
        found.save(tmp_path / "mask.jpg")


def test_every_structure_has_its_colour_in_an_overlay():
    labels = np.zeros((9, 20), np.uint8)
    labels[2:7, 2:7], labels[2:7, 10:15] = 1, 2
    drawn = label_overlay(np.full((1, 9, 20), 0.5), labels)
    np.testing.assert_array_equal(drawn[:, 2, 2], STRUCTURES[0])
    np.testing.assert_array_equal(drawn[:, 2, 10], STRUCTURES[1])
    assert (drawn[:, 4, 4] == 128).all()
    assert (drawn != 128).any(axis=0).sum() == 2 * 16
    one, black = labels == 1, np.zeros((3, 9, 20))
    np.testing.assert_array_equal(label_overlay(black, one), overlay(black, one))
    with pytest.raises(ShapeError):
        label_overlay(np.zeros((1, 9, 9)), labels)


def test_several_structures_in_a_picture_keep_their_values(monkeypatch, tmp_path, rng):
    install(monkeypatch, NetworkInput(size=(8, 8), fit="window", labels={7: "far", 3: "near by"}), levels=(0.4, 0.4))
    found = segment(rng.random((9, 9), np.float32), "any", probability=True)
    found.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.png"), found.labels)
    files = found.save_probability(tmp_path / "p.png")
    assert [file.name for file in files] == ["p_far.png", "p_near-by.png"]
    assert all(file.is_file() for file in files)


def test_probabilities_that_nobody_asked_for_are_not_there(monkeypatch, tmp_path, rng):
    install(monkeypatch, WINDOWED)
    with pytest.raises(ParameterError, match="probability=True"):
        segment(rng.random((9, 9), np.float32), "any").save_probability(tmp_path / "p.png")


# ------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("fit", ["window", "resize"])
@pytest.mark.parametrize("probability", [False, True])
def test_memory_stays_within_what_was_announced(monkeypatch, rng, fit, probability):
    install(monkeypatch, NetworkInput(size=(64, 64), fit=fit))
    picture = rng.integers(0, 256, (1500, 700, 3), np.uint8)
    segmenter = Segmenter("any", probability=probability, overlap=0.25)
    segmenter(picture[:64, :64])  # whatever is looked up once
    tracemalloc.start()
    found = segmenter(picture)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    network = 64 * 64 * 3 * 4 * 4  # the stand-in's own arrays, which are not planned
    assert peak <= found.peak + network
    assert found.peak < 3 * peak
    assert found.peak < 3 * 1500 * 700 * (1 + 4 * probability) + 2**22  # no copy of the picture in float32


def test_memory_of_volumes_stays_within_what_was_announced(monkeypatch, rng):
    install(monkeypatch, BRAIN, levels=(0.3, 0.75))
    image = Image(rng.random((60, 70, 80)), np.eye(4))
    segmenter = Segmenter("any", probability=True)
    segmenter(Image(rng.random((9, 9, 9)), np.eye(4)))
    tracemalloc.start()
    found = segmenter(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= found.peak < 2 * peak


def test_what_takes_too_much_is_refused_with_the_plan(monkeypatch, rng):
    install(monkeypatch, WINDOWED)
    segmenter = Segmenter("any")
    segmenter.memory_limit = 10_000
    with pytest.raises(ProgramError, match=r"picture: to segment it takes [\d,]+ bytes for .* limit is 10,000"):
        segmenter(rng.random((40, 50), np.float32))
    with pytest.raises(ParameterError, match="memory_limit needs a program"):
        segment(rng.random((40, 50), np.float32), "any", memory_limit=10_000)


# ------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: np.zeros((4, 4, 2), np.uint8), ShapeError, "C = 1 or 3"),
        (lambda: np.zeros((2, 3, 4, 5), np.uint8), ShapeError, "H, W"),
        (lambda: np.zeros((0, 4), np.uint8), ShapeError, "H, W"),
        (lambda: np.zeros((4, 4), np.int32), ImageError, "uint8, uint16"),
        (lambda: np.full((4, 4), 255.0), ImageError, r"\[0, 1\]"),
        (lambda: np.full((4, 4), np.nan), ImageError, "no NaN"),
        (
            lambda: Image(np.zeros((4, 4, 4)), np.eye(4), "scan.nii"),
            ImageError,
            "scan.nii: stand-in has learned",
        ),
        (lambda: "scan.nii.gz", ImageError, "scan.nii.gz: stand-in has learned from pictures"),
        (lambda: "nowhere.png", ImageError, "nowhere.png: "),
    ],
)
def test_pictures_that_are_none(monkeypatch, make, kind, words):
    install(monkeypatch, WINDOWED)
    with pytest.raises(kind, match=words):
        segment(make(), "any")


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: np.zeros((4, 4, 4)), ParameterError, "give an Image"),
        (lambda: Picture(np.zeros((1, 4, 4), np.uint8), "x.png"), ImageError, "x.png: stand-in has learned from vol"),
        (lambda: Image(np.full((4, 4, 4), np.nan), np.eye(4), "scan.nii"), ImageError, "scan.nii: the volume holds"),
    ],
)
def test_volumes_that_are_none(monkeypatch, make, kind, words):
    install(monkeypatch, BRAIN, levels=(0.3, 0.75))
    with pytest.raises(kind, match=words):
        segment(make(), "any")


def test_a_volume_of_four_axes_in_a_file(monkeypatch, tmp_path):
    install(monkeypatch, BRAIN, levels=(0.3, 0.75))
    write_array(tmp_path / "film.nii", np.zeros((4, 4, 4, 3), np.float32), np.eye(4))
    with pytest.raises(ImageError, match=r"film\.nii: an image must have 3 axes"):
        segment(tmp_path / "film.nii", "any")


def test_grey_where_the_card_wants_colour_only(monkeypatch):
    install(monkeypatch, NetworkInput(convert=False, size=(16, 16)))
    with pytest.raises(ImageError, match="has 1 channel, and stand-in has learned from pictures with 3"):
        segment(np.zeros((16, 16), np.uint8), "any")


def test_truncated_damaged_and_huge_pictures_are_refused_by_name(monkeypatch, tmp_path, rng):
    install(monkeypatch, WINDOWED)
    image = pillow().fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8))
    image.save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "bent.png").write_bytes(content[:60] + b"!" + content[61:])
    huge = bytearray(content)
    huge[16:24] = (2**17).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(bytes(huge[12:29])).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(huge)
    for name, words in (("cut", "cut short"), ("bent", "damaged"), ("huge", "pixels")):
        with pytest.raises(ImageError, match=rf"{name}\.png: .*{words}"):
            segment(tmp_path / f"{name}.png", "any")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 12}, "multiples of 8"),
        ({"window": 0}, "multiples of 8"),
        ({"overlap": 1.0}, "overlap"),
        ({"threshold": 0.0}, "threshold must be between"),
        ({"weights": "int4"}, "weights must be"),
    ],
)
def test_arguments_that_break_their_rule(monkeypatch, options, words):
    install(monkeypatch, WINDOWED)
    with pytest.raises(ParameterError, match=words):
        segment(np.zeros((16, 16), np.uint8), "any", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "Other"}, "holds a Other, segmentation needs a MedSpikeFormer"),
        ({"facts": {}}, "does not say what images"),
        ({"in_channels": 1}, "takes 1 channels, and its card speaks of 3"),
        ({"ndim": 3}, "network of 3 axes"),
        ({"levels": (0.1, 0.2, 0.3)}, "not 3"),
    ],
)
def test_models_that_cannot_segment(monkeypatch, options, words):
    install(monkeypatch, WINDOWED, **options)
    with pytest.raises(WeightsError, match=words):
        segment(np.zeros((16, 16), np.uint8), "any")


def test_a_registration_network_is_refused():
    with pytest.raises(WeightsError, match="holds a SpikeReg, segmentation needs a MedSpikeFormer"):
        segment(np.zeros((16, 16), np.uint8), "hippocampus")


# ------------------------------------------------------------------------------------------------ real networks


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return {
        "pictures": save_tiny(folder / "pictures.safetensors", NetworkInput(size=(16, 16), fit="window")),
        "volumes": save_tiny(folder / "volumes.safetensors", TINY_VOLUMES),
    }


def test_the_program_finds_what_the_network_finds(tiny, rng):
    """In float32 sums may have another order: a spike differs where a potential lies on its threshold."""
    picture = rng.random((40, 30, 3), np.float32)
    trained = segment(picture, tiny["pictures"], weights="trained", probability=True, backend="numpy")
    program = segment(picture, tiny["pictures"], weights="float32", probability=True, backend="numpy")
    assert (trained.weights, program.weights) == ("trained", "float32")
    assert np.mean(trained.labels == program.labels) > 0.99
    assert np.median(np.abs(trained.probability - program.probability)) < 1e-4
    assert program.spike_rate == pytest.approx(trained.spike_rate, rel=1e-2)
    assert program.windows == trained.windows > 1


def test_counts_of_all_windows_add_up(tiny, rng):
    """A picture that repeats one window is counted as that window, so many times."""
    window = rng.random((16, 16, 3), np.float32)
    once = segment(window, tiny["pictures"], backend="numpy")
    found = segment(np.tile(window, (2, 3, 1)), tiny["pictures"], overlap=0, backend="numpy")
    assert found.windows == 6
    assert found.operations.total.synops == 6 * once.operations.total.synops > 0
    assert found.operations.ann_macs == 6 * once.operations.ann_macs > 0
    assert found.spike_rate == pytest.approx(once.spike_rate)
    np.testing.assert_array_equal(found.labels, np.tile(once.labels, (2, 3)))
    assert "projected" in found.summary()["projected_energy"]["conditions"]


def test_a_program_that_takes_too_much_is_refused_before_it_allocates(tiny, rng):
    picture = rng.random((60, 60, 3), np.float32)
    needed = segment(picture, tiny["pictures"], window=64, backend="numpy").peak
    segment(picture, tiny["pictures"], window=64, backend="numpy", memory_limit=needed)
    segmenter = Segmenter(tiny["pictures"], window=64, backend="numpy", memory_limit=needed - 1)
    tracemalloc.start()
    with pytest.raises(ProgramError, match=f"the limit is {needed - 1:,} bytes"):
        segmenter(picture)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < needed / 4


def test_a_real_network_does_not_mind_the_orientation_of_the_file(tiny, phantom, rng):
    small = Image(phantom.data[10:14, 9:24, 6:20] + rng.random((4, 15, 14)).astype(np.float32), np.eye(4))
    expected = segment(small, tiny["volumes"], backend="numpy").volume
    assert set(np.unique(expected.data)) == {0, 1, 2}
    for order, signs in ALL_48[1::16]:
        found = segment(turned(small, order, signs), tiny["volumes"], backend="numpy").volume
        np.testing.assert_array_equal(found.data, turned(expected, order, signs).data)
