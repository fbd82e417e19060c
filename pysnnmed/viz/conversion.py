"""The error of a converted network against the number of its time steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ParameterError
from .canvas import INK, PALE, READABLE, axes_or_new, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_LAYER = "#D0D7DE"


def conversion_error(
    steps: Sequence[int],
    field_error: Sequence[float],
    layer_errors: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
    *,
    title: str = "Error of the conversion",
) -> Axes:
    """Error of the field [voxels] against T, both on logarithmic axes, with the slope 1 / T to compare with.

    `layer_errors` are drawn pale behind it, against a scale of their own at the right: mean |rate - activation| in
    units of lambda. Raises ParameterError for lists of different lengths, or fewer than two points.
    """
    errors = dict(layer_errors or {})
    if len(steps) < 2 or any(len(values) != len(steps) for values in (field_error, *errors.values())):
        raise ParameterError(
            f"conversion_error: needs an error for each of at least two numbers of steps, not {len(field_error)} "
            f"for {len(steps)}"
        )
    ax = axes_or_new(ax, 6, 4)
    order = np.argsort(steps)
    t, error = np.asarray(steps, float)[order], np.asarray(field_error, float)[order]
    if errors:
        behind = ax.twinx()
        for values in errors.values():
            behind.loglog(t, np.asarray(values, float)[order], color=PER_LAYER, linewidth=0.9)
        behind.set_ylabel("layers: mean error / lambda", size=8.5, color=PALE)
        behind.tick_params(length=0, labelsize=8, colors=PALE, which="both")
        for spine in behind.spines.values():
            spine.set_visible(False)
        ax.set_zorder(behind.get_zorder() + 1)
        ax.patch.set_visible(False)
    ax.loglog(t, error[0] * t[0] / t, color=PALE, linewidth=0.9, linestyle=(0, (4, 3)), label="1 / T")
    ax.loglog(t, error, color=READABLE[0], linewidth=1.8, marker="o", markersize=4, label="field")
    for x, y in zip(t, error, strict=True):
        ax.annotate(f"{y:.3g}", (x, y), (0, 6), textcoords="offset points", size=8, color=INK, ha="center")
    ax.set_xticks(t, [f"{x:g}" for x in t])
    ax.minorticks_off()
    ax.set_xlabel("time steps T", size=8.5, color=PALE, loc="left")
    ax.set_ylabel("mean error of the field [voxels]", size=8.5, color=PALE)
    ax.legend(loc="lower left", fontsize=8.5, labelcolor="linecolor", edgecolor="none", framealpha=1)
    return plain(ax, title)


def conversion_figure(
    steps: Sequence[int],
    field_error: Sequence[float],
    layer_errors: Mapping[str, Sequence[float]] | None = None,
    *,
    title: str = "Error of the conversion",
) -> Figure:
    """`conversion_error` on a page of its own."""
    figure = new_figure(7, 4.4)
    conversion_error(steps, field_error, layer_errors, figure.add_axes((0.12, 0.14, 0.75, 0.74)), title=title)
    return figure
