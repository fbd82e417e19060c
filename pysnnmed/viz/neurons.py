"""How neurons behave: membranes with their spikes, rates against currents, resets, surrogate derivatives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParameterError, ShapeError
from ..surrogate import Surrogate
from .canvas import INK, PALE, READABLE, RULE, axes_or_new, key, new_figure, note, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))  # the same colours again, should there be many curves
STEP, SMOOTH, DERIVATIVE = "#8b949e", READABLE[1], READABLE[0]


def membrane_traces(
    h: np.ndarray,
    v: np.ndarray,
    s: np.ndarray,
    ax: Axes | None = None,
    *,
    current: np.ndarray | None = None,
    v_threshold: float = 1.0,
    names: Sequence[str] = (),
    title: str = "Membrane, threshold and spikes",
) -> Axes:
    """Membranes of neurons one above the other, the threshold dashed, the spikes riding on top, the current below.

    h, v, s and `current` are [T] or [T, N]: the potential before the reset, after it, the spikes (of counts the size:
    the height of the stroke) and the input. A reset is the vertical fall from h[t] to v[t]. All lanes have one scale.
    """
    h, v, s = (_columns(part, h) for part in (h, v, s))
    steps, n = h.shape
    ax = axes_or_new(ax, 8, 1.2 + 1.3 * n)
    low, high = min(0.0, float(min(h.min(), v.min()))), max(v_threshold, float(h.max()))
    unit = high - low
    lane = 1.45 * unit if current is None else 1.85 * unit
    time = np.repeat(np.arange(1, steps + 1), 2)
    most, middles = max(1.0, float(np.abs(s).max())), []
    for i in range(n):
        base, colour = -i * lane, READABLE[i % len(READABLE)]
        ax.hlines(base + v_threshold, 0.5, steps + 0.5, color=PALE, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.plot(time, base + np.stack([h[:, i], v[:, i]], axis=1).ravel(), color=colour, linewidth=1.4)
        foot, tops = base + high + 0.06 * unit, 0.2 * unit * np.abs(s[:, i]) / most
        fired = np.flatnonzero(s[:, i])
        ax.vlines(fired + 1, foot, foot + tops[fired], color=colour, linewidth=1.8)
        middles.append(base + (low + high) / 2)
    if current is not None:
        _currents(ax, _columns(current, h), lane, top=low - 0.12 * unit, height=0.22 * unit)
    ax.set_xlim(0.5, steps + 0.5)
    ax.set_ylim(-(n - 1) * lane + low - (0.45 if current is not None else 0.08) * unit, high + 0.32 * unit)
    ax.set_yticks(middles, list(names) or [""] * n, size=9)
    ax.set_xlabel("time step", size=9, color=PALE)
    note(ax, "threshold", (1, v_threshold), (4, 0), xycoords=("axes fraction", "data"), va="center")
    return plain(ax, title)


def fi_curves(
    currents: np.ndarray,
    rates: Mapping[str, np.ndarray],
    ax: Axes | None = None,
    *,
    title: str = "Rate against constant current",
) -> Axes:
    """f-I curves: spikes for each step [N] against constant currents [N], a named curve for each neuron."""
    if not rates:
        raise ParameterError("fi_curves: at least one curve of rates is needed, not none")
    ax = axes_or_new(ax, 7, 4.2)
    for i, (name, rate) in enumerate(rates.items()):
        if rate.shape != currents.shape:
            raise ShapeError(
                f"fi_curves: rates of {name} must have the shape {currents.shape} of the currents, not {rate.shape}"
            )
        ax.plot(currents, rate, label=name, **_stroke(i))
    key(ax)
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_xlim(currents.min(), currents.max())
    ax.set_ylim(bottom=0)
    ax.set_xlabel("input current", size=9, color=PALE)
    ax.set_ylabel("spikes per step", size=9, color=PALE)
    return plain(ax, title)


def reset_portrait(
    resets: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ax: Axes | None = None,
    *,
    v_threshold: float = 1.0,
    title: str = "What the reset leaves",
) -> Axes:
    """The membrane after the reset, v [N], against that before it, h [N], a named curve for each way of resetting.

    Where nothing is taken off, v = h, every neuron is on the grey diagonal; each spike is a fall from it, and the
    curves show what is left. They are broken where v falls again: a neuron that counts takes off one more spike.
    """
    if not resets:
        raise ParameterError("reset_portrait: at least one pair of h and v is needed, not none")
    ax = axes_or_new(ax, 5.6, 4.6)
    reach = [float(bound) for h, _ in resets.values() for bound in (h.min(), h.max())]
    ends = min(reach), max(reach)
    ax.plot(ends, ends, color=STEP, linewidth=1.2, label="no reset")
    ax.axvline(v_threshold, color=PALE, linewidth=0.8, linestyle=(0, (4, 3)))
    for i, (name, (h, v)) in enumerate(resets.items()):
        order = np.argsort(h, kind="stable")
        before, after = h[order].astype(float), v[order].astype(float)
        falls = np.flatnonzero(np.diff(after) < 0) + 1
        left = np.insert(np.where(after == before, np.nan, after), falls, np.nan)
        line = _stroke(i) | {"linewidth": 1.6 + 1.4 * (len(resets) - 1 - i)}  # what coincides shows as a stripe
        ax.plot(np.insert(before, falls, np.nan), left, label=name, **line)
        ax.plot(before[falls], after[falls], "o", color=line["color"], markersize=2.5 + line["linewidth"])
    key(ax)
    note(ax, "threshold", (v_threshold, 0), (4, 5), xycoords=("data", "axes fraction"))
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_xlim(ends)
    ax.set_xlabel("h, before the reset", size=9, color=PALE)
    ax.set_ylabel("v, after the reset", size=9, color=PALE)
    return plain(ax, title)


def surrogate_gallery(
    surrogates: Iterable[Surrogate] | None = None, *, reach: float = 2.0, title: str = "Surrogate derivatives"
) -> Figure:
    """A panel for each surrogate (by default each registered one, by name): derivative, smooth spike, step.

    Drawn for |z| <= reach on one scale, with formula, alpha, peak and integral.
    """
    chosen = [kind() for _, kind in sorted(Surrogate.registry.items())] if surrogates is None else list(surrogates)
    if not chosen:
        raise ParameterError("surrogate_gallery: at least one surrogate is needed, not none")
    columns = min(3, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    width, height = 0.5 + 3.7 * columns, 1.4 + 2.4 * rows
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        rows, columns, left=0.4 / width, right=1 - 0.3 / width, top=1 - 1.5 / height, bottom=0.4 / height,
        hspace=0.7, wspace=0.16,
    )  # fmt: skip
    z = np.linspace(-reach, reach, 1601)  # odd, so that the peak is among them
    top = 1.12 * max(1.0, *(surrogate.peak for surrogate in chosen))
    for i, surrogate in enumerate(chosen):
        _surrogate_panel(figure.add_subplot(grid[i // columns, i % columns]), surrogate, z, top)
    left = 0.4 / width
    figure.text(left, 1 - 0.38 / height, title, size=15, weight="bold", color=INK, va="center")
    parts = [("the step and", STEP), ("a smooth spike,", SMOOTH), ("whose derivative is the surrogate", DERIVATIVE)]
    for text, colour in parts:
        figure.text(left, 1 - 0.72 / height, text, size=9.5, color=colour, va="center")
        left += (0.075 * len(text) + 0.06) / width
    return figure


# ----------------------------------------------------------------------------------------------------- helpers


def _columns(part: np.ndarray, like: np.ndarray) -> np.ndarray:
    """[T] or [T, N] as [T, N]; as long and as wide as `like`."""
    if part.ndim not in (1, 2) or part.shape[:1] != like.shape[:1] or part.size != like.size:
        raise ShapeError(
            f"membrane_traces: every array must be [T] or [T, N], all alike, not {part.shape} beside {like.shape}"
        )
    return part.reshape(len(part), -1)


def _currents(ax: Axes, current: np.ndarray, lane: float, top: float, height: float) -> None:
    """A strip below each lane, all of one scale, zero line included."""
    low, high = min(0.0, float(current.min())), max(0.0, float(current.max()))
    scale = height / (high - low) if high > low else 0.0
    edges = np.arange(len(current) + 1) + 0.5
    for i in range(current.shape[1]):
        zero = top - i * lane - high * scale
        ax.stairs(zero + scale * current[:, i], edges, baseline=zero, fill=True, color=RULE)


def _stroke(i: int) -> dict[str, Any]:
    """The line of the i-th curve."""
    style = DASHES[i // len(READABLE) % len(DASHES)]
    return {"color": READABLE[i % len(READABLE)], "linestyle": style, "linewidth": 1.6}


def _surrogate_panel(ax: Axes, surrogate: Surrogate, z: np.ndarray, top: float) -> None:
    """One surrogate over z, with its name, its facts and its formula above."""
    ax.plot([z[0], 0, 0, z[-1]], [0, 0, 1, 1], color=STEP, linewidth=1.0)
    ax.fill_between(z, surrogate(z), color=DERIVATIVE, alpha=0.16, linewidth=0)
    ax.plot(z, surrogate(z), color=DERIVATIVE, linewidth=1.6)
    ax.plot(z, surrogate.primitive(z), color=SMOOTH, linewidth=1.2)
    ax.set_xlim(z[0], z[-1])
    ax.set_ylim(-0.03 * top, top)
    ax.set_xticks([z[0], 0, z[-1]])
    ax.set_yticks([0, 1])
    plain(ax, "")
    integral = "∞" if math.isinf(surrogate.integral) else f"{surrogate.integral:.3g}"
    note(ax, type(surrogate).__name__, (0, 1), (0, 24), size=11, color=INK, weight="bold")
    note(ax, rf"$\alpha={surrogate.alpha:.3g}$, peak {surrogate.peak:.3g}, integral {integral}", (0, 1), (0, 10))
    if surrogate.formula:
        note(ax, f"${surrogate.formula}$", (1, 1), (0, 24), size=9.5, color=DERIVATIVE, ha="right", va="center")
