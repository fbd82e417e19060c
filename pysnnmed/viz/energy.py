"""Bars of projected energy: of a whole network by its parts, and of every layer beside the conventional network's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ParameterError
from ..synops import ProjectedEnergy, Report, projected_energy
from .canvas import INK, PALE, axes_or_new, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPIKING, ANALOG, NEURONAL, CONVENTIONAL = "#0072B2", "#56B4E9", "#009E73", "#B8BEC6"
WEIGHTS, STATES, TRAFFIC, CONVENTIONAL_MEMORY = "#D55E00", "#E69F00", "#F0E442", "#DFE3E8"


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


def energy_by_layer(
    report: Report, ax: Axes | None = None, *, table: str = "fp32", title: str = "Projected energy of each layer"
) -> Axes:
    """The projected energy of every layer, in parts; below each, the same layer of the conventional network.

    Arithmetic alone, or, with a table that says where data live, arithmetic and memory. T, rate and cost table stand
    below, with the sums over all layers. Raises ParameterError for a report without layers.
    """
    if not report.layers:
        raise ParameterError("energy_by_layer: the report must have at least one layer, not none")
    ax = axes_or_new(ax, 8, 2.1 + 0.42 * len(report.layers))
    whole = projected_energy(report, table)
    layers = [projected_energy(Report((layer,)), table) for layer in report.layers]
    lengths = [[sum(value for _, value, _ in parts) for parts in (_spiking(e), _conventional(e))] for e in layers]
    unit, scale = _unit(max(map(max, lengths)) / 10)  # most layers are far below the longest
    rows = range(len(layers), 0, -1)
    for side, (offset, height) in zip((_spiking, _conventional), ((0.2, 0.4), (-0.2, 0.3)), strict=True):
        left = [0.0] * len(layers)
        for parts in zip(*map(side, layers), strict=True):
            name, _, colour = parts[0]
            widths = [value * scale for _, value, _ in parts]
            if any(widths):
                ax.barh([y + offset for y in rows], widths, height, left=left, color=colour, label=name)
            left = [start + width for start, width in zip(left, widths, strict=True)]
    longest = max(map(max, lengths)) * scale
    for y, pair in zip(rows, lengths, strict=True):
        for length, offset, colour in zip(pair, (0.2, -0.2), (INK, PALE), strict=True):
            ax.text(
                length * scale + 0.008 * longest,
                y + offset,
                _figure(length * scale),
                va="center",
                size=7.5,
                color=colour,
            )
    ax.set_yticks(list(rows), [layer.name for layer in report.layers], size=8.5)
    ax.set_xlim(0, 1.1 * longest)
    ax.set_ylim(0.4, len(layers) + 0.6)
    ax.set_xlabel(f"{unit}\n{_sums(whole)}", size=8.5, color=PALE, loc="left", linespacing=1.5)
    ax.legend(loc="best", frameon=False, fontsize=8, handlelength=1, handleheight=1, labelcolor=INK)
    return plain(ax, title)


def energy_figure(report: Report, tables: Sequence[str] = ("fp32", "fp32@sram"), *, caption: str = "") -> Figure:
    """One page: `energy_by_layer` under each of some cost tables, side by side."""
    if not tables:
        raise ParameterError("energy_figure: at least one cost table is needed, not none")
    width, height = 1.7 + 6.0 * len(tables), 3.3 + 0.42 * len(report.layers)
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        1, len(tables), left=1.55 / width, right=1 - 0.3 / width, top=1 - 1.35 / height, bottom=1.35 / height,
        wspace=0.08,
    )  # fmt: skip
    for i, table in enumerate(tables):
        memory = projected_energy(report, table).memory is not None
        ax = energy_by_layer(
            report,
            figure.add_subplot(grid[i]),
            table=table,
            title=f"{table}: " + ("arithmetic and memory" if memory else "arithmetic alone"),
        )
        if i:
            ax.tick_params(labelleft=False)
    left = 0.3 / width
    figure.text(
        left, 1 - 0.42 / height, "Projected energy of each layer", size=17, weight="bold", color=INK, va="center"
    )
    figure.text(left, 1 - 0.78 / height, caption, size=10, color=PALE, va="center")
    figure.text(
        left, 0.2 / height, "Projected from exact counts of operations, not measured on hardware.", size=8.5,
        color=PALE, va="center",
    )  # fmt: skip
    return figure


def _spiking(energy: ProjectedEnergy) -> list[tuple[str, float, str]]:
    """Name, energy [pJ] and colour of every part of a spiking network."""
    parts = [
        ("synapses", energy.synaptic, SPIKING),
        ("real-valued MACs", energy.analog, ANALOG),
        ("neurons and biases", energy.neuronal, NEURONAL),
    ]
    if energy.memory is not None:
        parts += [
            ("reading weights", energy.memory.weights, WEIGHTS),
            ("membranes", energy.memory.states, STATES),
            ("spikes, real values", energy.memory.spikes, TRAFFIC),
        ]
    return parts


def _conventional(energy: ProjectedEnergy) -> list[tuple[str, float, str]]:
    """The same of a conventional network."""
    parts = [("conventional network", energy.ann, CONVENTIONAL)]
    if energy.ann_memory is not None:
        parts.append(("its memory", energy.ann_memory.total, CONVENTIONAL_MEMORY))
    return parts


def _sums(energy: ProjectedEnergy) -> str:
    """Both networks as a whole, and the conditions."""
    spiking, conventional, ratio, even = energy.total, energy.ann, energy.ratio, energy.break_even_rate
    if energy.memory is not None:
        spiking, conventional = energy.total_with_memory, energy.ann_with_memory
        ratio, even = energy.ratio_with_memory, energy.break_even_with_memory
    unit, scale = _unit(max(spiking, conventional))
    table = energy.table
    lines = [
        f"all layers {_figure(spiking * scale)} {unit} against {_figure(conventional * scale)} {unit}, {ratio:.2f}× "
        "less",
        f"break-even at {even:.0%} of the connections, here {energy.synaptic_rate:.1%}",
        f"projected, {table.name} ({table.source}), T = {energy.steps}, rate {energy.rate:.1%}",
    ]
    if table.placement is not None:
        lines[-1] += f"; {table.placement}"
    return "\n".join(lines)


def _figure(value: float) -> str:
    """Three significant figures, without an exponent."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _unit(picojoules: float) -> tuple[str, float]:
    """A unit that keeps numbers readable, and the factor from pJ to it."""
    for unit, scale in (("pJ", 1.0), ("nJ", 1e-3), ("µJ", 1e-6)):
        if picojoules * scale < 1000:
            return unit, scale
    return "mJ", 1e-9
