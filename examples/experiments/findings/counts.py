"""What networks execute on the held-out pairs, counted exactly, and the energy that this is projected to cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pysnnmed.models.operations import count_analog_operations, count_operations
from pysnnmed.models.spikereg import FIELD, SpikeReg, Teacher
from pysnnmed.registration import predict
from pysnnmed.synops import Report, projected_energy
from pysnnmed.tensor import Tensor, no_grad
from pysnnmed.train.evaluation import batch
from pysnnmed.train.pairs import Pair

from .tables import Row

TABLE = "fp32"


def counted(network: SpikeReg, pairs: Sequence[Pair], rows: Sequence[Row]) -> list[Row]:
    """Rows, one for each pair, with counts and the projection by TABLE, arithmetic alone, added to them."""
    out: list[Row] = []
    for pair, row in zip(pairs, rows, strict=True):
        report = operations(network, pair)
        energy = projected_energy(report, TABLE)
        out.append(
            {
                **row,
                "steps": report.steps,
                "synops": report.total.synops,
                "macs": report.total.macs,
                "analog_macs": report.ann_macs,
                "spiking_microjoule": energy.total / 1e6,
                "analog_microjoule": energy.ann / 1e6,
                "ratio": energy.ratio,
            }
        )
    return out


def operations(network: SpikeReg, pair: Pair) -> Report:
    """Every operation of the spiking network on a pair."""
    _, spikes = predict(network, pair.fixed.image, pair.moving.image)
    return count_operations(network.config, _images(pair), spikes)


def analog_operations(teacher: Teacher, pair: Pair) -> Report:
    """Every MAC of the analog network on a pair, those that meet a zero counted apart."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, x: Tensor) -> None:
        if name != FIELD:
            seen[name] = x.data

    with no_grad():
        teacher(batch(pair.fixed.image), batch(pair.moving.image), observe=keep)
    return count_analog_operations(teacher.config, _images(pair), seen)


def _images(pair: Pair) -> np.ndarray:
    """[1, 2, *S]"""
    return np.stack([pair.fixed.image, pair.moving.image])[None]
