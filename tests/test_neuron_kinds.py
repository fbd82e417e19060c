"""What each kind of neuron promises beyond the laws of all: integers and slots, signs, currents, parametric, memory."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels
from pysnnmed.conv import conv, conv_transpose
from pysnnmed.errors import ParameterError
from pysnnmed.neurons import (
    IF,
    ILIF,
    LIF,
    NILIF,
    CurrentLIF,
    Neuron,
    SnnTorchLeaky,
    TernaryLIF,
    parametric,
    run,
    thermometer,
    unroll,
)
from pysnnmed.neurons.parametric import leak_logit, threshold_raw
from pysnnmed.surrogate import ATan

seeds = st.integers(0, 2**32 - 1)
every = pytest.mark.parametrize("model", Neuron.registry.values(), ids=lambda model: model.__name__)


def currents(seed, shape=(6, 2, 3, 4)):
    return np.round(np.random.default_rng(seed).normal(0.4, 1.2, shape) * 64) / 64


# ------------------------------------------------------------------------------------------------ integers


@pytest.mark.parametrize(
    ("rounding", "counts"), [("half_up", [0, 1, 2, 3, 4]), ("half_even", [0, 0, 2, 2, 4]), ("floor", [0, 0, 1, 2, 4])]
)
def test_roundings_part_at_the_halves(rounding, counts):
    spikes, _ = run(ILIF(v_threshold=0.5, rounding=rounding), np.array([[-3.0, 0.25, 0.75, 1.25, 9.0]]))
    np.testing.assert_array_equal(spikes.data[0], counts)


@pytest.mark.parametrize("backend", kernels.available())
def test_straight_through_gradient_is_one_on_the_closed_range(backend):
    edge = np.array([[-1e-9, 0.0, 1.1, 2.0, 2.0 + 1e-9]])
    for model, expected in ((ILIF, 2.0), (NILIF, 0.5)):  # v_threshold 1/2: u = 2 x
        x = Tensor(edge, requires_grad=True)
        with kernels.use_backend(backend):
            run(model(v_threshold=0.5, levels=4), x)[0].sum().backward()
        np.testing.assert_array_equal(x.grad[0], np.array([0, 1, 1, 1, 0]) * expected)


@given(seed=seeds, levels=st.integers(1, 8), beta=st.sampled_from([0.0, 0.25, 1.0]))
def test_normalised_spikes_are_counts_over_levels(seed, levels, beta):
    counts, state = run(ILIF(beta, levels=levels), currents(seed))
    spikes, same_state = run(NILIF(beta, levels=levels), currents(seed))
    np.testing.assert_array_equal(spikes.data, counts.data / levels)
    np.testing.assert_array_equal(state.v.data, same_state.v.data)
    assert counts.data.min() >= 0
    assert counts.data.max() <= levels


@given(seed=seeds, levels=st.integers(1, 6))
def test_integers_lose_no_charge_without_leak(seed, levels):
    data = currents(seed)
    counts, state = run(ILIF(1.0, 0.75, levels=levels), data)
    np.testing.assert_array_equal(data.sum(axis=0) - 0.75 * counts.data.sum(axis=0), state.v.data)


@pytest.mark.parametrize("kind", ["linear", "conv", "conv_transpose"])
@given(seed=seeds, levels=st.integers(1, 6))
def test_slots_give_exactly_what_integers_give(kind, seed, levels):
    rng = np.random.default_rng(seed)
    counts, _ = run(ILIF(levels=levels), rng.normal(1, 2, (2, 3, 4, 5, 5)))  # [T, B, C, H, W]
    counts = Tensor(counts.data[0])
    spikes = Tensor(counts.data / levels)  # what NILIF fires
    # multiples of `levels`, so that the weights of the slots are whole and no sum is rounded
    bias = Tensor(rng.integers(-9, 9, 2).astype(float))
    matrix = Tensor(levels * rng.integers(-9, 9, (5, 2)).astype(float))
    kernel = Tensor(levels * rng.integers(-9, 9, (2, 4, 3, 3)).astype(float))
    layers = {
        "linear": lambda x, w, b: x @ w if b is None else x @ w + b,
        "conv": lambda x, w, b: conv(x, w, b, padding=1),
        "conv_transpose": lambda x, w, b: conv_transpose(x, w, b, stride=2),
    }
    weight = {"linear": matrix, "conv": kernel, "conv_transpose": Tensor(kernel.data.swapaxes(0, 1).copy())}[kind]
    layer, slots = layers[kind], thermometer(counts, levels)
    assert np.isin(slots.data, (0, 1)).all()
    np.testing.assert_array_equal(slots.data.sum(axis=0), counts.data)
    slot_weight = Tensor(weight.data / levels)
    by_slots = layer(slots[0], slot_weight, bias).data  # the bias once
    for slot in slots.data[1:]:
        by_slots = by_slots + layer(Tensor(slot), slot_weight, None).data
    np.testing.assert_allclose(layer(spikes, weight, bias).data, by_slots, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(layer(counts, slot_weight, bias).data, by_slots)


@pytest.mark.parametrize("wrong", [[5.0], [-1.0], [0.5]])
def test_thermometer_takes_counts_only(wrong):
    with pytest.raises(ParameterError, match=r"thermometer: count must hold whole numbers in 0\.\.4"):
        thermometer(Tensor(np.array(wrong)), 4)


# ------------------------------------------------------------------------------------------------ other kinds


@given(seed=seeds, reset=st.sampled_from(["soft", "hard", "none"]))
def test_ternary_spikes_are_odd(seed, reset):
    neuron, data = TernaryLIF(0.5, reset=reset), currents(seed)
    spikes, state = run(neuron, data)
    mirrored, mirrored_state = run(neuron, -data)
    np.testing.assert_array_equal(mirrored.data, -spikes.data)
    np.testing.assert_array_equal(mirrored_state.v.data, -state.v.data)
    assert set(np.unique(spikes.data)) == {-1, 0, 1}


def test_without_memory_the_synapse_is_no_synapse():
    spikes, state = run(CurrentLIF(alpha=0.0), currents(0))
    expected, membrane = run(LIF(), currents(0))
    np.testing.assert_array_equal(spikes.data, expected.data)
    np.testing.assert_array_equal(state.v.data, membrane.v.data)
    np.testing.assert_array_equal(state.i.data, currents(0)[-1])


def test_current_of_an_impulse_decays():
    impulse = np.zeros((4, 1))
    impulse[0] = 0.8
    spikes, state = run(CurrentLIF(1.0, 10.0, alpha=0.5), impulse)
    assert state.i.item() == 0.1
    assert state.v.item() == pytest.approx(1.5)
    assert not spikes.data.any()


def test_gain_and_bias_change_the_current_only():
    neuron, data = LIF(gain=0.5, bias=0.25), currents(1)
    spikes, state = run(neuron, data)
    expected, membrane = run(LIF(), data * 0.5 + 0.25)
    np.testing.assert_array_equal(spikes.data, expected.data)
    np.testing.assert_array_equal(state.v.data, membrane.v.data)


def test_without_reset_the_membrane_is_a_leaky_sum():
    _, state = run(LIF(0.5, reset="none"), np.array([[4.0], [2.0], [1.0]]))
    assert state.v.item() == 3.0


def test_the_defect_of_snntorch_is_kept():
    spikes, state = run(SnnTorchLeaky(1.0, tie=">"), np.array([[2.5], [0.3]]))
    np.testing.assert_array_equal(spikes.data[:, 0], [1, 0])  # 1.8 is above the threshold and does not fire
    assert state.v.item() == 1.8


@given(beta=st.floats(0.01, 0.99), threshold=st.floats(0.01, 10))
def test_parametric_neurons_equal_their_values_and_learn(beta, threshold):
    logit, raw = (Tensor(np.array(a), requires_grad=True) for a in (leak_logit(beta), threshold_raw(threshold)))
    x = currents(0) * threshold
    for model in (LIF, ILIF):
        neuron = parametric(model(), logit, raw)
        spikes, state = run(neuron, x)
        fixed, _ = run(model(neuron.beta.item(), neuron.v_threshold.item()), x)
        np.testing.assert_array_equal(spikes.data, fixed.data)
        (spikes.sum() + state.v.sum()).backward()
    assert logit.grad != 0
    assert raw.grad != 0


# ------------------------------------------------------------------------------------------------ all kinds


@every
def test_every_parameter_is_printed(model):
    text = repr(model())
    for field in dataclasses.fields(model):
        assert f"{field.name}=" in text


@every
@pytest.mark.parametrize("runner", [run, unroll])
def test_nan_is_named_wherever_it_enters(model, runner):
    neuron, x = model(), np.full((5, 3), 0.7)
    x[1, 2] = np.nan
    with pytest.raises(
        ParameterError, match=f"{model.__name__}: the input must not hold NaN, as 1 of its 15 values do"
    ):
        runner(neuron, x)
    state = neuron.init(Tensor(x[0]))
    bad = type(state)(*(Tensor(np.full(3, np.nan)) for _ in state))
    with pytest.raises(ParameterError, match="the initial state makes the membrane NaN"):
        runner(neuron, np.ones((2, 3)), bad)


@every
@pytest.mark.parametrize("checkpoints", [1, 2, 4, 7, "sqrt"])
@pytest.mark.parametrize("constant", [False, True])
def test_checkpoints_change_nothing_but_memory(model, checkpoints, constant):
    data, weight = currents(3, (7, 3, 4)), np.random.default_rng(3).normal(size=(7, 3, 4))

    def results(**options):
        x = Tensor(data[0] if constant else data, requires_grad=True)
        beta, threshold = (Tensor(np.array(a), requires_grad=True) for a in (0.7, 0.9))
        learnt = {"v_threshold": threshold} | ({} if model is IF else {"beta": beta})
        neuron = dataclasses.replace(model(), **learnt)
        start = neuron.init(Tensor(data[0]))
        start = type(start)(*(Tensor(part.data + 0.25, requires_grad=True) for part in start))
        spikes, state = run(neuron, x, start, steps=7 if constant else None, **options)
        ((spikes * weight).sum() + sum((part * part).sum() for part in state)).backward()
        leaves = (x, *learnt.values(), *start)
        return [spikes.data, *(part.data for part in state)], [leaf.grad for leaf in leaves]

    for got, expected in zip(results(checkpoints=checkpoints), results(), strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def saved_bytes(tensor, inputs):
    """Bytes of all arrays that the graph behind a tensor keeps for backpropagation, `inputs` excluded."""
    arrays, seen, stack = {}, set(), [tensor]
    while stack:
        call = stack.pop().call
        if call is None or id(call) in seen:
            continue
        seen.add(id(call))
        stack.extend(call.parents)
        kept = [*call.saved, *(parent.data for parent in call.parents)]
        owners = [a if a.base is None else a.base for a in kept if isinstance(a, np.ndarray)]
        arrays |= {id(a): a.nbytes for a in owners}
    return sum(size for key, size in arrays.items() if key not in {id(a) for a in inputs})


def test_memory_of_backpropagation():
    data = currents(0, (400, 50))
    one_row = data[0].nbytes

    def rows(neuron, runner, **options):
        spikes, _ = runner(neuron, Tensor(data, requires_grad=True), **options)
        return saved_bytes(spikes, [data]) / one_row

    assert rows(LIF(), run) < 3  # the kernels compute it all again: the initial membrane, and numbers
    assert rows(LIF(), unroll) > 400
    assert rows(CurrentLIF(), run) > 400  # its currents
    assert rows(CurrentLIF(), run, checkpoints="sqrt") < 2 * 20 + 5  # two parts of the state at 20 starts
    assert rows(CurrentLIF(), run, checkpoints=4) < 2 * 4 + 5


def test_wrong_choices_are_named():
    wrong = {
        "ILIF: levels must be a whole number of at least 1, or infinite, not 0.5": lambda: ILIF(levels=0.5),
        "NILIF: levels must be finite, not inf": lambda: NILIF(levels=np.inf),
        "ILIF: rounding must be one of ('half_up', 'half_even', 'floor'), not 'up'": lambda: ILIF(rounding="up"),
        "TernaryLIF: detach_reset must be True with a hard reset, whose [s != 0] has no derivative, not False": (
            lambda: TernaryLIF(reset="hard", detach_reset=False)
        ),
        "LIF: amount must be positive and finite, or None, not 0": lambda: LIF(amount=0),
        "LIF: gain must be finite, not nan": lambda: LIF(gain=np.nan),
        "LIF: bias must be finite, not inf": lambda: LIF(bias=np.inf),
        "CurrentLIF: alpha must be in [0, 1], not 2": lambda: CurrentLIF(alpha=2),
        "SnnTorchLeaky: reset must be one of soft, not 'hard'": lambda: SnnTorchLeaky(reset="hard"),
        "LIF: checkpoints must be 'sqrt' or in 1..6, not 7": lambda: run(LIF(), currents(0), checkpoints=7),
        "parametric: a learnt v_threshold must start above 0.001, not at 0.001": lambda: threshold_raw(0.001),
    }
    for sentence, make in wrong.items():
        with pytest.raises(ParameterError) as error:
            make()
        assert str(error.value) == sentence


def test_an_infinite_input_that_turns_into_nan_is_named():
    sentence = "the input, infinite somewhere, makes the membrane NaN"
    with np.errstate(invalid="ignore"), pytest.raises(ParameterError, match=sentence):
        run(LIF(surrogate=ATan()), np.array([[np.inf], [-np.inf]]))
