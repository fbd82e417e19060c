"""Spikes and what they cost: rasters of layers, bars of projected energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ParameterError, require
from ..synops import Report, projected_energy
from .canvas import INK, PALE, READABLE, axes_or_new, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPIKING, ANALOG, NEURONAL, CONVENTIONAL = "#0072B2", "#56B4E9", "#009E73", "#B8BEC6"


def raster(
    spikes: Mapping[str, np.ndarray],
    ax: Axes | None = None,
    *,
    neurons: int = 48,
    title: str = "Spikes",
) -> Axes:
    """A raster: one band for each layer, one row a neuron, one column a time step, the darker the more spikes.

    `spikes` maps the name of a layer to its spikes [T, ...]. Of each layer `neurons` rows are shown, taken at equal
    distances from all; the rate beside the band is that of all neurons, events for each neuron and step.
    """
    colours = require("matplotlib.colors", extra="plot", purpose="drawing figures")
    if not spikes:
        raise ParameterError("raster: at least one layer of spikes is needed, not none")
    ax = axes_or_new(ax, 7, 4)
    steps = max(len(train) for train in spikes.values())
    base, centres = 0.0, []
    for i, train in enumerate(spikes.values()):
        flat = np.abs(train.reshape(len(train), -1))
        rows = min(neurons, flat.shape[1])
        chosen = flat[:, np.linspace(0, flat.shape[1] - 1, rows).round().astype(int)].T
        colour = READABLE[i % len(READABLE)]
        shades = colours.LinearSegmentedColormap.from_list("spikes", ["#f3f5f7", colour])
        edges = np.linspace(base, base + 1, rows + 1)  # every band is equally high
        ax.pcolormesh(
            np.arange(len(train) + 1) + 0.5, edges, chosen, cmap=shades, vmin=0, vmax=max(1.0, float(chosen.max()))
        )
        centres.append(base + 0.5)
        ax.text(steps + 0.58, base + 0.5, f"{flat.mean():.1%}", size=8.5, color=colour, va="center", weight="bold")
        base += 1.12
    ax.vlines(np.arange(1, steps) + 0.5, 0, base, color="white", linewidth=min(6.0, 24 / steps))
    ax.set_xlim(0.5, steps + 0.5)
    ax.set_ylim(base - 0.12, 0)
    ax.set_xticks(range(1, steps + 1, 1 + steps // 20))
    ax.set_yticks(centres, list(spikes), size=8.5)
    ax.set_xlabel("time step", size=9, color=PALE)
    ax.annotate("rate", (1, 1), (4, 4), xycoords="axes fraction", textcoords="offset points", size=8.5, color=PALE)
    return plain(ax, f"{title} of at most {neurons} neurons a layer")


def energy_bars(
    report: Report, ax: Axes | None = None, *, table: str = "fp32", title: str = "Projected energy"
) -> Axes:
    """The projected energy of a report, in parts, beside that of the conventional network and the usual estimate.

    T, rate and cost table stand below the title: a projection without them says nothing.
    """
    ax = axes_or_new(ax, 7, 3.2)
    energy = projected_energy(report, table)
    parts = [
        ("synapses", energy.synaptic, SPIKING),
        ("real-valued input", energy.analog, ANALOG),
        ("neurons", energy.neuronal, NEURONAL),
    ]
    unit, scale = _unit(max(energy.ann, energy.total))
    ax.barh(2, energy.ann * scale, color=CONVENTIONAL, height=0.56)
    left = 0.0
    for name, value, colour in parts:
        ax.barh(1, value * scale, left=left, color=colour, height=0.56, label=name)
        left += value * scale
    estimated = energy.total - energy.synaptic + energy.estimate
    ax.barh(0, estimated * scale, color="none", edgecolor=SPIKING, hatch="////", linewidth=0.8, height=0.56)
    for y, value in [(2, energy.ann), (1, energy.total), (0, estimated)]:
        label = f"{value * scale:.3g} {unit}" + (f"   {energy.ratio:.1f}× less" if y == 1 and energy.ratio > 1 else "")
        ax.text(value * scale, y, f"  {label}", va="center", size=9, color=INK)
    ax.set_yticks(
        [2, 1, 0], ["conventional\nnetwork", "spiking network,\nexact count", "spiking network,\nrate × MACs"], size=8.5
    )
    ax.set_xlim(0, 1.32 * max(energy.ann, energy.total, estimated) * scale)
    ax.set_ylim(-0.45, 2.5)
    ax.set_xlabel(
        f"{unit}, {energy.conditions}\nbreak-even at rate {energy.break_even_rate:.0%}, memory and routing left out",
        size=8.5, color=PALE, loc="left", linespacing=1.5,
    )  # fmt: skip
    ax.legend(
        loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3, frameon=False, fontsize=8, handlelength=1,
        handleheight=1, columnspacing=1.2, borderaxespad=0.2, labelcolor=INK,
    )  # fmt: skip
    return plain(ax, title)


def _unit(picojoules: float) -> tuple[str, float]:
    """A unit that keeps numbers readable, and the factor from pJ to it."""
    for unit, scale in (("pJ", 1.0), ("nJ", 1e-3), ("µJ", 1e-6)):
        if picojoules * scale < 1000:
            return unit, scale
    return "mJ", 1e-9
