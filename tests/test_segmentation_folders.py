"""Data sets of segmentation, built here as their owners lay them out, and the real ones where they are."""

import json

import numpy as np
import PIL.Image
import pytest

from pysnnmed.data import (
    Image,
    detect,
    duplicates,
    hold_out,
    leaks,
    load_case,
    load_volume,
    read_cases,
    slices_of,
    volume_of,
    write_nifti,
)
from pysnnmed.data.cases import Case
from pysnnmed.data.folders import CONVENTIONS
from pysnnmed.errors import ImageError, ParameterError

RNG = np.random.default_rng(11)
SHAPE = (12, 16)
SQUARE = np.zeros(SHAPE, bool)
SQUARE[3:9, 4:11] = True
ELSEWHERE = np.zeros(SHAPE, bool)
ELSEWHERE[0:2, 13:16] = True


def picture(path, shape=SHAPE, channels=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(0, 256, (*shape, channels), dtype=np.uint8)
    PIL.Image.fromarray(values if channels == 3 else values[..., 0]).save(path)
    return values


def masked(path, mask=SQUARE):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path)


def volume(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Image(data, np.diag([1.0, 1, 2, 1]) if affine is None else affine))


def plain(folder, mask="{}.png", image="images/{}.png", masks="masks", names="abc"):
    for name in names:
        picture(folder / image.format(name))
        masked(folder / masks / mask.format(name))


def kvasir(folder):
    plain(folder, mask="{}.jpg", image="images/{}.jpg")
    (folder / "kavsir_bboxes.json").write_text("{}")


def ham10000(folder):
    plain(folder, mask="{}_segmentation.png", image="images/{}.jpg", names=("ISIC_1", "ISIC_2", "ISIC_3"))


def vm_unet(folder):
    plain(folder / "train", names="ab")
    plain(folder / "val", names="c")


def isic(folder):
    for word, names in (("Training", ("ISIC_1", "ISIC_2")), ("Validation", ("ISIC_3",))):
        inputs = f"ISIC2018_Task1-2_{word}_Input"
        for name in names:
            picture(folder / inputs / f"{name}.jpg")
            picture(folder / inputs / f"{name}_superpixels.png")
            masked(folder / f"ISIC2018_Task1_{word}_GroundTruth" / f"{name}_segmentation.png")
        (folder / inputs / "ATTRIBUTION.txt").write_text("")
        (folder / inputs / "._ISIC_9.jpg").write_text("")


def busi(folder):
    for kind, number in (("benign", 1), ("malignant", 1)):
        picture(folder / kind / f"{kind} ({number}).png")
        masked(folder / kind / f"{kind} ({number})_mask.png")
    masked(folder / "benign" / "benign (1)_mask_1.png", ELSEWHERE)
    picture(folder / "normal" / "normal (1).png")


def kmms(folder):
    for side, names in (("kmms_training", "ab"), ("kmms_test", "c")):
        for name in names:
            picture(folder / side / "images" / f"{name}.tif")
            masked(folder / side / "masks" / f"{name}.png")


def patches(folder):
    for name in "012":
        picture(folder / f"img_{name}.png")
        masked(folder / f"label_{name}.png")


def covid(folder):
    plain(folder, image="Imgs/{}.jpg", masks="GT")


def nnu_net(folder):
    description = {"channel_names": {"0": "red", "1": "green", "2": "blue"}, "numTraining": 3, "file_ending": ".png"}
    for name in "abc":
        for channel in range(3):
            picture(folder / "imagesTr" / f"{name}_{channel:04}.png", channels=1)
        path = folder / "labelsTr" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(SQUARE.astype(np.uint8)).save(path)
    (folder / "dataset.json").write_text(json.dumps(description))


BUILDERS = {
    "kvasir": (kvasir, "images-masks"),
    "ham10000": (ham10000, "images-masks"),
    "vm-unet": (vm_unet, "vm-unet"),
    "isic": (isic, "isic-2018"),
    "busi": (busi, "busi"),
    "kmms": (kmms, "kmms"),
    "patches": (patches, "img-label"),
    "covid": (covid, "covid-19-ct"),
    "nnu-net": (nnu_net, "nnu-net"),
}


def test_every_convention_is_built_here():
    assert {name for _, name in BUILDERS.values()} == set(CONVENTIONS)


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_data_set_is_recognised_and_read(kind, tmp_path):
    build, convention = BUILDERS[kind]
    build(tmp_path)
    assert detect(tmp_path) == convention
    cases = read_cases(tmp_path)
    assert len(cases) == 3
    assert cases == read_cases(tmp_path, convention)
    assert [case.name for case in cases] == sorted(case.name for case in cases)
    for case in cases:
        sample = load_case(case)
        assert sample.picture.shape == (3, *SHAPE)
        assert sample.picture.dtype == np.float32
        if kind == "kvasir":
            assert np.count_nonzero(sample.mask != SQUARE) <= 8
        elif case.kind == "normal":
            assert not sample.mask.any()
        elif case.kind == "benign":
            np.testing.assert_array_equal(sample.mask, SQUARE | ELSEWHERE)
        else:
            np.testing.assert_array_equal(sample.mask, SQUARE)
    expected = {"vm-unet": {"train", "val"}, "isic": {"train", "val"}, "kmms": {"train", "test"}, "nnu-net": {"train"}}
    assert {case.side for case in cases} == expected.get(kind, {None})


