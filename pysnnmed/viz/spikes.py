"""Spikes: rasters of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ParameterError, require
from .canvas import PALE, READABLE, axes_or_new, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
