"""Programs run the same everywhere: against loops written out, across backends, threads and batches, and in levels."""

import itertools
import math
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_programs import two_layers

from pysnnmed import kernels, synops
from pysnnmed.deploy.executor import Executor, execute
from pysnnmed.deploy.operations import (
    Add,
    Attend,
    Convolve,
    Enlarge,
    Fire,
    Gate,
    Integrate,
    MeanSteps,
    Pool,
    ReadOut,
    SpikingLayer,
    Warp,
)
from pysnnmed.deploy.program import Program
from pysnnmed.deploy.values import Packed, Real, Reals, Spikes, pack, unpack
from pysnnmed.resample import upsample_linear
from pysnnmed.tensor import Tensor
from pysnnmed.testing import programs
from pysnnmed.warp import scaling_and_squaring, warp

OTHERS = kernels.available()[1:]
UNMETERED = (Add, Attend, Convolve, Fire, Gate, MeanSteps)  # counted again in test_trunk
ROUNDING = 2e-3  # of interpolated values, which random fields of several voxels amplify


# ------------------------------------------------------------------------------------ the reference, written as loops


def value_at_step(value, packed, t):
    spikes = unpack(packed.words, packed.channels).astype(int)
    return spikes[t * value.levels : (t + 1) * value.levels].sum(axis=0)


def looped_sum(weight, geometry, x, out_shape):
    """The weighted sum [O, *S'] of x [C, *S], one connection after another, and how many connections met each input."""
    total, reached = np.zeros((len(weight), *out_shape), x.dtype), np.zeros(x.shape, int)
    per_group, n_in = len(weight) // geometry.groups, weight.shape[1]
    for tap in np.ndindex(*geometry.kernel):
        for i, j in itertools.product(np.ndindex(*x.shape[1:]), np.ndindex(*out_shape)):
            here, there = (j, i) if not geometry.transposed else (i, j)
            axes = zip(here, there, tap, geometry.stride, geometry.padding, geometry.dilation, strict=True)
            if all(a * s + k * d - p == b for a, b, k, s, p, d in axes):
                for group in range(geometry.groups):
                    outputs = slice(group * per_group, (group + 1) * per_group)
                    inputs = slice(group * n_in, (group + 1) * n_in)
                    total[(outputs, *j)] += weight[(outputs, slice(None), *tap)].astype(x.dtype) @ x[(inputs, *i)]
                    reached[(inputs, *i)] += per_group
    return total, reached


def looped_layer(layer, values, sources):
    """(spikes [slots, O, *S'], events, SynOps) of a layer by its equations."""
    kind = int if layer.integer else float
    neurons, out_shape = layer.dynamics, layer.result(values).shape
    wide = (-1, *[1] * len(out_shape))
    events = connections = 0

    def sum_of(part, seen, geometry=layer.geometry):
        nonlocal events, connections
        x = np.concatenate(seen)
        total, reached = looped_sum(part.weight, geometry, x.astype(kind), out_shape)
        if part is not layer.analog:
            events += int(x.sum())
            connections += int((x * reached).sum())
        return total

    def current(part, total):
        return part.factor.reshape(wide).astype(kind) * total

    def at_step(part, t):
        return [value_at_step(values[n], sources[n], t) for n in part.sources]

    constant = layer.bias.reshape(wide).astype(kind)
    if layer.rates:
        every = [
            sum(value_at_step(values[n], sources[n], t) for t in range(values[n].steps)) for n in layer.rates.sources
        ]
        constant = constant + current(layer.rates, sum_of(layer.rates, every))
    if layer.analog:
        seen = [sources[n] for n in layer.analog.sources]
        constant = constant + current(layer.analog, sum_of(layer.analog, seen))
    v = np.broadcast_to(neurons.initial.reshape(wide).astype(kind), (len(layer.bias), *out_shape))
    fired = []
    for t in range(neurons.steps):
        h = (v * int(neurons.leak) >> neurons.shift) if layer.integer else v * neurons.leak
        h = h + constant
        if layer.frames:
            total = sum_of(layer.frames, at_step(layer.frames, t))
            if layer.raised:
                total = total + sum_of(layer.raised, at_step(layer.raised, t), layer.raised.geometry)
            h = h + current(layer.frames, total)
        s = np.stack([h >= level.reshape(wide) for level in neurons.thresholds])
        fired.extend(s)
        count = s.sum(axis=0)
        if neurons.hard:
            v = np.where(count > 0, neurons.reset_to.reshape(wide).astype(kind), h)
        else:
            v = h - neurons.amount.reshape(wide).astype(kind) * count
    return np.array(fired), events, connections


