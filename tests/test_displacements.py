"""Displacement fields mean the same to us, to ITK, to Learn2Reg and to VoxelMorph."""

import io
import zipfile

import malformed_nifti as corpus
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ALL_48, between_voxels, random_affine, seen, shifted, turned, voxel_indices, world_points
from scipy import ndimage

from pysnnmed.data import (
    Displacement,
    Image,
    displacement_to_voxels,
    displacement_to_world,
    read_displacement,
    warp_image,
    warp_points,
    write_displacement,
    write_nifti,
)
from pysnnmed.data.displacements import displacement_to_indices, indices_to_displacement
from pysnnmed.errors import ImageError, ParameterError, ShapeError

SHAPE = (11, 10, 9)
FILES = [("itk", "nii"), ("itk", "nii.gz"), ("voxel", "nii.gz"), ("l2r", "nii.gz"), ("l2r", "npz"), ("vxm", "nii.gz"),
         ("vxm", "npz")]  # fmt: skip
OBLIQUE = random_affine(np.random.default_rng(5), spacing=(1.0, 2.0))
AFFINES = {
    "identity": np.eye(4),
    "LAS, anisotropic": np.array([[-1.0, 0, 0, 9], [0, 1.5, 0, -4], [0, 0, 2.5, 3], [0, 0, 0, 1]]),
    "oblique": OBLIQUE,
}
seeds = st.integers(0, 2**32 - 1)


def smooth(x):
    """A function of world points with curvature, about 0 to 10."""
    return 5 + 2 * np.sin(x[0] / 5) + 2 * np.cos(x[1] / 6) + np.sin(x[2] / 4)


def displacement(rng, affine, shape=SHAPE, dtype=np.float32, moving_affine=None):
    coarse = rng.normal(size=(3, 3, 3, 3))
    world = np.stack([ndimage.zoom(c, [n / 3 for n in shape], order=1) for c in coarse]).astype(dtype)
    return Displacement(world, affine, affine if moving_affine is None else moving_affine)


def on(affine, shape=SHAPE):
    return Image(np.zeros(shape, np.uint8), affine)


# Conversions


