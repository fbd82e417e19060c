"""The program of SpikeReg: fixed, moving [1, *S] in [0, 1] -> displacement [ndim, *S] in voxels."""

from __future__ import annotations

from ...errors import ProgramError
from ...models.operations import HEAD, INTEGRATION, SMOOTHING, UPSAMPLING
from ...models.spikereg import IMAGES, SpikeReg
from ...nn import fold_batch_norm
from ..operations import Enlarge, Integrate
from ..program import Program
from .builder import Builder
from .collected import Weights
from .real import Connections

VOLUMES = ("fixed", "moving")


def lower_spikereg(network: SpikeReg, weights: Weights) -> Program:
    """Every layer of the table as one operation of its name, then head, integration and upsampling.

    Batch norm, where it is a layer, is folded into the weights. Raises ProgramError for what no operation computes.
    """
    config = network.config
    if config.winners < 1:
        raise ProgramError(
            f"lower: no program has membranes that compete, and this SpikeReg has winners = {config.winners}; run it "
            f"as it was trained, with weights 'trained'"
        )
    multiple = config.shape_multiple
    builder = Builder(dict.fromkeys(VOLUMES, 1), (multiple,) * config.ndim, multiple, weights, config.steps)
    analog = {layer.name for layer in config.layers()}
    for layer in config.layers(spiking=True):
        unit = network.unit(layer.name)
        conv = fold_batch_norm(unit.conv, unit.norm) if config.mode == "paper" else unit.conv
        builder.spiking_layer(
            layer.name,
            Connections.of(conv),
            unit.neuron.current_neuron(),
            frames=layer.frames,
            rates=tuple(source for source in layer.rates if source != IMAGES),
            analog=VOLUMES if IMAGES in layer.rates else (),
            average=layer.average,
            opposite=unit.negative.current_neuron() if config.negative_slope else None,
        )
        if layer.plus:
            builder.beside[layer.name] = layer.plus
        if layer.name not in analog:
            builder.analog_channels[layer.name] = 0
    output = builder.read_out(HEAD, Connections.of(network.head), (layer.name,), gain=config.displacement_scale)
    if network.smoothing is not None:
        output = builder.convolve(SMOOTHING, Connections.of(network.smoothing), output)
        builder.analog_channels[SMOOTHING] = 0
    if config.integration_steps:
        output = builder.add(Integrate(INTEGRATION, output, config.integration_steps))
    if config.head_stride > 1:
        output = builder.add(Enlarge(UPSAMPLING, output, VOLUMES[0], gain=config.head_stride))
    return builder.program(output)
