"""Writing a teacher's weights into a spiking network, in units of the scales of `calibrate`, or with thresholds there.

Sound: w' = w lambda_in / lambda_out and b' = b / lambda_out against thresholds of 1, see the package. Paper: weights
and batch norm as they are, and the threshold of each layer at its scale, as in SpikeReg's released code. That leaves a
rate of a / lambda where the next layer expects a: errors multiply from layer to layer, large percentiles silence deep
layers, and fine-tuning has to make up for it. The authors take the median.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..errors import ParameterError
from ..nn import fold_batch_norm
from .calibration import Scale
from .networks import LayeredNetwork, SpikingNetwork


def transfer(teacher: LayeredNetwork, spiking: SpikingNetwork, scales: Mapping[str, Scale]) -> None:
    """Write the teacher's weights into `spiking`, as its mode says; `scales` are the lambdas of `calibrate`."""
    if spiking.config.mode == "paper":
        _at_thresholds(teacher, spiking, scales)
    else:
        _rescaled(teacher, spiking, scales)


def _rescaled(teacher: LayeredNetwork, spiking: LayeredNetwork, scales: Mapping[str, Scale]) -> None:
    channels = teacher.config.channels()

    def per_channel(sources: Iterable[str]) -> np.ndarray:
        found = [np.broadcast_to(np.float32(scales.get(s, 1.0)), channels[s]) for s in sources]
        return np.concatenate(found)

    for layer in teacher.config.layers():
        unit, target = teacher.unit(layer.name), spiking.unit(layer.name).conv
        folded = fold_batch_norm(unit.conv, unit.norm)
        per_input = per_channel(layer.sources[:1] if layer.average else layer.sources)
        out, n_axes = per_channel([layer.name]), folded.weight.ndim - 2
        inputs, outputs = (per_input[:, None], out) if layer.transposed else (per_input, out[:, None])
        weight = folded.weight.data * inputs.reshape(*inputs.shape, *[1] * n_axes)
        target.weight.data = (weight / outputs.reshape(*outputs.shape, *[1] * n_axes)).astype(target.weight.dtype)
        target.bias.data = (folded.bias.data / out).astype(target.bias.dtype)
        last = layer.name
    w = np.moveaxis(teacher.head.weight.data, 1, -1) * per_channel([last])
    spiking.head.weight.data = np.moveaxis(w, -1, 1).astype(spiking.head.weight.dtype)
    spiking.head.bias.data = teacher.head.bias.data.copy()


def _at_thresholds(teacher: LayeredNetwork, spiking: SpikingNetwork, scales: Mapping[str, Scale]) -> None:
    """What the teacher lacks, shortcuts and smoothing, keeps its initial weights and thresholds of 1.

    Batch norms are frozen: fine-tuning sees the statistics of the teacher.
    """
    for name, scale in scales.items():
        if np.ndim(scale):
            raise ParameterError(
                f"convert: mode 'paper' has one threshold for layer {name!r}, not one for each of {np.size(scale)} "
                f"channels; calibrate with granularity 'layer'"
            )
    for layer in teacher.config.layers():
        unit, target = teacher.unit(layer.name), spiking.unit(layer.name)
        target.conv.load_state_dict(unit.conv.state_dict())
        target.norm.load_state_dict(unit.norm.state_dict())
        target.norm.epsilon = unit.norm.epsilon
        target.neuron.set_threshold(float(scales[layer.name]))
    spiking.head.load_state_dict(teacher.head.state_dict())
    spiking.freeze_norms()
