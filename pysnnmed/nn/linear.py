"""A matrix times the last axis."""

from __future__ import annotations

import numpy as np

from .. import ops
from ..errors import ShapeError
from ..tensor import Tensor
from .init import Initialiser, he_uniform, zeros
from .module import Module, Parameter


class Linear(Module):
    """x [..., in_features] -> x W^T + b, [..., out_features]; W is `weight` [out_features, in_features].

    Raises ShapeError if the last axis of x does not have in_features elements.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        rng: np.random.Generator,
        weight_init: Initialiser = he_uniform,
    ):
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(weight_init((out_features, in_features), rng))
        self.bias = Parameter(zeros((out_features,))) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ShapeError(f"{self.label}: expected x of shape [..., {self.in_features}], got {x.shape}")
        out = ops.matmul(x, ops.transpose(self.weight))
        return out if self.bias is None else out + self.bias

    def describe(self) -> str:
        return f"{self.in_features} -> {self.out_features}" + ("" if self.bias is not None else ", no bias")
