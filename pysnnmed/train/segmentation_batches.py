"""Batches for segmentation: drawn, brought to the size of the network, augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..data.augment import Augmentation, augment
from ..data.network_input import NetworkInput
from ..data.windows import pad, padding_to
from ..tensor import Tensor
from .segmentation_cases import Drawn, TrainingCases


class Batch(NamedTuple):
    """images [B, C, H, W] in [0, 1] and targets [B, K, H, W], 0 or 1, both float32."""

    images: Tensor
    targets: Tensor


@dataclass(frozen=True)
class BatchSampler:
    """Draws batches of `size` pictures; all randomness comes from the generator that is passed in."""

    cases: TrainingCases
    form: NetworkInput
    augmentation: Augmentation
    size: int
    shift: int = 0

    def __call__(self, rng: np.random.Generator) -> Batch:
        pairs = [self._one(rng) for _ in range(self.size)]
        images, targets = (np.stack(side).astype(np.float32) for side in zip(*pairs, strict=True))
        return Batch(Tensor(images), Tensor(targets))

    def _one(self, rng: np.random.Generator) -> Drawn:
        picture, masks = fitted(self.cases.draw(rng), self.form, self.shift, rng)
        return Drawn(*augment(picture, masks, rng, self.augmentation))


def fitted(drawn: Drawn, form: NetworkInput, shift: int, rng: np.random.Generator) -> Drawn:
    """A drawn picture in a window of the network's size.

    A smaller one lies within `shift` pixels of the middle, surrounded as evaluation does it, by background in the
    masks; of a larger one it is a window at a random place, up to `shift` pixels over the border.
    """
    around = [max(n, wanted) + 2 * shift for n, wanted in zip(drawn.picture.shape[1:], form.size, strict=True)]
    border = padding_to(drawn.picture.shape[1:], around)
    picture, masks = pad(drawn.picture, border, form.padding), pad(drawn.masks, border, "zeros")
    places = [int(rng.integers(n - wanted + 1)) for n, wanted in zip(around, form.size, strict=True)]
    window = (slice(None), *(slice(at, at + wanted) for at, wanted in zip(places, form.size, strict=True)))
    return Drawn(picture[window], masks[window])
