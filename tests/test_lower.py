"""Programs compute what the networks compute: spike for spike on dyadic numbers, and the same counts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.data.generate import generate_pair
from pysnnmed.deploy.executor import execute
from pysnnmed.deploy.lower import WEIGHTS, lower
from pysnnmed.deploy.lower.builder import Builder
from pysnnmed.deploy.lower.real import Connections
from pysnnmed.deploy.pretrained import load_model
from pysnnmed.errors import ParameterError, ProgramError
from pysnnmed.models.operations import HEAD, count_operations
from pysnnmed.models.spikereg import IMAGES, SpikeReg, SpikeRegConfig, Teacher
from pysnnmed.neurons import IF, ILIF, LIF, NILIF, BoundedILIF, CurrentLIF, SnnTorchLeaky, TernaryLIF
from pysnnmed.nn import Conv, ConvTranspose, Spiking, over_time
from pysnnmed.synops import packed_bytes
from pysnnmed.tensor import Tensor, no_grad

GRID = 2.0**-6  # of the weights: every sum is exact in float32, in any order
SHADES = 16  # of the images


def dyadic(rng, shape, spread=24):
    """Whole multiples of GRID, at most 127 of them."""
    return (np.rint(rng.normal(size=shape) * spread).clip(-127, 127) * GRID).astype(np.float32)


def images(rng, shape):
    return [(rng.integers(0, SHADES + 1, shape) / SHADES).astype(np.float32) for _ in range(2)]


def on_the_grid(network, rng):
    """Give a network weights whose sums are exact, and biases that make it fire."""
    for _, parameter in network.named_parameters():
        if parameter.ndim:
            parameter.data = dyadic(rng, parameter.shape, spread=8 if parameter.ndim > 2 else 24)
    return network


@st.composite
def configs(draw):
    widths = st.integers(1, 5)
    encoder = tuple(draw(st.lists(widths, min_size=1, max_size=2)))
    decoder = tuple(draw(st.lists(widths, min_size=1, max_size=len(encoder))))
    average = ()
    if len(encoder) == 2 and draw(st.booleans()):
        decoder, average = (encoder[0], *decoder[1:]), (0,)
    return SpikeRegConfig(
        encoder=encoder,
        decoder=decoder,
        average_skips=average,
        ndim=draw(st.sampled_from([2, 3])),
        steps=draw(st.sampled_from([1, 2, 4])),
        integration_steps=draw(st.sampled_from([0, 2])),
        head_kernel=draw(st.sampled_from([1, 3])),
        displacement_scale=draw(st.sampled_from([1.0, 2.0])),
        leak=draw(st.sampled_from([1.0, 0.5])),
        reset=draw(st.sampled_from(["soft", "hard"])),
        negative_slope=draw(st.sampled_from([0.0, 0.0, 0.5])),
    )


halves = st.sampled_from([0.0, 0.5, 1.0])
shared = {
    "v_threshold": st.sampled_from([0.5, 1.0, 0.75]),
    "reset": st.sampled_from(["soft", "hard", "none"]),
    "amount": st.sampled_from([None, 0.25]),
    "v_reset": st.sampled_from([0.0, -0.25]),
    "v_initial": halves,
    "gain": st.sampled_from([1.0, 0.5, -1.0]),
    "bias": st.sampled_from([0.0, 0.125]),
}
binary = {**shared, "tie": st.sampled_from([">=", ">"])}
counting = {
    **shared,
    "beta": halves,
    "levels": st.sampled_from([1, 2, 4]),
    "rounding": st.sampled_from(["half_up", "half_even", "floor"]),
}
dyadic_neurons = st.one_of(
    st.builds(IF, **binary),
    st.builds(LIF, beta=halves, **binary),
    st.builds(ILIF, **counting),
    st.builds(NILIF, **counting),
)


def run(program, **inputs):
    """A run that keeps the spikes of all layers."""
    return execute(program, inputs, keep=tuple(layer.name for layer in program.layers))


CONNECTIONS = ["sites", "dense_macs", "ann_macs", "ann_adds", "ann_weight_reads"]


def assert_counts_are_those_of_the_network(report, network, fixed, moving, expected):
    """The counts of the program that ran, against those worked out from the network's spikes: every number."""
    config = network.config
    trains = {name: counts[:, None] for name, counts in expected.items()}
    wanted = count_operations(config, np.stack([fixed, moving])[None], trains)
    assert [layer.name for layer in report.layers] == [layer.name for layer in wanted.layers]
    table = {layer.name: layer for layer in config.layers()}
    neurons = {name: network.unit(name).neuron.neuron for name in table}
    levels = {name: getattr(neuron, "levels", 1) for name, neuron in neurons.items()}
    for ours, theirs in zip(report.layers, wanted.layers, strict=True):
        if ours.name in table:
            theirs = with_neuron(theirs, neurons[ours.name], int(expected[ours.name].sum()))
            read = [(trains[s].size, levels[s]) for s in table[ours.name].sources if s != IMAGES]
            theirs = replace(theirs, spike_bytes_read=sum(packed_bytes(*source) for source in read))
            if table[ours.name].average and len({neurons[s].unit for s in table[ours.name].sources}) > 1:
                # a sum of maps of two scales has synapses of two scales
                theirs = replace(theirs, **{name: getattr(ours, name) for name in CONNECTIONS})
        elif ours.name == HEAD:
            (last,) = list(table)[-1:]
            theirs = replace(theirs, spike_bytes_read=packed_bytes(trains[last].size, levels[last]))
        assert ours == theirs, ours.name