@st.composite
def layers(draw, **options):
    """A layer with the types and contents of its sources, small enough for loops."""
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (6, 4, 3)[ndim - 1])) for _ in range(ndim))
    steps = draw(st.integers(1, 3))
    values = {
        "a": Spikes(draw(st.integers(1, 4)), shape, steps, draw(st.integers(1, 3))),
        "b": Spikes(draw(st.sampled_from([2, 9])), shape, draw(st.integers(1, 3))),
        "low": Spikes(2, tuple(max(1, n // 2) for n in shape), steps, draw(st.integers(1, 2))),
        "x": Real(2, shape, limit=4),
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sources = {
        name: draw(programs.packed_values(value))
        if isinstance(value, Spikes)
        else rng.integers(-4, 5, value.array_shape).astype(np.float32)
        for name, value in values.items()
    }
    layer = draw(programs.spiking_layers(values, **options))
    assume(layer is not None and np.prod(layer.result(values).shape) < 60)
    return layer, values, sources


def run_layer(layer, sources):
    parts = (
        tuple(sources[name] for name in part.sources) if part else ()
        for part in (layer.frames, layer.raised, layer.rates, layer.analog)
    )
    return kernels.run("spiking_layer", layer, *parts)


@given(drawn=layers())
def test_a_layer_follows_its_equations(drawn):
    layer, values, sources = drawn
    words, executed = run_layer(layer, sources)
    spikes, events, connections = looped_layer(layer, values, sources)
    np.testing.assert_array_equal(unpack(words, len(layer.bias)), spikes)
    np.testing.assert_array_equal(words, pack(spikes))  # the bits beyond the channels are zero
    assert (executed.events, executed.synops, executed.spikes) == (events, connections, spikes.sum())


@given(data=st.data())
def test_a_read_out_follows_its_equation(data):
    _, values, sources = data.draw(layers())
    operation = data.draw(programs.read_outs(values))
    out_shape = operation.result(values).shape
    assume(np.prod(out_shape) < 60)
    x = np.concatenate([unpack(*sources[name]).astype(int).sum(axis=0) for name in operation.sources])
    total, reached = looped_sum(operation.synapses.weight, operation.geometry, x.astype(float), out_shape)
    column = (-1, *[1] * len(out_shape))
    want = operation.synapses.factor.reshape(column) * total.astype(np.float32) + operation.bias.reshape(column)
    out, executed = kernels.run("read_out", operation, tuple(sources[name] for name in operation.sources))
    np.testing.assert_array_equal(out, want)
    assert (executed.events, executed.synops, executed.spikes) == (x.sum(), (x * reached).sum(), 0)


@given(data=st.data(), size=st.integers(1, 3))
def test_pooling_adds_or_joins_and_repeating_copies(data, size):
    shape = tuple(data.draw(st.lists(st.integers(size, 6), min_size=1, max_size=3)))
    levels = data.draw(st.integers(1, 2))
    value = Spikes(data.draw(st.sampled_from([3, 33, 70])), shape, 2, levels)
    packed = data.draw(programs.packed_values(value))
    x = [value_at_step(value, packed, t) for t in range(2)]
    pooled = Pool("p", "x", size, "sum").result({"x": value})
    words = kernels.run("pool_spikes", packed.words, size, "sum")
    joined = unpack(kernels.run("pool_spikes", packed.words, size, "or"), value.channels)
    for t, place in itertools.product(range(2), np.ndindex(*pooled.shape)):
        window = tuple(slice(i * size, (i + 1) * size) for i in place)
        inside = x[t][(slice(None), *window)].reshape(value.channels, -1)
        found = value_at_step(pooled, Packed(words, value.channels), t)
        np.testing.assert_array_equal(found[(slice(None), *place)], inside.sum(axis=1))
        if levels == 1:
            np.testing.assert_array_equal(joined[(t, slice(None), *place)], inside.max(axis=1))
    repeated = unpack(kernels.run("repeat_spikes", packed.words, size), value.channels)
    np.testing.assert_array_equal(repeated[(..., *[slice(None, None, size)] * len(shape))], unpack(*packed))
    np.testing.assert_array_equal(repeated[(..., *[slice(size - 1, None, size)] * len(shape))], unpack(*packed))


# -------------------------------------------------------------------------------------------- integer equals binary


@given(drawn=layers(), data=st.data())
def test_an_integer_spike_is_so_many_binary_ones(drawn, data):
    """Seen over all steps, D levels of T steps are T D binary steps."""
    layer, values, sources = drawn
    assume(layer.rates is not None)
    binary = {n: replace(v, steps=v.slots, levels=1) if isinstance(v, Spikes) else v for n, v in values.items()}
    alone = replace(layer, frames=None, raised=None)
    words, executed = run_layer(alone, sources)
    assert alone.result(binary) == alone.result(values)
    spikes, *counts = looped_layer(alone, binary, sources)
    np.testing.assert_array_equal(unpack(words, len(layer.bias)), spikes)
    assert executed[:2] == tuple(counts)


@given(drawn=layers())
def test_a_neuron_of_levels_is_its_slots(drawn):
    """One step of D levels fires as D binary neurons do that each have one of the thresholds."""
    layer, _, sources = drawn
    first = replace(layer, frames=None, raised=None, dynamics=replace(layer.dynamics, steps=1))
    assume(first.rates or first.analog)
    words, _ = run_layer(first, sources)
    for d, thresholds in enumerate(layer.dynamics.thresholds):
        binary = replace(first, dynamics=replace(first.dynamics, thresholds=thresholds[None]))
        np.testing.assert_array_equal(run_layer(binary, sources)[0][0], words[d])


@given(drawn=layers(integer=True))
def test_whole_numbers_and_float32_agree_where_both_are_exact(drawn):
    layer, _, sources = drawn
    neurons = layer.dynamics
    assume(neurons.shift == 0)

    def to_float(part):
        arrays = {name: array.astype(np.float32) for name, array in vars(part).items() if isinstance(array, np.ndarray)}
        return replace(part, **arrays)

    floats = {name: array.astype(np.float32) for name, array in neurons.arrays.items()}
    real = replace(
        layer,
        bias=layer.bias.astype(np.float32),
        dynamics=replace(neurons, **floats),
        **{name: to_float(part) for name, part in layer.parts},
        raised=layer.raised and to_float(layer.raised),
    )
    bound = sum(part.signed_bound() * 9 * 3 for _, part in layer.parts)
    assume(bound < 2**20)
    words, executed = run_layer(layer, sources)
    again, counted = run_layer(real, sources)
    np.testing.assert_array_equal(words, again)
    assert executed == counted


# ------------------------------------------------------------------------------------------- the same on everything


def assert_same(found, wanted, program):
    loose = programs.inexact(program)
    for mapping, other in ((found.outputs, wanted.outputs), (found.kept, wanted.kept)):
        assert list(mapping) == list(other)
        for name, array in mapping.items():
            assert array.dtype == other[name].dtype
            tolerance = ROUNDING * max(1, np.abs(other[name]).max(initial=0)) if name in loose else 0
            np.testing.assert_allclose(array, other[name], rtol=0, atol=tolerance)
    assert found.report == wanted.report
    assert found.rates == wanted.rates


def spikes_of(program):
    return tuple(layer.name for layer in program.layers)


@pytest.mark.parametrize("backend", OTHERS)
@given(case=programs.cases(), threads=st.integers(1, 3))
def test_every_backend_and_number_of_threads_computes_the_same(backend, case, threads):
    keep = spikes_of(case.program)
    wanted = execute(case.program, case.inputs, keep=keep)
    with kernels.use_backend(backend), kernels.use_threads(threads, split_small=True):
        found = execute(case.program, case.inputs, keep=keep)
    assert_same(found, wanted, case.program)


@given(case=programs.cases(), batch=st.integers(1, 3))
def test_a_batch_is_its_samples(case, batch):
    program, inputs = case
    keep = spikes_of(program)
    samples = [{name: np.roll(array, i, axis=1) for name, array in inputs.items()} for i in range(batch)]
    whole = execute(program, {name: np.stack([s[name] for s in samples]) for name in inputs}, keep=keep)
    parts = [execute(program, sample, keep=keep) for sample in samples]
    values = program.values(program.example)
    for name in (*program.outputs, *keep):
        axis = 0 if isinstance(values[name], Real) else 1
        every, each = (whole.kept, "kept") if name in keep else (whole.outputs, "outputs")
        np.testing.assert_array_equal(every[name], np.stack([getattr(part, each)[name] for part in parts], axis=axis))
    for name, count in asdict(whole.report.total).items():
        if name.startswith("spike_bytes"):  # a last byte that is not full is one for the whole batch
            assert 0 <= sum(getattr(part.report.total, name) for part in parts) - count < batch * 2 * len(values)
        elif name not in ("name", "steps"):
            assert count == sum(getattr(part.report.total, name) for part in parts), name
    for name, rate in whole.rates.items():
        assert rate == pytest.approx(np.mean([part.rates[name] for part in parts]))


@given(case=programs.cases())
def test_memory_that_is_used_again_holds_no_traces(case):
    program, inputs = case
    executor, keep = Executor(program, keep=spikes_of(program)), spikes_of(program)
    first = executor(inputs)
    kept = {name: np.array(array) for name, array in (*first.outputs.items(), *first.kept.items())}
    executor({name: 1 - array for name, array in inputs.items()})
    executor._arena[...] = 0xFF
    assert_same(executor(inputs), execute(program, inputs, keep=keep), program)
    for name, array in (*first.outputs.items(), *first.kept.items()):
        np.testing.assert_array_equal(array, kept[name])  # what was returned is not touched again


@given(case=programs.cases())
def test_inputs_are_left_alone(case):
    before = {name: array.copy() for name, array in case.inputs.items()}
    for array in case.inputs.values():
        array.setflags(write=False)
    execute(case.program, case.inputs)
    for name, array in case.inputs.items():
        np.testing.assert_array_equal(array, before[name])


def test_one_executor_serves_several_threads():
    program = two_layers()
    executor = Executor(program, keep=("first",))
    rng = np.random.default_rng(0)
    inputs = [{"image": rng.random((1, 6 + i % 2, 7), np.float32)} for i in range(8)]
    wanted = [execute(program, x, keep=("first",)) for x in inputs]
    found = [None] * len(inputs)

    def work(i):
        found[i] = executor(inputs[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for mine, theirs in zip(found, wanted, strict=True):
        assert_same(mine, theirs, program)


# ----------------------------------------------------------------------------------------------------- what it says


def metered(layer, values, arrays, fired):
    """The count of a layer by the meter of the networks, from the arrays that it read and the unit spikes it fired."""
    out, name = values[layer.name], layer.name
    parts = [*layer.parts] if isinstance(layer, SpikingLayer) else [("rates", layer.synapses)]
    if isinstance(layer, SpikingLayer) and layer.raised:
        parts.append(("frames", layer.raised))
    total, met = synops.LayerCount(name), []
    for part, synapses in parts:
        again = part != "analog" and any(np.array_equal(synapses.weight, weight) for weight in met)
        for source in synapses.sources:
            x, value = arrays[source], values[source]
            fan = getattr(synapses, "geometry", layer.geometry).fanout(value.shape, out.channels)
            if part == "analog":
                total += synops.synapses(name, x, fan, spiking=False)
                continue
            steps = {"steps": value.steps, "levels": 1}
            if part == "rates":
                x, steps["summed"] = x.sum(axis=0, dtype=np.int64), value.steps
            one = synops.synapses(name, x, fan, **steps, spiking=True)
            one = replace(one, spike_bytes_read=synops.packed_bytes(arrays[source].size, value.levels))
            total += synops.through_same_synapses(one) if again else one
        met += [synapses.weight] if part != "analog" else []
    count = out.channels * math.prod(out.shape)
    if isinstance(layer, ReadOut):
        return total + synops.biases(name, count) + synops.LayerCount(name, value_writes=count, ann_writes=count)
    neurons = layer.dynamics
    if layer.rates or layer.analog:
        total += synops.held_current(name, count, neurons.steps)
    beta = neurons.leak / 2**neurons.shift
    leak = {1: "none", 0: "none", 0.5: "shift", 0.75: "shift", 0.875: "shift"}.get(beta, "multiply")
    reset = "hard" if neurons.hard else "soft" if neurons.amount.any() else "none"
    own = synops.neurons(name, count, neurons.steps, fired, leak=leak, reset=reset, levels=neurons.levels)
    return total + synops.biases(name, count, times=neurons.steps if layer.frames else 1) + own


@given(case=programs.cases())
def test_counts_agree_with_the_meter_of_the_networks(case):
    """Every number counted again from the spikes that were kept, by the code that counts networks in training."""
    program, inputs = case
    everything = tuple(op.name for op in program.operations)
    found = execute(program, inputs, keep=everything)
    arrays, values = {**inputs, **found.kept}, program.values(program.example)
    counts = {count.name: count for count in found.report.layers}
    for operation in program.operations:
        out = values[operation.name]
        if isinstance(operation, SpikingLayer | ReadOut):
            fired = int(arrays[operation.name].sum()) if isinstance(out, Spikes) else 0
            assert counts.pop(operation.name) == metered(operation, values, arrays, fired)
        elif isinstance(out, Reals) or isinstance(operation, UNMETERED):
            counts.pop(operation.name, None)
        elif isinstance(operation, Integrate | Enlarge | Warp):
            points = math.prod(out.shape) * getattr(operation, "steps", 1)
            assert counts.pop(operation.name) == synops.interpolation(
                operation.name, points, out.channels, len(out.shape)
            )
    assert not counts


def test_integer_macs_are_the_connections_of_neurons_that_fired_at_all():
    """Connections counted one by one, for a layer that sees the same spikes step by step and as a rate."""
    rng = np.random.default_rng(3)
    program = two_layers()
    found = execute(program, {"image": rng.random((1, 5, 6), np.float32)}, keep=("first", "second"))
    first, second, head = found.report.layers
    of_layer, of_head = program.operations[2].frames.weight, program.operations[3].synapses.weight

    def reached(fired, weight):
        geometry = program.operations[2].geometry
        return int(looped_sum(weight, geometry, fired.astype(int), fired.shape[1:])[1][fired].sum())

    spikes, last = found.kept["first"], found.kept["second"]
    assert 0.1 < spikes.mean() < 0.9
    each = sum(reached(step > 0, of_layer) for step in spikes)
    assert second.int_macs == each + reached(spikes.any(axis=0), of_layer) < second.synops == 2 * each
    assert head.int_macs == reached(last.any(axis=0), of_head) < head.synops
    assert first.int_macs == 0


def test_the_report_of_two_layers():
    found = execute(two_layers(), {"image": np.ones((1, 5, 6), np.float32)}, keep=("first", "second"))
    first, second, head = found.report.layers
    assert (first.name, first.steps, first.neurons, first.neuron_updates) == ("first", 3, 120, 360)
    assert (first.bias_adds, second.bias_adds) == (120, 360)  # the images are constant, spikes are not
    assert (first.leak_shifts, first.leak_multiplies, first.comparisons) == (360, 0, 360)
    assert (first.reset_subtractions, first.reset_writes) == (found.kept["first"].sum(), 0)
    assert (second.state_reads, second.state_writes) == (360 + 360, 360 + 120)
    assert (second.spike_bytes_read, second.spike_bytes_written) == (2 * 45, 45)
    assert first.macs == first.ann_macs == first.nonzero_macs == 4 * 13 * 16  # 3 taps but 2 at either border
    assert first.events == first.synops == 0
    assert second.events == 2 * found.kept["first"].sum()
    assert head.events == found.kept["second"].sum()
    assert head.bias_adds == 2 * 30
    assert found.rates == {name: array.mean() for name, array in found.kept.items()}
    assert found.kept["first"].shape == (3, 4, 5, 6)
    assert found.kept["first"].dtype == np.uint8
    np.testing.assert_array_equal(unpack(found.kept.packed("first")[0], 4), found.kept["first"])
    assert set(found.seconds) == {"grey", "first", "second", "head"}
    assert 0 < sum(found.seconds.values()) <= found.total_seconds


def test_shared_synapses_are_one_convolution_of_a_conventional_network():
    program = two_layers()
    grey, first, second, head = program.operations
    shared = replace(second, rates=replace(second.frames, factor=second.rates.factor))
    inputs = {"image": np.ones((1, 5, 6), np.float32)}
    apart = execute(program, inputs).report.layers[1]
    together = execute(replace(program, operations=(grey, first, shared, head)), inputs).report.layers[1]
    assert (together.ann_macs, together.dense_macs) == (apart.ann_macs // 2, apart.dense_macs // 2)
    assert (together.ann_reads, together.ann_adds) == (apart.ann_reads, apart.ann_adds + 120)  # two maps, added


def test_an_active_meter_gets_the_counts_and_warming_up_none():
    executor = Executor(two_layers())
    with synops.count_synops() as meter:
        executor.warm_up()
        assert not meter.report().layers
        found = executor({"image": np.ones((1, 5, 6), np.float32)})
    assert meter.report() == found.report


@settings(max_examples=10)
@given(program=programs.programs())
def test_every_program_can_be_warmed_up(program):
    assert Executor(program).warm_up() >= 0


def test_warming_up_meets_silent_and_full_layers(monkeypatch):
    seen, whole = [], kernels.run

    def watched(kernel, *arguments):
        if kernel in ("spiking_layer", "read_out"):
            seen.append((kernel, whole(kernel, *arguments)[1].events, arguments[0].name))
        return whole(kernel, *arguments)

    monkeypatch.setattr(kernels, "run", watched)
    program = two_layers()
    Executor(program).warm_up()
    positions = 2 ** (2 * 6)  # the least power of two on two axes that is at least WARMING_POSITIONS
    spikes = 3 * 4 * positions
    assert [events for _, events, name in seen if name == "second"] == [0, 2 * spikes]
    assert [events for _, events, name in seen if name == "head"] == [0, spikes]


def test_warming_up_tells_how_far_it_is():
    seen = []
    Executor(two_layers()).warm_up(lambda *progress: seen.append(progress))
    assert seen == [(0, 4, "grey"), (1, 4, "first"), (2, 4, "second"), (3, 4, "head"), (4, 4, "")]


def test_fields_are_made_as_the_library_makes_them():
    rng = np.random.default_rng(2)
    operations = (
        Integrate("field", "velocity", 4),
        Enlarge("larger", "field", "image", 2.0),
        Warp("moved", "image", "larger"),
    )
    program = Program({"velocity": 2, "image": 1}, operations, ("field", "larger", "moved"), 2, example=(4, 4))
    velocity = rng.normal(size=(2, 6, 8)).astype(np.float32)
    image = rng.random((1, 6, 8), np.float32)
    for backend in kernels.available():
        with kernels.use_backend(backend):
            found = execute(program, {"velocity": velocity, "image": image}).outputs
            field = scaling_and_squaring(Tensor(velocity[None]), steps=4)
            larger = upsample_linear(field, (6, 8)) * 2.0
            moved = warp(Tensor(image[None]), larger)
        np.testing.assert_array_equal(found["field"], field.data[0])
        np.testing.assert_array_equal(found["larger"], larger.data[0])
        np.testing.assert_array_equal(found["moved"], moved.data[0])
