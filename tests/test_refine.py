"""Refinement: what it must never do (fold, lose similarity, depend on threads or axes), and what it must find."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysnnmed import Image, Tensor, kernels, read_nifti, refine, register, write_nifti
from pysnnmed.cli import common, main
from pysnnmed.data.generate import generate_pair, integrate, random_displacement, random_velocity, smooth_noise
from pysnnmed.deploy.pretrained import save_model
from pysnnmed.errors import ImageError, ParameterError, ShapeError
from pysnnmed.metrics import folding_fraction, mean_dice
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig
from pysnnmed.optim import Adam
from pysnnmed.refine import (
    FINAL_SQUARINGS,
    MAX_ITERATIONS,
    Scene,
    _descended,
    _displacement,
    _logarithm,
    _unfolded,
    refined,
)
from pysnnmed.warp import warp, warp_nearest

BACKENDS = st.sampled_from(kernels.available())
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.sampled_from([(24, 20), (33, 17), (16, 20, 12), (9, 18, 21)])


def textured(shape, rng):
    """A smooth image in [0, 1] with structure everywhere."""
    noise = smooth_noise(shape, (3, 6), 1.0, rng)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def moved_by(image, u):
    return warp(Tensor(image[None, None]), Tensor(u[None].astype(np.float32))).data[0, 0]


def smooth_pair(shape, seed, amplitude=1.5):
    """Two images of one texture, and the displacement that leads from one to the other."""
    rng = np.random.default_rng(seed)
    moving = textured(shape, rng)
    u = random_displacement(shape, amplitude, min(shape) / 2, rng)
    return moved_by(moving, u), moving, u


def nothing(shape):
    return np.zeros((len(shape), *shape), np.float32)


# --- what it never does


@settings(max_examples=12)
@given(shape=SHAPES, seed=SEEDS, backend=BACKENDS, rough=st.booleans(), n=st.integers(1, 4))
def test_the_similarity_never_falls_from_start_to_end(shape, seed, backend, rough, n):
    fixed, moving, _ = smooth_pair(shape, seed)
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(len(shape), *shape)).astype(np.float32) if rough else nothing(shape)
    with kernels.use_backend(backend):
        found, report = refined(fixed, moving, start, n)
    assert report.iterations == n
    assert report.similarity_after >= report.similarity_before
    assert found.shape == start.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@settings(max_examples=12)
@given(shape=SHAPES, seed=SEEDS, size=st.floats(0, 3))
def test_nothing_folds(shape, seed, size):
    """Unrelated images: the descent pulls as hard as it can, and finds nothing."""
    rng = np.random.default_rng(seed)
    fixed, moving = textured(shape, rng), textured(shape, rng)
    start = random_displacement(shape, size, min(shape) / 2, rng)
    with kernels.use_backend(kernels.fastest()):
        found, _ = refined(fixed, moving, start, 15)
    assert folding_fraction(found) == 0


@pytest.mark.parametrize("shape", [(24, 20), (14, 16, 12)])
def test_a_velocity_that_folds_is_smoothed_until_it_does_not(shape, rng, monkeypatch):
    nodes = tuple(n // 2 for n in shape)
    rough = 2 * rng.normal(size=(1, len(shape), *nodes)).astype(np.float32)
    smooth = random_velocity(nodes, 1.0, 6, rng)[None]
    with kernels.use_backend(kernels.fastest()):
        assert folding_fraction(_displacement(rough, shape, FINAL_SQUARINGS)[0]) > 0
        scene = Scene.of(*smooth_pair(shape, 0)[:2])
        unfolded = _unfolded(rough, scene)
        assert folding_fraction(unfolded) == 0
        assert np.abs(unfolded).max() > 0.1
        np.testing.assert_array_equal(_unfolded(smooth, scene), _displacement(smooth, shape, FINAL_SQUARINGS)[0])
        monkeypatch.setattr(refine, "SMOOTHINGS", 1)
        np.testing.assert_array_equal(_unfolded(rough, scene), 0)


def turned(array, axes, flips):
    """An image [*S] with its axes permuted and reversed."""
    return np.flip(array.transpose(axes), [i for i, flip in enumerate(flips) if flip])


def turned_field(u, axes, flips):
    """A displacement [n, *S] seen after `turned`: components change places and signs with the axes."""
    signs = [-1 if flip else 1 for flip in flips]
    return np.stack([sign * turned(u[a], axes, flips) for a, sign in zip(axes, signs, strict=True)])


@settings(max_examples=10)
@given(seed=SEEDS, axes=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3))
def test_axes_may_be_permuted_and_reversed(seed, axes, flips):
    """Up to rounding. Between voxels, that is: on one, the slope of an interpolated image depends on the direction."""
    fixed, moving = (np.pad(image, [(4, 5), (3, 4), (5, 3)]) for image in smooth_pair((13, 15, 14), seed)[:2])
    start = random_displacement(fixed.shape, 0.7, 8, np.random.default_rng(seed)) + np.float32(0.013)
    with kernels.use_backend(kernels.fastest()):
        plain, _ = refined(fixed, moving, start, 3)
        images = (turned(image, axes, flips) for image in (fixed, moving))
        other, _ = refined(*images, turned_field(start, axes, flips), 3)
    np.testing.assert_allclose(other, turned_field(plain, axes, flips), atol=0.02)


@pytest.mark.parametrize("backend", kernels.available())
def test_the_number_of_threads_does_not_matter(backend):
    fixed, moving, _ = smooth_pair((40, 36, 34), 0)
    found = []
    for n in (1, 2, 3):
        with kernels.use_backend(backend), kernels.use_threads(n, split_small=True):
            found.append(refined(fixed, moving, nothing(fixed.shape), 2)[0])
    assert np.abs(found[0]).max() > 0.1
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_backends_agree():
    fixed, moving, _ = smooth_pair((24, 20, 26), 3)
    found = []
    for backend in kernels.available():
        with kernels.use_backend(backend):
            found.append(refined(fixed, moving, nothing(fixed.shape) + np.float32(0.1), 5)[0])
    for other in found[1:]:
        assert np.abs(other - found[0]).mean() < 0.01


@pytest.mark.parametrize("shape", [(40, 33), (24, 30, 26)])
def test_a_pair_that_is_aligned_stays(shape, rng):
    image = textured(shape, rng)
    with kernels.use_backend(kernels.fastest()):
        found, report = refined(image, image, nothing(shape), 10)
    np.testing.assert_array_equal(found, 0)
    assert report.similarity_after == report.similarity_before > 0.9


def test_no_iterations_change_nothing(rng):
    fixed, moving, u = smooth_pair((20, 24), 0)
    heard = []
    found, report = refined(fixed, moving, u, 0, lambda *done: heard.append(done))
    np.testing.assert_array_equal(found, u)
    assert (report.iterations, heard) == (0, [])
    assert report.similarity_after == report.similarity_before


def test_what_gains_nothing_is_the_start(monkeypatch):
    """Descent that is made to run uphill ends lower, and is thrown away."""
    monkeypatch.setattr(refine, "Adam", Uphill)
    fixed, moving, u = smooth_pair((24, 20), 1)
    found, report = refined(fixed, moving, u, 5)
    np.testing.assert_array_equal(found, u)
    assert report.similarity_after == report.similarity_before


class Uphill(Adam):
    """Adam that climbs."""

    def update(self, value, grad, slots, step):
        return super().update(value, -grad, slots, step)


# --- what it finds


@pytest.mark.parametrize(("shape", "amplitude"), [((64, 56), 4.0), ((40, 48, 44), 4.0)])
@pytest.mark.parametrize("backend", kernels.available())
def test_a_known_motion_is_found(shape, amplitude, backend):
    if backend == "numpy" and len(shape) == 3:
        pytest.skip("seconds, and the backends agree")
    fixed, moving, u = smooth_pair(shape, 5, amplitude)
    with kernels.use_backend(backend):
        found, report = refined(fixed, moving, nothing(shape), 40)
    inner = (slice(None), *[slice(5, -5)] * len(shape))
    error = np.linalg.norm((found - u)[inner], axis=0)
    assert np.linalg.norm(u[inner], axis=0).mean() > 1.5
    assert error.mean() < 0.2
    assert report.similarity_after > 0.85 > report.similarity_before + 0.3


def test_labels_of_a_generated_pair_fit_better_from_any_start():
    pair = generate_pair((48, 44, 40), np.random.default_rng(4))
    labels = range(1, 9)

    def overlap(u):
        return mean_dice(pair.fixed_labels, warp_nearest(pair.moving_labels[None, None], u[None])[0, 0], labels)

    near = 0.6 * pair.displacement
    with kernels.use_backend(kernels.fastest()):
        from_nothing, _ = refined(pair.fixed, pair.moving, nothing(pair.fixed.shape), 15)
        from_near, _ = refined(pair.fixed, pair.moving, near, 15)
    assert overlap(from_nothing) > overlap(nothing(pair.fixed.shape)) + 0.2
    assert overlap(from_near) > overlap(near) + 0.03
    assert folding_fraction(from_near) == folding_fraction(from_nothing) == 0


def test_the_start_is_where_descent_begins():
    """Its logarithm is taken, on nodes of another spacing: a few steps at each resolution stay near it."""
    fixed, moving, u = smooth_pair((40, 36, 33), 2, 3.0)
    velocity = _descended(Scene.of(fixed, moving), (4, 2, 1), u[None], 2, None)
    near = _displacement(velocity, fixed.shape, FINAL_SQUARINGS)[0]
    assert np.abs(u).mean() > 0.6
    assert np.abs(near - u).mean() < 0.25
    velocity = random_velocity((20, 18, 16), 2.0, 6, np.random.default_rng(0))[None]
    u = integrate(velocity[0])[None]
    again = integrate(_logarithm(u)[0])[None]
    assert np.abs(u).max() > 1
    assert np.abs(again - u).max() < 0.02


def test_work_goes_on_in_the_box_of_what_is_seen(rng):
    """Empty space around a pair changes nothing in the box and costs nothing; outside, the field goes on."""
    fixed, moving, _ = smooth_pair((20, 18, 22), 6)
    padding = [(7, 9), (5, 4), (8, 6)]
    wide = [np.pad(image, padding) for image in (fixed, moving)]
    wider = [np.pad(image, 3) for image in wide]
    with kernels.use_backend(kernels.fastest()):
        found, report = refined(*wide, nothing(wide[0].shape), 3)
        again, other = refined(*wider, nothing(wider[0].shape), 3)
    assert report.similarity_after == other.similarity_after > report.similarity_before
    np.testing.assert_array_equal(again, np.pad(found, [(0, 0), *[(3, 3)] * 3], mode="edge"))
    border = found[:, 5]  # of the box: two voxels before the content
    assert np.abs(border).max() > 0.01
    np.testing.assert_array_equal(found[:, :5], np.broadcast_to(border[:, None], (3, 5, *border.shape[1:])))


def test_similarity_counts_where_the_fixed_image_shows_something(rng):
    moving = textured((48, 40), rng)
    fixed = np.zeros_like(moving)
    fixed[16:40, 8:20] = moving[16:40, 8:20]
    scene = Scene.of(fixed, moving)
    assert scene.content == (slice(16, 40), slice(8, 20))
    assert [scene.shrunk(n).content for n in (2, 4)] == [
        (slice(8, 20), slice(4, 10)),
        (slice(4, 10), slice(2, 5)),
    ]
    elsewhere = moving.copy()
    elsewhere[:10] = elsewhere[44:] = 0.5
    assert Scene.of(fixed, elsewhere).similarity(nothing(fixed.shape)[None]) == scene.similarity(
        nothing(fixed.shape)[None]
    )


# --- what it costs, tells and refuses


def test_progress_counts_every_iteration():
    fixed, moving, _ = smooth_pair((70, 40), 0)
    heard = []
    _, report = refined(fixed, moving, nothing(fixed.shape), 3, lambda *done: heard.append(done))
    assert report.levels == 3
    assert [(done, total) for done, total, _ in heard] == [(i, 9) for i in range(1, 10)]
    assert "1/4" in heard[0][2]
    assert "full resolution" in heard[-1][2]


def test_small_grids_have_fewer_resolutions():
    for shape, levels in [((15, 60), 1), ((16, 60), 2), ((31, 33), 2), ((32, 33), 3), ((4, 5, 6), 1)]:
        fixed, moving, _ = smooth_pair(shape, 0)
        assert refined(fixed, moving, nothing(shape), 1)[1].levels == levels


@pytest.mark.parametrize(("backend", "per_voxel"), [("numba", 140), ("numpy", 220)])
def test_memory_is_bounded(backend, per_voxel):
    if backend not in kernels.available():
        pytest.skip("needs numba")
    fixed, moving, _ = smooth_pair((52, 50, 48), 0)
    start = nothing(fixed.shape)
    with kernels.use_backend(backend):
        refined(fixed, moving, start, 1)  # compiles
        kernels.release_memory()
        tracemalloc.start()
        refined(fixed, moving, start, 2)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert 60 * fixed.size < peak <= per_voxel * fixed.size


@pytest.mark.parametrize("n", [-1, 2.0, 2.5, True, "20", None, MAX_ITERATIONS + 1, float("nan")])
def test_iterations_that_cannot_be_are_refused(n):
    fixed, moving, _ = smooth_pair((12, 12), 0)
    with pytest.raises(ParameterError, match=r"whole number in 0 \.\.\. 10,000, not"):
        refined(fixed, moving, nothing(fixed.shape), n)


def test_pairs_that_cannot_be_are_refused():
    fixed, moving, _ = smooth_pair((12, 12), 0)
    start = nothing(fixed.shape)
    for constant in (0.0, 0.5):
        flat = np.full_like(fixed, constant)
        for pair, name in (((flat, moving), "fixed"), ((fixed, flat), "moving")):
            with pytest.raises(ImageError, match=rf"the {name} image is {constant:g} everywhere"):
                refined(*pair, start, 1)
    with pytest.raises(ShapeError, match=r"not \(12, 11\) and \(2, 12, 12\)"):
        refined(fixed, moving[:, 1:], start, 1)
    with pytest.raises(ShapeError, match=r"not \(12, 12\) and \(1, 12, 12\)"):
        refined(fixed, moving, start[:1], 1)
    with pytest.raises(ShapeError, match=r"axes of at least 4 voxels, not shape \(3, 12\)"):
        refined(fixed[:3], moving[:3], start[:, :3], 1)
    with pytest.raises(ShapeError, match="2 or 3 axes"):
        refined(fixed[0], moving[0], start[:1, 0], 1)
    broken = moving.copy()
    broken[3, 4] = np.nan
    with pytest.raises(ImageError, match="moving image must be finite"):
        refined(fixed, broken, start, 1)


# --- through the main job


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "untrained.safetensors"
    network = SpikeReg(SpikeRegConfig(encoder=(3, 4), decoder=(3,), steps=2), np.random.default_rng(0))
    network.head.bias.data[:] = (0.4, -0.3, 0.2)
    save_model(path, network, {"align": "world"})
    return path


def as_images(fixed, moving):
    return Image(moving, np.diag([1.5, 1, 2, 1])), Image(fixed, np.diag([1.5, 1, 2, 1]))


@pytest.mark.parametrize("weights", ["int8", "trained"])
def test_register_refines_after_the_network(untrained, weights):
    fixed, moving, _ = smooth_pair((20, 24, 16), 8)
    images = as_images(fixed, moving)
    plain = register(*images, model=untrained, weights=weights, backend="numpy")
    none = register(*images, model=untrained, weights=weights, backend="numpy", refine=0)
    better = register(*images, model=untrained, weights=weights, backend="numpy", refine=6)
    np.testing.assert_array_equal(none.displacement.world, plain.displacement.world)
    np.testing.assert_array_equal(none.moved.data, plain.moved.data)
    assert plain.refinement is none.refinement is None
    assert "refinement" not in plain.summary()
    assert np.abs(better.moved.data - fixed).mean() < 0.75 * np.abs(plain.moved.data - fixed).mean()
    assert better.summary()["refinement"].items() >= {"iterations": 6, "levels": 2}.items()
    assert better.refinement.similarity_after > better.refinement.similarity_before
    assert better.operations == plain.operations  # of the network alone
    assert better.folding == 0


def test_register_refuses_before_the_network_runs(untrained, monkeypatch):
    from pysnnmed import registration

    images = as_images(*smooth_pair((8, 8, 8), 0)[:2])
    monkeypatch.setattr(registration, "_ready", None)
    with pytest.raises(ParameterError, match="not -3"):
        register(*images, model=untrained, refine=-3)


def test_the_command_refines_and_tells_how_far_it_is(untrained, tmp_path, capsys, monkeypatch):
    fixed, moving, _ = smooth_pair((20, 24, 16), 8)
    for name, image in zip(("moving", "fixed"), as_images(fixed, moving), strict=True):
        write_nifti(tmp_path / f"{name}.nii.gz", image)
    command = ["register", "--moving", tmp_path / "moving.nii.gz", "--fixed", tmp_path / "fixed.nii.gz"]
    command = [str(part) for part in (*command, "--model", untrained, "--moved", tmp_path / "moved.nii.gz")]
    assert main([*command, "--refine", "5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["refinement"]["iterations"] == 5
    assert "refining" not in err  # nobody waited
    again = register(*as_images(fixed, moving), model=untrained, refine=5)
    np.testing.assert_allclose(read_nifti(tmp_path / "moved.nii.gz").data, again.moved.data, atol=1e-6)

    monkeypatch.setattr(common, "PATIENCE", -1.0)
    assert main([*command, "--refine", "5"]) == 0
    out, err = capsys.readouterr()
    assert "refined        5 iterations at each of 2 resolutions" in out
    assert "pysnnmed: refining" in err
    assert "10/10" in err

    (tmp_path / "moved.nii.gz").unlink()
    for n in ("-1", "10001"):
        assert main([*command, "--refine", n]) == 2
        assert f"must be a whole number in 0 ... 10,000, not {n}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--refine", "2.5"])
    assert not (tmp_path / "moved.nii.gz").exists()
