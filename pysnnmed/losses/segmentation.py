"""Losses of segmentation: how far logits are from masks, and a spiking network's maps from those of its teacher.

All take logits x, of which sigmoid(x) is the probability: no probability is rounded to 0 or 1 on the way, and nothing
overflows. They are sums of differentiable operations, so that their gradients are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from .. import ops
from ..errors import ParameterError, ShapeError
from ..tensor import Tensor

Divergence: TypeAlias = Literal["bernoulli", "divergence", "softmax", "literal"]
LAST_OF_FOUR = (0.0, 0.0, 0.0, 1.0)


def bce(logits: Tensor, targets: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Binary cross-entropy, mean over all pixels: log(1 + e^x) - x y -> scalar.

    logits x, targets y [B, C, *S], y in [0, 1]. `weights`: one for each class, of their weighted mean; None: equal.
    """
    _require_maps("bce", logits, targets)
    per_class = (ops.softplus(logits) - logits * targets).mean(axis=(0, *range(2, logits.ndim)))
    return _weighted("bce", per_class, weights)


def dice_loss(logits: Tensor, targets: Tensor, weights: Sequence[float] | None = None, epsilon: float = 1.0) -> Tensor:
    """1 - (2 sum(p y) + epsilon) / (sum(p^2) + sum(y^2) + epsilon) of each image and class, their mean -> scalar.

    p = sigmoid(logits), y the targets, [B, C, *S], sums over space. Squares make it 0 exactly where p = y, for soft
    targets too (Milletari et al. 2016; with this epsilon in MedSpikeFormer). `epsilon`, in pixels, lets an image
    without foreground score 0 when nothing is found. `weights` as in `bce`.
    """
    _require_maps("dice_loss", logits, targets)
    if not epsilon > 0:
        raise ParameterError(f"dice_loss: epsilon must be positive, as an empty image divides by it, not {epsilon}")
    space = tuple(range(2, logits.ndim))
    p = ops.sigmoid(logits)
    both = (p * targets).sum(axis=space)
    each = (p * p).sum(axis=space) + (targets * targets).sum(axis=space)
    per_class = (1 - (2 * both + epsilon) / (each + epsilon)).mean(axis=0)
    return _weighted("dice_loss", per_class, weights)


def alignment_loss(
    student_logits: Tensor | Sequence[Tensor],
    teacher_logits: Tensor | Sequence[Tensor],
    kind: Divergence = "bernoulli",
    *,
    kl: float = 1.0,
    l2: float = 1.0,
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
    reverse: bool = False,
    epsilon: float = 1e-6,
) -> Tensor:
    """kl D(s || a) + l2 mean((s - a)^2), weighted mean over stages -> scalar.

    student_logits, teacher_logits  maps [B, C, *S] of one stage or of several, each pair of one shape. Of these s and a
    are the sigmoids, kept within [epsilon, 1 - epsilon]. A frozen teacher's maps come from `no_grad`.

    kind      D, a mean over pixels unless said otherwise
      bernoulli   s log(s / a) + (1 - s) log((1 - s) / (1 - a)): each pixel is foreground or not
      divergence  s log(s / a) - s + a, the generalised I-divergence
      softmax     KL of softmax(logits / temperature) over space, summed over pixels, mean over images and channels:
                  where to look, whatever the level
      literal     s log(s / a), as MedSpikeFormer's equation has it. It is no divergence: with l2 = 1 the gradient
                  vanishes at s < a (s = 0.284 for a = 0.5; at a / e without l2), so that students mark too little
    weights   of the stages, scaled to sum 1; None: the last of four alone, as MedSpikeFormer means it; of other
              numbers of stages, all alike
    reverse   D(a || s) in the place of D(s || a)

    The first three are at least 0, and 0 where and only where s = a; "softmax" with l2 = 0 is blind to a constant.
    """
    students, teachers = ([x] if isinstance(x, Tensor) else list(x) for x in (student_logits, teacher_logits))
    if kind not in _DIVERGENCES:
        raise ParameterError(f"alignment_loss: kind must be one of {', '.join(get_args(Divergence))}, not {kind!r}")
    if not students or len(students) != len(teachers):
        raise ShapeError(
            f"alignment_loss: student and teacher need maps of the same stages, at least one, not {len(students)} and "
            f"{len(teachers)}"
        )
    if not 0 < epsilon < 0.5:
        raise ParameterError(f"alignment_loss: epsilon must be between 0 and 1/2, not {epsilon}")
    if not temperature > 0 or (temperature != 1 and kind != "softmax"):
        raise ParameterError(f"alignment_loss: temperature must be positive, and 1 but for softmax, not {temperature}")
    if min(kl, l2) < 0:
        raise ParameterError(f"alignment_loss: kl and l2 must not be negative, they are {kl} and {l2}")
    farthest = math.log((1 - epsilon) / epsilon)
    total: Tensor | float = 0.0
    for student, teacher, share in zip(students, teachers, _shares(weights, len(students)), strict=True):
        _require_maps("alignment_loss", student, teacher)
        if not share:
            continue
        x, z = (ops.clip(logits, -farthest, farthest) for logits in (student, teacher))
        if kl:
            pair = (student / temperature, teacher / temperature) if kind == "softmax" else (x, z)
            total = total + share * kl * _DIVERGENCES[kind](*(pair[::-1] if reverse else pair))
        if l2:
            difference = ops.sigmoid(x) - ops.sigmoid(z)
            total = total + share * l2 * (difference * difference).mean()
    return total if isinstance(total, Tensor) else Tensor(np.zeros((), students[0].dtype))


