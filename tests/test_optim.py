"""Optimisers against literal recomputation, exact resume, clipping, schedules."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor
from pysnnmed.errors import ParameterError, WeightsError
from pysnnmed.optim import SGD, Adam, AdamW, clip_gradient_norm, constant, cosine, restarted, step_decay, warm_up_cosine

OPTIMISERS = {
    "sgd": lambda p: SGD(p, 0.1),
    "momentum": lambda p: SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: Adam(p, 0.1, weight_decay=0.01),
    "adamw": lambda p: AdamW(p, 0.1, weight_decay=0.1),
}
every = pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "weight": Tensor(rng.normal(size=(3, 2)).astype(dtype), requires_grad=True),
        "bias": Tensor(rng.normal(size=2).astype(dtype), requires_grad=True),
        "scale": Tensor(np.ones((), dtype), requires_grad=True),
    }


def set_gradients(of, seed):
    rng = np.random.default_rng(seed)
    for parameter in of.values():
        parameter.grad = rng.normal(size=parameter.shape).astype(parameter.dtype)


def literal(name, values, gradients):
    """One scalar parameter through a list of gradients, written out from the papers in plain Python."""
    w, velocity, mean, square = values, 0.0, 0.0, 0.0
    for step, g in enumerate(gradients, 1):
        if name in ("momentum", "adam"):
            g = g + 0.01 * w
        if name == "sgd":
            w = w - 0.1 * g
        elif name == "momentum":
            velocity = 0.9 * velocity + g
            w = w - 0.1 * velocity
        elif name == "nesterov":
            velocity = 0.9 * velocity + g
            w = w - 0.1 * (g + 0.9 * velocity)
        else:
            if name == "adamw":
                w = w - 0.1 * 0.1 * w
            mean = 0.9 * mean + 0.1 * g
            square = 0.999 * square + 0.001 * g * g
            corrected = mean / (1 - 0.9**step), square / (1 - 0.999**step)
            w = w - 0.1 * corrected[0] / (math.sqrt(corrected[1]) + 1e-8)
    return w


@pytest.mark.parametrize("name", OPTIMISERS)
@given(start=st.floats(-3, 3), gradients=st.lists(st.floats(-10, 10), min_size=1, max_size=6))
def test_steps_are_those_of_the_papers(name, start, gradients):
    w = Tensor(np.array(start), requires_grad=True)
    optimiser = OPTIMISERS[name]({"w": w})
    for g in gradients:
        w.grad = np.array(g)
        optimiser.step()
    assert w.item() == pytest.approx(literal(name, start, gradients), rel=1e-9, abs=1e-9)


def test_steps_calculated_by_hand():
    w = Tensor(np.array([1.0]), requires_grad=True)
    optimiser = SGD({"w": w}, 0.5, momentum=0.5)
    for expected in (0.5, -0.25):  # velocity 1, then 1.5
        w.grad = np.array([1.0])
        optimiser.step()
        assert w.item() == expected
    w = Tensor(np.array([1.0]), requires_grad=True)
    optimiser = Adam({"w": w}, 0.1)
    w.grad = np.array([-1e4])
    optimiser.step()
    assert w.item() == pytest.approx(1.1)  # the first step of Adam is the learning rate, whatever the gradient


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
def test_a_quadratic_is_minimised(name):
    w = Tensor(np.array([3.0, -2.0]), requires_grad=True)
    optimiser = OPTIMISERS[name]({"w": w})
    optimiser.weight_decay = 0.0  # which would move the minimum
    for step in range(400):
        optimiser.learning_rate = 0.1 * cosine(400)(step)
        w.grad = np.array([2.0, 4.0]) * (w.data - [0.5, 1.0])
        optimiser.step()
    np.testing.assert_allclose(w.data, [0.5, 1.0], atol=1e-3)


@every
def test_resuming_equals_never_stopping_bit_for_bit(make):
    through, before = parameters(), parameters()
    one, first = make(through), make(before)
    for seed in range(6):
        set_gradients(through, seed)
        one.step()
        if seed < 3:
            set_gradients(before, seed)
            first.step()
    state, values = first.state_dict(), {name: p.data.copy() for name, p in before.items()}
    set_gradients(before, 99)
    first.step()  # goes on, which must not change what was saved
    after = {name: Tensor(value, requires_grad=True) for name, value in values.items()}
    second = make(after)
    second.load_state_dict(state)
    for seed in range(3, 6):
        set_gradients(after, seed)
        second.step()
    for name, parameter in after.items():
        np.testing.assert_array_equal(parameter.data, through[name].data)
    for key, array in second.state_dict().items():
        np.testing.assert_array_equal(array, one.state_dict()[key])


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_stay_in_place_and_in_type(make, dtype):
    own = parameters(dtype)
    arrays = {name: p.data for name, p in own.items()}
    optimiser = make(own)
    optimiser.learning_rate = np.float64(0.1)  # as a schedule may compute it
    for seed in range(2):
        set_gradients(own, seed)
        optimiser.step()
    for name, p in own.items():
        assert p.data is arrays[name]
        assert p.dtype == dtype
    assert {a.dtype for key, a in optimiser.state_dict().items() if not key.endswith(".step")} <= {np.dtype(dtype)}


@every
def test_parameters_without_gradient_stand_still(make):
    own = parameters()
    optimiser = make(own)
    set_gradients(own, 0)
    own["bias"].grad, before = None, own["bias"].data.copy()
    optimiser.step()
    np.testing.assert_array_equal(own["bias"].data, before)
    assert optimiser.state_dict()["bias.step"] == 0
    optimiser.zero_grad()
    assert all(p.grad is None for p in own.values())


@every
def test_a_saved_state_is_a_copy(make):
    own = parameters()
    optimiser = make(own)
    set_gradients(own, 0)
    optimiser.step()
    expected = {key: array.copy() for key, array in optimiser.state_dict().items()}
    for array in optimiser.state_dict().values():
        array *= 2
    optimiser.load_state_dict(state := optimiser.state_dict())
    for array in state.values():
        array *= 2
    for key, array in optimiser.state_dict().items():
        np.testing.assert_array_equal(array, expected[key])


def test_a_state_of_another_network_is_refused():
    optimiser = Adam(parameters())
    state = optimiser.state_dict()
    with pytest.raises(WeightsError, match=r"missing: none; unexpected: other.step"):
        optimiser.load_state_dict(state | {"other.step": np.array(1)})
    with pytest.raises(WeightsError, match=r"bias.mean must have shape \(2,\), not \(3,\)"):
        optimiser.load_state_dict(state | {"bias.mean": np.zeros(3)})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: SGD(p, -0.1), "SGD: learning_rate must be finite and not negative, not -0.1"),
        (lambda p: SGD(p, math.nan), "SGD: learning_rate must be finite and not negative, not nan"),
        (lambda p: SGD(p, 0.1, momentum=1), "SGD: momentum must be in [0, 1), not 1"),
        (lambda p: SGD(p, 0.1, nesterov=True), "SGD: momentum must be positive with nesterov=True, not 0.0"),
        (lambda p: Adam(p, betas=(0.9, 1)), "Adam: betas must be in [0, 1), not (0.9, 1)"),
        (lambda p: Adam(p, epsilon=0), "Adam: epsilon must be positive, not 0"),
        (lambda p: AdamW({}), "AdamW: parameters must be at least one, not none"),
        (lambda p: Adam(p, weight_decay=-1), "Adam: weight_decay must be finite and not negative, not -1"),
        (lambda p: cosine(0), "cosine: total must be at least 1, not 0"),
        (lambda p: warm_up_cosine(5, 5), "warm_up_cosine: total - warm_up must be at least 1, not 0"),
        (lambda p: clip_gradient_norm(p.values(), 0), "clip_gradient_norm: max_norm must be positive, not 0"),
    ],
)
def test_wrong_settings_are_named(make, sentence):
    with pytest.raises(ParameterError) as error:
        make(parameters())
    assert str(error.value) == sentence


# ------------------------------------------------------------------------------------------------ clipping


@given(seed=st.integers(0, 1000), bound=st.floats(0.1, 10))
def test_clipping_bounds_the_joint_norm_and_keeps_the_direction(seed, bound):
    own = parameters()
    set_gradients(own, seed)
    before = np.concatenate([p.grad.ravel() for p in own.values()])
    norm = clip_gradient_norm(own.values(), bound)
    after = np.concatenate([p.grad.ravel() for p in own.values()])
    assert norm == pytest.approx(np.linalg.norm(before), rel=1e-6)
    assert np.linalg.norm(after) == pytest.approx(min(norm, bound), rel=1e-5)
    np.testing.assert_allclose(after * norm, before * min(norm, bound), rtol=1e-5)
    if norm <= bound:
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_refused(value):
    own = parameters()
    set_gradients(own, 0)
    own["bias"].grad[1] = value
    before = own["weight"].grad.copy()
    with pytest.raises(ParameterError, match=rf"norm is {value} \(first offender: number 1 of shape \(2,\)\)"):
        clip_gradient_norm(own.values(), 1.0)
    np.testing.assert_array_equal(own["weight"].grad, before)


def test_huge_float32_gradients_do_not_overflow():
    p = Tensor(np.zeros(2, np.float32), requires_grad=True)
    p.grad = np.full(2, 1e30, np.float32)
    assert clip_gradient_norm([p], 1.0) == pytest.approx(math.sqrt(2) * 1e30)
    np.testing.assert_allclose(p.grad, math.sqrt(0.5), rtol=1e-6)


# ------------------------------------------------------------------------------------------------ schedules


@given(total=st.integers(1, 100), final=st.floats(0, 1))
def test_cosine_falls_from_one_to_its_end(total, final):
    values = [cosine(total, final)(step) for step in range(total + 5)]
    assert values[0] == pytest.approx(1)
    assert values[total:] == pytest.approx([final] * 5)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(values))
    assert cosine(10, 0.2)(5) == pytest.approx(0.6)


def test_schedules_at_chosen_steps():
    assert [warm_up_cosine(4, 8)(step) for step in range(10)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0]
    )
    assert [step_decay(2, 0.5)(step) for step in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert [restarted(step_decay(1, 0.5), 3)(step) for step in range(7)] == [1, 0.5, 0.25, 1, 0.5, 0.25, 1]
    assert constant()(1000) == 1
