"""Programs of real numbers at every step and of attention: by loops, by the meter, by the networks they come from."""

import itertools
import tracemalloc
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_executor import looped_sum

from pysnnmed import kernels, synops
from pysnnmed.decomposition import ACTIVE, HALVES, SEPARATE
from pysnnmed.deploy import storage
from pysnnmed.deploy.executor import Executor, execute
from pysnnmed.deploy.lower import lower
from pysnnmed.deploy.operations import (
    Add,
    Attend,
    Convolve,
    Dynamics,
    Enlarge,
    Fire,
    Gate,
    Geometry,
    MeanSteps,
    Repeat,
    Synapses,
)
from pysnnmed.deploy.program import Program
from pysnnmed.deploy.values import Real, Reals, Spikes, pack, unpack
from pysnnmed.errors import ProgramError, PysnnmedError
from pysnnmed.models.medspikeformer import MedSpikeFormer, MedSpikeFormerConfig
from pysnnmed.neurons import LIF
from pysnnmed.nn import BatchNorm, Conv, Spiking
from pysnnmed.nn.attention import both_counts
from pysnnmed.resample import upsample_linear, upsample_nearest
from pysnnmed.tensor import Tensor, no_grad
from pysnnmed.testing import programs

BACKENDS = kernels.available()
SMALL_CHANGE = 128 * 2**10  # bytes of Python objects
STEPS = 3
POINT = Geometry((1, 1), (1, 1), (0, 0), (1, 1))


def generator(draw):
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def ones(n, value=1.0):
    return np.full(n, value, np.float32)


def lif(channels, steps=STEPS, beta=0.5, threshold=1.0, hard=False):
    return Dynamics(
        steps, ones((1, channels), threshold), ones(channels, threshold), ones(channels, 0), ones(channels, 0), beta,
        hard=hard,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- each by its equation


@st.composite
def convolutions(draw, spiking):
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (6, 4, 3)[ndim - 1])) for _ in range(ndim))
    kind = (lambda c: Spikes(c, shape, 2, draw(st.integers(1, 2)))) if spiking else (lambda c: Reals(c, shape, 2))
    values = {name: kind(draw(st.integers(1, 3))) for name in "ab"}
    operation = draw(programs.convolutions(values, list(values)))
    assume(np.prod(operation.result(values).shape) * len(operation.bias) < 600)
    return operation, values


def expected(operation, frames):
    """(result [T, O, *S'], what each input position reached) by the equation, one connection after another."""
    out_shape = operation.geometry.output_shape(frames[0].shape[1:])
    column = (-1, *[1] * len(out_shape))
    parts = [looped_sum(operation.synapses.weight, operation.geometry, x.astype(float), out_shape) for x in frames]
    factor, bias = (a.reshape(column) for a in (operation.synapses.factor, operation.bias))
    return np.stack([factor * total.astype(np.float32) + bias for total, _ in parts]), [r for _, r in parts]


@pytest.mark.parametrize("backend", BACKENDS)
@given(drawn=convolutions(spiking=True), data=st.data())
def test_a_convolution_of_spikes_follows_its_equation_and_counts_its_additions(backend, drawn, data):
    operation, values = drawn
    trains = {name: data.draw(programs.packed_values(value)) for name, value in values.items()}

    def at_step(name, t):
        value, spikes = values[name], unpack(*trains[name]).astype(int)
        return spikes[t * value.levels : (t + 1) * value.levels].sum(axis=0)

    frames = [np.concatenate([at_step(name, t) for name in operation.sources]) for t in range(2)]
    want, reached = expected(operation, frames)
    with kernels.use_backend(backend):
        out, executed = kernels.run("convolve_spikes", operation, tuple(trains[n] for n in operation.sources), 2)
    np.testing.assert_array_equal(out, want)
    connections = sum(int((x * r).sum()) for x, r in zip(frames, reached, strict=True))
    assert (executed.events, executed.synops) == (sum(int(x.sum()) for x in frames), connections)


