"""apply, jacobian and register --affine on the command line: what is written, what is said, what is refused."""

import json

import numpy as np
import pytest
from test_affine import GRID, error_mm, shapes
from test_cli import run

from pysnnmed.data import (
    Displacement,
    Image,
    read_displacement,
    read_nifti,
    warp_image,
    write_displacement,
    write_nifti,
)
from pysnnmed.data.displacements import affine_displacement
from pysnnmed.data.fields import compose, determinant, invert
from pysnnmed.data.points import Landmarks, carry, read_landmarks, write_landmarks
from pysnnmed.data.transforms import read_affine, write_affine
from pysnnmed.deploy.pretrained import save_model
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig

FIXED = np.array([[-1.5, 0, 0, 20], [0, 1.2, 0, -10], [0, 0, 2.0, 5], [0, 0, 0, 1.0]])
MOVING = np.array([[1.0, 0, 0, -12], [0, 1.3, 0, -11], [0, 0, 1.5, 6], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two images, two warps between them by way of a middle one, an affine map, and landmarks."""
    folder, rng = tmp_path_factory.mktemp("warps"), np.random.default_rng(0)
    for name, affine, shape in (("fixed", FIXED, (20, 18, 12)), ("moving", MOVING, (30, 17, 14))):
        write_nifti(folder / f"{name}.nii.gz", Image(rng.random(shape).astype(np.float32), affine))
        labels = Image(rng.integers(0, 4, shape).astype(np.uint8), affine)
        write_nifti(folder / f"{name}_labels.nii.gz", labels)
    for name in ("first", "second"):
        coarse = rng.normal(0, 1, (3, 1, 1, 1)) + 0.05 * np.indices((20, 18, 12)) * rng.normal(0, 1, (3, 1, 1, 1))
        write_displacement(folder / f"{name}.nii.gz", Displacement(coarse.astype(np.float32), FIXED, MOVING))
    affine = np.eye(4)
    affine[:3, :3] += rng.normal(0, 0.05, (3, 3))
    write_affine(folder / "affine.tfm", affine)
    write_landmarks(
        folder / "of_moving.csv", Landmarks([[1.0, -2, 12], [3, 0, 15]], "moving", {"name": ["a", "b"]}), "LPS"
    )
    return folder


def same(a, b, **tolerance):
    np.testing.assert_allclose(a.data, b.data, **tolerance)
    np.testing.assert_allclose(a.affine, b.affine, atol=1e-5)


def test_several_warps_are_composed_in_the_order_in_which_an_image_passes(folder, tmp_path, capsys):
    moved, total = tmp_path / "moved.nii.gz", tmp_path / "total.nii.gz"
    warps = ("--warp", folder / "affine.tfm", "--warp", folder / "first.nii.gz", "--warp", folder / "second.nii.gz")
    options = ("--moving", folder / "moving.nii.gz", "--moved", moved, "--out-warp", total)
    status, _, err = run(capsys, "apply", *options, *warps)
    assert status == 0, err
    first, second = (read_displacement(folder / f"{name}.nii.gz") for name in ("first", "second"))
    expected = compose(read_affine(folder / "affine.tfm"), first, second)
    moving = read_nifti(folder / "moving.nii.gz")
    same(read_nifti(moved), warp_image(moving, expected), atol=1e-4)
    np.testing.assert_allclose(read_displacement(total).world, expected.world, atol=1e-4)
    other = compose(second, first, read_affine(folder / "affine.tfm"), onto=read_nifti(folder / "fixed.nii.gz"))
    assert np.abs(other.world - expected.world).max() > 0.05


def test_an_affine_map_alone_needs_the_fixed_image(folder, tmp_path, capsys):
    options = (
        "apply",
        "--warp",
        folder / "affine.tfm",
        "--moving",
        folder / "moving.nii.gz",
        "--moved",
        tmp_path / "m.nii.gz",
    )
    status, _, err = run(capsys, *options)
    assert status == 2
    assert "give --fixed" in err
    assert not list(tmp_path.iterdir())
    status, _, err = run(capsys, *options, "--fixed", folder / "fixed.nii.gz")
    assert status == 0, err
    fixed, moving = (read_nifti(folder / f"{name}.nii.gz") for name in ("fixed", "moving"))
    world = affine_displacement(read_affine(folder / "affine.tfm"), FIXED, fixed.shape)
    same(read_nifti(tmp_path / "m.nii.gz"), warp_image(moving, Displacement(world, fixed.affine)), atol=1e-4)


def test_the_inverse_brings_the_fixed_image_to_the_moving_one(folder, tmp_path, capsys):
    back, warp, error = (tmp_path / f"{name}.nii.gz" for name in ("back", "inverse", "error"))
    options = ("--fixed", folder / "fixed_labels.nii.gz", "--moving", folder / "moving.nii.gz", "--moved", back)
    more = ("--interpolation", "nearest", "--out-warp", warp, "--inverse-error", error)
    status, out, err = run(capsys, "apply", "--inverse", "--warp", folder / "first.nii.gz", *options, *more)
    assert status == 0, err
    assert "largest error" in out
    assert "folds at 0.000%" in out
    moving, labels = read_nifti(folder / "moving.nii.gz"), read_nifti(folder / "fixed_labels.nii.gz")
    found = invert(read_displacement(folder / "first.nii.gz"), moving)
    expected = warp_image(labels, found.displacement, interpolation="nearest")
    assert np.mean(read_nifti(back).data != expected.data) < 2e-3
    assert read_nifti(back).shape == moving.shape
    assert read_nifti(error).data.max() <= 1e-3
    np.testing.assert_allclose(read_displacement(warp, fixed=moving).world, found.displacement.world, atol=5e-3)


def test_landmarks_go_to_the_other_image_and_back(folder, tmp_path, capsys):
    warps = ("--warp", folder / "affine.tfm", "--warp", folder / "first.nii.gz")
    there, back = tmp_path / "there.csv", tmp_path / "back.csv"
    status, out, err = run(capsys, "apply", *warps, "--points", folder / "of_moving.csv", "--out-points", there)
    assert status == 0, err
    assert "2 points of the moving image, now in the fixed image, mm LPS" in out
    links = read_affine(folder / "affine.tfm"), read_displacement(folder / "first.nii.gz")
    ours = carry(read_landmarks(folder / "of_moving.csv"), *links)
    written = read_landmarks(there)
    assert (written.image, written.axes, written.columns) == ("fixed", "LPS", {"name": ["a", "b"]})
    np.testing.assert_allclose(written.points, ours.points, atol=1e-5)
    status, _, err = run(capsys, "apply", *warps, "--points", there, "--out-points", back)
    assert status == 0, err
    np.testing.assert_allclose(read_landmarks(back).points, [[1, -2, 12], [3, 0, 15]], atol=5e-3)


def test_the_jacobian_is_mapped_with_and_without_logarithm(folder, tmp_path, capsys):
    for log in (False, True):
        out_file = tmp_path / "j.nii.gz"
        status, out, err = run(
            capsys, "jacobian", "--warp", folder / "first.nii.gz", "--out", out_file, *["--log"] * log
        )
        assert status == 0, err
        assert "folding 0.000%" in out
        j = determinant(read_displacement(folder / "first.nii.gz"))
        np.testing.assert_allclose(read_nifti(out_file).data, np.log(j) if log else j, atol=1e-4)
    folded = np.zeros((3, 8, 6, 5), np.float32)
    folded[0] = -2 * np.arange(8).reshape(-1, 1, 1)
    write_displacement(tmp_path / "folded.nii.gz", Displacement(folded, np.eye(4)))
    status, out, _ = run(capsys, "jacobian", "--warp", tmp_path / "folded.nii.gz", "--out", out_file, "--log")
    assert status == 0
    assert "folding 100.000%" in out
    np.testing.assert_allclose(read_nifti(out_file).data, np.log(1e-3), rtol=1e-6)
    status, _, err = run(
        capsys, *("apply", "--inverse", "--warp", tmp_path / "folded.nii.gz", "--out-warp", tmp_path / "i.nii.gz"),
        *("--moving", out_file, "--fixed", out_file),
    )  # fmt: skip
    assert status == 2
    assert "no inverse" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to write"),
        (("--moved", "m.nii.gz"), "--moved needs --moving"),
        (("--points", "p.csv"), "--points and --out-points go together"),
        (("--moved", "m.nii.gz", "--moving", "x.nii", "--points-of", "fixed"), "describe --points"),
        (("--inverse", "--moved", "m.nii.gz", "--moving", "x.nii"), "give both"),
        (("--inverse", "--points", "p.csv", "--out-points", "o.csv"), "--inverse is for images"),
        (("--inverse-error", "e.nii.gz"), "belong to --inverse"),
        (("--allow-folding", "--moved", "m.nii.gz", "--moving", "x.nii"), "belong to --inverse"),
    ],
)
def test_what_makes_no_sense_together_is_refused_before_reading(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "apply", "--warp", "absent.nii.gz", *arguments)
    assert status == 2
    assert says in err
    assert not out
    assert not list(tmp_path.iterdir())


def test_register_finds_an_affine_map_and_writes_it(tmp_path, capsys):
    rng = np.random.default_rng(5)
    fixed, moving, truth, inside = shapes(rng)
    for name, image in (("fixed", fixed), ("moving", moving)):
        write_nifti(tmp_path / f"{name}.nii.gz", image)
    model = tmp_path / "net.safetensors"
    save_model(model, SpikeReg(SpikeRegConfig(encoder=(3, 4), decoder=(3,), steps=2), rng), {"align": "world"})
    files = {name: tmp_path / name for name in ("moved.nii.gz", "warp.nii.gz", "affine.tfm", "again.nii.gz")}
    pair = ("--moving", tmp_path / "moving.nii.gz", "--fixed", tmp_path / "fixed.nii.gz", "--model", model)
    common = ("register", *pair, "--backend", "numpy", "-j", 1)
    status, out, err = run(
        capsys,
        *common,
        *("--affine", "--affine-out", files["affine.tfm"], "--json"),
        *("--moved", files["moved.nii.gz"], "--warp", files["warp.nii.gz"]),
        *("--inverse-warp", tmp_path / "inverse.nii.gz"),
    )
    assert status == 0, err
    summary = json.loads(out)["affine"]
    assert summary["kind"] == "affine"
    found = read_affine(files["affine.tfm"])
    np.testing.assert_allclose(found, summary["matrix_ras"], atol=1e-9)
    assert error_mm(found, truth, GRID, inside) < 0.6
    # the network stays, so the whole displacement is that of the map, and applying either file gives the moved image
    total = read_displacement(files["warp.nii.gz"])
    np.testing.assert_allclose(total.world, affine_displacement(found, fixed.affine, fixed.shape), atol=0.02)
    back = read_displacement(tmp_path / "inverse.nii.gz", fixed=moving)
    np.testing.assert_allclose(
        back.world, affine_displacement(np.linalg.inv(found), moving.affine, moving.shape), atol=0.05
    )
    again = (
        "--moving",
        tmp_path / "moving.nii.gz",
        "--moved",
        files["again.nii.gz"],
        "--fixed",
        tmp_path / "fixed.nii.gz",
    )
    for warp, atol in ((files["warp.nii.gz"], 2e-4), (files["affine.tfm"], 0.05)):
        status, _, err = run(capsys, "apply", "--warp", warp, *again)
        assert status == 0, err
        same(read_nifti(files["again.nii.gz"]), read_nifti(files["moved.nii.gz"]), atol=atol)
    status, out, err = run(capsys, *common, "--affine", "rigid", "--align", "centre")
    assert status == 0, err
    assert "rigid" in out
    status, _, err = run(capsys, *common, "--affine-out", tmp_path / "x.tfm")
    assert status == 2
    assert "give both" in err
