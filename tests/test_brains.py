"""Generated brains: maps are read without trust, pairs are reproducible, in range, and show the anatomy given."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysnnmed.data.brains import (
    EVALUATION,
    STRUCTURES,
    Atlas,
    BrainPair,
    Head,
    Variety,
    cut,
    generate_brain_pair,
    moved,
    paint,
    paired,
    random_contrast,
    read_heads,
    t1_contrast,
    turned,
)
from pysnnmed.data.geometry import reorient
from pysnnmed.data.images import Image, normalize_intensity
from pysnnmed.errors import ImageError, ParameterError
from pysnnmed.metrics.overlap import mean_dice
from pysnnmed.registration import register
from pysnnmed.train.pairs import held_out_pairs, labels_of, load_pairs
from pysnnmed.train.recipe import DataRecipe, Recipe, load_recipe

seeds = st.integers(0, 2**32 - 1)
NUMBERS = np.array([0, 24, 2, 41, 136, 25, 507], np.int32)
STILL = Variety(
    same_head=0, stripped=0, one_stripped=0, rotation=0, scaling=0, shift=0, elastic=(0, 0), mirrored=False, turned=0
)


def invented_atlas():
    classes = np.array([0, 1, 2, 2, 1, 3, 4])
    mean = np.array([[0.02, 0.2, 0.8, 0.6, 0.4], [0.005] * 5])
    std = np.array([[0.01] * 5, [0.002] * 5])
    return Atlas(NUMBERS, classes, mean, std)


def invented_head(name="a", shape=(20, 24, 22)):
    """A box of skull around fluid around two hemispheres with a ventricle and a lesion; rows as in NUMBERS."""
    labels = np.zeros(shape, np.uint8)
    labels[2:-2, 2:-2, 2:-2] = 6
    labels[4:-4, 4:-4, 4:-4] = 1
    labels[5:10, 6:-6, 6:-6] = 2
    labels[10:-5, 6:-6, 6:-6] = 3
    labels[8, 9:-9, 8:-8] = 4
    labels[6, 8:11, 8:11] = 5
    return Head(name, labels)


def write_maps(folder, heads, numbers=NUMBERS, **changes):
    """Maps as a folder holds them: axes L, I, A, indices into each file's own row of numbers."""
    atlas = invented_atlas()
    tables = {
        "generation_labels": numbers,
        "generation_classes_contrast_specific": atlas.classes,
        "prior_means_t1": atlas.t1_mean * 255,
        "prior_stds_t1": atlas.t1_std * 255,
        **changes,
    }
    for name, table in tables.items():
        np.save(folder / f"{name}.npy", table)
    for head in heads:
        order = np.argsort(NUMBERS)  # a file's row is sorted; that of the atlas is not
        rank = np.argsort(order).astype(np.uint8)
        lia = rank[head.labels][::-1].transpose(0, 2, 1)[:, ::-1]
        np.savez_compressed(folder / f"seg_{head.name}_half.npz", seg=lia, labels=NUMBERS[order].astype(np.int16))
    return folder


# ---------------------------------------------------------------------------------------------------- pairs


