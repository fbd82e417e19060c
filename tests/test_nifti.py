"""Reading NIfTI: as nibabel reads sound files, and a sentence for all others. Writing: exact and repeatable."""

import contextlib
import gzip
import subprocess
import sys
import tracemalloc
from pathlib import Path

import malformed_nifti as corpus
import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysnnmed.data import Image, read_nifti, write_nifti
from pysnnmed.data.affines import rotation_from_quaternion
from pysnnmed.errors import FileError, ImageError, ParameterError

CASES = corpus.cases()
MEMORY = 32 * 2**20  # bytes; the corpus claims up to 2^186


def file_of(content, folder, name="image.nii.gz"):
    path = folder / name
    path.write_bytes(content)
    return path


def image_of(data, affine=corpus.RAS):
    return Image(data, affine)


def test_the_corpus_is_large_and_its_names_are_unique():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_file_of_the_corpus_is_read_right_or_refused_with_a_sentence(case, tmp_path):
    path = file_of(case.content, tmp_path)
    tracemalloc.start()
    try:
        if case.refused is None:
            image = read_nifti(path, **case.options)
            np.testing.assert_array_equal(image.data, case.voxels)
            np.testing.assert_allclose(image.affine, case.affine, atol=1e-5)
            assert image.data.dtype == case.voxels.dtype
            assert image.data.dtype.isnative
        else:
            with pytest.raises(ImageError) as caught:
                read_nifti(path, **case.options)
            assert str(caught.value).startswith(f"{path}: ")
            assert case.refused in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.img", "no ending"])
def test_the_content_decides_what_is_compressed_not_the_name(name, tmp_path):
    for content in (corpus.nifti(), corpus.packed(corpus.nifti())):
        np.testing.assert_array_equal(read_nifti(file_of(content, tmp_path, name)).data, corpus.VOXELS)


def test_a_large_claim_takes_no_memory(tmp_path):
    """Measured from outside, in a fresh process: 1 MiB of noise that claims to be 1 GiB, compressed."""
    noise = np.random.default_rng(0).bytes(2**20)
    head = corpus.header(dim=[3, 1024, 1024, 128, 1, 1, 1, 1], datatype=64, bitpix=64)
    path = file_of(gzip.compress(head + bytes(4) + noise, mtime=0), tmp_path)
    code = (
        "import resource, sys\n"
        "from pysnnmed.data import read_nifti\n"
        "from pysnnmed.errors import ImageError\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try: read_nifti(sys.argv[1])\n"
        "except ImageError as error: print(peak() - before, error)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=root)
    kilobytes, _, message = done.stdout.partition(" ")
    assert int(kilobytes) * 1024 < MEMORY
    assert "cut short: 1048576 of 1073741824 bytes" in message


def test_no_flipped_bit_of_a_compressed_file_changes_a_value(tmp_path, rng):
    content = corpus.packed(corpus.nifti())
    accepted = 0
    for bit in rng.choice(8 * len(content), 300, replace=False):
        path = file_of(corpus.flipped(content, int(bit)), tmp_path)
        try:
            image = read_nifti(path)
        except ImageError:
            continue
        accepted += 1
        np.testing.assert_array_equal(image.data, corpus.VOXELS)
        np.testing.assert_array_equal(image.affine, corpus.RAS)
    assert accepted < 30  # time stamp and operating system in the gzip header


def test_a_file_cut_anywhere_is_refused(tmp_path):
    for content in (corpus.nifti(), corpus.packed(corpus.nifti())):
        for length in range(0, len(content), 7):
            with pytest.raises(ImageError):
                read_nifti(file_of(content[:length], tmp_path))


@given(start=st.integers(0, 351), noise=st.binary(min_size=1, max_size=8), compress=st.booleans())
def test_no_damage_to_the_header_raises_anything_but_an_image_error(start, noise, compress, tmp_path_factory):
    content = bytearray(corpus.nifti())
    content[start : start + len(noise)] = noise
    path = file_of(corpus.packed(bytes(content)) if compress else bytes(content), tmp_path_factory.getbasetemp())
    with contextlib.suppress(ImageError):
        read_nifti(path)


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.nii", Path("/dev/zero")):
        with pytest.raises(ImageError, match=r"cannot be read|not a file"):
            read_nifti(path)


def test_an_unknown_form_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="'agreed', 'sform' or 'qform'"):
        read_nifti(file_of(corpus.nifti(), tmp_path), form="best")


# Writing

STORED = ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"]


FINITE = {"allow_nan": False, "allow_infinity": False, "max_value": 2.0**100, "min_value": -(2.0**100)}


@st.composite
def volumes(draw):
    dtype = draw(st.sampled_from(STORED))
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))
    return draw(hnp.arrays(dtype, shape, elements=FINITE if dtype[0] == "f" else None))