@pytest.mark.parametrize("kind", BUILDERS)
def test_one_file_less_is_named(kind, tmp_path):
    BUILDERS[kind][0](tmp_path)
    case = next(case for case in read_cases(tmp_path) if case.masks and case.kind != "benign")
    for path in (case.image, case.masks[0]):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(ParameterError, match=r"mask|labels|needs the image"):
            read_cases(tmp_path)
        path.write_bytes(content)
    assert read_cases(tmp_path)


def test_a_normal_breast_is_a_mask_without_foreground_and_not_an_unknown(tmp_path):
    busi(tmp_path)
    (normal,) = (case for case in read_cases(tmp_path) if case.kind == "normal")
    assert normal.masks == ()
    assert load_case(Case("unseen", normal.image, None)).mask is None


def test_folders_that_cannot_be_read_are_named(tmp_path):
    def refused(match, folder=tmp_path, **options):
        with pytest.raises(ParameterError, match=match):
            read_cases(folder, **options)

    refused("no such folder", tmp_path / "absent")
    refused("is empty")
    (tmp_path / "notes.txt").write_text("")
    refused("looks like no known data set.*notes.txt.*isic-2018")
    refused("must be one of", convention="coco")
    refused("does not look like busi", convention="busi")
    plain(tmp_path / "inner")
    refused("inner in it looks like one")
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    refused("holds no image")
    plain(tmp_path)
    (tmp_path / "Imgs").mkdir()
    (tmp_path / "GT").mkdir()
    refused("images-masks and like covid-19-ct.*convention=")
    assert len(read_cases(tmp_path, "images-masks")) == 3
    picture(tmp_path / "images" / "a.tif")
    refused("'a' is already that of", convention="images-masks")
    xml = tmp_path / "monuseg"
    (xml / "Annotations").mkdir(parents=True)
    refused("XML", xml)


def test_a_false_description_is_refused(tmp_path):
    nnu_net(tmp_path)
    description = tmp_path / "dataset.json"
    good = json.loads(description.read_text())
    for text, match in (
        ("{", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("[1]", "must hold an object"),
        (json.dumps({**good, "numTraining": 4}), "numTraining is 4, labelsTr holds 3"),
        (json.dumps({**good, "channel_names": {}}), "at least one channel"),
        (json.dumps({**good, "channel_names": dict.fromkeys("0123", "")}), "a_0003"),
    ):
        description.write_text(text)
        with pytest.raises(ParameterError, match=match):
            read_cases(tmp_path)
    description.write_text(json.dumps(good))
    (tmp_path / "labelsTs").mkdir()
    with pytest.raises(ParameterError, match="imagesTs: cannot be listed"):
        read_cases(tmp_path)
    description.unlink()
    with pytest.raises(ParameterError, match="cannot be read"):
        read_cases(tmp_path)


def test_patients_are_found_in_names(tmp_path):
    plain(tmp_path, names=("p1-left", "p1-right", "p2-left"))
    assert [case.patient for case in read_cases(tmp_path)] == ["p1-left", "p1-right", "p2-left"]
    assert [case.patient for case in read_cases(tmp_path, patient=r"(p\d)-")] == ["p1", "p1", "p2"]
    assert [case.patient for case in read_cases(tmp_path, patient=r"p\d")] == ["p1", "p1", "p2"]
    for pattern, match in (("q", "finds nothing"), ("(", "no regular expression")):
        with pytest.raises(ParameterError, match=match):
            read_cases(tmp_path, patient=pattern)


def test_a_leak_of_the_folders_own_split_is_found(tmp_path):
    vm_unet(tmp_path)
    assert leaks(read_cases(tmp_path)) == []
    assert leaks(read_cases(tmp_path, patient="train|c")) == []  # two images of a patient on one side are no leak
    for kind in ("images", "masks"):
        (tmp_path / "val" / kind / "a.png").write_bytes((tmp_path / "train" / kind / "a.png").read_bytes())
        (tmp_path / "val" / kind / "z.png").write_bytes((tmp_path / "train" / kind / "b.png").read_bytes())
    cases = read_cases(tmp_path)
    assert [(a.name, b.name) for a, b in leaks(cases)] == [("train/a", "val/a")]
    found = {frozenset((a.name, b.name)) for a, b in leaks(cases, duplicates(cases))}
    assert found == {frozenset(("train/a", "val/a")), frozenset(("train/b", "val/z"))}


# ---------------------------------------------------------------------------------------------------- reading a case


def test_a_mask_of_another_size_is_refused_or_resized_as_stated(tmp_path):
    image, mask = tmp_path / "i.png", tmp_path / "m.png"
    picture(image)
    case = Case("a", image, (mask,))
    masked(mask, SQUARE.repeat(3, 0).repeat(3, 1))
    with pytest.raises(ImageError, match=r"m\.png: the mask has 36 x 48 pixels.*i\.png has 12 x 16; .*shape="):
        load_case(case)
    sample = load_case(case, shape=SHAPE)
    np.testing.assert_array_equal(sample.mask, SQUARE)
    assert sample.size == SHAPE
    assert load_case(case, shape=(6, 8)).picture.shape == (3, 6, 8)
    masked(mask, SQUARE.T)
    with pytest.raises(ImageError, match="do not show the same"):
        load_case(case, shape=SHAPE)


def test_a_turned_image_is_told_from_a_wrong_one(tmp_path):
    image, mask = tmp_path / "i.jpg", tmp_path / "m.png"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)).save(image, exif=exif)
    masked(mask)
    with pytest.raises(ImageError, match="turned as Exif says"):
        load_case(Case("a", image, (mask,)))


