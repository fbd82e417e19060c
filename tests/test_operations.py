"""Operations of a whole network agree with counts made another way: convolutions of the spikes with unit weights."""

import numpy as np
import pytest

from pysnnmed.conv import conv, conv_transpose
from pysnnmed.models.operations import HEAD, INTEGRATION, UPSAMPLING, count_operations
from pysnnmed.models.spikereg import IMAGES, SpikeReg, SpikeRegConfig
from pysnnmed.registration import predict
from pysnnmed.tensor import Tensor

CONFIGS = [
    SpikeRegConfig(encoder=(3, 4), decoder=(3, 2), average_skips=(0,)),
    SpikeRegConfig(encoder=(3, 4, 5), decoder=(4,), integration_steps=3, head_kernel=3, steps=3),
]


def reached(layer, x):
    """Connections that x [N, C, *S] reaches: the sum over all outputs of a convolution with unit weights."""
    shape = (layer.kernel_size,) * 3
    x = Tensor(x.astype(np.float64))
    if layer.transposed:
        weight = Tensor(np.ones((x.shape[1], layer.out_channels, *shape)))
        return round(conv_transpose(x, weight, stride=layer.stride).data.sum())
    weight = Tensor(np.ones((layer.out_channels, x.shape[1], *shape)))
    return round(conv(x, weight, stride=layer.stride, padding=layer.kernel_size // 2).data.sum())


@pytest.mark.parametrize("config", CONFIGS, ids=["full", "quarter"])
def test_counts_are_those_of_unit_convolutions(config, rng):
    images = rng.random((1, 2, 8, 16, 8), dtype=np.float32)
    network = SpikeReg(config, rng)
    for layer in config.layers():  # make the untrained network fire
        network.unit(layer.name).conv.bias.data += np.float32(0.3)
    _, spikes = predict(network, images[0, 0], images[0, 1])
    report = {count.name: count for count in count_operations(config, images, spikes).layers}
    for layer in config.layers():
        count = report[layer.name]
        if layer.sources == (IMAGES,):
            assert count.macs == reached(layer, np.ones_like(images))
            assert count.synops == 0
        else:
            folded = [spikes[s].reshape(-1, *spikes[s].shape[2:]) for s in layer.sources]
            assert count.synops == sum(reached(layer, x) for x in folded)
            assert count.events == sum(int(x.sum()) for x in folded)
            assert count.macs == 0
            once = 1 if layer.average else len(layer.sources)
            assert count.ann_macs == sum(reached(layer, np.ones_like(spikes[s][0])) for s in layer.sources[:once])
        assert count.neuron_updates == spikes[layer.name].size == config.steps * count.neurons
    assert any(count.synops for count in report.values())
    assert report[HEAD].synops > 0
    assert (INTEGRATION in report) == (config.integration_steps > 0)
    assert (UPSAMPLING in report) == (config.head_stride > 1)


def test_no_spikes_no_synops(rng):
    config = CONFIGS[0]
    images = np.zeros((1, 2, 8, 8, 8), np.float32)
    network = SpikeReg(config, rng)
    _, spikes = predict(network, images[0, 0], images[0, 1])
    total = count_operations(config, images, spikes).total
    assert total.synops == total.events == 0
    assert total.ann_macs > 0