@given(data=volumes(), compress=st.booleans(), fortran=st.booleans())
def test_what_is_written_reads_back_unchanged_and_nibabel_agrees(data, compress, fortran, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / ("image.nii.gz" if compress else "image.nii")
    write_nifti(path, image_of(np.asfortranarray(data) if fortran else data))
    ours, theirs = read_nifti(path), nibabel.load(path)
    np.testing.assert_array_equal(ours.data, data)
    assert ours.data.dtype == data.dtype
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), data)
    for affine in (ours.affine, theirs.affine, theirs.get_qform()):
        np.testing.assert_allclose(affine, corpus.RAS, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (np.array([[[True, False]]]), "u1"),
        (np.array([[[0, 300]]], "i8"), "i2"),
        (np.array([[[0, 2**31]]], "u8"), "u4"),
        (np.array([[[-1, 530]]], "i8"), "i2"),
        (np.array([[[0.5, 7]]], "f2"), "f4"),
        (np.array([[[1, 2]]], ">i4"), "i4"),
        (np.arange(12).reshape(2, 3, 2)[::-1, ::2], "u1"),
    ],
)
def test_other_types_are_written_exactly_in_a_common_one(data, stored, tmp_path):
    write_nifti(tmp_path / "x.nii", image_of(data))
    image = read_nifti(tmp_path / "x.nii")
    np.testing.assert_array_equal(image.data, data)
    assert image.data.dtype == np.dtype(stored)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_not_written(bad, tmp_path):
    with pytest.raises(ImageError, match=r"x\.nii: the image holds NaN"):
        write_nifti(tmp_path / "x.nii", image_of(np.full((2, 2, 2), bad)))
    assert not list(tmp_path.iterdir())


def test_integers_that_fit_no_type_are_not_written(tmp_path):
    with pytest.raises(ImageError, match="float64"):
        write_nifti(tmp_path / "x.nii", image_of(np.array([[[-(2**40), 2**40]]])))


def test_writing_is_repeatable_and_keeps_the_facts_of_the_header(tmp_path):
    source = file_of(corpus.nifti(sform_code=4, qform_code=4, descrip=b"a scan"), tmp_path)
    image = read_nifti(source)
    write_nifti(tmp_path / "a.nii.gz", image)
    write_nifti(tmp_path / "b.nii.gz", image.with_data(image.data.copy(order="C")))
    write_nifti(tmp_path / "c.nii.gz", image.data, like=image)
    first, second, third = ((tmp_path / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz"))
    assert first == second == third
    assert first[3:8] == bytes(5)  # no flags, no time
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert (header["sform_code"], header["qform_code"], header["descrip"]) == (4, 4, b"a scan")


def test_sheared_axes_are_written_in_the_sform_alone(tmp_path):
    sheared = corpus.RAS.copy()
    sheared[0, 1] = 0.5
    write_nifti(tmp_path / "x.nii", image_of(corpus.VOXELS, sheared))
    np.testing.assert_allclose(read_nifti(tmp_path / "x.nii").affine, sheared, atol=1e-6)
    assert nibabel.load(tmp_path / "x.nii").header["qform_code"] == 0


def test_writing_says_what_is_wrong(tmp_path):
    image = image_of(corpus.VOXELS)
    with pytest.raises(ParameterError, match=r"\.nii or \.nii\.gz"):
        write_nifti(tmp_path / "x.img", image)
    with pytest.raises(ParameterError, match="like="):
        write_nifti(tmp_path / "x.nii", corpus.VOXELS)
    with pytest.raises(FileError, match="No such file"):
        write_nifti(tmp_path / "missing" / "x.nii", image)
    with pytest.raises(ImageError, match="32767"):
        write_nifti(tmp_path / "x.nii", image_of(np.zeros((40000, 1, 1), np.uint8)))


@given(quaternion=hnp.arrays("f8", 4, elements=st.floats(-1, 1)), mirrored=st.booleans())
def test_any_rotation_survives_in_both_forms(quaternion, mirrored, tmp_path_factory):
    norm = np.linalg.norm(quaternion)
    quaternion = quaternion / norm if norm > 1e-3 else np.array([0.0, 0, 0, 1])
    rotation = nibabel.quaternions.quat2mat(quaternion)
    np.testing.assert_allclose(
        rotation_from_quaternion(*quaternion[1:] * np.sign(quaternion[0] or 1)), rotation, atol=1e-7
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * [0.7, 1.1, -3 if mirrored else 3]
    affine[:3, 3] = [-80, 100, 20]
    path = tmp_path_factory.getbasetemp() / "turned.nii"
    write_nifti(path, image_of(np.zeros((100, 90, 30), np.uint8), affine))
    np.testing.assert_allclose(read_nifti(path).affine, affine, atol=1e-5)
    theirs = nibabel.load(path)
    np.testing.assert_allclose(theirs.affine, affine, atol=1e-5)
    if abs(quaternion[0]) > 0.05:  # nearer to a half turn single precision may not hold the qform
        np.testing.assert_allclose(theirs.get_qform(coded=True)[0], affine, atol=1e-5)


# Real files


def real_volumes(real_data, every):
    files = sorted(real_data.glob("msd_hippocampus/*/*.nii.gz"))
    return files[:: max(1, len(files) // every)] + sorted(real_data.glob("ixi_label_maps/*.nii.gz"))


def equals_nibabel(path):
    ours, theirs = read_nifti(path), nibabel.load(path)
    np.testing.assert_array_equal(ours.data, np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-6)
    assert ours.orientation == "".join(nibabel.aff2axcodes(theirs.affine))


def test_real_volumes_read_as_nibabel_reads_them(real_data):
    for path in real_volumes(real_data, every=20):
        equals_nibabel(path)


@pytest.mark.slow
def test_all_real_volumes_read_as_nibabel_reads_them(real_data):
    for path in real_volumes(real_data, every=10**6):
        equals_nibabel(path)


def test_real_labels_survive_a_round_trip(real_data, tmp_path):
    for path in real_volumes(real_data, every=5)[-4:]:
        image = read_nifti(path)
        write_nifti(tmp_path / "x.nii.gz", image)
        again = read_nifti(tmp_path / "x.nii.gz")
        np.testing.assert_array_equal(again.data, image.data)
        np.testing.assert_array_equal(again.affine, image.affine)