@pytest.mark.parametrize("backend", BACKENDS)
@given(drawn=convolutions(spiking=False), data=st.data())
def test_a_convolution_of_reals_follows_its_equation_and_counts_its_macs(backend, drawn, data):
    operation, values = drawn
    rng = generator(data.draw)
    x = {name: (rng.integers(-2, 3, v.array_shape) / 2).astype(np.float32) for name, v in values.items()}
    frames = [np.concatenate([x[name][t] for name in operation.sources]) for t in range(2)]
    want, reached = expected(operation, frames)
    with kernels.use_backend(backend):
        out, nonzero = kernels.run("convolve_reals", operation, tuple(x[name] for name in operation.sources))
    np.testing.assert_array_equal(out, want)
    assert nonzero == sum(int(((f != 0) * r).sum()) for f, r in zip(frames, reached, strict=True))
    fan = [operation.geometry.fanout(values[n].shape, len(operation.bias)).total() for n in operation.sources]
    total = sum(f * values[n].channels * 2 for f, n in zip(fan, operation.sources, strict=True))
    assert total == sum(int(r.sum()) for r in reached)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("stays", [True, False])
def test_neurons_fire_as_those_of_the_learning_world(backend, hard, stays, rng):
    x = (rng.integers(-4, 9, (1 if stays else STEPS, 9, 4, 70)) / 4).astype(np.float32)
    neuron = Spiking(LIF(beta=0.5, reset="hard" if hard else "soft"))
    with no_grad():
        want = neuron(Tensor(x[0]), steps=STEPS).data if stays else neuron(Tensor(x)).data
    with kernels.use_backend(backend):
        words, executed = kernels.run("fire_currents", lif(9, hard=hard), x)
    np.testing.assert_array_equal(unpack(words, 9), want)
    assert executed.spikes == want.sum() > 0


@st.composite
def attention(draw, make):
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (9, 4, 3)[ndim - 1])) for _ in range(ndim))
    value = Spikes(draw(st.integers(1, 9) | st.sampled_from([16, 33, 64])), shape, draw(st.integers(1, 5)))
    trains = [draw(programs.packed_values(value)) for _ in "qkv"]
    return draw(make(("q", "k", "v"), value)), value, trains


