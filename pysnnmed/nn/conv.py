"""Convolution layers in one, two or three dimensions."""

from __future__ import annotations

import math

import numpy as np

from ..axes import PerAxis, per_axis
from ..conv import conv, conv_transpose
from ..errors import ParameterError, ShapeError
from ..tensor import Tensor
from .init import Initialiser, he_uniform, zeros
from .module import Module, Parameter


class _ConvBase(Module):
    """What convolution and transposed convolution share: the settings, their checks and the bias."""

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis,
        padding: PerAxis,
        dilation: PerAxis,
        groups: int,
    ):
        title = type(self).__name__
        if ndim not in (1, 2, 3):
            raise ParameterError(f"{title}: ndim must be 1, 2 or 3, not {ndim}")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ParameterError(
                f"{title}: groups must divide the {in_channels} input and {out_channels} output channels, not {groups}"
            )
        self.ndim, self.in_channels, self.out_channels, self.groups = ndim, in_channels, out_channels, groups
        self.kernel_size = per_axis(title, "kernel_size", kernel_size, ndim, at_least=1)
        self.stride = per_axis(title, "stride", stride, ndim, at_least=1)
        self.padding = per_axis(title, "padding", padding, ndim, at_least=0)
        self.dilation = per_axis(title, "dilation", dilation, ndim, at_least=1)

    def add_parameters(self, weight: np.ndarray, bias: bool) -> None:
        """Make `weight` and, if wanted, a zero `bias` the parameters of this layer."""
        self.weight = Parameter(weight)
        self.bias = Parameter(zeros((self.out_channels,))) if bias else None

    def check_input(self, x: Tensor) -> None:
        """Raise ShapeError unless x is [B, C=in_channels, *S] with `ndim` spatial axes."""
        if x.ndim != self.ndim + 2 or x.shape[1] != self.in_channels:
            raise ShapeError(
                f"{self.label}: expected x of shape [B, C={self.in_channels}, {self.ndim} spatial axes], got {x.shape}"
            )

    def describe(self) -> str:
        text = f"{self.ndim}d, {self.in_channels} -> {self.out_channels}, kernel {self.kernel_size}"
        for word, value, default in (
            ("stride", self.stride, 1),
            ("padding", self.padding, 0),
            ("dilation", self.dilation, 1),
        ):
            text += f", {word} {value}" if any(v != default for v in value) else ""
        return (
            text
            + (f", {self.groups} groups" if self.groups > 1 else "")
            + ("" if self.bias is not None else ", no bias")
        )


class Conv(_ConvBase):
    """x [B, C, *S] -> [B, O, *S'], with `weight` [O, C / groups, *K] and `bias` [O]. See conv.conv.

    Sizes are one number for all axes or one per axis. Raises ShapeError if x has other channels or axes.
    """

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: PerAxis = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        weight_init: Initialiser = he_uniform,
    ):
        super().__init__(ndim, in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.add_parameters(weight_init((out_channels, in_channels // groups, *self.kernel_size), rng), bias)

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        return conv(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose(_ConvBase):
    """x [B, C, *S] -> [B, O, *S'], with `weight` [C, O / groups, *K] and `bias` [O]. See conv.conv_transpose.

    Sizes are one number for all axes or one per axis. Raises ShapeError if x has other channels or axes.
    """

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: PerAxis = 0,
        output_padding: PerAxis = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        weight_init: Initialiser = he_uniform,
    ):
        super().__init__(ndim, in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.output_padding = per_axis(type(self).__name__, "output_padding", output_padding, ndim, at_least=0)
        # each output voxel meets only every stride-th tap of the kernel along each axis
        fan_in = in_channels // groups * math.prod(self.kernel_size) / math.prod(self.stride)
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        self.add_parameters(weight_init(shape, rng, fan_in=fan_in), bias)

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        return conv_transpose(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.dilation, self.groups
        )