# Each of logits x of s and z of a. In logits log s = -softplus(-x) and log(1 - s) = -softplus(x), so
# log(s / a) = softplus(-z) - softplus(-x), without a quotient of small numbers.


def _bernoulli(x: Tensor, z: Tensor) -> Tensor:
    return (ops.sigmoid(x) * (x - z) - ops.softplus(x) + ops.softplus(z)).mean()


def _literal(x: Tensor, z: Tensor) -> Tensor:
    return (ops.sigmoid(x) * (ops.softplus(-z) - ops.softplus(-x))).mean()


def _generalised(x: Tensor, z: Tensor) -> Tensor:
    return _literal(x, z) + (ops.sigmoid(z) - ops.sigmoid(x)).mean()


def _spatial(x: Tensor, z: Tensor) -> Tensor:
    rows = [logits.reshape(*logits.shape[:2], -1) for logits in (x, z)]
    p, q = (ops.log_softmax(row, axis=-1) for row in rows)
    return (ops.exp(p) * (p - q)).sum(axis=-1).mean()


_DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bernoulli": _bernoulli,
    "divergence": _generalised,
    "softmax": _spatial,
    "literal": _literal,
}


def _weighted(name: str, per_class: Tensor, weights: Sequence[float] | None) -> Tensor:
    if weights is None:
        return per_class.mean()
    if len(weights) != per_class.size or min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise ParameterError(
            f"{name}: weights must be {per_class.size} numbers, one for each class, none negative and not all 0, not "
            f"{tuple(weights)}"
        )
    return (per_class * (np.array(weights, per_class.dtype) / sum(weights))).sum()


def _shares(weights: Sequence[float] | None, stages: int) -> list[float]:
    """Weights of the stages that add up to 1."""
    if weights is None:
        weights = LAST_OF_FOUR if stages == len(LAST_OF_FOUR) else (1.0,) * stages
    if len(weights) != stages or min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise ParameterError(
            f"alignment_loss: weights must be {stages} numbers, one for each stage, none negative and not all 0, not "
            f"{tuple(weights)}"
        )
    return [weight / sum(weights) for weight in weights]


def _require_maps(name: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim < 3:
        raise ShapeError(f"{name}: both inputs need one shape [B, C, *S], got {a.shape} and {b.shape}")
    if a.dtype != b.dtype or a.dtype.kind != "f":
        raise ParameterError(f"{name}: both inputs must be of one floating-point type, not {a.dtype} and {b.dtype}")
