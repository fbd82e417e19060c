"""Figures of a registration, of the spikes behind it, what they cost, and of the neurons that fire them: matplotlib.

Every function that draws one thing takes an `ax`, or makes a figure of its own, and returns the Axes (`ax.figure` is
the Figure; `save_figure` writes it). Everything comes in as arrays.
Colours: Okabe and Ito's for categories, viridis, PuOr and RdBu for numbers, all safe for colour-blind readers.
"""

from .canvas import save_figure
from .conversion import conversion_error, conversion_figure
from .energy import energy_bars, energy_by_layer, energy_figure
from .neurons import fi_curves, membrane_traces, reset_portrait, surrogate_gallery
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
from .spikes import raster

__all__ = [
    "Cut",
    "checkerboard",
    "conversion_error",
    "conversion_figure",
    "difference",
    "energy_bars",
    "energy_by_layer",
    "energy_figure",
    "fi_curves",
    "jacobian_map",
    "label_contours",
    "membrane_traces",
    "raster",
    "registration_figure",
    "reset_portrait",
    "save_figure",
    "show_image",
    "slices",
    "surrogate_gallery",
    "warped_grid",
]