def with_neuron(count, neuron, fired):
    """The count of a layer of SpikeReg, its neurons replaced by those of another kind."""
    updates, levels = count.neuron_updates, getattr(neuron, "levels", 1)
    beta = float(neuron.beta)
    return replace(
        count,
        leak_multiplies=0,
        leak_shifts=updates if beta == 0.5 else 0,
        comparisons=updates * levels,
        reset_subtractions=fired if neuron.reset == "soft" else 0,
        reset_writes=fired if neuron.reset == "hard" else 0,
        spike_bytes_written=packed_bytes(updates, levels),
    )


def learning_world(network, fixed, moving):
    """(field [n, *S], {layer: counts of spikes [T, C, *S']})"""
    seen = {}
    with no_grad():
        field = network(Tensor(fixed[None, None]), Tensor(moving[None, None]), observe=seen.__setitem__).data[0]
    units = {layer.name: network.unit(layer.name).neuron.neuron.unit for layer in network.config.layers()}
    return field, {name: seen[name].data[:, 0] / unit for name, unit in units.items()}


@given(config=configs(), neurons=st.none() | st.lists(dyadic_neurons, min_size=1, max_size=3), seed=st.integers(0, 999))
def test_spikes_of_dyadic_networks_are_equal(config, neurons, seed):
    rng = np.random.default_rng(seed)
    if neurons:  # of an opposite population there is one kind only
        config = replace(config, negative_slope=0.0)
    network = on_the_grid(SpikeReg(config, rng), rng)
    for i, layer in enumerate(config.layers() if neurons else []):
        network.unit(layer.name).neuron = Spiking(neurons[i % len(neurons)])
    fixed, moving = images(rng, [config.shape_multiple * n for n in (2, 1, 3)[: config.ndim]])
    field, expected = learning_world(network, fixed, moving)
    for weights in WEIGHTS:
        found = run(lower(network, weights), fixed=fixed[None], moving=moving[None])
        for name, counts in expected.items():
            np.testing.assert_array_equal(found.kept[name], counts, err_msg=f"{weights} {name}")
        assert_counts_are_those_of_the_network(found.report, network, fixed, moving, expected)
        (displacement,) = found.outputs.values()
        np.testing.assert_allclose(displacement, field, rtol=1e-4, atol=1e-4 * np.abs(field).max())


# --- single layers, in any geometry


