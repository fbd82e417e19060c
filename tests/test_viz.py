"""Figures: what is drawn is what the arrays say, the right way up; files appear complete or not at all."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from pysnnmed.data.generate import generate_pair, warp_linear, warp_nearest
from pysnnmed.errors import MissingExtraError, ParameterError, ShapeError
from pysnnmed.surrogate import Gaussian, Surrogate
from pysnnmed.synops import LayerCount, Report, projected_energy
from pysnnmed.viz import (
    Cut,
    checkerboard,
    difference,
    energy_bars,
    energy_by_layer,
    energy_figure,
    fi_curves,
    jacobian_map,
    label_contours,
    membrane_traces,
    raster,
    registration_figure,
    reset_portrait,
    save_figure,
    show_image,
    slices,
    surrogate_gallery,
    warped_grid,
)

pytest.importorskip("matplotlib", reason="draws figures: needs the extra plot")

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


LAYERS = Report(
    (
        LayerCount("stem", macs=1000, dense_macs=1000, ann_macs=1000, weight_reads=1000, ann_weight_reads=1000),
        LayerCount(
            "enc", steps=4, sites=400, events=40, synops=700, dense_macs=8000, ann_macs=2000, neuron_updates=80,
            weight_reads=700, state_reads=80, state_writes=80, spike_bytes_read=50, ann_weight_reads=2000,
        ),
    )
)  # fmt: skip


@pytest.mark.parametrize("table", ["fp32", "int8-int32@dram"])
def test_bars_of_layers_are_as_long_as_the_energy_of_each_part(table):
    ax = energy_by_layer(LAYERS, table=table)
    drawn = {}  # the parts of a bar follow one another, each in its colour
    for patch in ax.patches:
        row = round(patch.get_y() + patch.get_height() / 2, 6)
        assert patch.get_x() == pytest.approx(sum(drawn.get(row, [])))
        drawn.setdefault(row, []).append(patch.get_width())
    unit = ax.get_xlabel().split("\n")[0]
    scale = {"pJ": 1, "nJ": 1e-3, "µJ": 1e-6}[unit]
    for row, layer in zip((2, 1), LAYERS.layers, strict=True):
        energy = projected_energy(Report((layer,)), table)
        spiking, conventional = energy.total, energy.ann
        if "@" in table:
            spiking, conventional = energy.total_with_memory, energy.ann_with_memory
        assert sum(drawn[row + 0.2]) == pytest.approx(spiking * scale)
        assert sum(drawn[row - 0.2]) == pytest.approx(conventional * scale)
    colours = {tuple(patch.get_facecolor()) for patch in ax.patches}
    assert len(colours) == len(ax.get_legend().get_texts()) == (8 if "@" in table else 4)
    for part in ("projected", table, "45 nm", "T = 4", "rate 10.0%", "break-even", "against"):
        assert part in ax.get_xlabel()


def test_the_page_of_energies_has_a_panel_for_each_table_and_never_mixes_them():
    figure = energy_figure(LAYERS, ("fp32", "fp32@sram"), caption="generated")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["fp32: arithmetic alone", "fp32@sram: arithmetic and memory"]
    assert {"generated", "stem", "enc"} <= set(texts(figure))
    for draw in (lambda: energy_figure(LAYERS, ()), lambda: energy_by_layer(Report(()))):
        with pytest.raises(ParameterError, match="at least one"):
            draw()


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


# ----------------------------------------------------------------------------------------------------- neurons


def simulated(rng, steps=12, n=2):
    """h, v, s of integrate-and-fire with soft reset."""
    x = rng.random((steps, n))
    h, v, s = np.zeros((3, steps, n))
    for t in range(steps):
        h[t] = x[t] + (v[t - 1] if t else 0)
        s[t] = h[t] >= 1
        v[t] = h[t] - s[t]
    return x, h, v, s


def test_a_membrane_goes_through_h_and_v_and_has_a_stroke_for_each_spike(rng):
    x, h, v, s = simulated(rng)
    ax = membrane_traces(h, v, s, current=x, names=["one", "two"])
    for i, line in enumerate(ax.lines):
        base = line.get_ydata()[0] - h[0, i]
        np.testing.assert_allclose(line.get_ydata() - base, np.stack([h[:, i], v[:, i]], axis=1).ravel(), atol=1e-12)
        dashed, strokes = ax.collections[2 * i : 2 * i + 2]
        assert dashed.get_segments()[0][0, 1] == pytest.approx(base + 1)
        when = [stroke[0, 0] for stroke in strokes.get_segments()]
        np.testing.assert_array_equal(when, np.flatnonzero(s[:, i]) + 1)
        assert min(stroke[0, 1] for stroke in strokes.get_segments()) > line.get_ydata().max()
    heights = [np.diff(patch.get_data().values) / np.diff(x[:, i]) for i, patch in enumerate(ax.patches)]
    np.testing.assert_allclose(heights, heights[0][0], rtol=1e-9)
    assert {"one", "two", "threshold"} <= set(texts(ax.figure))


def test_a_stroke_is_as_high_as_its_count():
    h = np.array([0.0, 1.0, 3.0, 2.0])
    s = np.array([0, 1, 3, 2])
    strokes = membrane_traces(h, h - s, s).collections[1].get_segments()
    heights = np.array([stroke[1, 1] - stroke[0, 1] for stroke in strokes])
    np.testing.assert_allclose(heights / heights[0], [1, 3, 2])


def test_one_neuron_at_rest_can_be_drawn():
    still = np.zeros(5)
    assert membrane_traces(still, still, still, current=still).figure


def test_rates_are_drawn_against_currents():
    currents = np.linspace(0, 2, 21)
    rates = {f"neuron {i}": np.clip(currents - 0.1 * i, 0, 1) for i in range(6)}
    ax = fi_curves(currents, rates)
    for line, (name, rate) in zip(ax.lines, rates.items(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([currents, rate], axis=1))
        assert name in texts(ax.figure)
    styles = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(styles) == len(rates)


def test_resets_are_drawn_where_they_take_something_off_and_broken_where_v_falls(rng):
    h = rng.permutation(np.arange(-8, 24) / 8)
    counts = np.clip(np.floor(h), 0, None)
    _diagonal, _threshold, hard, first, soft, starts = reset_portrait(
        {"hard": (h, np.where(h >= 1, 0, h)), "counts": (h, h - counts)}
    ).lines
    drawn = hard.get_xydata()[np.isfinite(hard.get_ydata())]
    np.testing.assert_array_equal(drawn, np.stack([np.arange(8, 24) / 8, np.zeros(16)], axis=1))
    np.testing.assert_array_equal(first.get_xydata(), [[1, 0]])
    seen = soft.get_xydata()[16:]  # the 16 below the threshold are on the diagonal
    assert np.isnan(seen[[0, 9]]).all()
    np.testing.assert_array_equal(np.delete(seen, [0, 9], axis=0)[:, 1], [*np.arange(8) / 8] * 2)
    np.testing.assert_array_equal(starts.get_xydata(), [[1, 0], [2, 0]])


def test_the_gallery_shows_every_surrogate_with_its_facts():
    figure = surrogate_gallery()
    shown = texts(figure)
    assert len(figure.axes) == len(Surrogate.registry)
    assert Surrogate.registry.keys() <= set(shown)
    assert any("integral ∞" in text for text in shown)
    ours = Gaussian(3)
    (ax,) = surrogate_gallery([ours]).axes
    _step, derivative, smooth = ax.lines
    z = derivative.get_xdata()
    np.testing.assert_array_equal(derivative.get_ydata(), ours(z))
    np.testing.assert_array_equal(smooth.get_ydata(), ours.primitive(z))
    assert derivative.get_ydata().max() == ours.peak <= ax.get_ylim()[1]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_every_figure_of_neurons_can_be_written(tmp_path, suffix, rng):
    x, h, v, s = simulated(rng)
    axes = [
        membrane_traces(h, v, s, current=x),
        fi_curves(x[:, 0], {"IF": s[:, 0]}),
        reset_portrait({"soft": (h[:, 0], v[:, 0])}),
    ]
    for i, figure in enumerate([*(ax.figure for ax in axes), surrogate_gallery()]):
        assert save_figure(figure, tmp_path / f"{i}{suffix}", dpi=40).stat().st_size > 0


def test_curves_that_do_not_fit_are_refused(rng):
    x, h, v, s = simulated(rng)
    with pytest.raises(ShapeError, match=r"membrane_traces: .* not \(11, 2\) beside \(12, 2\)"):
        membrane_traces(h, v[1:], s)
    with pytest.raises(ShapeError, match=r"rates of IF must have the shape \(12,\)"):
        fi_curves(x[:, 0], {"IF": s})
    for draw in (lambda: fi_curves(x, {}), lambda: reset_portrait({}), lambda: surrogate_gallery([])):
        with pytest.raises(ParameterError, match="at least one"):
            draw()
