"""Reference kernels: what every other backend must compute."""

from .conv import conv_backward_input, conv_backward_weight, conv_forward
from .neurons import lif_backward, lif_forward

__all__ = [
    "conv_backward_input",
    "conv_backward_weight",
    "conv_forward",
    "lif_backward",
    "lif_forward",
]