@settings(max_examples=10)
@given(seed=seeds)
def test_a_pair_is_what_it_promises_and_its_seed_gives_it_again(seed):
    heads = [invented_head("a"), invented_head("b", (20, 24, 22))]
    first, second = (generate_brain_pair(heads, invented_atlas(), np.random.default_rng(seed)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for image in (first.fixed, first.moving):
        assert image.dtype == np.float32
        assert image.min() == 0
        assert image.max() == 1
    for labels in (first.fixed_labels, first.moving_labels):
        assert labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 2, 4, 41}  # the ventricle is one structure, the lesion white matter
    assert len({array.shape for array in first}) == 1


@given(seed=seeds)
def test_without_motion_labels_are_those_of_the_heads(seed):
    a, b = invented_head(), invented_head("b")
    b.labels[5:8] = 0
    pair = paired(a, b, invented_atlas(), np.random.default_rng(seed), STILL)
    np.testing.assert_array_equal(pair.fixed_labels, invented_atlas().structures[a.labels])
    np.testing.assert_array_equal(pair.moving_labels, invented_atlas().structures[b.labels])


@given(seed=seeds, shift=st.floats(0, 3), angle=st.floats(0, 8))
def test_motion_keeps_the_labels_and_moves_no_farther_than_it_may(seed, shift, angle):
    labels = invented_head().labels
    variety = replace(STILL, shift=shift, rotation=angle, scaling=0.05, elastic=(0, 2))
    out = moved(labels, np.random.default_rng(seed), variety)
    assert out.shape == labels.shape
    assert set(np.unique(out)) <= set(np.unique(labels))
    unmoved = moved(labels, np.random.default_rng(seed), STILL)
    np.testing.assert_array_equal(unmoved, labels)


def test_shifting_alone_shifts(rng):
    labels = np.arange(12 * 12 * 12, dtype=np.uint16).reshape(12, 12, 12)
    for _ in range(20):
        out = moved(labels, rng, replace(STILL, shift=2))
        from_where = np.array(np.unravel_index(int(out[6, 6, 6]), labels.shape))
        assert (np.abs(from_where - 6) <= 2).all()
        inner = tuple(slice(3 + d, 9 + d) for d in from_where - 6)
        np.testing.assert_array_equal(out[3:9, 3:9, 3:9], labels[inner])


def test_intensities_are_those_of_the_class(rng):
    """White matter (class 2) bright, fluid (class 1) dark, whatever the scaling, where the priors say so."""
    head, atlas = invented_head(), invented_atlas()
    for stripped in (False, True):
        image = paint(head.labels, t1_contrast(atlas, rng, STILL), atlas, rng, replace(STILL, bias=(0, 0)), stripped)
        white = image[head.labels == 2].mean()
        assert white > image[head.labels == 4].mean() + 0.1
        skull = image[head.labels == 6]
        assert (skull == 0).mean() > 0.95 if stripped else skull.mean() > 0.1


def test_both_images_share_a_random_contrast_or_not(rng):
    atlas, head = invented_atlas(), invented_head()
    clean = replace(STILL, random_contrast=1, blur=(0, 0), noise=(0, 0), bias=(0, 0), gamma=0)

    def differences(two):
        pairs = [paired(head, head, atlas, rng, replace(clean, two_contrasts=two)) for _ in range(10)]
        return np.array([np.abs(p.fixed - p.moving).mean() for p in pairs])

    assert differences(0).max() < 0.12  # noise of the tissue alone
    assert np.median(differences(1)) > 0.12


def test_stripping_says_how_often(rng):
    atlas, head = invented_atlas(), invented_head()

    def bare(variety):
        pair = paired(head, head, atlas, rng, variety)
        return [(image[head.labels == 6] == 0).mean() > 0.95 for image in (pair.fixed, pair.moving)]

    assert bare(replace(STILL, stripped=1)) == [True, True]
    assert bare(STILL) == [False, False]
    sides = [bare(replace(STILL, one_stripped=1)) for _ in range(12)]
    assert all(a != b for a, b in sides)
    assert [True, False] in sides
    assert [False, True] in sides


def test_a_random_contrast_leaves_the_outside_dark(rng):
    contrast = random_contrast(invented_atlas(), rng, STILL)
    assert contrast.mean[0] <= 0.1 <= contrast.mean[1:].min()


def counting(shape=(6, 7, 8)):
    """A pair whose four arrays tell voxels apart and belong together."""
    a = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    labels = np.zeros(shape, np.uint8)
    labels[2:4, 3:5, 2:6] = 3
    return BrainPair(a, a + 1, labels, labels.copy())


@given(seed=seeds)
def test_turning_treats_all_arrays_alike_and_loses_nothing(seed):
    before = counting()
    pair = turned(before, np.random.default_rng(seed), replace(STILL, turned=1))
    np.testing.assert_array_equal(pair.fixed + 1, pair.moving)
    np.testing.assert_array_equal(pair.fixed_labels, pair.moving_labels)
    assert set(pair.fixed[pair.fixed_labels > 0]) == set(before.fixed[before.fixed_labels > 0])
    np.testing.assert_array_equal(np.sort(pair.fixed, axis=None), np.sort(before.fixed, axis=None))
    assert sorted(pair.fixed.shape) == [6, 7, 8]
    assert all(array.flags.c_contiguous for array in pair)


def test_mirroring_exchanges_the_first_axis_only(rng):
    a = counting()
    outs = [turned(a, rng, replace(STILL, mirrored=True)).fixed for _ in range(20)]
    assert {(o == a.fixed).all() for o in outs} == {True, False}
    assert all((o == a.fixed).all() or (o == a.fixed[::-1]).all() for o in outs)


@given(seed=seeds, box=st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 8)))
def test_a_cut_is_one_box_of_all_arrays_and_shows_a_structure(seed, box):
    before = counting()
    pair = cut(before, box, np.random.default_rng(seed))
    assert all(array.shape == box for array in pair)
    first = np.array(np.unravel_index(int(pair.fixed[0, 0, 0]), before.fixed.shape))
    place = tuple(slice(f, f + b) for f, b in zip(first, box, strict=True))
    for whole, part in zip(before, pair, strict=True):
        np.testing.assert_array_equal(whole[place], part)
    assert pair.fixed_labels.any()


