"""Layers: modules with Parameters, built from the operations and the neurons below them."""

from . import init
from .conv import Conv, ConvTranspose
from .linear import Linear
from .module import Buffer, Module, Parameter
from .norm import BatchNorm, fold_batch_norm
from .resample import Upsample
from .spiking import Spiking, over_time

__all__ = [
    "BatchNorm",
    "Buffer",
    "Conv",
    "ConvTranspose",
    "Linear",
    "Module",
    "Parameter",
    "Spiking",
    "Upsample",
    "fold_batch_norm",
    "init",
    "over_time",
]