@given(seeds)
def test_conversions_are_inverse_to_each_other(seed):
    rng = np.random.default_rng(seed)
    affine, moving_affine = random_affine(rng), random_affine(rng)
    w = rng.normal(size=(3, *SHAPE))
    np.testing.assert_allclose(displacement_to_world(displacement_to_voxels(w, affine), affine), w, atol=1e-10)
    indices = displacement_to_indices(w, affine, moving_affine)
    np.testing.assert_allclose(indices_to_displacement(indices, affine, moving_affine), w, atol=1e-9)
    np.testing.assert_allclose(displacement_to_indices(w, affine, affine), displacement_to_voxels(w, affine), atol=1e-9)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    expected = voxel_indices(world_points(affine, SHAPE) + w, moving_affine)
    np.testing.assert_allclose(grid + indices, expected, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conversions_keep_the_precision(dtype, rng):
    w = rng.normal(size=(3, *SHAPE)).astype(dtype)
    for convert in (displacement_to_world, displacement_to_voxels):
        assert convert(w, OBLIQUE).dtype == dtype
    for convert in (displacement_to_indices, indices_to_displacement):
        assert convert(w, OBLIQUE, np.eye(4)).dtype == dtype


def test_one_voxel_along_each_axis_is_its_direction_and_spacing():
    affine = AFFINES["LAS, anisotropic"]
    np.testing.assert_array_equal(displacement_to_world(np.eye(3), affine), np.diag([-1, 1.5, 2.5]))


@pytest.mark.parametrize(
    ("world", "error", "message"),
    [
        (np.zeros((2, 3, 3, 3)), ShapeError, r"\[3, I, J, K\]"),
        (np.zeros((3, 3, 3)), ShapeError, r"\[3, I, J, K\]"),
        (np.zeros((3, 3, 3, 3), int), ShapeError, "floating-point"),
        (np.full((3, 3, 3, 3), np.nan), ImageError, "NaN"),
    ],
)
def test_what_is_no_displacement_is_refused(world, error, message):
    with pytest.raises(error, match=message):
        Displacement(world, np.eye(4))


# Our files


@pytest.mark.parametrize(("format", "ending"), FILES)
def test_50_random_geometries_survive_writing_and_reading(format, ending, tmp_path, rng):
    path = tmp_path / f"warp.{ending}"
    for _ in range(50):
        affine, moving_affine = random_affine(rng), random_affine(rng)
        ours = displacement(rng, affine, (4, 3, 5), moving_affine=moving_affine)
        write_displacement(path, ours, format)
        fixed, moving = on(affine, (4, 3, 5)), on(moving_affine)
        for read in (read_displacement(path, fixed=fixed, moving=moving),
                     read_displacement(path, format, fixed=fixed, moving=moving)):  # fmt: skip
            np.testing.assert_allclose(read.world, ours.world, atol=2e-4)
            np.testing.assert_allclose(read.affine, ours.affine, atol=1e-4)
            np.testing.assert_array_equal(read.moving_affine, ours.moving_affine)


@pytest.mark.parametrize(("format", "ending"), FILES)
def test_files_are_repeatable_and_keep_what_the_world_is(format, ending, tmp_path, rng):
    ours = displacement(rng, OBLIQUE)
    ours = Displacement(ours.world, ours.affine, ours.moving_affine, form_code=4)
    for name in ("a", "b"):
        write_displacement(tmp_path / f"{name}.{ending}", ours, format)
    first, second = (tmp_path / f"{name}.{ending}" for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    if ending != "npz":
        assert nibabel.load(first).header["sform_code"] == 4
        assert b"displacement" in nibabel.load(first).header["descrip"].tobytes()


@pytest.mark.parametrize(
    ("format", "shape", "intent"), [("itk", (1, 3), 1007), ("voxel", (1, 3), 1006), ("l2r", (3,), 0)]
)
def test_axes_and_intents_are_those_of_the_format(format, shape, intent, tmp_path, rng):
    write_displacement(tmp_path / "w.nii.gz", displacement(rng, OBLIQUE), format)
    file = nibabel.load(tmp_path / "w.nii.gz")
    assert file.shape == SHAPE + shape
    assert file.header["intent_code"] == intent
    assert file.get_data_dtype() == np.float32


# Learn2Reg and VoxelMorph


@pytest.mark.parametrize(("format", "ending"), FILES[3:])
@pytest.mark.parametrize("geometry", AFFINES)
def test_map_coordinates_moves_the_array_as_we_move_the_image(format, ending, geometry, tmp_path, rng):
    """The evaluation of Learn2Reg, and the spatial transformer of VoxelMorph, as published: array and index only."""
    affine = AFFINES[geometry]
    moving = Image(smooth(world_points(random_affine(rng), (12, 9, 10))), shifted(affine, 2, -1, 1))
    ours = displacement(rng, affine, moving_affine=moving.affine)
    path = tmp_path / f"w.{ending}"
    write_displacement(path, ours, format)
    if ending == "npz":
        with np.load(path) as archive:
            field = archive["vol"] if format == "vxm" else archive[archive.files[0]]
    else:
        field = np.asarray(nibabel.load(path).dataobj)
    identity = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    indices = identity + field.transpose(3, 0, 1, 2)
    expected = ndimage.map_coordinates(moving.data, indices, order=1)
    inner = between_voxels(indices, moving.shape)
    assert inner.mean() > 0.2
    np.testing.assert_allclose(warp_image(moving, ours).data[inner], expected[inner], atol=1e-4)
    labels = moving.with_data((moving.data * 3).astype(np.int16))
    expected = ndimage.map_coordinates(labels.data, indices, order=0)
    same = warp_image(labels, ours, interpolation="nearest").data[inner] == expected[inner]
    assert same.mean() > 0.999  # single precision decides a few points halfway between two voxels


def test_files_of_other_tools_are_read(tmp_path, rng):
    fixed, field = on(OBLIQUE), rng.normal(size=(*SHAPE, 3))
    expected = displacement_to_world(np.moveaxis(field, -1, 0), OBLIQUE)
    np.savez_compressed(tmp_path / "disp_0001_0002.npz", field.astype(np.float16))  # Learn2Reg 2021
    np.savez_compressed(tmp_path / "warp.npz", vol=field)  # VoxelMorph
    np.savez(tmp_path / "fortran.npz", np.asfortranarray(field.astype(">f4")))
    nibabel.save(nibabel.Nifti1Image(field.astype(np.float32), np.eye(4)), tmp_path / "disp.nii.gz")
    for name, format in (
        ("disp_0001_0002.npz", "l2r"),
        ("warp.npz", "vxm"),
        ("fortran.npz", None),
        ("disp.nii.gz", None),
    ):
        read = read_displacement(tmp_path / name, format, fixed=fixed)
        np.testing.assert_allclose(read.world, expected, atol=5e-3 if "0001" in name else 1e-5)
        np.testing.assert_array_equal(read.affine, OBLIQUE)
        assert read.world.dtype in (np.float32, np.float64)


# ITK


def as_itk(image, path):
    write_nifti(path, image)
    return sitk.ReadImage(str(path))


@pytest.mark.parametrize("geometry", AFFINES)
def test_simpleitk_moves_the_image_as_we_do(geometry, tmp_path, rng):
    affine = AFFINES[geometry]
    fixed = on(affine)
    moving_affine = shifted(random_affine(rng, degrees=20), 0, 0, 0)
    moving_affine[:3, 3] += (affine @ [5, 5, 4, 1] - moving_affine @ [10, 10, 10, 1])[:3]
    moving = seen(smooth, moving_affine, (21, 21, 21))
    moving = moving.with_data(moving.data.astype(np.float32))
    ours = displacement(rng, affine)
    write_displacement(tmp_path / "w.nii.gz", ours, "itk")
    field = sitk.ReadImage(str(tmp_path / "w.nii.gz"), sitk.sitkVectorFloat64)
    assert field.GetNumberOfComponentsPerPixel() == 3
    transform = sitk.DisplacementFieldTransform(field)
    reference, itk_moving = as_itk(fixed, tmp_path / "f.nii.gz"), as_itk(moving, tmp_path / "m.nii.gz")
    moved = sitk.Resample(itk_moving, reference, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    expected = sitk.GetArrayFromImage(moved).transpose(2, 1, 0)
    assert (expected != 0).mean() > 0.2
    result = warp_image(moving, ours).data
    inner = between_voxels(voxel_indices(world_points(affine, SHAPE) + ours.world, moving_affine), moving.shape)
    np.testing.assert_allclose(result[inner], expected[inner], atol=1e-4)
    assert ((result == 0) == (expected == 0)).mean() > 0.999  # the same border, up to rounding


@pytest.mark.parametrize("geometry", AFFINES)
def test_fields_written_by_simpleitk_are_read(geometry, tmp_path, rng):
    affine = AFFINES[geometry]
    ours = displacement(rng, affine)
    reference = as_itk(on(affine), tmp_path / "f.nii.gz")
    lps = ours.world * np.array([-1, -1, 1]).reshape(3, 1, 1, 1)
    field = sitk.GetImageFromArray(lps.transpose(3, 2, 1, 0), isVector=True)
    field.CopyInformation(reference)
    sitk.WriteImage(field, str(tmp_path / "w.nii.gz"))
    read = read_displacement(tmp_path / "w.nii.gz", fixed=on(affine))
    np.testing.assert_allclose(read.world, ours.world, atol=1e-6)
    np.testing.assert_allclose(read.affine, affine, atol=1e-5)


@pytest.mark.parametrize(("order", "signs"), ALL_48[::5], ids=str)
def test_axis_orientations_of_the_fixed_image_do_not_matter_to_itk(order, signs, tmp_path, rng):
    fixed = turned(on(AFFINES["LAS, anisotropic"]), order, signs)
    ours = Displacement(
        np.ones((3, *fixed.shape), np.float32) * np.float32([1, 2, 3]).reshape(3, 1, 1, 1), fixed.affine
    )
    write_displacement(tmp_path / "w.nii.gz", ours, "itk")
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "w.nii.gz"), sitk.sitkVectorFloat64))
    centre = (fixed.affine @ [*(np.array(fixed.shape) - 1) / 2, 1])[:3] * [-1, -1, 1]
    np.testing.assert_allclose(np.array(transform.TransformPoint(centre)) - centre, [-1, -2, 3], atol=1e-5)