def test_a_box_must_fit(rng):
    with pytest.raises(ParameterError, match=r"\(9, 2, 2\) does not fit"):
        cut(counting(), (9, 2, 2), rng)


def test_no_heads_no_pair(rng):
    with pytest.raises(ParameterError, match="at least one head"):
        generate_brain_pair([], invented_atlas(), rng)


# --------------------------------------------------------------------------------------------------- reading


def test_maps_are_read_in_ras_with_one_row_of_numbers(tmp_path):
    heads = [invented_head("01"), invented_head("02", (16, 20, 18))]
    write_maps(tmp_path, heads)
    found, atlas = read_heads(tmp_path, (0, 20))
    for ours, theirs in zip(heads, found, strict=True):
        np.testing.assert_array_equal(theirs.labels, ours.labels)
    np.testing.assert_array_equal(atlas.numbers, NUMBERS)
    np.testing.assert_allclose(atlas.t1_mean, invented_atlas().t1_mean)
    assert [head.name for head in read_heads(tmp_path, (1, 2))[0]] == ["seg_02_half"]


def test_the_folder_above_does_as_well(tmp_path):
    inner = tmp_path / "synthseg_label_maps"
    inner.mkdir()
    write_maps(inner, [invented_head()])
    assert len(read_heads(tmp_path, (0, 1))[0]) == 1


def pickled(path: Path):
    np.savez(path, seg=np.array([{}], object), labels=NUMBERS)


def huge(path: Path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**5,) * 3})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("seg.npy", header.getvalue())


def floats(path: Path):
    np.savez(path, seg=np.zeros((4, 4, 4)), labels=NUMBERS)


def flat(path: Path):
    np.savez(path, seg=np.zeros((4, 4), np.uint8), labels=NUMBERS)


def stranger(path: Path):
    np.savez(path, seg=np.zeros((4, 4, 4), np.uint8), labels=np.array([0, 99]))


def beyond(path: Path):
    np.savez(path, seg=np.full((4, 4, 4), 9, np.uint8), labels=NUMBERS)


def shortened(path: Path):
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (pickled, "integers"),
        (huge, "claims 1000000000000000 elements"),
        (floats, "integers"),
        (flat, r"shape \(any, any, any\)"),
        (stranger, r"\[99\] are not in generation_labels"),
        (beyond, "indices must be 0 to 6"),
        (shortened, "damaged"),
    ],
)
def test_maps_that_cannot_be_trusted_are_refused(tmp_path, damage, says):
    write_maps(tmp_path, [invented_head("01")])
    damage(tmp_path / "seg_01_half.npz")
    with pytest.raises(ImageError, match=says) as caught:
        read_heads(tmp_path, (0, 1))
    assert "seg_01_half.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "value", "says"),
    [
        ("generation_labels", np.array([2, 0, 24, 41, 136, 25, 507]), "0 first"),
        ("generation_labels", np.array([0, 2, 2, 41, 136, 25, 507]), "different labels"),
        ("generation_classes_contrast_specific", np.array([0, 1, 2, 2, 1, 3, 9]), "use up to 9"),
        ("generation_classes_contrast_specific", np.zeros(6, int), "shape"),
        ("prior_means_t1", np.full((2, 5), np.nan), "NaN"),
        ("prior_stds_t1", np.zeros((2, 4)), "the priors know"),
        ("prior_stds_t1", np.array([{}], object), "floating-point"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, table, value, says):
    write_maps(tmp_path, [invented_head()], **{table: value})
    with pytest.raises(ImageError, match=says):
        read_heads(tmp_path, (0, 1))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ImageError, match="no label maps"):
        read_heads(tmp_path, (0, 1))
    write_maps(tmp_path, [invented_head()])
    (tmp_path / "prior_stds_t1.npy").unlink()
    with pytest.raises(ImageError, match=r"prior_stds_t1\.npy, which cannot be read"):
        read_heads(tmp_path, (0, 1))


# --------------------------------------------------------------------------------------------------- recipes


