"""Losses of segmentation: against their formulas on probabilities, derivatives, where alignment comes to rest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.losses.segmentation import alignment_loss, bce, dice_loss
from pysnnmed.tensor import Tensor
from pysnnmed.testing import check_gradient

SOUND = ("bernoulli", "divergence", "softmax")
KINDS = (*SOUND, "literal")
seeds = st.integers(0, 2**32 - 1)


def maps(seed, n=2, shape=(2, 3, 4, 5), spread=2.0):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.normal(0, spread, shape)) for _ in range(n)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logit(p):
    return np.log(p / (1 - p))


# ------------------------------------------------------------------------------------------------- BCE and Dice


@given(seed=seeds, shape=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_they_are_their_formulas(seed, shape):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 3, (2, 3, *shape)), rng.random((2, 3, *shape))
    p = sigmoid(x)
    each = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    np.testing.assert_allclose(bce(Tensor(x), Tensor(y)).item(), each.mean())
    space = tuple(range(2, x.ndim))
    dice = 1 - (2 * (p * y).sum(space) + 1) / ((p**2).sum(space) + (y**2).sum(space) + 1)
    np.testing.assert_allclose(dice_loss(Tensor(x), Tensor(y)).item(), dice.mean())
    weights = (1.0, 0.0, 3.0)
    means = (each.mean(axis=(0, *space)), dice.mean(axis=0))
    for loss, mean in zip((bce, dice_loss), means, strict=True):
        np.testing.assert_allclose(loss(Tensor(x), Tensor(y), weights).item(), np.average(mean, weights=weights))


@given(seed=seeds)
def test_dice_lies_between_0_and_1_and_is_0_where_the_probability_is_the_target(seed):
    x, y = maps(seed)
    y = Tensor(sigmoid(y.data))
    assert 0 <= dice_loss(x, y).item() < 1
    assert abs(dice_loss(x, Tensor(sigmoid(x.data))).item()) < 1e-12
    assert dice_loss(x, y).item() > 0


def test_of_confident_logits_nothing_overflows_or_vanishes():
    x = Tensor(np.array([1e4, -1e4, 90, -90], np.float32).reshape(1, 1, 4), requires_grad=True)
    y = Tensor(np.array([0, 1, 0, 1], np.float32).reshape(1, 1, 4))
    loss = bce(x, y)
    assert loss.item() == (1e4 + 1e4 + 90 + 90) / 4
    loss.backward()
    np.testing.assert_array_equal(x.grad.ravel(), [0.25, -0.25, 0.25, -0.25])
    right = Tensor(-y.data * 2 + 1)
    assert bce(x, Tensor(1 - y.data)).item() < 1e-30
    assert np.isfinite(dice_loss(x, right).item())


def test_an_empty_image_without_a_finding_costs_nothing():
    nothing = Tensor(np.zeros((1, 1, 8, 8)))
    assert dice_loss(Tensor(np.full((1, 1, 8, 8), -40.0)), nothing).item() < 1e-12
    assert dice_loss(Tensor(np.full((1, 1, 8, 8), 40.0)), nothing).item() > 0.98


@pytest.mark.parametrize("loss", [bce, dice_loss])
@pytest.mark.parametrize("weights", [None, (0.2, 2.0)])
def test_their_gradients_agree_with_central_differences(loss, weights):
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=(2, 2, 3, 4)), rng.random((2, 2, 3, 4))]
    check_gradient(loss, arrays, {"weights": weights})


# ------------------------------------------------------------------------------------------------- alignment


def test_the_divergences_are_their_formulas():
    x, z = maps(0)
    s, a = sigmoid(x.data), sigmoid(z.data)
    formulas = {
        "bernoulli": s * np.log(s / a) + (1 - s) * np.log((1 - s) / (1 - a)),
        "divergence": s * np.log(s / a) - s + a,
        "literal": s * np.log(s / a),
    }
    for kind, formula in formulas.items():
        np.testing.assert_allclose(alignment_loss(x, z, kind, l2=0).item(), formula.mean())
    np.testing.assert_allclose(alignment_loss(x, z, kl=0).item(), ((s - a) ** 2).mean())
    p, q = (np.exp(m.data / 0.7) / np.exp(m.data / 0.7).sum(axis=(2, 3), keepdims=True) for m in (x, z))
    expected = (p * np.log(p / q)).sum(axis=(2, 3)).mean()
    np.testing.assert_allclose(alignment_loss(x, z, "softmax", l2=0, temperature=0.7).item(), expected)
    for kind in KINDS:
        one_way, other = alignment_loss(x, z, kind, reverse=True).item(), alignment_loss(z, x, kind).item()
        np.testing.assert_allclose(one_way, other)
        both = alignment_loss(x, z, kind, kl=0.3, l2=2).item()
        np.testing.assert_allclose(
            both, 0.3 * alignment_loss(x, z, kind, l2=0).item() + 2 * alignment_loss(x, z, kl=0).item()
        )


@given(seed=seeds, kind=st.sampled_from(SOUND), reverse=st.booleans(), spread=st.sampled_from([0.01, 1.0, 10.0]))
def test_the_sound_kinds_are_0_where_student_and_teacher_agree_and_positive_elsewhere(seed, kind, reverse, spread):
    x, z = maps(seed, shape=(1, 1, 3, 2), spread=spread)
    assert alignment_loss(x, z, kind, reverse=reverse).item() > 0
    assert alignment_loss(x, z, kind, reverse=reverse, l2=0).item() > 0
    student = Tensor(z.data.copy(), requires_grad=True)
    loss = alignment_loss(student, z, kind, reverse=reverse)
    assert abs(loss.item()) < 1e-12
    loss.backward()
    np.testing.assert_allclose(student.grad, 0, atol=1e-12)


def test_softmax_alone_is_blind_to_a_constant():
    x, _ = maps(1)
    shifted = Tensor(x.data + 3)
    assert abs(alignment_loss(x, shifted, "softmax", l2=0).item()) < 1e-12
    assert alignment_loss(x, shifted, "softmax").item() > 0.01


def resting(a, kind, **options):
    """The s at which the gradient of the loss vanishes, for a teacher that says `a`."""
    low, high = -12.0, 12.0
    for _ in range(60):
        middle = (low + high) / 2
        x = Tensor(np.full((1, 1, 1), middle), requires_grad=True)
        alignment_loss(x, Tensor(np.full((1, 1, 1), logit(a))), kind, **options).backward()
        low, high = (middle, high) if x.grad.item() < 0 else (low, middle)
    return float(sigmoid(low))


@pytest.mark.parametrize(
    ("a", "s"), [(0.1, 0.041), (0.25, 0.119), (0.5, 0.284), (0.75, 0.477), (0.9, 0.602), (0.99, 0.679)]
)
def test_the_literal_form_comes_to_rest_below_the_teacher_and_the_sound_ones_at_it(a, s):
    rest = resting(a, "literal")
    assert abs(rest - s) < 6e-4
    assert abs(np.log(rest / a) + 1 + 2 * (rest - a)) < 1e-9  # d/ds of s log(s/a) + (s - a)^2
    assert abs(resting(a, "literal", l2=0) - a / np.e) < 1e-9
    x, z = (Tensor(np.full((1, 1, 1), logit(p))) for p in (rest, a))
    assert alignment_loss(x, z, "literal").item() < 0
    for kind in ("bernoulli", "divergence"):
        for options in ({}, {"l2": 0}, {"reverse": True}):
            assert abs(resting(a, kind, **options) - a) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_alignment_agree_with_central_differences(kind, reverse):
    options = {"kind": kind, "reverse": reverse, "l2": 0.7, "temperature": 0.5 if kind == "softmax" else 1.0}
    check_gradient(alignment_loss, [m.data for m in maps(5)], options)


def test_gradients_stay_finite_however_sure_both_are():
    x = Tensor(np.array([1e4, -1e4, 50, 3], np.float32).reshape(1, 1, 4), requires_grad=True)
    z = Tensor(-x.data)
    for kind in KINDS:
        for reverse in (False, True):
            x.grad = None
            loss = alignment_loss(x, z, kind, reverse=reverse)
            loss.backward()
            assert np.isfinite(loss.item())
            assert np.isfinite(x.grad).all()


def test_stages_count_by_their_weights_the_last_of_four_by_itself_if_none_are_given():
    pairs = [maps(i, shape=(1, 1, 2**i, 2)) for i in range(1, 5)]
    students, teachers = ([pair[i] for pair in pairs] for i in (0, 1))
    each = [alignment_loss(s, t).item() for s, t in pairs]
    assert alignment_loss(students, teachers).item() == each[3]
    weighted = alignment_loss(students, teachers, weights=(2, 0, 1, 1)).item()
    np.testing.assert_allclose(weighted, np.average(each, weights=(2, 0, 1, 1)))
    np.testing.assert_allclose(alignment_loss(students[:2], teachers[:2]).item(), np.mean(each[:2]))


def test_wrong_inputs_are_refused():
    x, z = maps(0)
    small = Tensor(np.zeros((1, 1, 2)))
    for loss in (bce, dice_loss, alignment_loss):
        with pytest.raises(ShapeError, match="one shape"):
            loss(x, small)
        with pytest.raises(ParameterError, match="floating-point"):
            loss(x, Tensor(z.data.astype(np.float32)))
    for loss in (bce, dice_loss):
        for weights in ((1.0,), (1.0, -1.0, 2.0), (0.0, 0.0, 0.0)):
            with pytest.raises(ParameterError, match="one for each class"):
                loss(x, z, weights)
    with pytest.raises(ParameterError, match="epsilon must be positive"):
        dice_loss(x, z, epsilon=0)
    for options, says in (
        ({"kind": "cosine"}, "kind must be one of bernoulli"),
        ({"weights": (0.0,)}, "one for each stage"),
        ({"weights": (1.0, 1.0)}, "one for each stage"),
        ({"temperature": 2.0}, "1 but for softmax"),
        ({"kl": -1.0}, "must not be negative"),
        ({"epsilon": 0.5}, "between 0 and 1/2"),
    ):
        with pytest.raises(ParameterError, match=says):
            alignment_loss(x, z, **options)
    with pytest.raises(ShapeError, match="same stages"):
        alignment_loss([x, z], [x])
