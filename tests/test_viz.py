"""Figures: what is drawn is what the arrays say, the right way up; files appear complete or not at all."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from pysnnmed.data.generate import generate_pair, warp_linear, warp_nearest
from pysnnmed.errors import MissingExtraError, ParameterError, ShapeError
from pysnnmed.synops import LayerCount, Report, projected_energy
from pysnnmed.viz import (
    Cut,
    checkerboard,
    difference,
    energy_bars,
    jacobian_map,
    label_contours,
    raster,
    registration_figure,
    save_figure,
    show_image,
    slices,
    warped_grid,
)

REPORT = Report(
    (
        LayerCount("stem", macs=1000, dense_macs=1000),
        LayerCount("enc", steps=4, sites=400, events=40, synops=700, dense_macs=8000, neuron_updates=80),
    )
)


@pytest.fixture(scope="module")
def pair():
    return generate_pair((24, 28, 32), np.random.default_rng(0))


def texts(figure):
    from matplotlib.text import Text

    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def pictured(ax):
    return np.asarray(ax.images[0].get_array())


def test_a_cut_shows_the_first_axis_to_the_right_and_the_second_upwards(pair):
    ax = show_image(pair.fixed, cut=Cut(axis=1, index=5), spacing=(1, 2, 3))
    np.testing.assert_array_equal(pictured(ax), pair.fixed[:, 5].T)
    assert ax.get_ylim()[0] < ax.get_ylim()[1]
    assert ax.get_aspect() == 3
    flat = show_image(pair.fixed[0])
    np.testing.assert_array_equal(pictured(flat), pair.fixed[0])
    assert flat.get_ylim()[0] > flat.get_ylim()[1]


@pytest.mark.parametrize("cut", [Cut(axis=3), Cut(axis=0, index=24), Cut(axis=0, index=-1)])
def test_a_cut_outside_the_volume_is_refused(pair, cut):
    with pytest.raises(ParameterError, match="Cut"):
        show_image(pair.fixed, cut=cut)


def test_what_is_no_image_or_field_is_refused(pair):
    with pytest.raises(ShapeError, match="2 or 3 axes"):
        show_image(np.zeros(5))
    with pytest.raises(ShapeError, match="displacement"):
        warped_grid(pair.fixed)
    with pytest.raises(ShapeError, match="3 axes"):
        slices(pair.fixed[0])
    with pytest.raises(ParameterError, match="at least one layer"):
        raster({})


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_grid_runs_through_x_plus_u(pair, axis):
    u = pair.displacement
    right, up = (a for a in range(3) if a != axis)
    (grid,) = warped_grid(u, cut=Cut(axis, 10), lines=1000).collections
    drawn = {tuple(np.round(point, 4)) for segment in grid.get_segments() for point in segment}
    points = np.indices(u.shape[1:]) + u
    planes = [points[a].take(10, axis).ravel() for a in (right, up)]
    assert drawn == {tuple(np.round(point, 4)) for point in np.stack(planes, axis=1)}


def test_the_jacobian_is_drawn_as_a_logarithm_and_folds_in_black():
    u = np.zeros((2, 12, 12))
    u[0] = np.linspace(0, 11, 12)[:, None]  # x -> 2 x along the rows
    ax = jacobian_map(u)
    np.testing.assert_allclose(pictured(ax), 1)
    assert len(ax.images) == 1
    folded = jacobian_map(-2 * u)
    assert len(folded.images) == 2
    assert not np.ma.getmaskarray(folded.images[1].get_array()).any()


def test_differences_and_checkerboards_take_from_both_images():
    a, b = np.ones((16, 16)), np.zeros((16, 16))
    np.testing.assert_array_equal(pictured(difference(a, b)), a)
    board = pictured(checkerboard(a, b, fields=4))
    assert board.mean() == 0.5
    assert board[0, 0] != board[0, 4] == board[4, 0]


def test_every_label_of_the_plane_has_an_outline(pair):
    ax = show_image(pair.fixed)
    before = len(ax.collections)
    label_contours(pair.fixed_labels, ax)
    assert len(ax.collections) - before == len(np.unique(pair.fixed_labels[..., 16])) - 1


def test_the_raster_shows_every_spike_of_small_layers(rng):
    spikes = {"one": rng.integers(0, 2, (5, 1, 3, 4)), "two": rng.integers(0, 4, (5, 1, 2, 2))}
    ax = raster(spikes, neurons=50)
    for mesh, train in zip([c for c in ax.collections if hasattr(c, "get_coordinates")], spikes.values(), strict=True):
        np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(-1, 5), train.reshape(5, -1).T)
    assert f"{spikes['one'].mean():.1%}" in texts(ax.figure)


def test_energy_bars_are_as_long_as_the_energy_and_name_their_conditions():
    energy = projected_energy(REPORT, "int8")
    ax = energy_bars(REPORT, table="int8")
    widths = [patch.get_width() for patch in ax.patches]
    assert energy.ann < 1000  # so that bars are drawn in pJ
    want = [energy.ann, energy.synaptic, energy.analog, energy.neuronal]
    assert widths[:4] == pytest.approx(want)
    label = ax.get_xlabel()
    for part in ("pJ", "projected", "int8", "45 nm", "T = 4", "rate 10.0%", "break-even"):
        assert part in label


def test_the_page_shows_everything_it_was_given(pair, rng):
    figure = registration_figure(
        pair.fixed,
        pair.moving,
        warp_linear(pair.moving, pair.displacement),
        pair.displacement,
        fixed_labels=pair.fixed_labels,
        moving_labels=pair.moving_labels,
        moved_labels=warp_nearest(pair.moving_labels, pair.displacement),
        spikes={"enc": rng.integers(0, 2, (4, 1, 2, 6, 6, 6))},
        report=REPORT,
        caption="Generated data",
    )
    shown = " ".join(texts(figure))
    for part in ("Fixed", "Moved", "Warped grid", "Jacobian", "Spikes", "Projected energy", "Generated data", "1.000"):
        assert part in shown
    assert len(figure.axes) == 10


def test_the_page_needs_only_images_and_a_field(pair):
    flat = generate_pair((24, 40), np.random.default_rng(1))
    for p in (pair, flat):
        figure = registration_figure(
            p.fixed, p.moving, p.moving, p.displacement, spacing=(1.0, 1.5, 2.0)[: p.fixed.ndim]
        )
        assert len(figure.axes) == 8


def test_three_slices_of_a_volume(pair):
    figure = slices(pair.fixed, labels=pair.fixed_labels, title="Generated volume")
    for axis, ax in enumerate(figure.axes):
        np.testing.assert_array_equal(pictured(ax), pair.fixed.take(pair.fixed.shape[axis] // 2, axis).T)


# ---------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_figure_is_saved_by_its_suffix(tmp_path, suffix):
    path = save_figure(energy_bars(REPORT).figure, tmp_path / f"energy{suffix}", dpi=40)
    magic = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert path.read_bytes().startswith(magic[suffix])
    assert os.listdir(tmp_path) == [path.name]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    figure, path = energy_bars(REPORT).figure, tmp_path / "energy.png"
    path.write_bytes(b"old")

    def fail(name, **options):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["energy.png"]
    with pytest.raises(ParameterError, match="suffix"):
        save_figure(figure, tmp_path / "energy.doc")


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pysnnmed\[plot\]'"):
        energy_bars(REPORT)


def test_importing_viz_imports_no_matplotlib_and_drawing_no_pyplot():
    code = (
        "import sys; import numpy as np; from pysnnmed import viz; assert 'matplotlib' not in sys.modules; "
        "viz.show_image(np.eye(4)); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
