"""Operations of a whole network agree with counts made another way: convolutions of the spikes with unit weights."""

import numpy as np
import pytest

from pysnnmed.conv import conv, conv_transpose
from pysnnmed.models.operations import HEAD, INTEGRATION, UPSAMPLING, count_analog_operations, count_operations
from pysnnmed.models.spikereg import FIELD, IMAGES, SpikeReg, SpikeRegConfig, Teacher
from pysnnmed.registration import predict
from pysnnmed.tensor import Tensor, no_grad

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
        fired = spikes[layer.name]
        assert count.neuron_updates == count.comparisons == fired.size == config.steps * count.neurons
        assert count.reset_subtractions == fired.sum()
        assert count.leak_multiplies == count.leak_shifts == count.reset_writes == 0
        assert count.bias_adds == (fired.size if layer.frames else fired[0].size)
        held = fired[0].size if layer.rates else 0
        assert (count.state_writes, count.state_reads) == (fired.size + held, fired.size + config.steps * held)
        assert count.weight_reads == count.synops + count.macs + count.bias_adds
        assert count.spike_bytes_read == sum(-(-spikes[s].size // 8) for s in layer.sources if s != IMAGES)
        assert count.spike_bytes_written == -(-fired.size // 8)
        assert count.value_reads == (images.size if IMAGES in layer.sources else 0)
        added = spikes[layer.sources[1]][0].size if layer.average else 0  # one map to another
        assert count.ann_adds == 2 * fired[0].size + added  # a bias and the comparison of a ReLU
        assert count.ann_reads == sum(images.size if s == IMAGES else spikes[s][0].size for s in layer.sources)
        assert count.ann_weight_reads == count.ann_macs + fired[0].size
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


def test_a_rate_that_is_read_whole_takes_fewer_integer_macs_than_synops(rng):
    config = SpikeRegConfig(encoder=(3, 4), decoder=(3,), steps=4)
    images = rng.random((1, 2, 8, 8, 8), dtype=np.float32)
    _, spikes = predict(SpikeReg(config, rng), *images[0])
    spikes = {name: np.ones_like(train) for name, train in spikes.items()}
    report = {count.name: count for count in count_operations(config, images, spikes).layers}
    for layer in config.layers():
        count, rates = report[layer.name], [s for s in layer.rates if s != IMAGES]
        if not rates:
            assert count.int_macs == count.synops
        elif not layer.frames:  # every neuron fired at every step: one count of 4 stands for 4 spikes
            assert count.synops == config.steps * count.int_macs > 0
    assert report[HEAD].synops == config.steps * report[HEAD].int_macs


@pytest.mark.parametrize(
    ("changes", "multiplies", "shifts"), [({"leak": 0.9}, 1, 0), ({"leak": 0.75}, 0, 1), ({"learn_leak": True}, 1, 0)]
)
def test_a_leak_is_counted_as_what_it_is(rng, changes, multiplies, shifts):
    config = SpikeRegConfig(encoder=(3, 4), decoder=(3,), steps=2, **changes)
    images = rng.random((1, 2, 8, 8, 8), dtype=np.float32)
    _, spikes = predict(SpikeReg(config, rng), *images[0])
    total = count_operations(config, images, spikes).total
    assert total.leak_multiplies == multiplies * total.neuron_updates
    assert total.leak_shifts == shifts * total.neuron_updates


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_a_reset_is_counted_as_what_it_is(rng, reset):
    config = SpikeRegConfig(encoder=(3, 4), decoder=(3,), steps=2, reset=reset)
    images = rng.random((1, 2, 8, 8, 8), dtype=np.float32)
    network = SpikeReg(config, rng)
    for layer in config.layers():  # make the untrained network fire
        network.unit(layer.name).conv.bias.data += np.float32(0.3)
    _, spikes = predict(network, *images[0])
    total, fired = count_operations(config, images, spikes).total, sum(int(s.sum()) for s in spikes.values())
    expected = {"soft": (fired, 0), "hard": (0, fired)}[reset]
    assert (total.reset_subtractions, total.reset_writes) == expected
    assert fired > 0


@pytest.mark.parametrize("config", CONFIGS, ids=["full", "quarter"])
def test_the_analog_network_has_the_macs_of_the_spiking_report_and_zeros(config, rng):
    images = rng.random((1, 2, 8, 16, 8), dtype=np.float32)
    activations = {}

    def keep(name, x):
        activations[name] = x.data

    with no_grad():
        Teacher(config, rng).eval()(Tensor(images[:, :1]), Tensor(images[:, 1:]), observe=keep)
    analog = count_analog_operations(config, images, activations)
    _, spikes = predict(SpikeReg(config, rng), *images[0])
    report = count_operations(config, images, spikes).with_activations(analog)
    assert analog.total.macs == report.ann_macs
    assert 0 < report.ann_nonzero_macs < report.ann_macs
    activations.pop(FIELD)
    by_name = {count.name: count for count in analog.layers}
    for layer in config.layers():
        if not layer.average and IMAGES not in layer.sources:
            expected = sum(reached(layer, activations[s] != 0) for s in layer.sources)
            assert by_name[layer.name].nonzero_macs == expected