def tokens(train, value, heads):
    """[T, heads, N, C / heads]"""
    spikes = unpack(*train).reshape(value.steps, heads, value.channels // heads, -1)
    return spikes.swapaxes(-1, -2).astype(np.int64)


@pytest.mark.parametrize("backend", BACKENDS)
@given(drawn=attention(programs.attentions))
def test_attention_follows_its_equations_and_both_counts_are_those_of_the_layers(backend, drawn):
    operation, value, trains = drawn
    q, k, v = (tokens(train, value, operation.heads) for train in trains)
    if operation.axis == "channel":
        q, k, v = (x.swapaxes(-1, -2) for x in (q, k, v))
    parts = {"A": lambda x: x, "I": lambda x: 1 - x}
    sums = [sum(parts[m[0]](q) @ parts[m[1]](k).swapaxes(-1, -2) for m in output) @ v for output in operation.outputs]
    if operation.axis == "token":
        sums = [s.swapaxes(-1, -2) for s in sums]
    total = np.concatenate([s.reshape(value.steps, value.channels, *value.shape) for s in sums], axis=1)
    column = (-1, *[1] * len(value.shape))
    factor = operation.factor / np.float32(np.prod(value.shape) if operation.mean else 1)
    want = total.astype(np.float32) * factor.reshape(column) + operation.bias.reshape(column)
    wires = {f"{n}0": value.channels for n in "qkv"}
    program = Program(
        wires, (*(Fire(n, f"{n}0", spiker(value)) for n in "qkv"), operation), (operation.name,), len(value.shape),
        example=value.shape,
    )  # fmt: skip
    assert program.values(value.shape)[operation.name] == Reals(total.shape[1], value.shape, value.steps)
    with kernels.use_backend(backend):
        out, _ = kernels.run("attend", operation, *trains, *plans(operation))
    np.testing.assert_array_equal(out, want)
    found = counted(operation, value, trains, backend)
    forms = both_counts(
        *(tokens(t, value, operation.heads).astype(np.float32) for t in trains),
        operation.outputs, form="popcount", axis=operation.axis,
    )  # fmt: skip
    assert (found.layer.synops, found.literal) == (forms.executed.synops, forms.literal.synops)
    assert found.layer.adds == forms.executed.adds
    assert found.layer.events == sum(int(unpack(*t).sum()) for t in trains)
    assert found.layer.macs == forms.executed.macs + total.size
    assert found.layer.nonzero_macs == np.count_nonzero(total)


def spiker(value):
    return lif(value.channels, value.steps)


def plans(operation):
    from pysnnmed.deploy.running import plan_of

    return plan_of(operation)


class Counted:
    def __init__(self, layer, literal):
        self.layer, self.literal = layer, literal


def counted(operation, value, trains, backend):
    """The counts of an operation whose sources are given, by the code that counts runs."""
    from pysnnmed.deploy import counts, running

    values = dict.fromkeys("qkv", value)
    values[operation.name] = operation.result(values)
    arrays = {n: t.words for n, t in zip("qkv", trains, strict=True)}
    arrays[operation.name] = np.zeros(values[operation.name].array_shape, values[operation.name].dtype)
    with kernels.use_backend(backend):
        seen = counts.look(operation, values, arrays, running.run(operation, values, arrays))
    literal = counts.literal_synops(operation, values, 1, seen) if isinstance(operation, Attend) else 0
    return Counted(counts.count(operation, values, 1, seen), literal)


@pytest.mark.parametrize("backend", BACKENDS)
@given(drawn=attention(programs.gates))
def test_gates_pass_the_spikes_that_their_neurons_let_through(backend, drawn):
    operation, value, trains = drawn
    by_name = dict(zip("qkv", trains, strict=True))
    both = np.prod([unpack(*by_name[n]).astype(int) for n in operation.counted], axis=0)
    passed, neurons = unpack(*by_name[operation.value]), operation.dynamics
    width = value.channels // operation.heads
    want, synapses, fired = np.zeros_like(passed), 0, 0
    places = list(np.ndindex(*value.shape))
    gates = (
        [((slice(h * width, (h + 1) * width), *p), h) for h in range(operation.heads) for p in places]
        if operation.axis == "token"
        else [((c,), c) for c in range(value.channels)]
    )
    for where, i in gates:
        v, terms = float(neurons.initial[i]), both[0][where].size
        for t in range(value.steps):
            total = int(both[t][where].sum())
            synapses += total
            v = v * neurons.leak + total * operation.factor[i] / (terms if operation.mean else 1) + operation.bias[i]
            if v >= neurons.thresholds[0, i]:
                v, fired = (neurons.reset_to[i] if neurons.hard else v - neurons.amount[i]), fired + 1
                want[(t, *where)] = passed[(t, *where)]
    with kernels.use_backend(backend):
        words, executed = kernels.run(
            "gate", operation, tuple(by_name[n] for n in operation.counted), by_name[operation.value]
        )
    np.testing.assert_array_equal(words, pack(want))
    assert (executed.synops, executed.spikes) == (synapses, fired)
    layer = counted(operation, value, trains, backend).layer
    assert (layer.synops, layer.neurons) == (synapses, len(gates))
    assert layer.events == sum(int(unpack(*by_name[n]).sum()) for n in operation.sources)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_means_and_larger_maps(backend, rng):
    x = rng.random((2, 4, 6), dtype=np.float32)
    operations = (
        Fire("s", "x", lif(2, beta=0.75, threshold=0.7)),
        Convolve("c", POINT, Synapses(("s",), rng.random((2, 2, 1, 1), np.float32), ones(2)), ones(2, 0)),
        Add("a", ("c", "x", "c")),
        MeanSteps("m", "a"),
        Repeat("n", "a", 2),
        Enlarge("l", "a", "n", 1.0, False),
        Enlarge("k", "m", "n", 2.0, True),
        Repeat("r", "m", 3),
    )  # fmt: skip
    program = Program({"x": 2}, operations, ("a", "m", "n", "l", "k", "r"), 2, example=(4, 6))
    with kernels.use_backend(backend):
        found = execute(program, {"x": x}, keep=("c",))
    out, c = found.outputs, found.kept["c"]
    np.testing.assert_array_equal(out["a"], c + x + c)
    np.testing.assert_array_equal(out["m"], (out["a"][0] + out["a"][1] + out["a"][2]) / np.float32(3))
    np.testing.assert_array_equal(out["n"], upsample_nearest(Tensor(out["a"]), 2).data)
    np.testing.assert_array_equal(out["r"], upsample_nearest(Tensor(out["m"][None]), 3).data[0])
    np.testing.assert_allclose(out["l"], upsample_linear(Tensor(out["a"]), (8, 12)).data, rtol=1e-5, atol=1e-6)
    corners = 2 * upsample_linear(Tensor(out["m"][None]), (8, 12), align_corners=True).data[0]
    np.testing.assert_allclose(out["k"], corners, rtol=1e-5, atol=1e-6)
    counts = {layer.name: layer for layer in found.report.layers}
    assert counts["a"].adds == 2 * out["a"].size
    assert counts["a"].ann_adds == 2 * out["m"].size
    assert counts["m"].adds == 2 * out["m"].size
    assert counts["l"].macs == 4 * out["l"].size == 3 * counts["l"].ann_macs
    assert "n" not in counts


# -------------------------------------------------------------------------------------------------------- networks

CONFIGS = [
    {},
    {"fusion": "map"},
    {"removed": "AA"},
    {"axis": "channel"},
    {"attention": "spiking"},
    {"attention": "qk-token"},
    {"attention": "qk-channel"},
    {"attention": "spike-driven"},
    {"spike_convolution": False},
    {"upsampling": "nearest"},
    {"upsampling": "nearest", "strict_spike": True},
    {"neuron": "medspikeformer_code"},
    {"ndim": 3, "widths": (4, 8)},
    {"steps": 1},
    {"mode": "paper"},
    {"mode": "paper", "removed": "IA"},
    {"mode": "paper", "spike_convolution": False},
]


def network_of(rng, size, dyadic=False, **options):
    """A network whose norms have seen images, and such images; or one of few dyadic numbers."""
    widths = options.get("widths", (4, 8, 16))
    config = MedSpikeFormerConfig(**{**options, "widths": widths, "softmax_axes": ("channel",) * len(widths)})
    network = MedSpikeFormer(config, rng)
    shape = (2, 3, *[size] * config.ndim)
    images = (rng.integers(0, 17, shape) / 16).astype(np.float32)
    if dyadic:
        on_the_grid(network, rng)
    else:
        with no_grad():
            for _ in range(3):
                network(Tensor(images))
    network.eval()
    return network, images[:1]


def on_the_grid(network, rng):
    """Weights and norms of so few bits that every sum up to the last neurons is exact, in any order."""
    for module in modules(network):
        if isinstance(module, BatchNorm):
            n = module.channels
            module.epsilon = 1e-30  # next to 1 it vanishes in float32
            module.gamma.data = ones(n)
            module.beta.data = (rng.integers(-1, 3, n) / 2).astype(np.float32)
            module.running_mean.data, module.running_variance.data = ones(n, 0), ones(n)
        elif isinstance(module, Conv):
            weight = rng.integers(-1, 2, module.weight.shape) * (rng.random(module.weight.shape) < 0.5)
            module.weight.data = (weight / 2).astype(np.float32)


def modules(network):
    seen, waiting = [], [network]
    while waiting:
        module = waiting.pop()
        seen.append(module)
        for value in vars(module).values():
            parts = value if isinstance(value, list) else [value]
            waiting += [p for p in parts if hasattr(p, "named_parameters")]
    return seen


def both_worlds(network, image, weights="float32", backend="numpy"):
    """(logits, spikes by name) of the learning world, and the run of the program."""
    seen = {}
    with no_grad():
        logits = network(Tensor(image), observe=seen.__setitem__).data[0]
    program = lower(network, weights)
    names = {operation.name for operation in program.operations}
    keep = tuple(f"{name}.spikes" for name in seen)
    assert set(keep) <= names
    with kernels.use_backend(backend):
        run = execute(program, {"image": image[0]}, keep=keep)
    return logits, {name: s.data[:, 0] for name, s in seen.items()}, run


@pytest.mark.parametrize("options", CONFIGS, ids=str)
def test_a_program_computes_what_its_network_does(options, rng):
    network, image = network_of(rng, 8, **options)
    for backend in BACKENDS:
        logits, spikes, run = both_worlds(network, image, backend=backend)
        flipped = [(run.kept[f"{name}.spikes"] != s).mean() for name, s in spikes.items()]
        assert np.mean(flipped) <= 1e-3
        np.testing.assert_allclose(run.outputs["logits"], logits, rtol=1e-3, atol=1e-3 * np.abs(logits).max())
        assert np.mean(list(run.rates.values())) > 0.01


@pytest.mark.parametrize("options", [c for c in CONFIGS if c.get("mode") != "paper"], ids=str)
def test_spikes_of_dyadic_networks_are_equal(options, rng):
    network, image = network_of(rng, 8, dyadic=True, **options)
    for weights in ("float32", "int8"):
        logits, spikes, run = both_worlds(network, image, weights)
        first = [n for n in spikes if n.startswith("stages.0")]
        assert any(0 < spikes[name].mean() < 1 for name in first)
        for name in first:
            np.testing.assert_array_equal(run.kept[f"{name}.spikes"], spikes[name], err_msg=f"{weights} {name}")
        np.testing.assert_allclose(run.outputs["logits"], logits, rtol=1e-4, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize(("weights", "flips"), [("int16", 0.02), ("int8", 0.12)])
def test_whole_weights_stay_near(weights, flips, rng):
    network, image = network_of(rng, 16)
    logits, spikes, run = both_worlds(network, image, weights)
    flipped = np.mean([(run.kept[f"{name}.spikes"] != s).mean() for name, s in spikes.items()])
    assert flipped <= flips
    assert np.corrcoef(run.outputs["logits"].ravel(), logits.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("options", [{}, {"attention": "spiking"}, {"attention": "qk-token"}], ids=str)
def test_additions_are_those_that_the_spikes_of_the_learning_world_cause(options, rng):
    """Attention as the meter of that world counts it, every convolution from the spikes that enter it."""
    network, image = network_of(rng, 16, **options)
    _, spikes, run = both_worlds(network, image)
    with no_grad(), synops.count_synops() as meter:
        network(Tensor(image))
    layers = {layer.name: layer for layer in run.report.layers}
    attention = [name for name in layers if name.endswith((".attend", ".attention.out.spikes"))]
    found = sum(layers[name].synops for name in attention)
    assert found == meter.report().total.synops > 0
    program, counted = lower(network, "float32"), 0
    for operation in program.operations:
        source = operation.sources[0].removesuffix(".spikes")
        if isinstance(operation, Convolve) and source in spikes:
            fan = operation.geometry.fanout(spikes[source].shape[2:], len(operation.bias))
            want = synops.count_spikes(spikes[source], fan)
            layer = layers[operation.name]
            assert (layer.events, layer.synops, layer.int_macs) == want
            assert layer.macs == 0 < layer.ann_macs
            counted += 1
    assert counted == sum(1 for name in spikes if not name.endswith((".q", ".k", ".v")))
    trunk = {layer.name for layer in run.report.layers if layer.macs}
    assert {"stages.0.embedding", "stages.1.attention.q", "pools.0", "decoders.0.up.synapses", "logits"} <= trunk


def test_a_batch_is_its_samples_and_threads_change_nothing(rng):
    network, _ = network_of(rng, 8)
    images = rng.random((3, 3, 16, 8), dtype=np.float32)
    program = lower(network, "float32")
    wanted = [execute(program, {"image": x}).outputs["logits"] for x in images]
    for backend, threads in itertools.product(BACKENDS, (1, 3)):
        with kernels.use_backend(backend), kernels.use_threads(threads, split_small=True):
            found = execute(program, {"image": images}).outputs["logits"]
        np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------------------------------------- memory and files


@pytest.mark.parametrize("options", [{}, {"attention": "qk-token"}, {"mode": "paper"}], ids=str)
def test_a_run_takes_the_planned_memory(options, rng):
    pytest.importorskip("numba")
    network, _ = network_of(rng, 8, widths=(8, 16, 32), **options)
    image, executor = rng.random((3, 128, 96), dtype=np.float32), Executor(lower(network, "float32"))
    with kernels.use_backend("numba"):
        executor({"image": image})
        fresh = Executor(executor.program)
        fresh.plan((128, 96))
        tracemalloc.start()
        try:
            plan = fresh({"image": image}).plan
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert plan.peak <= peak + SMALL_CHANGE
    assert peak <= plan.peak + SMALL_CHANGE


@pytest.mark.parametrize("options", [{}, {"attention": "qk-channel"}], ids=str)
def test_programs_are_kept_in_files(options, tmp_path, rng):
    network, image = network_of(rng, 8, **options)
    program = lower(network, "int8")
    storage.save_program(tmp_path / "a.safetensors", program)
    again = storage.load_program(tmp_path / "a.safetensors")
    assert storage.to_text(again)[0] == storage.to_text(program)[0]
    found, wanted = (execute(p, {"image": image[0]}) for p in (again, program))
    np.testing.assert_array_equal(found.outputs["logits"], wanted.outputs["logits"])
    assert found.report == wanted.report
    content = bytearray((tmp_path / "a.safetensors").read_bytes())
    for place in rng.integers(8, len(content), 20):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "b.safetensors").write_bytes(damaged)
        with pytest.raises(PysnnmedError):
            storage.load_program(tmp_path / "b.safetensors")


SPIKES = {"s": Spikes(4, (4, 4), 2), "t": Spikes(4, (4, 4), 3), "n": Spikes(4, (4, 4), 2, 2)}
REALS = {"x": Real(4, (4, 4)), "r": Reals(4, (4, 4), 2), "u": Reals(4, (4, 4), 3), "w": Reals(3, (4, 4), 2)}


def point(*sources, weight=None, factor=None, bias=None):
    weight = ones((2, 4 * len(sources), 1, 1)) if weight is None else weight
    factor, bias = (ones(2) if array is None else array for array in (factor, bias))
    return Convolve("op", POINT, Synapses(sources, weight, factor), bias)


def attends(q="s", k="s", v="s", outputs=HALVES, heads=2, axis="token", factor=None):
    n = len(outputs) * 4
    return Attend("op", q, k, v, outputs, heads, axis, False, ones(n) if factor is None else factor, ones(n))


def gated(counted=("s",), axis="token", dynamics=None):
    return Gate("op", counted, "s", 2, axis, False, ones(2), ones(2), lif(2, 2) if dynamics is None else dynamics)


REFUSED = {
    "no source": (point(weight=ones((2, 4, 1, 1))), "at least one source"),
    "two kinds": (point("s", "r"), "one kind"),
    "two steps": (point("r", "u"), "as many steps"),
    "weights": (point("r", weight=ones((2, 3, 1, 1))), "weights over 4 channels"),
    "weights of float64": (point("r", weight=np.ones((2, 4, 1, 1))), "weights must be finite"),
    "weights not finite": (point("r", weight=ones((2, 4, 1, 1), np.nan)), "weights must be finite"),
    "factor": (point("r", factor=ones(3)), "factor must be finite"),
    "bias not finite": (point("r", bias=ones(2, np.inf)), "bias must be finite"),
    "bias of no axes": (point("r", bias=np.float32(1)[...]), "bias must be finite"),
    "sums": (point("s", weight=np.full((2, 4, 1, 1), 2**15 - 1, np.int16)), None),
    "fire steps": (Fire("op", "u", lif(4, 2)), "run 2 steps"),
    "fire channels": (Fire("op", "r", lif(3, 2)), "thresholds must be finite"),
    "fire on spikes": (Fire("op", "s", lif(4, 2)), "must be real numbers"),
    "fire not finite": (Fire("op", "r", replace(lif(4, 2), amount=ones(4, np.nan))), "amount must be finite"),
    "one term": (Add("op", ("r",)), "at least two terms"),
    "terms": (Add("op", ("r", "w")), "same channels"),
    "terms of other steps": (Add("op", ("r", "u")), "same channels"),
    "a sum of spikes": (Add("op", ("r", "s")), "must be real numbers"),
    "mean of what stays": (MeanSteps("op", "x"), "at every step"),
    "mean of spikes": (MeanSteps("op", "s"), "must be real numbers"),
    "attention of other steps": (attends(k="t"), "binary spikes of one shape"),
    "attention of integer spikes": (attends(v="n"), "binary spikes of one shape"),
    "attention of reals": (attends(v="r"), "must be spikes"),
    "heads": (attends(heads=3), "heads must divide"),
    "no heads": (attends(heads=0), "heads must divide"),
    "maps": (attends(outputs=(("AB",),)), "maps AA, AI, IA, II"),
    "no outputs": (attends(outputs=()), "at least one output"),
    "axis": (attends(axis="time"), "axis must be"),
    "norm": (attends(factor=ones(3)), "factor must be finite"),
    "gate of three": (gated(("s", "s", "s")), "one source or two"),
    "gate of levels": (gated(("n",)), "binary spikes"),
    "gate neurons": (gated(axis="channel"), "factor must be finite"),
    "gate levels": (gated(dynamics=replace(lif(2, 2), thresholds=np.array([[1, 1], [2, 2]], np.float32))), "binary"),
    "gate steps": (gated(dynamics=lif(2, 3)), "run 2 steps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name(case):
    operation, message = REFUSED[case]
    if message is None:
        assert operation.result({**SPIKES, **REALS})
        return
    with pytest.raises(ProgramError, match=rf"(?s){type(operation).__name__} 'op': .*{message}"):
        operation.result({**SPIKES, **REALS})


def test_attention_that_float32_could_not_hold_is_refused():
    large = {"s": Spikes(4, (4096, 2048), 1)}
    with pytest.raises(ProgramError, match=r"Attend 'op'.*2\*\*24"):
        attends(outputs=ACTIVE, heads=1).result(large)
    assert attends(outputs=SEPARATE, heads=2).result(SPIKES).channels == 16


def test_the_report_of_a_batch_is_the_sum_of_its_samples(rng):
    network, _ = network_of(rng, 8)
    program = lower(network, "float32")
    images = rng.random((2, 3, 8, 8), dtype=np.float32)
    whole, *parts = (execute(program, {"image": x}) for x in (images, *images))
    for name, n in asdict(whole.report.total).items():
        if name not in ("name", "steps") and not name.startswith("spike_bytes"):
            assert n == sum(getattr(part.report.total, name) for part in parts), name
    assert whole.literal == {name: sum(part.literal[name] for part in parts) for name in whole.literal}


def test_observations_of_runs_add_up_to_that_of_the_batch(rng):
    network, _ = network_of(rng, 8)
    executor = Executor(lower(network, "float32"))
    images = rng.random((3, 3, 8, 8), dtype=np.float32)
    first, *others = (executor({"image": x}).observation for x in images)
    added, batch = sum(others, start=first), executor({"image": images})
    assert (added.report, added.literal, added.rates) == (batch.report, batch.literal, batch.rates)
    larger = executor({"image": np.zeros((3, 16, 16), np.float32)}).observation
    another = execute(lower(network, "float32"), {"image": images[0]}).observation
    for unlike in (larger, another):
        with pytest.raises(ProgramError, match="one program on inputs of one shape"):
            added + unlike