@st.composite
def any_convolutions(draw, rng, channels):
    """A convolution or transposed one over `channels`, and a spatial shape that it can read."""
    ndim, transposed, groups = draw(st.integers(1, 3)), draw(st.booleans()), draw(st.sampled_from([1, 2]))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(ndim))

    kernel, stride, dilation, shape = each(1, 3), each(1, 3), each(1, 2), each(4, 6)
    padding = tuple(draw(st.integers(0, (k - 1) * d // 2)) for k, d in zip(kernel, dilation, strict=True))
    sizes = ndim, channels, 2 * draw(st.integers(1, 3)), kernel, stride, padding
    if transposed:
        extra = tuple(draw(st.integers(0, s - 1)) for s in stride)
        conv = ConvTranspose(*sizes, extra, dilation, groups, bias=draw(st.booleans()), rng=rng)
    else:
        shape = tuple(max(n, (k - 1) * d + 1) for n, k, d in zip(shape, kernel, dilation, strict=True))
        conv = Conv(*sizes, dilation, groups, bias=draw(st.booleans()), rng=rng)
    return conv, shape


@given(neuron=dyadic_neurons, as_rates=st.booleans(), seed=st.integers(0, 999), data=st.data())
def test_a_layer_may_have_any_geometry(neuron, as_rates, seed, data):
    rng, steps = np.random.default_rng(seed), 2
    conv, shape = data.draw(any_convolutions(rng, channels=4))
    ndim = len(shape)
    first = on_the_grid(Conv(ndim, 1, 4, 1, rng=rng), rng)
    x = (rng.integers(0, SHADES + 1, (1, *shape)) / SHADES).astype(np.float32)
    with no_grad():
        spikes = Spiking(LIF(beta=0.5))(first(Tensor(x[None])), steps=steps)
        layer = Spiking(neuron)
        on_the_grid(conv, rng)
        expected = layer(conv(spikes.mean(axis=0)), steps=steps) if as_rates else layer(over_time(conv, spikes))
    for weights in WEIGHTS:
        builder = Builder({"x": 1}, shape, 1, weights, steps)
        builder.spiking_layer("first", Connections.of(first), LIF(beta=0.5), analog=["x"])
        builder.spiking_layer("second", Connections.of(conv), neuron, **{"rates" if as_rates else "frames": ["first"]})
        found = run(builder.program("second"), x=x)
        np.testing.assert_array_equal(found.kept["second"], expected.data[:, 0] / neuron.unit)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_sources_of_several_levels_and_kinds_share_one_layer(weights, rng):
    """Frames of counts in halves, rates of counts in quarters and of binary spikes."""
    neurons = {"a": NILIF(levels=2, beta=0.5), "b": NILIF(levels=4, beta=0.0), "c": LIF(beta=1.0)}
    first = {name: on_the_grid(Conv(2, 1, 3, 3, 1, 1, rng=rng), rng) for name in neurons}
    last = on_the_grid(Conv(2, 9, 4, 3, 1, 1, rng=rng), rng)
    last.bias.data[:] = 0.375
    x = (rng.integers(0, SHADES + 1, (1, 7, 8)) / SHADES).astype(np.float32)
    with no_grad():
        trains = {n: Spiking(neurons[n])(first[n](Tensor(x[None])), steps=4) for n in neurons}
        rates = [np.broadcast_to(trains[n].data.mean(axis=0), trains[n].shape) for n in "bc"]
        joined = Tensor(np.concatenate([trains["a"].data, *rates], axis=2))
        expected = Spiking(IF())(over_time(last, joined)).data[:, 0]
    builder = Builder({"x": 1}, (7, 8), 1, weights, 4)
    for name, neuron in neurons.items():
        builder.spiking_layer(name, Connections.of(first[name]), neuron, analog=["x"])
    builder.spiking_layer("last", Connections.of(last), IF(), frames=["a"], rates=["b", "c"])
    found = run(builder.program("last"), x=x)
    np.testing.assert_array_equal(found.kept["last"], expected)
    assert 0.1 < expected.mean() < 0.9


# --- learnt parameters, real weights


def test_learnt_leaks_and_thresholds_are_those_of_the_program(rng):
    config = SpikeRegConfig(encoder=(3, 4), decoder=(4, 3), learn_leak=True, learn_threshold=True)
    network = SpikeReg(config, rng)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 0:
            parameter.data = np.float32(rng.normal())
        elif name.endswith("bias"):
            parameter.data += np.float32(0.2)
    fixed, moving = rng.random((2, 8, 8, 16), dtype=np.float32)
    _, expected = learning_world(network, fixed, moving)
    assert all(counts.any() for counts in expected.values())
    for weights, allowed in (("float32", 1e-3), ("int16", 0.15)):
        program = lower(network, weights)
        for layer in program.layers:
            neuron = network.unit(layer.name).neuron.current_neuron()
            assert layer.dynamics.leak / 2**layer.dynamics.shift == pytest.approx(float(neuron.beta.data), abs=1e-3)
            if weights == "float32":
                np.testing.assert_array_equal(layer.dynamics.thresholds, np.float32(neuron.v_threshold.data))
        spikes = run(program, fixed=fixed[None], moving=moving[None]).kept
        for name, counts in expected.items():
            assert (spikes[name] != counts).mean() <= allowed, (weights, name)


def test_the_shipped_network_keeps_its_spikes_and_its_field(rng):
    """Of a network of many layers, rounding in the first moves some spikes of the last, and hardly the field."""
    network, _ = load_model("hippocampus")
    pair = generate_pair((32, 32, 32), rng)
    field, expected = learning_world(network, pair.fixed, pair.moving)
    for weights, flipped, apart in (("float32", 1e-4, 1e-3), ("int16", 0.15, 0.15), ("int8", 0.15, 0.15)):
        program = lower(network, weights)
        assert program.integer == (weights != "float32")
        analog = next(program.layers).analog.sources  # the images, or what they are rounded to
        keep = (*expected, *analog)
        found = execute(program, {"fixed": pair.fixed[None], "moving": pair.moving[None]}, keep=keep)
        trains = {name: found.kept[name][:, None] for name in expected}
        seen = np.stack([found.kept[name][0] for name in analog])[None]
        assert found.report == count_operations(network.config, seen, trains)
        for name, counts in expected.items():
            spikes = found.kept[name]
            assert (spikes != counts).mean() <= flipped, (weights, name)
            assert spikes.mean() == pytest.approx(counts.mean(), rel=0.1)
        assert np.abs(found.outputs["upsampling"] - field).mean() <= apart


def test_layers_of_one_name_are_told_apart():
    """What a backend prepares for the layer of one program must not be found for that of another."""
    network, _ = load_model("hippocampus")
    programs = [lower(network, weights) for weights in ("int8", "int16")]
    layers = [operation for program in programs for operation in program.operations if hasattr(operation, "bias")]
    assert len(set(layers)) == len(layers) == 24


def test_weights_have_the_type_that_was_asked_for():
    network, _ = load_model("hippocampus")
    for weights in ("int8", "int16"):
        first, *others = lower(network, weights).layers
        assert [kind for kind, _ in first.parts] == ["analog"]
        for layer in others:
            assert {synapses.weight.dtype.name for _, synapses in layer.parts} == {weights}


@pytest.mark.parametrize("slope", [0.01, 0.2])
def test_opposite_populations_of_any_slope_become_programs(slope, rng):
    config = SpikeRegConfig(encoder=(3, 4), decoder=(4, 3), negative_slope=slope)
    network = SpikeReg(config, rng)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.data = rng.uniform(-0.6 / slope, 0.8, parameter.shape).astype(np.float32)
    fixed, moving = rng.random((2, 8, 8, 16), dtype=np.float32)
    _, expected = learning_world(network, fixed, moving)
    upper = {name: counts[:, counts.shape[1] // 2 :] for name, counts in expected.items()}
    assert any(counts.any() for counts in upper.values())
    for weights, allowed in (("float32", 1e-3), ("int16", 0.05)):
        program = lower(network, weights)
        assert dict(program.analog_channels) == {layer.name: layer.out_channels for layer in config.layers()}
        spikes = run(program, fixed=fixed[None], moving=moving[None]).kept
        for name, counts in expected.items():
            assert (spikes[name] != counts).mean() <= allowed, (weights, name)


# --- what has no program


@pytest.mark.parametrize(
    "neuron", [TernaryLIF(), CurrentLIF(), BoundedILIF(), SnnTorchLeaky(), ILIF(levels=np.inf)], ids=repr
)
def test_a_neuron_without_a_program_is_named_with_its_layer(neuron, rng):
    network = SpikeReg(SpikeRegConfig(encoder=(2,), decoder=(2,)), rng)
    network.unit("bottleneck").neuron = Spiking(neuron)
    with pytest.raises(ProgramError, match=f"'bottleneck'.*{type(neuron).__name__}"):
        lower(network)


def test_populations_with_leaks_of_their_own_are_refused(rng):
    config = SpikeRegConfig(encoder=(2,), decoder=(2,), negative_slope=0.2, learn_leak=True)
    network = SpikeReg(config, rng)
    lower(network)
    for name, parameter in network.named_parameters():
        if name.startswith("bottleneck.negative"):
            parameter.data = parameter.data - np.float32(1)
    with pytest.raises(ProgramError, match=r"'bottleneck'.*two populations.*'trained'"):
        lower(network)


def test_what_cannot_be_lowered_is_refused(rng):
    config = SpikeRegConfig(encoder=(2,), decoder=(2,))
    with pytest.raises(ProgramError, match=r"Teacher.*SpikeReg"):
        lower(Teacher(config, rng))
    with pytest.raises(ParameterError, match=r"int8, int16, float32, not 'int4'"):
        lower(SpikeReg(config, rng), "int4")
    network = SpikeReg(config, rng)
    network.unit("bottleneck").conv.bias.data[:] = 1e12
    with pytest.raises(ProgramError, match=r"int32"):
        lower(network)


def test_a_program_remembers_where_it_comes_from(rng):
    program = lower(SpikeReg(SpikeRegConfig(encoder=(2,), decoder=(2,)), rng), facts={"spacing": 1.0})
    assert program.facts == {"network": "SpikeReg", "weights": "int8", "spacing": 1.0}
