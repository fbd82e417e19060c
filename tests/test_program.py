"""The language of programs: what fits together, what is refused by name, and that int32 is never left."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from pysnnmed.deploy.operations import (
    INT32,
    Dynamics,
    Enlarge,
    Geometry,
    Integrate,
    Operation,
    Pool,
    Quantize,
    ReadOut,
    Repeat,
    SpikingLayer,
    Synapses,
    Warp,
)
from pysnnmed.deploy.program import Program
from pysnnmed.deploy.values import Real, Spikes, pack, unpack
from pysnnmed.errors import ParameterError, ProgramError
from pysnnmed.testing import programs

# ------------------------------------------------------------------------------------------------------ the types


@given(st.integers(1, 200), st.integers(1, 3), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_packing_is_undone_by_unpacking(channels, slots, shape, data):
    value = Spikes(channels, tuple(shape), slots)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    spikes = rng.integers(0, 2, (slots, channels, *shape), dtype=np.uint8)
    words = pack(spikes)
    assert (words.shape, words.dtype, words.nbytes) == (value.array_shape, value.dtype, value.nbytes)
    np.testing.assert_array_equal(unpack(words, channels), spikes)
    bits = 8 * words.dtype.itemsize
    for c in range(channels):
        np.testing.assert_array_equal(words[..., c // bits] >> np.array(c % bits, words.dtype) & 1, spikes[:, c])
    assert not unpack(words, value.words * bits)[:, channels:].any()


@given(program=programs.programs())
def test_drawn_programs_are_valid_and_typed(program):
    values = program.values(program.example)
    assert list(values) == [*program.inputs, *(operation.name for operation in program.operations)]
    for operation in program.operations:
        assert set(operation.reads) <= set(operation.sources)
        assert values[operation.name] == operation.result(values)
        assert str(values[operation.name])


def test_drawn_programs_hold_every_operation():
    seen = set()

    @settings(max_examples=250, phases=[Phase.generate])
    @given(programs.programs())
    def look(program):
        seen.update(type(operation).__name__ for operation in program.operations)

    look()
    assert seen == set(Operation.kinds)


# -------------------------------------------------------------------------------------------------- what is refused

IMAGE, FIELD, GREY = Real(1, (6, 6)), Real(2, (6, 6)), Real(1, (6, 6), limit=16)
BINARY, INTEGER, SMALL = Spikes(4, (6, 6), 3), Spikes(4, (6, 6), 3, 2), Spikes(4, (3, 3), 3)
VALUES = {"image": IMAGE, "field": FIELD, "grey": GREY, "binary": BINARY, "integer": INTEGER, "small": SMALL}
SAME = Geometry((3, 3), (1, 1), (1, 1), (1, 1))
WHOLE = np.arange(1, 5, dtype=np.int32)


def neurons(**changes):
    return replace(Dynamics(3, 9 * WHOLE[None], WHOLE, WHOLE, 0 * WHOLE, leak=1.0), **changes)


def synapses(*sources, channels=4, **changes):
    return replace(Synapses(sources, np.ones((4, channels, 3, 3), np.int8), WHOLE), **changes)


def layer(**changes):
    parts = {"frames": synapses("binary")} if not {"frames", "rates", "analog"} & set(changes) else {}
    return SpikingLayer(**{"name": "conv1", "geometry": SAME, "dynamics": neurons(), "bias": WHOLE, **parts, **changes})


def float_layer(**changes):
    ones = np.ones(4, np.float32)
    frames = Synapses(("binary",), np.ones((4, 4, 3, 3), np.float32), ones)
    plain = SpikingLayer("conv1", SAME, Dynamics(3, ones[None], ones, ones, ones, leak=0.5), ones, frames=frames)
    return replace(plain, **changes)


def head(**changes):
    ones = np.ones(2, np.float32)
    plain = ReadOut("head", SAME, Synapses(("binary",), np.ones((2, 4, 3, 3), np.int8), ones), ones)
    return replace(plain, **changes)


FITTING = [
    layer(),
    layer(analog=synapses("grey", channels=1)),
    layer(rates=synapses("binary", "integer", channels=8)),
    layer(frames=synapses("integer"), rates=synapses("binary")),
    float_layer(),
    head(),
    Quantize("q", "image", 0.25),
    Pool("p", "binary", 2, "or"),
    Pool("p", "integer", 2, "sum"),
    Repeat("r", "small", 2),
    Integrate("i", "field", 3),
    Enlarge("e", "image", "binary"),
    Warp("w", "image", "field"),
]

REFUSED = {
    "no parts": (layer(frames=None), "must have frames, rates or analog"),
    "no sources": (layer(frames=synapses(channels=4)), "at least one source"),
    "spikes from real": (layer(frames=synapses("grey", channels=1)), "'grey' must be spikes"),
    "real from spikes": (layer(analog=synapses("binary")), "'binary' must be real numbers"),
    "fractions into whole numbers": (layer(analog=synapses("image", channels=1)), "Quantize it"),
    "two shapes": (layer(rates=synapses("binary", "small", channels=8)), "one spatial shape"),
    "other steps": (layer(dynamics=neurons(steps=2)), "frames must have 2 steps"),
    "channels": (layer(frames=synapses("binary", channels=3)), "must have shape"),
    "groups": (layer(geometry=replace(SAME, groups=3)), "groups"),
    "axes": (layer(geometry=Geometry((3,), (1,), (1,), (1,))), "must have shape|spatial axes"),
    "no output": (layer(geometry=replace(SAME, padding=(0, 0), dilation=(4, 4))), "leaves no output"),
    "unsigned weights": (layer(frames=synapses("binary", weight=np.ones((4, 4, 3, 3), np.uint8))), "int8 or int16"),
    "float weights": (layer(frames=synapses("binary", weight=np.ones((4, 4, 3, 3)))), "int8 or int16"),
    "whole weights": (float_layer(frames=synapses("binary")), "finite float32"),
    "NaN weights": (float_layer(frames=replace(float_layer().frames, factor=np.full(4, np.nan, np.float32))), "finite"),
    "float factor": (layer(frames=synapses("binary", factor=np.ones(4, np.float32))), "factor must be finite int32"),
    "one factor": (layer(frames=synapses("binary", factor=WHOLE[:1])), "factor must be"),
    "bias": (layer(bias=WHOLE.astype(np.int64)), "bias must be"),
    "number as bias": (layer(bias=np.int32(1)[...]), "bias must be"),
    "no outputs": (layer(bias=WHOLE[:0]), "bias must be"),
    "thresholds per channel": (layer(dynamics=neurons(thresholds=WHOLE[None, :3])), "thresholds must be"),
    "thresholds flat": (layer(dynamics=neurons(thresholds=WHOLE)), "thresholds must be"),
    "float thresholds": (layer(dynamics=neurons(thresholds=np.ones((1, 4), np.float32))), "thresholds must be"),
    "equal thresholds": (layer(dynamics=neurons(thresholds=np.stack([WHOLE, WHOLE]))), "ascend"),
    "falling thresholds": (
        layer(dynamics=neurons(thresholds=np.array([[INT32] * 4, [-INT32] * 4], np.int32))),  # differences overflow
        "ascend",
    ),
    "no steps": (layer(dynamics=neurons(steps=0)), "steps must be"),
    "many steps": (layer(dynamics=neurons(steps=10**9)), "steps must be"),
    "leak": (layer(dynamics=neurons(leak=2.0)), "leak must lie"),
    "negative leak": (layer(dynamics=neurons(leak=-1.0)), "leak must lie"),
    "NaN leak": (layer(dynamics=neurons(leak=float("nan"))), "leak must lie"),
    "half a leak": (layer(dynamics=neurons(leak=0.5)), "leak must lie"),
    "shift": (layer(dynamics=neurons(shift=16, leak=1.0)), "leak must lie"),
    "float shift": (float_layer(dynamics=replace(float_layer().dynamics, shift=1)), "leak must lie"),
    "membranes": (layer(frames=synapses("binary", factor=WHOLE * 2**24)), "more than int32"),
    "leaking membranes": (layer(dynamics=neurons(initial=WHOLE * 2**20, leak=2.0**14, shift=15)), "more than int32"),
    "resets": (layer(dynamics=neurons(amount=WHOLE * -(2**28))), "more than int32"),
    "lowest threshold": (layer(dynamics=neurons(thresholds=np.full((1, 4), -(2**31), np.int32))), "int32"),
    "analog sums": (
        SpikingLayer("conv1", SAME, neurons(), WHOLE, analog=synapses("large", channels=1)),
        r"within 2\*\*24",
    ),
    "read real numbers": (head(synapses=replace(head().synapses, sources=("grey",))), "must be spikes"),
    "read nothing": (head(synapses=replace(head().synapses, sources=())), "at least one source"),
    "read sums": (
        head(synapses=replace(head().synapses, sources=("long",), weight=np.full((2, 4, 3, 3), 2**14, np.int16))),
        r"within 2\*\*24",
    ),
    "read bias": (head(bias=np.ones(2)), "bias must be finite float32"),
    "scale": (Quantize("q", "image", 3.0), "power of two"),
    "no scale": (Quantize("q", "image", float("inf")), "power of two"),
    "large scale": (Quantize("q", "image", 2.0**25), r"within 2\*\*24"),
    "bounds": (Quantize("q", "image", 1.0, 1.0, 1.0), "low must be less"),
    "NaN bounds": (Quantize("q", "image", 1.0, float("nan"), 1.0), "low must be less"),
    "window": (Pool("p", "small", 4, "or"), "must fit"),
    "no window": (Pool("p", "small", 0, "or"), "must fit"),
    "kind of pooling": (Pool("p", "small", 2, "max"), "'or' or 'sum'"),
    "integer or": (Pool("p", "integer", 2, "or"), "binary"),
    "many slots": (Pool("p", "long", 5, "sum"), "slots"),
    "repeats": (Repeat("r", "small", 0), "size must be"),
    "velocity": (Integrate("i", "image", 3), "as many channels"),
    "squarings": (Integrate("i", "field", 100), "steps must be"),
    "smaller": (Enlarge("e", "image", "small"), "at least as large"),
    "gain": (Enlarge("e", "image", "binary", float("nan")), "gain must be finite"),
    "gain beyond float32": (Enlarge("e", "image", "binary", 1e300), "gain must be finite"),
    "displacement": (Warp("w", "image", "grey"), "must have 2 channels"),
}


@pytest.mark.parametrize("operation", FITTING, ids=lambda operation: f"{type(operation).__name__}")
def test_fitting_operations_have_a_type(operation):
    assert operation.result(VALUES).channels >= 1


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name(case):
    operation, rule = REFUSED[case]
    values = {**VALUES, "large": Real(1, (6, 6), limit=2**22), "long": Spikes(4, (6, 6), 4096)}
    with pytest.raises(ProgramError, match=f"^{type(operation).__name__} '{operation.name}': .*(?:{rule})"):
        operation.result(values)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kernel": ()},
        {"kernel": (3, 3, 3, 3), "stride": (1,) * 4, "padding": (1,) * 4, "dilation": (1,) * 4},
        {"stride": (0, 1)},
        {"stride": (10**12, 1)},
        {"padding": (-1, 0)},
        {"padding": (1,)},
        {"dilation": (1.5, 1)},
        {"groups": 0},
        {"output_padding": (1, 0)},
        {"output_padding": (1, 0), "transposed": True},
    ],
    ids=str,
)
def test_impossible_geometries_are_refused(wrong):
    with pytest.raises(ParameterError, match="Geometry"):
        replace(SAME, **wrong)


def simple(**changes):
    plain = {"inputs": {"x": 1}, "operations": (Quantize("q", "x", 1.0),), "outputs": ("q",), "ndim": 1}
    return Program(**{**plain, **changes})


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"operations": (Quantize("q", "y", 1.0),)}, r"Quantize 'q': its source 'y' is not"),
        ({"operations": (Quantize("q", "q", 1.0),)}, r"Quantize 'q': its source 'q' is not"),
        ({"operations": (Quantize("x", "x", 1.0),)}, r"Quantize 'x': there is an earlier value"),
        ({"operations": (Quantize("q", "x", 3.0),)}, r"Quantize 'q': scale"),
        ({"outputs": ("z",)}, "must return values that it computes"),
        ({"outputs": ()}, "must return values that it computes"),
        ({"inputs": {}}, "not the name of an input"),
        ({"inputs": {"x": 0}}, "at least one channel"),
        ({"inputs": {"x": 10**12}}, "at most 65536 channels"),
        ({"ndim": 4}, "1 to 3 axes"),
        ({"multiple": 0}, "multiple of at least 1"),
        ({"multiple": 10**12}, "at most .* positions"),
        ({"example": (3, 3)}, "runs on 1 spatial axes"),
        ({"example": (10**12,)}, "at most .* positions"),
        ({"example": (3,), "multiple": 2}, "each a multiple of 2"),
    ],
    ids=str,
)
def test_programs_that_do_not_fit_are_refused(changes, rule):
    with pytest.raises(ProgramError, match=rule):
        simple(**changes)


def test_a_program_finds_the_smallest_inputs_that_fit():
    binary = float_layer(
        geometry=Geometry((3,), (1,), (0,), (1,)),
        frames=None,
        analog=Synapses(("x",), np.ones((4, 1, 3), np.float32), np.ones(4, np.float32)),
    )
    program = Program({"x": 1}, (binary, Pool("p", "conv1", 2, "or")), ("p",), 1)
    assert program.example == (4,)
    with pytest.raises(ProgramError, match="Pool 'p': size 2 must fit"):
        program.values((3,))


def test_other_sizes_are_refused_with_a_cure():
    with pytest.raises(ProgramError, match=r"each a multiple of 4, not \(6,\); pad the input"):
        simple(multiple=4).values((6,))


# -------------------------------------------------------------------------------------------------- the range rule


def extremes(layer, values):
    """(lowest, highest) current [O] that any input can cause at a step, in whole numbers without bounds."""
    low, high = (np.array([int(b) for b in layer.bias], object) for _ in range(2))
    for part, synapses in layer.parts:
        for o in range(len(layer.bias)):
            channel, sums = 0, [0, 0]
            weight = synapses.weight[o].astype(int)
            per_group = len(layer.bias) // layer.geometry.groups
            largest = []
            for source in synapses.sources:
                value = values[source]
                if part == "analog":
                    span = (-value.limit, value.limit)
                else:
                    span = (0, value.levels if part == "frames" else value.slots)
                largest += [span] * value.channels
            first = o // per_group * weight.shape[0]
            for channel in range(weight.shape[0]):
                for w in weight[channel].ravel():
                    products = [int(w) * limit for limit in largest[first + channel]]
                    sums[0] += min(products)
                    sums[1] += max(products)
            currents = [int(synapses.factor[o]) * s for s in sums]
            low[o] += min(currents)
            high[o] += max(currents)
    return low, high


def largest_number(layer, values):
    """The largest magnitude of a membrane or of a product in it, over all sequences of extreme currents."""
    neurons, worst = layer.dynamics, 0
    for o, (low, high) in enumerate(zip(*extremes(layer, values), strict=True)):
        thresholds = [int(t) for t in neurons.thresholds[:, o]]
        for currents in itertools.product([low, high], repeat=neurons.steps):
            v = int(neurons.initial[o])
            for current in currents:
                product = v * int(neurons.leak)
                h = (product >> neurons.shift) + current
                s = sum(h >= threshold for threshold in thresholds)
                reset = int(neurons.reset_to[o]) if s else h
                v = reset if neurons.hard else h - int(neurons.amount[o]) * s
                worst = max(worst, abs(v), abs(h), abs(current), abs(product) if neurons.leaks else 0)
    return worst


@st.composite
def extreme_layers(draw):
    """Whole-number layers whose numbers were doubled until the language refused, and the last it accepted."""
    shape = (2,)
    values = {
        "a": Spikes(draw(st.integers(1, 3)), shape, draw(st.integers(1, 3)), draw(st.integers(1, 2))),
        "x": Real(2, shape, limit=draw(st.sampled_from([1, 9]))),
    }
    layer = draw(programs.spiking_layers(values, integer=True))
    assume(layer is not None and len(layer.bias) <= 5)
    grown = draw(
        st.sets(st.sampled_from(["factor", "amount", "initial", "reset_to", "thresholds", "bias"]), min_size=1)
    )
    for _ in range(32):
        try:
            larger = doubled(layer, grown)
            larger.result(values)
        except (ProgramError, OverflowError):
            break
        layer = larger
    return layer, values


def doubled(layer, grown):
    def double(array):
        wide = 2 * array.astype(np.int64)
        if np.abs(wide).max(initial=0) > INT32:
            raise OverflowError
        return wide.astype(np.int32)

    dynamics = {name: double(array) for name, array in layer.dynamics.arrays.items() if name in grown}
    parts = {
        name: replace(part, factor=double(part.factor)) if "factor" in grown else part for name, part in layer.parts
    }
    bias = double(layer.bias) if "bias" in grown else layer.bias
    return replace(layer, dynamics=replace(layer.dynamics, **dynamics), bias=bias, **parts)


@settings(max_examples=60)
@given(drawn=extreme_layers())
def test_no_accepted_layer_can_leave_int32(drawn):
    assert largest_number(*drawn) <= INT32


def test_layers_near_the_limit_are_accepted():
    """So that the rule above is no rule that refuses everything: half the range is used."""
    values = {"s": Spikes(1, (1,), 2)}
    ones = np.ones(1, np.int32)
    neurons = Dynamics(2, INT32 * ones[None], ones, 0 * ones, 0 * ones, leak=1.0)
    frames = Synapses(("s",), np.full((1, 1, 1), 127, np.int8), np.array([2**30 // 127], np.int32))
    layer = SpikingLayer("l", Geometry((1,), (1,), (0,), (1,)), neurons, 0 * ones, frames=frames)
    layer.result(values)
    assert largest_number(layer, values) > 0.99 * 2**31
