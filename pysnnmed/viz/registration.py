"""A registration in pictures: images on planes, how well they fit, the deformation, and the page with all of it.

Volumes are cut by a `Cut`; a plane of a 3-D array is shown with its first axis to the right and its second upwards,
which for RAS volumes is the orientation of textbooks; a 2-D image row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import ParameterError, ShapeError, require
from ..metrics.deformation import folding_fraction, jacobian_determinant
from ..metrics.overlap import mean_dice
from ..synops import Report
from .canvas import INK, PALE, PALETTE, axes_or_new, bare, colour_bar, new_figure
from .energy import energy_bars
from .spikes import raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec


@dataclass(frozen=True)
class Cut:
    """Where to cut a volume: across which array axis, at which index (the middle, if None). 2-D images are not cut."""

    axis: int = 2
    index: int | None = None

    def plane(self, volume: np.ndarray) -> np.ndarray:
        """The plane [rows, columns] of an image or label map [*S]."""
        if volume.ndim == 2:
            return volume
        if volume.ndim != 3:
            raise ShapeError(f"viz: an image must have 2 or 3 axes, not shape {volume.shape}")
        if not 0 <= self.axis <= 2:
            raise ParameterError(f"Cut: axis must be 0, 1 or 2, not {self.axis}")
        size = volume.shape[self.axis]
        index = size // 2 if self.index is None else self.index
        if not 0 <= index < size:
            raise ParameterError(f"Cut: index must be in 0 ... {size - 1} on axis {self.axis}, not {index}")
        return volume.take(index, self.axis).T

    def in_plane(self, ndim: int) -> tuple[int, int]:
        """The array axes that run along the rows' direction (down or up) and the columns' direction (right)."""
        if ndim == 2:
            return 0, 1
        right, up = (axis for axis in range(3) if axis != self.axis)
        return up, right

    def style(self, ndim: int, spacing: Sequence[float] | None) -> dict[str, Any]:
        """How imshow must be called so that planes stand upright and in proportion."""
        down, right = self.in_plane(ndim)
        aspect = 1.0 if spacing is None else spacing[down] / spacing[right]
        return {"origin": "upper" if ndim == 2 else "lower", "aspect": aspect, "interpolation": "nearest"}


# ----------------------------------------------------------------------------------------------------- the page


def registration_figure(
    fixed: np.ndarray,
    moving: np.ndarray,
    moved: np.ndarray,
    displacement: np.ndarray,
    *,
    fixed_labels: np.ndarray | None = None,
    moving_labels: np.ndarray | None = None,
    moved_labels: np.ndarray | None = None,
    spikes: Mapping[str, np.ndarray] | None = None,
    report: Report | None = None,
    table: str = "fp32",
    title: str = "Registration by a spiking network",
    caption: str = "",
    cut: Cut | None = None,
    spacing: Sequence[float] | None = None,
) -> Figure:
    """One page about one registration: the images, how well they fit, the deformation, the spikes, the energy.

    Images [*S] and label maps [*S], displacement [ndim, *S] in voxels, `spikes` and `report` as for `raster` and
    `energy_bars`. `caption` should say where the images come from, such as "generated data".
    """
    cut = cut or Cut()
    layout = _Page(cut.plane(fixed).shape, cut.style(fixed.ndim, spacing)["aspect"], last_row=bool(spikes or report))
    figure = new_figure(layout.WIDTH, layout.height)
    upper, middle = (
        [figure.add_subplot(grid[i]) for i in range(4)] for grid in (layout.pictures(figure, row) for row in (0, 1))
    )
    limits = _limits(fixed, moving, moved)
    images = [("Fixed", fixed), ("Moving", moving), ("Moved", moved)]
    outlines = " and outlines of the fixed labels" if fixed_labels is not None else ""
    for ax, (name, image) in zip(upper, images, strict=False):
        show_image(image, ax, cut=cut, spacing=spacing, limits=limits, title=name)
        if fixed_labels is not None:
            label_contours(fixed_labels, ax, cut=cut)
    checkerboard(fixed, moved, upper[3], cut=cut, spacing=spacing, limits=limits)
    reach = max(float(np.abs(fixed - image).max()) for image in (moving, moved))
    difference(fixed, moving, middle[0], cut=cut, spacing=spacing, reach=reach, title="Fixed − moving")
    difference(fixed, moved, middle[1], cut=cut, spacing=spacing, reach=reach, title="Fixed − moved")
    warped_grid(displacement, middle[2], cut=cut, spacing=spacing)
    jacobian_map(displacement, middle[3], cut=cut, spacing=spacing)
    charts = layout.charts(figure) if spikes or report else None
    if charts and spikes:
        raster(spikes, figure.add_subplot(charts[1]))
    if charts and report:
        energy_bars(report, figure.add_subplot(charts[3]), table=table)
    facts = [f"{' × '.join(map(str, fixed.shape))} voxels"]
    if fixed_labels is not None and moving_labels is not None:
        labels = [int(k) for k in np.unique(fixed_labels) if k != 0]
        facts.append(f"mean Dice {mean_dice(moving_labels, fixed_labels, labels):.3f} before")
        if moved_labels is not None:
            facts[-1] += f", {mean_dice(moved_labels, fixed_labels, labels):.3f} after"
    facts.append(f"folding {folding_fraction(displacement):.2%} of voxels")
    facts.append(f"longest displacement {np.sqrt((displacement**2).sum(axis=0)).max():.1f} voxels")
    height, left = layout.height, layout.MARGIN / layout.WIDTH
    figure.text(left, 1 - 0.42 / height, title, size=19, weight="bold", color=INK, va="center")
    figure.text(left, 1 - 0.80 / height, "   ·   ".join(facts), size=10.5, color=PALE, va="center")
    notes = ". ".join(filter(None, [caption, f"Upper row: one grey scale{outlines}"]))
    figure.text(left, 0.2 / height, notes + ".", size=8.5, color=PALE, va="center")
    return figure


@dataclass(frozen=True)
class _Page:
    """The layout of `registration_figure` in inches: a head, two rows of pictures, perhaps one of charts, a foot."""

    plane: tuple[int, ...]  # rows and columns of a picture
    aspect: float  # height of a voxel over its width
    last_row: bool

    WIDTH: ClassVar[float] = 13.0
    MARGIN: ClassVar[float] = 0.45
    HEAD: ClassVar[float] = 1.4
    BETWEEN: ClassVar[float] = 0.55  # below the first row: the titles of the second
    BELOW: ClassVar[float] = 1.05  # below the second: its colour bars and the titles of the third
    CHARTS: ClassVar[float] = 2.9
    FOOT: ClassVar[float] = 0.95

    @property
    def row(self) -> float:
        """Height of a row of pictures, each about a quarter of the page wide."""
        rows, columns = self.plane
        return 2.88 * min(1.5, max(0.4, rows * self.aspect / columns))

    @property
    def height(self) -> float:
        """Height of the page."""
        return self.HEAD + 2 * self.row + self.BETWEEN + (self.BELOW + self.CHARTS if self.last_row else 0) + self.FOOT

    def pictures(self, figure: Figure, row: int) -> GridSpec:
        """Four cells side by side, in the first or the second row."""
        return self._grid(figure, self.HEAD + row * (self.row + self.BETWEEN), self.row, wspace=0.07)

    def charts(self, figure: Figure) -> GridSpec:
        """The third row: room for labels, a chart, room for labels, a chart."""
        start = self.HEAD + 2 * self.row + self.BETWEEN + self.BELOW
        return self._grid(figure, start, self.CHARTS, wspace=0, width_ratios=[0.07, 0.38, 0.145, 0.405])

    def _grid(self, figure: Figure, start: float, size: float, **options: Any) -> GridSpec:
        side = self.MARGIN / self.WIDTH
        top, bottom = 1 - start / self.height, 1 - (start + size) / self.height
        return figure.add_gridspec(1, 4, left=side, right=1 - side, top=top, bottom=bottom, **options)


# --------------------------------------------------------------------------------------------------- the images


def show_image(
    image: np.ndarray,
    ax: Axes | None = None,
    *,
    cut: Cut | None = None,
    spacing: Sequence[float] | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Axes:
    """A plane of an image [*S] in grey between `limits` (by default its 0.5 and 99.5 percentiles)."""
    cut, ax = cut or Cut(), axes_or_new(ax, 4, 4)
    low, high = limits or _limits(image)
    ax.imshow(cut.plane(image), cmap="gray", vmin=low, vmax=high, **cut.style(image.ndim, spacing))
    return bare(ax, title)


def slices(
    volume: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    spacing: Sequence[float] | None = None,
    title: str = "",
) -> Figure:
    """The three middle planes of a volume [D, H, W], across its first, second and third axis, with label outlines."""
    if volume.ndim != 3:
        raise ShapeError(f"slices: a volume must have 3 axes, not shape {volume.shape}")
    figure = new_figure(10, 3.9)
    grid = figure.add_gridspec(1, 3, left=0.02, right=0.98, top=0.82, bottom=0.03, wspace=0.05)
    for axis in range(3):
        cut, ax = Cut(axis), figure.add_subplot(grid[axis])
        show_image(volume, ax, cut=cut, spacing=spacing, title=f"axis {axis}, index {volume.shape[axis] // 2}")
        if labels is not None:
            label_contours(labels, ax, cut=cut)
    figure.text(0.02, 0.945, title, size=13, weight="bold", color=INK, va="center")
    return figure


def label_contours(labels: np.ndarray, ax: Axes, *, cut: Cut | None = None, width: float = 0.9) -> Axes:
    """Outlines of the labels of a map [*S] on an image that is already there; label k always has the same colour."""
    plane = (cut or Cut()).plane(labels)
    for k in np.unique(plane):
        if k != 0:
            colour = PALETTE[(int(k) - 1) % len(PALETTE)]
            ax.contour(plane == k, levels=[0.5], colors=[colour], linewidths=width)
    return ax


def checkerboard(
    a: np.ndarray,
    b: np.ndarray,
    ax: Axes | None = None,
    *,
    cut: Cut | None = None,
    spacing: Sequence[float] | None = None,
    limits: tuple[float, float] | None = None,
    fields: int = 8,
    title: str = "Checkerboard of fixed and moved",
) -> Axes:
    """Fields of two images by turns: where they are registered, edges run on from field to field."""
    cut, ax = cut or Cut(), axes_or_new(ax, 4, 4)
    left, right = cut.plane(a), cut.plane(b)
    size = max(1, min(left.shape) // fields)
    turn = np.add.reduce([i // size for i in np.indices(left.shape)]) % 2
    low, high = limits or _limits(a, b)
    style = cut.style(a.ndim, spacing)
    ax.imshow(np.where(turn == 0, left, right), cmap="gray", vmin=low, vmax=high, **style)
    rows, columns = left.shape
    ax.hlines(np.arange(size, rows, size) - 0.5, -0.5, columns - 0.5, color="white", alpha=0.25, linewidth=0.5)
    ax.vlines(np.arange(size, columns, size) - 0.5, -0.5, rows - 0.5, color="white", alpha=0.25, linewidth=0.5)
    return bare(ax, title)


def difference(
    a: np.ndarray,
    b: np.ndarray,
    ax: Axes | None = None,
    *,
    cut: Cut | None = None,
    spacing: Sequence[float] | None = None,
    reach: float | None = None,
    title: str = "Difference",
) -> Axes:
    """a - b on a plane, white where they agree, red and blue up to ± `reach`."""
    cut, ax = cut or Cut(), axes_or_new(ax, 4, 4)
    reach = reach or float(np.abs(a - b).max()) or 1.0
    style = cut.style(a.ndim, spacing)
    shown = ax.imshow(cut.plane(a) - cut.plane(b), cmap="RdBu_r", vmin=-reach, vmax=reach, **style)
    colour_bar(shown, ax, [-reach, 0, reach], [f"−{reach:.2g}", "0", f"{reach:.2g}"])
    return bare(ax, title)


# ---------------------------------------------------------------------------------------------- the deformation


def warped_grid(
    displacement: np.ndarray,
    ax: Axes | None = None,
    *,
    cut: Cut | None = None,
    spacing: Sequence[float] | None = None,
    lines: int = 24,
    title: str = "Warped grid",
) -> Axes:
    """The grid x + u(x) of a displacement [ndim, *S] [voxels], about `lines` lines a side, coloured by |u|.

    A pull-back field takes the fixed grid into the moving image, so this is the fixed grid as it lies there; of a 3-D
    field the part within the plane is drawn, and the colour tells the whole length.
    """
    collections = require("matplotlib.collections", extra="plot", purpose="drawing figures")
    cut, ax = cut or Cut(), axes_or_new(ax, 4, 4)
    ndim = _ndim(displacement)
    down, right = cut.in_plane(ndim)
    u_down, u_right = cut.plane(displacement[down]), cut.plane(displacement[right])
    length = cut.plane(np.sqrt((displacement**2).sum(axis=0)))
    rows, columns = np.indices(length.shape)
    points = np.stack([columns + u_right, rows + u_down], axis=-1)
    step = max(1, min(length.shape) // lines)
    strands = [(points[i], length[i]) for i in range(0, len(length), step)]
    strands += [(points[:, j], length[:, j]) for j in range(0, length.shape[1], step)]
    segments = np.concatenate([np.stack([p[:-1], p[1:]], axis=1) for p, _ in strands])
    colour = np.concatenate([(v[:-1] + v[1:]) / 2 for _, v in strands])
    top = max(float(length.max()), 1e-6)
    grid = collections.LineCollection(segments, array=colour, cmap="viridis", linewidths=1.0, capstyle="round")
    grid.set_clim(0, top)
    ax.add_collection(grid)
    style = cut.style(ndim, spacing)
    margin = 0.02 * max(length.shape)
    ax.set_xlim(-margin, length.shape[1] - 1 + margin)
    ax.set_ylim(*(-margin, length.shape[0] - 1 + margin)[:: -1 if style["origin"] == "upper" else 1])
    ax.set_aspect(style["aspect"])
    colour_bar(grid, ax, [0, top], ["0", f"{top:.1f} voxels"])
    return bare(ax, title)


def jacobian_map(
    displacement: np.ndarray,
    ax: Axes | None = None,
    *,
    cut: Cut | None = None,
    spacing: Sequence[float] | None = None,
    title: str = "Jacobian determinant",
) -> Axes:
    """The Jacobian determinant J of x + u(x), logarithmic: purple J > 1, orange J < 1, black where the field folds."""
    colours = require("matplotlib.colors", extra="plot", purpose="drawing figures")
    cut, ax = cut or Cut(), axes_or_new(ax, 4, 4)
    ndim = _ndim(displacement)
    plane = cut.plane(jacobian_determinant(displacement))
    positive = plane > 0
    log2 = np.log2(plane, out=np.zeros(plane.shape), where=positive)
    reach = max(0.25, float(np.quantile(np.abs(log2), 0.998)))
    style = cut.style(ndim, spacing)
    shown = ax.imshow(log2, cmap="PuOr", vmin=-reach, vmax=reach, **style)
    if not positive.all():
        folds = np.ma.masked_where(positive, np.ones(plane.shape))
        ax.imshow(folds, cmap=colours.ListedColormap(["black"]), **style)
    colour_bar(shown, ax, [-reach, 0, reach], [f"{2**-reach:.2g}", "1", f"{2**reach:.2g}"])
    return bare(ax, title)


# ----------------------------------------------------------------------------------------------------- helpers


def _limits(*images: np.ndarray) -> tuple[float, float]:
    """One grey scale for images that are to be compared."""
    low = min(float(np.quantile(image, 0.005)) for image in images)
    high = max(float(np.quantile(image, 0.995)) for image in images)
    return low, high if high > low else low + 1.0


def _ndim(displacement: np.ndarray) -> int:
    ndim = displacement.ndim - 1
    if ndim not in (2, 3) or len(displacement) != ndim:
        raise ShapeError(f"viz: a displacement must have shape [2, H, W] or [3, D, H, W], not {displacement.shape}")
    return ndim
