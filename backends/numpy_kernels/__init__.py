"""Reference kernels: what every other backend must compute."""

from .conv import conv_backward_input, conv_backward_weight, conv_forward
from .neurons import lif_backward, lif_forward
from .similarity import lncc
from .warp import warp_backward, warp_forward

__all__ = [
    "conv_backward_input",
    "conv_backward_weight",
    "conv_forward",
    "lif_backward",
    "lif_forward",
    "lncc",
    "warp_backward",
    "warp_forward",
]
