"""The program of SpikeReg: fixed, moving [1, *S] in [0, 1] -> displacement [ndim, *S] in voxels."""

from __future__ import annotations

from ...models.operations import HEAD, INTEGRATION, UPSAMPLING
from ...models.spikereg import IMAGES, SpikeReg
from ..operations import Enlarge, Integrate
from ..program import Program
from .builder import Builder, Weights
from .real import Connections

VOLUMES = ("fixed", "moving")


def lower_spikereg(network: SpikeReg, weights: Weights) -> Program:
    """Every layer of the table as one operation of its name, then head, integration and upsampling."""
    config = network.config
    multiple = config.shape_multiple
    builder = Builder(dict.fromkeys(VOLUMES, 1), (multiple,) * config.ndim, multiple, weights, config.steps)
    for layer in config.layers():
        unit = network.unit(layer.name)
        builder.spiking_layer(
            layer.name,
            Connections.of(unit.conv),
            unit.neuron.current_neuron(),
            frames=layer.frames,
            rates=tuple(source for source in layer.rates if source != IMAGES),
            analog=VOLUMES if IMAGES in layer.rates else (),
            average=layer.average,
        )
    output = builder.read_out(HEAD, Connections.of(network.head), (layer.name,), gain=config.displacement_scale)
    if config.integration_steps:
        output = builder.add(Integrate(INTEGRATION, output, config.integration_steps))
    if config.head_stride > 1:
        output = builder.add(Enlarge(UPSAMPLING, output, VOLUMES[0], gain=config.head_stride))
    return builder.program(output)
