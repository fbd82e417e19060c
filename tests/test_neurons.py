"""Neurons: what must hold for every registered model, the laws of integrate-and-fire, fused against unrolled."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels, no_grad
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.neurons import IF, LIF, Neuron, run, unroll
from pysnnmed.neurons.canonical import MembraneState
from pysnnmed.neurons.firing import Binary, Spike
from pysnnmed.surrogate import ATan, PiecewiseQuadratic, Sigmoid
from pysnnmed.testing import check_gradient


def _models():
    """Every registered neuron with its defaults, and with the other choices of the options it has."""
    choices = {
        "default": {},
        "hard": {"reset": "hard", "v_reset": -0.25, "surrogate": Sigmoid()},
        "hard-attached": {"reset": "hard", "v_reset": -0.25, "detach_reset": False, "surrogate": Sigmoid()},
        "above": {"reset": "hard", "tie": ">"},
        "attached": {"detach_reset": False, "v_threshold": 0.75, "surrogate": PiecewiseQuadratic()},
        "none": {"reset": "none", "gain": 0.5, "bias": 0.125},
        "amount": {"amount": 1.5, "gain": 0.5},
        "half-even": {"rounding": "half_even"},
        "floor": {"rounding": "floor", "levels": 3, "surrogate": ATan()},
    }
    for model in Neuron.registry.values():
        options = {field.name for field in dataclasses.fields(model) if field.init}
        for name, choice in choices.items():
            reset, attached = choice.get("reset", "soft"), not choice.get("detach_reset", True)
            offered = reset in model.resets and (model.hard_reset_gradient or not (attached and reset == "hard"))
            if choice.keys() <= options and offered:
                yield pytest.param(model(**choice), id=f"{model.__name__}-{name}")


MODELS = list(_models())
every = pytest.mark.parametrize("neuron", MODELS)
monotone = pytest.mark.parametrize("neuron", [m for m in MODELS if m.values[0].monotone])
both = pytest.mark.parametrize("runner", [unroll, run])
few = settings(max_examples=max(1, settings.default.max_examples // 4))  # there are many neurons
seeds = st.integers(0, 2**32 - 1)


def currents(seed, steps=6, shape=(2, 3, 4), dtype=np.float64):
    """Multiples of 1/64 around the threshold: exact in any order of sums for a few steps."""
    return np.round(np.random.default_rng(seed).normal(0.4, 0.8, (steps, *shape)) * 64).astype(dtype) / 64


def equal_states(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


# ------------------------------------------------------------------------------------------------ every neuron


@every
@both
def test_without_input_there_are_no_spikes(neuron, runner):
    spikes, state = runner(neuron, np.zeros((5, 2, 3)))
    assert not spikes.data.any()
    assert all(np.isfinite(part.data).all() for part in state)


@every
@both
@few
@given(seed=seeds, cut=st.integers(1, 5))
def test_running_in_two_parts_equals_running_at_once(neuron, runner, seed, cut):
    data, weight = currents(seed), np.random.default_rng(seed).normal(size=(6, 2, 3, 4))

    def gradient(parts):
        x, state, total = Tensor(data, requires_grad=True), None, 0.0
        for part in parts:
            spikes, state = runner(neuron, x[part], state)
            total = total + (spikes * weight[part]).sum()
        (total + sum((value.sum() for value in state), 0.0)).backward()
        return spikes.data, state, x.grad

    spikes, state, at_once = gradient([slice(0, 6)])
    last_spikes, last_state, in_parts = gradient([slice(0, cut), slice(cut, 6)])
    np.testing.assert_array_equal(last_spikes, spikes[cut:])
    equal_states(last_state, state)
    np.testing.assert_allclose(in_parts, at_once, rtol=0, atol=1e-12)


@every
@few
@given(seed=seeds)
def test_a_step_changes_neither_its_input_nor_its_state(neuron, seed):
    data = currents(seed, steps=2)
    _, state = neuron.step(Tensor(data[0]), neuron.init(Tensor(data[0])))
    x, before = Tensor(data[1].copy()), [part.data.copy() for part in state]
    first, second = neuron.step(x, state), neuron.step(x, state)
    np.testing.assert_array_equal(x.data, data[1])
    for part, copy in zip(state, before, strict=True):
        np.testing.assert_array_equal(part.data, copy)
    np.testing.assert_array_equal(first[0].data, second[0].data)
    equal_states(first[1], second[1])


@every
@few
@given(seed=seeds)
def test_neurons_are_interchangeable(neuron, seed):
    data = currents(seed, shape=(24,))
    order = np.random.default_rng(seed).permutation(24)
    np.testing.assert_array_equal(run(neuron, data[:, order])[0].data, run(neuron, data)[0].data[:, order])


@every
@both
@few
@given(seed=seeds, now=st.integers(1, 5))
def test_the_future_does_not_change_the_past(neuron, runner, seed, now):
    data = currents(seed)
    other = np.concatenate([data[:now], currents(seed + 1)[now:]])
    x = Tensor(data, requires_grad=True)
    spikes, _ = runner(neuron, x)
    np.testing.assert_array_equal(runner(neuron, other)[0].data[:now], spikes.data[:now])
    spikes[:now].sum().backward()
    assert not x.grad[now:].any()


@every
@few
@given(seed=seeds)
def test_a_sample_does_not_depend_on_its_batch(neuron, seed):
    data = currents(seed, shape=(3, 2, 5))
    together = run(neuron, data)[0].data
    for i in range(3):
        np.testing.assert_array_equal(run(neuron, data[:, i : i + 1])[0].data, together[:, i : i + 1])


@monotone
@few
@given(low=st.integers(0, 64), high=st.integers(0, 64))
def test_more_current_never_gives_fewer_spikes(neuron, low, high):
    x = np.array(sorted([low, high])) / 16
    few, many = run(neuron, x, steps=16)[0].data.sum(axis=0)
    assert few <= many


@pytest.mark.parametrize("neuron", [m for m in MODELS if m.id.endswith("default")])
@both
def test_two_thousand_steps_backpropagate(neuron, runner, rng):
    x = Tensor(rng.normal(0.4, 0.8, (2000, 3)), requires_grad=True)
    spikes, _ = runner(neuron, x)
    assert spikes.data.any()
    spikes.sum().backward()
    assert np.isfinite(x.grad).all()
    assert x.grad.any()


@every
@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_input_is_kept(neuron, runner, dtype):
    x = Tensor(currents(0, dtype=dtype), requires_grad=True)
    spikes, state = runner(neuron, x)
    (spikes.sum() + sum(part.sum() for part in state)).backward()
    assert {spikes.dtype, x.grad.dtype, *(part.dtype for part in state)} == {np.dtype(dtype)}


@every
@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@few
@given(seed=seeds, constant=st.booleans())
def test_fused_equals_unrolled(neuron, backend, dtype, seed, constant):
    rng = np.random.default_rng(seed)
    data = rng.normal(0.4, 0.8, (6, 2, 3, 4)).astype(dtype)[0 if constant else slice(None)]
    steps = 6 if constant else None
    weight = rng.normal(size=(6, 2, 3, 4)).astype(dtype)

    def results(runner):
        x = Tensor(data, requires_grad=True)
        state = neuron.init(x if constant else x[0])
        start = type(state)(*(Tensor(part.data + dtype(0.25), requires_grad=True) for part in state))
        spikes, state = runner(neuron, x, start, steps)
        ((spikes * weight).sum() + sum((part * part).sum() for part in state)).backward()
        return [spikes.data, *(part.data for part in state)], [x.grad, *(part.grad for part in start)]

    with kernels.use_backend(backend):
        values, gradients = results(run)
    expected_values, expected_gradients = results(unroll)
    for a, b in zip(values, expected_values, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 if dtype is np.float64 else 2e-4)


@every
@few
@given(seed=seeds)
def test_a_constant_current_equals_its_copies(neuron, seed):
    data = currents(seed, steps=1)[0]
    constant, copies = (Tensor(a, requires_grad=True) for a in (data, np.stack([data] * 5)))
    once, state = run(neuron, constant, steps=5)
    repeated, repeated_state = run(neuron, copies)
    np.testing.assert_array_equal(once.data, repeated.data)
    equal_states(state, repeated_state)
    once.sum().backward()
    repeated.sum().backward()
    np.testing.assert_allclose(constant.grad, copies.grad.sum(axis=0), rtol=0, atol=1e-12)


@every
@both
def test_bad_input_is_named(neuron, runner):
    name = type(neuron).__name__
    with pytest.raises(ParameterError, match=f"{name}: the input must be floating-point, not int64"):
        runner(neuron, np.zeros((3, 2), np.int64))
    with pytest.raises(ParameterError, match=f"{name}: the number of steps must be at least 1, not 0"):
        runner(neuron, np.zeros((3, 2)), steps=0)
    with pytest.raises(
        ShapeError, match=rf"{name}: expected x of shape \[T, ...\] with at least one step, got \(0, 2\)"
    ):
        runner(neuron, np.zeros((0, 2)))
    state = neuron.init(Tensor(np.zeros((1, 1))))
    with pytest.raises(ShapeError, match=r"the state [iv] has shape \(1, 1\), the input of one step \(2, 3\)"):
        runner(neuron, np.zeros((4, 2, 3)), state)
    with pytest.raises(ParameterError, match=r"the state [iv] must have the type of the input, float32, not float64"):
        runner(neuron, np.zeros((4, 1, 1), np.float32), state)


# ------------------------------------------------------------------------------------------------ LIF and IF


@given(seed=seeds)
def test_soft_reset_without_leak_loses_no_charge(seed):
    data = currents(seed, steps=20)
    spikes, state = run(IF(v_threshold=0.75), data)
    np.testing.assert_array_equal(data.sum(axis=0) - 0.75 * spikes.data.sum(axis=0), state.v.data)


@given(seed=seeds, beta=st.sampled_from([0.0, 0.5, 0.9, 1.0]), reset=st.sampled_from(["soft", "hard"]))
def test_currents_up_to_the_threshold_keep_the_membrane_below_it(seed, beta, reset):
    x = np.random.default_rng(seed).uniform(0, 0.75, (10, 20))
    state = None
    for t in range(10):
        _, state = run(LIF(beta=beta, v_threshold=0.75, reset=reset), x[t : t + 1], state)
        assert (state.v.data >= 0).all()
        assert (state.v.data < 0.75).all()


@given(x=st.integers(-40, 200), steps=st.integers(1, 32), threshold=st.sampled_from([0.5, 1.0, 2.0]))
def test_rate_of_integrate_and_fire_is_a_rounded_clipped_relu(x, steps, threshold):
    x = np.array([x / 64])
    spikes, _ = run(IF(v_threshold=threshold, v_initial=threshold / 2), x, steps=steps)
    assert abs(spikes.data.mean() - np.clip(x / threshold, 0, 1)).item() <= 1 / (2 * steps)


@every
def test_gradient_of_a_step_is_that_of_the_spike_function_everywhere(neuron):
    x = Tensor(np.linspace(-3, 10, 1301), requires_grad=True)
    h = neuron.charge(x, neuron.init(x)).data
    spikes, _ = neuron.step(x, neuron.init(x))
    spikes.sum().backward()
    expected = neuron.firing.derivative(h, neuron.v_threshold) * neuron.gain * neuron.unit
    np.testing.assert_allclose(x.grad, expected, rtol=0, atol=1e-15)


def test_the_tie_rule_decides_at_the_threshold():
    at = np.array([[1.0]])
    assert run(LIF(tie=">="), at)[0].item() == 1
    assert run(LIF(tie=">"), at)[0].item() == 0


def test_spikes_of_a_hand_calculated_train():
    spikes, state = run(LIF(beta=0.5), np.full((6, 1), 0.8))
    # h: 0.8, 1.2 fires, 0.9, 1.25 fires, 0.925, 1.2625 fires
    np.testing.assert_array_equal(spikes.data[:, 0], [0, 1, 0, 1, 0, 1])
    np.testing.assert_allclose(state.v.data, [0.2625], rtol=1e-15)
    spikes, state = run(LIF(beta=0.5, reset="hard", v_reset=-0.2), np.full((6, 1), 0.8))
    # h: 0.8, 1.2 fires, 0.7, 1.15 fires, 0.7, 1.15 fires
    np.testing.assert_array_equal(spikes.data[:, 0], [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(state.v.data, [-0.2])


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize("reset", ["soft", "hard"])
@given(seed=seeds, detach=st.booleans(), constant=st.booleans())
def test_learnable_leak_and_threshold_are_fused_too(backend, reset, seed, detach, constant):
    data, weight = currents(seed)[0 if constant else slice(None)], np.random.default_rng(seed).normal(size=(6, 2, 3, 4))

    def gradients(runner):
        x, beta, threshold = (Tensor(np.asarray(a), requires_grad=True) for a in (data, 0.7, 0.9))
        neuron = LIF(beta, threshold, reset=reset, v_reset=-0.1, v_initial=0.2, detach_reset=detach)
        spikes, state = runner(neuron, x, steps=6 if constant else None)
        ((spikes * weight).sum() + (state.v * weight[0]).sum()).backward()
        return [x.grad, beta.grad, threshold.grad]

    with kernels.use_backend(backend):
        fused = gradients(run)
    for a, b in zip(fused, gradients(unroll), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_gradient_of_the_membrane_is_exact_between_spikes(backend, reset, rng):
    # with a detached reset the final membrane is differentiable as long as no spike appears or vanishes
    def final_membrane(x, v0, beta, v_threshold):
        neuron = LIF(beta, v_threshold, reset=reset, v_reset=-0.1)
        return run(neuron, x, MembraneState(v0))[1].v

    arrays = [rng.normal(0.4, 0.8, (6, 5)), rng.normal(size=5), np.array(0.7), np.array(0.9)]
    assert 0 < run(LIF(0.7, 0.9, reset=reset), arrays[0])[0].data.mean() < 1
    with kernels.use_backend(backend):
        check_gradient(final_membrane, arrays)


def test_inference_keeps_nothing_for_backward():
    with no_grad():
        spikes, state = run(LIF(), Tensor(currents(0), requires_grad=True))
    assert spikes.call is None
    assert not spikes.requires_grad
    assert not state.v.requires_grad


def test_a_surrogate_of_ones_own_runs_on_every_backend():
    neuron = LIF(surrogate=lambda z: np.exp(-z * z))
    for backend in kernels.available():
        x = Tensor(currents(0), requires_grad=True)
        with kernels.use_backend(backend):
            run(neuron, x)[0].sum().backward()
        y = Tensor(currents(0), requires_grad=True)
        unroll(neuron, y)[0].sum().backward()
        np.testing.assert_allclose(x.grad, y.grad, rtol=0, atol=1e-12)


def test_a_threshold_per_channel_gets_a_gradient_per_channel():
    h, threshold = Tensor(currents(0)[0], True), Tensor(np.ones((3, 1)), True)
    Spike.apply(h, threshold, firing=Binary(strict=False, surrogate=ATan())).sum().backward()
    np.testing.assert_allclose(threshold.grad, -h.grad.sum(axis=(0, 2), keepdims=True)[0], rtol=1e-13)


@pytest.mark.parametrize(
    ("parameter", "value", "rule"),
    [
        ("beta", 1.3, "in [0, 1], not 1.3"),
        ("beta", -0.1, "in [0, 1], not -0.1"),
        ("beta", float("nan"), "in [0, 1], not nan"),
        ("v_threshold", 0.0, "positive and finite, not 0.0"),
        ("v_threshold", float("nan"), "positive and finite, not nan"),
        ("v_threshold", float("inf"), "positive and finite, not inf"),
        ("reset", "sofft", "one of soft, hard, none, not 'sofft'"),
        ("tie", "<", "'>=' or '>', not '<'"),
        ("v_reset", float("inf"), "finite, not inf"),
        ("v_initial", float("nan"), "finite, not nan"),
    ],
)
def test_parameters_that_break_their_rule_are_named(parameter, value, rule):
    with pytest.raises(ParameterError) as error:
        LIF(**{parameter: value})
    assert str(error.value) == f"LIF: {parameter} must be {rule}"


def test_integrate_and_fire_has_no_leak_to_set():
    assert IF().beta == 1
    with pytest.raises(TypeError, match="beta"):
        IF(beta=0.5)
