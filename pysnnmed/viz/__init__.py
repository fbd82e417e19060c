"""Figures of a registration, of the spikes behind it and of the neurons that fire them. Needs matplotlib.

Every function that draws one thing takes an `ax`, or makes a figure of its own, and returns the Axes (`ax.figure` is
the Figure; `save_figure` writes it). Everything comes in as arrays.
Colours: Okabe and Ito's for categories, viridis, PuOr and RdBu for numbers, all safe for colour-blind readers.
"""

from .canvas import save_figure
from .registration import (
    Cut,
    checkerboard,
    difference,
    jacobian_map,
    label_contours,
    registration_figure,
    show_image,
    slices,
    warped_grid,
)
from .spikes import energy_bars, raster

__all__ = [
    "Cut",
    "checkerboard",
    "difference",
    "energy_bars",
    "jacobian_map",
    "label_contours",
    "raster",
    "registration_figure",
    "save_figure",
    "show_image",
    "slices",
    "warped_grid",
]
