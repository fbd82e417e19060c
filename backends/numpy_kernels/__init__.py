"""Reference kernels: what every other backend must compute."""

from .attention import add_rows, coincidences
from .conv import conv_backward_input, conv_backward_weight, conv_forward
from .currents import convolve_reals, convolve_scratch, convolve_spikes, fire_currents
from .neurons import lif_backward, lif_forward
from .norm import batch_norm_backward, batch_norm_forward, channel_moments
from .packed_attention import attend, attend_scratch, gate
from .packed_layers import layer_scratch, pool_spikes, read_out, repeat_spikes, spiking_layer
from .quantizing import quantize
from .resample import (
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
    upsample_linear_backward,
    upsample_linear_forward,
    upsample_nearest_backward,
    upsample_nearest_forward,
)
from .sampling import sample
from .similarity import lncc
from .warp import warp_backward, warp_forward

__all__ = [
    "add_rows",
    "attend",
    "attend_scratch",
    "avg_pool_backward",
    "avg_pool_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "channel_moments",
    "coincidences",
    "conv_backward_input",
    "conv_backward_weight",
    "conv_forward",
    "convolve_reals",
    "convolve_scratch",
    "convolve_spikes",
    "fire_currents",
    "gate",
    "layer_scratch",
    "lif_backward",
    "lif_forward",
    "lncc",
    "max_pool_backward",
    "max_pool_forward",
    "pool_spikes",
    "quantize",
    "read_out",
    "repeat_spikes",
    "sample",
    "spiking_layer",
    "upsample_linear_backward",
    "upsample_linear_forward",
    "upsample_nearest_backward",
    "upsample_nearest_forward",
    "warp_backward",
    "warp_forward",
]
