"""MedSpikeFormer: a U-shaped spiking transformer that segments images, and its analog teacher with softmax attention.

Source: "MedSpikeFormer: All Neurons Matter for Medical Image Segmentation" (under review, 2025), equations 1 to 12, and
the code that its authors released.

    images [B, in_channels, *S], a current constant over T steps
    stage i        PE: conv 3 -> spike convolution          f = PE(X) + attention(PE(X))              (equation 10)
                   f_e^i = f + channel MLP(f)               at 1, 1/2, 1/4, 1/8 of S, widths C_1 to C_4
    pool           conv 2, stride 2, between the stages
    decoder i      f_s^i = SpikeConv(f_e^i + up(f_s^(i+1))) up: twice the size -> conv 3              (equation 11)
    head           mean over T -> conv 3 -> 1x1 -> logits                                             (equation 12)
    mask heads     mean over T -> 1x1, one for each stage: what training aligns with the teacher's; inference has none

Neurons fire inside the branches: depthwise conv 3 -> batch norm -> neurons -> 1x1 (DSConv). What branches are added to
is a stream of real numbers, the membrane shortcut. So the 1x1 convolutions and the attention see spikes and add; the
embeddings, pools, upsampling convolutions and depthwise ones see real numbers and multiply, unless `strict_spike` puts
neurons before them.

Two modes. "sound", the default: as above, with skips at equal resolution before pooling (equation 11), and each branch
normed at its end instead of the stream, so that batch norm folds into a convolution and the stream only adds. "paper":
the layers of the released code, every one that it uses, with its numbers of parameters: a pool after every stage,
skips from below the pools and a fourth decoder that makes up for it, embeddings without spike convolution (the code
computes one and drops the result), a projection of each of the four maps, norms on the stream, biases that norms take
away again, deep mask heads. Where its results differ from its equations by a mistake, the equations stand: the
attention's shortcut is PE(X), channels and pixels are not mixed, one sigmoid.
"""

from .config import PRESETS, MedSpikeFormerConfig, preset
from .networks import MedSpikeFormer, SegmentationTeacher
from .table import LayerSize, table, unused_in_release
from .units import Observer

__all__ = [
    "PRESETS",
    "LayerSize",
    "MedSpikeFormer",
    "MedSpikeFormerConfig",
    "Observer",
    "SegmentationTeacher",
    "preset",
    "table",
    "unused_in_release",
]