@pytest.mark.parametrize("geometry", AFFINES)
def test_simpleitk_moves_points_as_we_do(geometry, tmp_path, rng):
    ours = displacement(rng, AFFINES[geometry])
    write_displacement(tmp_path / "w.nii.gz", ours, "itk")
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "w.nii.gz"), sitk.sitkVectorFloat64))
    indices = rng.uniform(0.1, 0.9, (20, 3)) * (np.array(SHAPE) - 1)
    points = indices @ ours.affine[:3, :3].T + ours.affine[:3, 3]
    lps = np.array([-1, -1, 1])
    expected = [np.array(transform.TransformPoint(point)) * lps for point in points * lps]
    np.testing.assert_allclose(warp_points(points, ours), expected, atol=1e-4)


def test_points_outside_the_fixed_image_are_refused(rng):
    ours = displacement(rng, np.eye(4))
    with pytest.raises(ImageError, match="1 of 2 points"):
        warp_points([[0, 0, 0], [0, 0, 100]], ours)
    with pytest.raises(ShapeError, match=r"\[N, 3\]"):
        warp_points([0, 0, 0], ours)


# Refusals


def refusal(path, *args, **options):
    with pytest.raises(ImageError) as caught:
        read_displacement(path, *args, **options)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_formats_that_count_moving_voxels_need_both_images(tmp_path, rng):
    unknown = Displacement(displacement(rng, OBLIQUE).world, OBLIQUE)
    with pytest.raises(ImageError, match="moving_affine"):
        write_displacement(tmp_path / "w.npz", unknown, "l2r")
    write_displacement(tmp_path / "w.npz", displacement(rng, OBLIQUE), "l2r")
    with pytest.raises(ParameterError, match="fixed="):
        read_displacement(tmp_path / "w.npz")


