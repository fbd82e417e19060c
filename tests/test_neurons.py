"""Neurons: the published laws for every registered model, and what is particular to LIF and IF."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels, no_grad
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.neurons import IF, LIF, run, unroll
from pysnnmed.neurons.canonical import MembraneState
from pysnnmed.neurons.firing import Binary, Spike
from pysnnmed.surrogate import ATan
from pysnnmed.testing import LAWS, check_gradient, check_neuron
from pysnnmed.testing.strategies import registered_neurons

both = pytest.mark.parametrize("runner", [unroll, run])
seeds = st.integers(0, 2**32 - 1)


def currents(seed, steps=6, shape=(2, 3, 4), dtype=np.float64):
    """Multiples of 1/64 around the threshold: exact in any order of sums for a few steps."""
    return np.round(np.random.default_rng(seed).normal(0.4, 0.8, (steps, *shape)) * 64).astype(dtype) / 64


# ------------------------------------------------------------------------------------------------ every neuron


@pytest.mark.parametrize(
    ("model", "law"),
    [
        pytest.param(model, law, id=f"{name}-{law}")
        for name, model in registered_neurons().items()
        for law in LAWS
        if LAWS[law].concerns(model())
    ],
)
def test_every_neuron_keeps_the_law(model, law):
    assert check_neuron(model, laws=[law]) == (law,)


@both
def test_bad_input_is_named(runner):
    with pytest.raises(ParameterError, match="LIF: the input must be floating-point, not int64"):
        runner(LIF(), np.zeros((3, 2), np.int64))
    with pytest.raises(ParameterError, match="LIF: the number of steps must be at least 1, not 0"):
        runner(LIF(), np.zeros((3, 2)), steps=0)
    with pytest.raises(ShapeError, match=r"LIF: expected x of shape \[T, ...\] with at least one step, got \(0, 2\)"):
        runner(LIF(), np.zeros((0, 2)))
    state = LIF().init(Tensor(np.zeros((1, 1))))
    with pytest.raises(ShapeError, match=r"the state v has shape \(1, 1\), the input of one step \(2, 3\)"):
        runner(LIF(), np.zeros((4, 2, 3)), state)
    with pytest.raises(ParameterError, match="the state v must have the type of the input, float32, not float64"):
        runner(LIF(), np.zeros((4, 1, 1), np.float32), state)


# ------------------------------------------------------------------------------------------------ LIF and IF


@given(x=st.integers(-40, 200), steps=st.integers(1, 32), threshold=st.sampled_from([0.5, 1.0, 2.0]))
def test_rate_of_integrate_and_fire_is_a_rounded_clipped_relu(x, steps, threshold):
    x = np.array([x / 64])
    spikes, _ = run(IF(v_threshold=threshold, v_initial=threshold / 2), x, steps=steps)
    assert abs(spikes.data.mean() - np.clip(x / threshold, 0, 1)).item() <= 1 / (2 * steps)


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
