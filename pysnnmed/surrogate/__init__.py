"""Surrogate derivatives: what stands in for the derivative of the step when a spike is differentiated.

The step s = [z >= 0], z = h - v_threshold, has derivative 0 almost everywhere, so nothing could be learnt through it.
Training replaces that derivative by a bump around the threshold (Neftci, Mostafa and Zenke 2019, "Surrogate gradient
learning in spiking neural networks"). `tailed` holds the bumps that reach every z, `bounded` those that end;
`equivalents` says under which parameters they equal what other libraries compute.
"""

from .base import Scaled, Surrogate
from .bounded import PiecewiseQuadratic, Rectangle
from .equivalents import EQUIVALENTS, NOT_OFFERED
from .tailed import ATan, FastSigmoid, Gaussian, PiecewiseExponential, Sigmoid, SoftSign, StraightThrough

__all__ = [
    "EQUIVALENTS",
    "NOT_OFFERED",
    "ATan",
    "FastSigmoid",
    "Gaussian",
    "PiecewiseExponential",
    "PiecewiseQuadratic",
    "Rectangle",
    "Scaled",
    "Sigmoid",
    "SoftSign",
    "StraightThrough",
    "Surrogate",
]