def test_wrong_formats_and_endings_are_refused(tmp_path, rng):
    ours = displacement(rng, OBLIQUE)
    with pytest.raises(ParameterError, match="itk, voxel, l2r, vxm"):
        write_displacement(tmp_path / "w.nii", ours, "ants")
    with pytest.raises(ParameterError, match=r"\.nii or \.nii\.gz"):
        write_displacement(tmp_path / "w.npz", ours, "itk")
    with pytest.raises(ParameterError, match=r"\.nii or \.nii\.gz"):
        write_displacement(tmp_path / "w.mha", ours, "itk")
    assert not list(tmp_path.iterdir())


def test_a_field_of_another_format_or_geometry_is_refused(tmp_path, rng):
    path = tmp_path / "w.nii.gz"
    write_displacement(path, displacement(rng, OBLIQUE), "itk")
    assert "'itk', not 'voxel'" in refusal(path, "voxel")
    assert "voxels of the fixed image" in refusal(path, fixed=on(OBLIQUE, (11, 10, 8)))
    assert "voxels of the fixed image" in refusal(path, fixed=on(shifted(OBLIQUE, 1, 0, 0)))
    write_displacement(path, displacement(rng, OBLIQUE), "l2r")
    assert "(11, 10, 8)" in refusal(path, fixed=on(OBLIQUE, (11, 10, 8)))
    write_nifti(path, on(OBLIQUE))
    assert "no displacement we know" in refusal(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros((*SHAPE, 1, 3), np.float32), OBLIQUE), path)
    assert "intent 0" in refusal(path)
    assert "cannot be read" in refusal(tmp_path / "missing.nii")
    assert "cannot be read" in refusal(tmp_path / "missing.npz", fixed=on(OBLIQUE))


