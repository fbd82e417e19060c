"""Upsampling as a layer."""

from __future__ import annotations

from typing import Literal

from ..errors import ParameterError
from ..resample import upsample_linear, upsample_nearest
from ..tensor import Tensor
from .module import Module


class Upsample(Module):
    """x [B, C, *S] -> [B, C, *(factor S)], by repeating voxels ("nearest") or interpolating them ("linear").

    See resample.upsample_nearest and resample.upsample_linear. Repeating keeps spikes binary; interpolating does not.
    """

    def __init__(self, factor: int, mode: Literal["nearest", "linear"] = "nearest"):
        if factor < 1:
            raise ParameterError(f"Upsample: factor must be at least 1, not {factor}")
        if mode not in ("nearest", "linear"):
            raise ParameterError(f"Upsample: mode must be 'nearest' or 'linear', not {mode!r}")
        self.factor, self.mode = factor, mode

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "nearest":
            return upsample_nearest(x, self.factor)
        return upsample_linear(x, tuple(n * self.factor for n in x.shape[2:]))

    def describe(self) -> str:
        return f"{self.factor}, {self.mode}"
