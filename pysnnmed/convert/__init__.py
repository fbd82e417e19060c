"""From an analog network to a spiking one: fold batch norm, calibrate thresholds, rescale weights, report the error.

The aim of conversion is that the firing rate of every layer is its activation in units of a layer constant lambda:
rate = clip(a / lambda, 0, 1). With spikes of amplitude 1 and threshold 1 that holds if

    w' = w * lambda_in / lambda_out        b' = b / lambda_out

where lambda_in is the constant of the source each input channel comes from, 1 for the images (weight and threshold
balancing, Diehl et al. 2015; per-connection scaling over concatenations). lambda is a percentile of the activations on
training images, of a layer or of each channel. Neurons start at half a threshold, which rounds the rate instead of
flooring it, do not leak, and are reset by subtraction, so that no charge is lost: then a constant current x gives
|rate - clip(x, 0, 1)| <= 1 / (2 T).

A LeakyReLU of slope k is the difference of two such rates: a second population is driven by -k x, and what it says
counts negative. Each errs by 1 / (2 T) at most, so that the two together become exact as T grows, too.
"""

from .calibration import CONVENTIONS, GRANULARITIES, Convention, Granularity, PercentileSketch, Scale, calibrate
from .networks import Example, LayeredNetwork, SpikingNetwork, observed
from .report import Comparison, LayerReport, compare, compared
from .rescaling import transfer
from .sweep import convert, scales_for, sweep

__all__ = [
    "CONVENTIONS",
    "GRANULARITIES",
    "Comparison",
    "Convention",
    "Example",
    "Granularity",
    "LayerReport",
    "LayeredNetwork",
    "PercentileSketch",
    "Scale",
    "SpikingNetwork",
    "calibrate",
    "compare",
    "compared",
    "convert",
    "observed",
    "scales_for",
    "sweep",
    "transfer",
]
