"""Conversion as a whole, and the same conversion run for several numbers of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import ParameterError
from .calibration import Convention, Granularity, Scale, calibrate
from .networks import Example, LayeredNetwork, SpikingNetwork
from .report import Comparison, LayerReport, compared
from .rescaling import transfer


def scales_for(
    teacher: LayeredNetwork,
    spiking: SpikingNetwork,
    examples: Sequence[Example],
    percentile: float = 99.0,
    convention: Convention = "positive",
    granularity: Granularity = "layer",
) -> dict[str, Scale]:
    """The scales with which `teacher` becomes `spiking`: those of `calibrate`, in the mode "sound" in common where
    rates are averaged; in the mode "paper" each layer has the threshold of its own activations.

    Raises ParameterError for networks of two configurations, apart from the neurons.
    """
    if teacher.config.analog() != spiking.config.analog():
        raise ParameterError(
            f"convert: both networks must share one configuration, not {teacher.config} and {spiking.config}"
        )
    common = spiking.config.mode == "sound"
    return calibrate(teacher, examples, percentile, convention, granularity, common)


def convert(
    teacher: LayeredNetwork,
    spiking: SpikingNetwork,
    examples: Sequence[Example],
    percentile: float = 99.0,
    convention: Convention = "positive",
    granularity: Granularity = "layer",
) -> list[LayerReport]:
    """Turn `teacher` into `spiking`, a network of the same configuration: calibrate, transfer, compare.

    The neurons of `spiking` are left as they are, apart from the thresholds of the mode "paper": those of `SpikeReg`
    start at half a threshold in the mode "sound".
    """
    scales = scales_for(teacher, spiking, examples, percentile, convention, granularity)
    transfer(teacher, spiking, scales)
    return list(compared(teacher, spiking, examples, scales).layers)


def sweep(
    teacher: LayeredNetwork,
    build: Callable[[Any], SpikingNetwork],
    config: Any,
    examples: Sequence[Example],
    scales: Mapping[str, Scale],
    steps: Sequence[int],
) -> list[Comparison]:
    """The conversion for each number of steps T, compared with the teacher on the same examples.

    `build(config)` makes a network of the configuration `config` with T in the place of its steps; the scales do not
    depend on T, and are calibrated once.
    """
    if not steps or min(steps) < 1 or len(set(steps)) != len(steps):
        raise ParameterError(f"sweep: the numbers of steps must be different and at least 1, not {list(steps)}")
    results = []
    for t in steps:
        spiking = build(replace(config, steps=t))
        transfer(teacher, spiking, scales)
        results.append(compared(teacher, spiking, examples, scales))
    return results