def brains_recipe(**data):
    return Recipe("brains", data=DataRecipe(kind="brains", train=(0, 2), test=(1, 3), held_out_pairs=3, **data))


def test_a_recipe_of_brains_draws_and_holds_out(tmp_path):
    heads = [invented_head("01"), invented_head("02"), invented_head("03")]
    write_maps(tmp_path, heads)
    recipe = brains_recipe(generated_fraction=0.0, generated_pairs=0)
    sampler = load_pairs(recipe, tmp_path)
    assert len(sampler.subjects) == 2
    one, again, other = (sampler(np.random.default_rng(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one.fixed.image, again.fixed.image)
    assert (one.fixed.image != other.fixed.image).any()
    boxed = load_pairs(brains_recipe(generated_pairs=0, painted_pairs=2, box=(8, 8, 16), turned=1.0), tmp_path)
    assert len(boxed.subjects.painted) == 2
    assert {tuple(sorted(boxed(np.random.default_rng(k)).moving.labels.shape)) for k in range(5)} == {(8, 8, 16)}
    pairs, same = held_out_pairs(recipe, tmp_path), held_out_pairs(recipe, tmp_path)
    assert len(pairs) == 3
    assert set(labels_of(pairs)) == {2, 4, 41}
    for a, b in zip(pairs, same, strict=True):
        np.testing.assert_array_equal(a.moving.image, b.moving.image)


def test_the_kind_of_data_is_one_that_exists():
    with pytest.raises(ParameterError, match="'volumes' or 'brains', not 'hearts'"):
        DataRecipe(kind="hearts")


def test_the_shipped_recipe_holds_out_maps_it_never_trains_on():
    data = load_recipe("brain").data
    assert data.kind == "brains"
    assert data.train[1] <= data.test[0]


# ------------------------------------------------------------------------------------------------- real maps


@pytest.fixture(scope="module")
def maps(real_data):
    folder = real_data / "synthseg_label_maps"
    if not folder.is_dir():
        pytest.skip("no label maps of heads: the data folder has no synthseg_label_maps")
    return folder


def test_real_maps_show_every_structure_on_the_side_its_number_says(maps):
    heads, atlas = read_heads(maps, (16, 20))
    assert len(STRUCTURES) == 27
    for head in heads:
        labels = atlas.structures[head.labels]
        assert head.labels.shape == (80, 112, 96)
        assert set(np.unique(labels)) == {0, *STRUCTURES}
        centre = {n: np.argwhere(labels == n).mean(axis=0) for n in (3, 42, 8, 16, 4)}
        assert centre[3][0] < centre[42][0]  # left before right, posterior before anterior, inferior before superior
        assert centre[8][1] < centre[4][1]
        assert centre[16][2] < centre[4][2]


def test_a_real_pair_is_misaligned_but_not_lost(maps):
    heads, atlas = read_heads(maps, (16, 18))
    pair = paired(*heads, atlas, np.random.default_rng(0), EVALUATION)
    assert 0.3 < mean_dice(pair.fixed_labels, pair.moving_labels, STRUCTURES) < 0.7
    np.testing.assert_allclose(normalize_intensity(pair.fixed), pair.fixed, atol=0.05)


def scan(head, atlas, rng):
    """A head of 2 mm painted on voxels of 1 mm, in the order of axes that FreeSurfer writes. -> (image, structures)"""
    fine = head.labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    labels = moved(fine, rng, replace(EVALUATION, shift=2.0))
    image = paint(labels, t1_contrast(atlas, rng, EVALUATION), atlas, rng, EVALUATION, stripped=True)
    return tuple(reorient(Image(a, np.eye(4)), "LIA") for a in (image, atlas.structures[labels]))


@pytest.mark.slow
def test_the_shipped_network_registers_scans_of_1_mm_without_folding(maps):
    heads, atlas = read_heads(maps, (16, 18))
    rng = np.random.default_rng(3)
    (fixed, fixed_labels), (moving, moving_labels) = (scan(head, atlas, rng) for head in heads)
    assert fixed.shape == (160, 192, 224)
    result = register(moving, fixed, moving_labels=moving_labels, model="brain")
    before = mean_dice(fixed_labels.data, moving_labels.data, STRUCTURES)
    assert mean_dice(fixed_labels.data, result.moved_labels.data, STRUCTURES) > before + 0.05
    assert result.folding == 0
    assert result.spike_rate < 0.128
    assert {spikes.shape[0] for spikes in result.spikes.values()} == {4}