def test_channels_must_be_those_that_are_expected(tmp_path):
    image, mask = tmp_path / "i.png", tmp_path / "m.png"
    picture(image, channels=1)
    masked(mask)
    case = Case("a", image, (mask,))
    with pytest.raises(ImageError, match=r"i\.png: the picture has one channel"):
        load_case(case)
    assert load_case(case, 1).picture.shape == (1, *SHAPE)
    assert load_case(case, convert=True).picture.shape == (3, *SHAPE)
    both = Case("a", image, (mask,), channels=(image,))
    assert load_case(both, None).picture.shape == (2, *SHAPE)
    with pytest.raises(ImageError, match="2 channels where 3"):
        load_case(both)


def test_one_of_several_labels_can_be_the_foreground(tmp_path):
    image, mask = tmp_path / "i.png", tmp_path / "m.png"
    picture(image)
    PIL.Image.fromarray(SQUARE + 2 * ELSEWHERE.astype(np.uint8)).save(mask)
    case = Case("a", image, (mask,))
    with pytest.raises(ImageError, match=r"m\.png"):
        load_case(case)
    np.testing.assert_array_equal(load_case(case, labels=[2]).mask, ELSEWHERE)
    np.testing.assert_array_equal(load_case(case, labels=[1, 2]).mask, SQUARE | ELSEWHERE)


def test_a_decathlon_folder_of_volumes(tmp_path):
    data = RNG.integers(0, 999, (5, 6, 7)).astype(np.int16)
    for name in ("h_1", "h_2"):
        volume(tmp_path / "imagesTr" / f"{name}.nii.gz", data)
        volume(tmp_path / "labelsTr" / f"{name}.nii.gz", (data > 500).astype(np.uint8))
    (tmp_path / "imagesTs").mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "MRI"}, "numTraining": 2}))
    case = read_cases(tmp_path)[1]
    assert (case.name, case.patient, case.is_volume) == ("train/h_2", "h_2", True)
    (image,), labels = load_volume(case)
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_array_equal(labels.data, data > 500)
    with pytest.raises(ParameterError, match="load_volume"):
        load_case(case)
    volume(case.masks[0], np.zeros((5, 6, 7), np.uint8), np.diag([-1.0, 1, 2, 1]))
    with pytest.raises(ImageError, match="voxels away"):
        load_volume(case)
    volume(case.masks[0], np.zeros((5, 6, 8), np.uint8))
    with pytest.raises(ImageError, match=r"\(5, 6, 8\) voxels"):
        load_volume(case)


# ---------------------------------------------------------------------------------------------------- real data


def folder_of(real_data, name):
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name} in {real_data}")
    return real_data / name


def test_ham10000_is_read_whole(real_data):
    cases = read_cases(folder_of(real_data, "ham10000_skin"))
    assert len(cases) == 802
    assert duplicates(cases) == []
    palette = 0
    for case in cases[::20]:
        sample = load_case(case, shape=(128, 128))
        assert sample.size == (150, 200)
        assert 0 < sample.mask.mean() < 1
        with PIL.Image.open(case.masks[0]) as image:
            stored = np.asarray(image.convert("L")) > 127
            palette += image.mode == "P"
        assert abs(sample.mask.mean() - stored.mean()) < 0.01
        with pytest.raises(ImageError, match="450 x 600"):
            load_case(case)
    rest, held = hold_out(cases, 160)
    assert (len(rest), len(held)) == (642, 160)
    assert not {case.name for case in rest} & {case.name for case in held}


def test_monuseg_patches_are_read_whole(real_data):
    cases = read_cases(folder_of(real_data, "monuseg_patches"))
    assert len(cases) == 14
    for case in cases:
        sample = load_case(case)
        assert sample.picture.shape == (3, 256, 256)
        assert 0.02 < sample.mask.mean() < 0.6
        assert sample.ambiguous == 0


def test_hippocampus_slices_come_back_as_the_volume_they_were(real_data):
    cases = read_cases(folder_of(real_data, "msd_hippocampus"))
    assert len(cases) == 200
    for case in cases[::40]:
        (image,), labels = load_volume(case)
        for plane in ("sagittal", "coronal", "axial"):
            back = volume_of(slices_of(labels, plane)[:, 0], image, plane)
            np.testing.assert_array_equal(back.data, labels.data)
            np.testing.assert_array_equal(back.affine, image.affine)
