"""SpikeReg: a U-Net that predicts the displacement between two volumes, as an analog teacher and as a spiking network.

Source: "SpikeReg: Energy-Efficient 3D Deformable Medical Image Registration with Spiking Neural Networks" (arXiv
2605.25144) and the code that its authors released.

    images [B, 2, *S] = (fixed, moving)
    encoder i      conv 3, stride 2 -> conv 3                         at 1/2, 1/4, 1/8, ... of S
    bottleneck     conv 3
    decoder j      transposed conv 2, stride 2 -> concatenate the encoder's map of that size -> conv 3
    head           conv -> stationary velocity or displacement -> linear upsampling to S

A decoder shorter than the encoder stops early: the head then works at half (quarter, ...) resolution, which is smoother
and saves most of the arithmetic. Every layer is conv -> batch norm -> ReLU in the teacher, conv -> neuron in the
spiking network. Between encoder blocks, into the bottleneck and along the skips travels the firing rate, the mean of
the spikes over T steps; everywhere else travel the spikes of each step. The head reads the rate of the last layer.

Two modes. "sound", the default: the spiking network has exactly the teacher's graph, batch norm folded into it, neurons
that lose no charge. "paper": the authors' spiking network (preset "paper" in their size), with batch norm as a layer,
hard reset, thresholds at a percentile, leaks by block, and modules the teacher lacks: shortcuts whose spikes are added,
smoothing of the field, on request winner-take-all inhibition of membranes. Of the authors' options attention at the
skips and averages of maps of unequal widths are not here; their reported network has neither.
"""

from .networks import Observer, SpikeReg, Teacher
from .sizes import LayerSize, layer_sizes
from .table import FIELD, IMAGES, MODES, PRESETS, Layer, Mode, SpikeRegConfig, as_paper, preset

__all__ = [
    "FIELD",
    "IMAGES",
    "MODES",
    "PRESETS",
    "Layer",
    "LayerSize",
    "Mode",
    "Observer",
    "SpikeReg",
    "SpikeRegConfig",
    "Teacher",
    "as_paper",
    "layer_sizes",
    "preset",
]
