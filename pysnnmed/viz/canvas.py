"""The canvas of every figure: colours, axes, and the file. Draws without pyplot and its global state."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ParameterError, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, RULE = "#1f2328", "#6a737d", "#d0d7de"
PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#999999")  # Okabe and Ito 2008
READABLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # those of them that can be read as text on white


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of this size [inches]."""
    module = require("matplotlib.figure", extra="plot", purpose="drawing figures")
    return module.Figure(figsize=(width, height), facecolor="white")


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes given, or those of a new figure of this size [inches]."""
    margins = 0.18, 0.75 / height, 0.72, 1 - 1.2 / height  # left, bottom, and what is left between
    return new_figure(width, height).add_axes(margins) if ax is None else ax


def bare(ax: Axes, title: str) -> Axes:
    """Axes of a picture: no frame, no ticks, a title at the left."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title, loc="left", size=10.5, color=INK, pad=5)
    return ax


def plain(ax: Axes, title: str) -> Axes:
    """Axes of a chart: a frame only where values are read, a title at the left."""
    for name, spine in ax.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(RULE)
    ax.tick_params(length=0, colors=INK, labelsize=8.5)
    ax.set_title(title, loc="left", size=10.5, color=INK, pad=8)
    return ax


def key(ax: Axes) -> None:
    """The names of the curves, each in the colour of its curve, at the upper left."""
    ax.legend(loc="upper left", fontsize=8.5, labelcolor="linecolor", handlelength=1.6, edgecolor="none", framealpha=1)


def note(ax: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], **style: Any) -> None:
    """A small text `shift` points away from `at`, in fractions of the axes unless `xycoords` says otherwise."""
    options: dict[str, Any] = {"xycoords": "axes fraction", "size": 8, "color": PALE, **style}
    ax.annotate(text, at, shift, textcoords="offset points", **options)


def colour_bar(shown: Any, ax: Axes, ticks: list[float], labels: list[str]) -> None:
    """A thin bar below the lower edge of the picture."""
    bar = ax.inset_axes((0.0, -0.045, 1.0, 0.022))
    scale = ax.figure.colorbar(shown, cax=bar, orientation="horizontal")
    scale.outline.set_visible(False)
    scale.set_ticks(ticks, labels=labels)
    bar.tick_params(length=0, labelsize=8, colors=PALE, pad=2)
    texts = bar.get_xticklabels()
    texts[0].set_horizontalalignment("left")
    texts[-1].set_horizontalalignment("right")


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 160) -> Path:
    """Write a figure; the suffix of `path` says how (.png, .pdf, .svg). The file appears complete or not at all."""
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ParameterError(f"save_figure: the suffix must be one of {', '.join(sorted(known))}, not {path.suffix!r}")
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        figure.savefig(temporary, format=kind, dpi=dpi, facecolor="white")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path