def test_damaged_fields_are_refused(tmp_path, rng):
    path = tmp_path / "w.nii.gz"
    write_displacement(path, displacement(rng, OBLIQUE), "itk")
    content = path.read_bytes()
    path.write_bytes(corpus.flipped(content, 8 * (len(content) // 2)))
    refusal(path)
    field = np.zeros((*SHAPE, 3), np.float32)
    field[0, 0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(field, np.eye(4)), path)
    assert "NaN" in refusal(path, fixed=on(OBLIQUE))
    np.savez(tmp_path / "w.npz", field)
    assert "NaN" in refusal(tmp_path / "w.npz", fixed=on(OBLIQUE))


def npy(shape, dtype="<f4", data=b"", header=None):
    text = header or f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


GOOD = np.zeros((*SHAPE, 3), np.float32).tobytes()
NPZ = {
    "not a zip file": (b"hello", "damaged"),
    "empty": (b"", "damaged"),
    "no array": ({}, "exactly one array"),
    "two arrays": ({"a.npy": npy((*SHAPE, 3), data=GOOD), "b.npy": npy((*SHAPE, 3), data=GOOD)}, "exactly one array"),
    "objects": ({"a.npy": npy((*SHAPE, 3), dtype="|O", data=b"cos\nsystem\n(S'true'\ntR.")}, "floating-point"),
    "integers": ({"a.npy": npy((*SHAPE, 3), dtype="<i4", data=GOOD)}, "floating-point"),
    "another shape": ({"a.npy": npy((3, *SHAPE), data=GOOD)}, "(3, 11, 10, 9)"),
    "half resolution": ({"a.npy": npy((3, 5, 5, 4), data=GOOD[:3600])}, "(3, 5, 5, 4)"),
    "a terabyte": ({"a.npy": npy((10**6, 10**6, 3), data=GOOD)}, "must have shape"),
    "a shape of many digits": ({"a.npy": npy("(" + "1" * 200 + "x)", data=GOOD)}, "floating-point"),
    "cut short": ({"a.npy": npy((*SHAPE, 3), data=GOOD[:-1])}, "cut short"),
    "too long": ({"a.npy": npy((*SHAPE, 3), data=GOOD + bytes(2**20))}, "goes on after"),
    "code in the header": ({"a.npy": npy(0, header="__import__('os').abort()\n")}, "floating-point"),
    "a long header": ({"a.npy": npy(0, header="{" + " " * 60_000 + "}\n")}, "floating-point"),
    "format 9": ({"a.npy": b"\x93NUMPY\x09\x00" + bytes(100)}, "NumPy format"),
    "text": ({"a.npy": b"hello" * 100}, "NumPy format"),
    "an empty array file": ({"a.npy": b""}, "NumPy format"),
}


@pytest.mark.parametrize("name", NPZ)
def test_damaged_npz_files_are_refused(name, tmp_path):
    content, fragment = NPZ[name]
    if isinstance(content, dict):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in content.items():
                archive.writestr(member, data)
        content = stream.getvalue()
    path = tmp_path / "w.npz"
    path.write_bytes(content)
    assert fragment in refusal(path, fixed=on(OBLIQUE))


def test_a_missing_array_of_voxelmorph_is_named(tmp_path):
    np.savez(tmp_path / "w.npz", warp=np.zeros((*SHAPE, 3)))
    assert "'vol'" in refusal(tmp_path / "w.npz", "vxm", fixed=on(OBLIQUE))


def test_no_flipped_bit_of_an_npz_changes_a_value(tmp_path, rng):
    path, ours = tmp_path / "w.npz", displacement(rng, OBLIQUE, (4, 3, 5))
    write_displacement(path, ours, "l2r")
    expected = read_displacement(path, fixed=on(OBLIQUE, (4, 3, 5))).world
    content = path.read_bytes()
    for bit in rng.choice(8 * len(content), 200, replace=False):
        path.write_bytes(corpus.flipped(content, int(bit)))
        try:
            read = read_displacement(path, fixed=on(OBLIQUE, (4, 3, 5)))
        except ImageError:
            continue
        np.testing.assert_array_equal(read.world, expected)
