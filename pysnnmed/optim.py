"""Optimisers, clipping of gradients and schedules of the learning rate.

Each update rule is one pure function on arrays; the optimiser around it holds the parameters and their state by name,
skips parameters without a gradient, and writes new values into the existing arrays. Nothing leaves the type of the
parameter: float32 stays float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from .errors import ParameterError, WeightsError, require_same_names
from .tensor import Tensor

# ---------------------------------------------------------------------------------------------------- update rules


def sgd_update(
    value: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> tuple[np.ndarray, np.ndarray]:
    """One step of gradient descent with momentum -> (value, velocity).

    g = grad + weight_decay value;  velocity <- momentum velocity + g;
    value <- value - learning_rate velocity, or (g + momentum velocity) with Nesterov's look-ahead.
    Polyak 1964; Nesterov momentum in the form of Sutskever et al. 2013, started from a zero velocity.
    """
    g = grad + weight_decay * value if weight_decay else grad
    velocity = momentum * velocity + g
    return value - learning_rate * (g + momentum * velocity if nesterov else velocity), velocity


def adam_update(
    value: np.ndarray,
    grad: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
    decoupled: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step number `step` (from 1) of Adam -> (value, mean, square).

    mean <- b1 mean + (1 - b1) g;  square <- b2 square + (1 - b2) g^2;
    value <- value - learning_rate (mean / (1 - b1^step)) / (sqrt(square / (1 - b2^step)) + epsilon)
    Weight decay is added to the gradient, g = grad + weight_decay value (Kingma and Ba 2015, algorithm 1), or, if
    `decoupled`, shrinks the value by 1 - learning_rate weight_decay (Loshchilov and Hutter 2019, algorithm 2,
    with the learning rate as its schedule multiplier).
    """
    b1, b2 = betas
    if weight_decay and decoupled:
        value = value * (1 - learning_rate * weight_decay)
    elif weight_decay:
        grad = grad + weight_decay * value
    mean = b1 * mean + (1 - b1) * grad
    square = b2 * square + (1 - b2) * np.square(grad)
    scale = np.sqrt(square / (1 - b2**step)) + epsilon
    return value - learning_rate / (1 - b1**step) * mean / scale, mean, square


# ---------------------------------------------------------------------------------------------------- optimisers


NamedParameters = Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]


class Optimizer:
    """Parameters by name, their state, and `step()`.

    `parameters`: named_parameters() of a module, or any mapping or pairs of name and Tensor. `learning_rate` is an
    ordinary attribute: a training loop with a schedule sets it before each step, and after a restart computes it anew
    from the step number, so it is not part of the state.
    """

    slots: ClassVar[tuple[str, ...]] = ()  # arrays of the shape of a parameter that the rule carries along

    def __init__(
        self,
        parameters: NamedParameters,
        learning_rate: float,
        weight_decay: float = 0.0,
    ):
        self.parameters = dict(parameters)
        self.learning_rate = float(learning_rate)
        self.weight_decay = float(weight_decay)
        self._require(bool(self.parameters), "parameters", "at least one", "none")
        self._require(0 <= self.learning_rate < math.inf, "learning_rate", "finite and not negative", learning_rate)
        self._require(0 <= self.weight_decay < math.inf, "weight_decay", "finite and not negative", weight_decay)
        self.n_steps = {name: 0 for name in self.parameters}
        self.state = {
            name: {slot: np.zeros_like(parameter.data) for slot in self.slots}
            for name, parameter in self.parameters.items()
        }

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        self.learning_rate = float(self.learning_rate)  # a NumPy float64 would turn float32 into float64
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            self.n_steps[name] += 1
            slots = self.state[name]
            value, *arrays = self.update(parameter.data, parameter.grad, list(slots.values()), self.n_steps[name])
            np.copyto(parameter.data, value, casting="no")
            self.state[name] = dict(zip(slots, map(np.asarray, arrays), strict=True))

    def update(
        self, value: np.ndarray, grad: np.ndarray, slots: Sequence[np.ndarray], step: int
    ) -> tuple[np.ndarray, ...]:
        """The rule, pure: value, gradient, slots in order, number of this step from 1 -> (value, *slots)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its rule")

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of everything the next step depends on besides the parameters: "<parameter>.<slot>" and ".step"."""
        state = {f"{name}.step": np.array(n, np.int64) for name, n in self.n_steps.items()}
        for name, slots in self.state.items():
            state |= {f"{name}.{slot}": array.copy() for slot, array in slots.items()}
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue exactly where `state_dict` was taken. Raises WeightsError for other names or shapes."""
        own = self.state_dict()
        title = f"{type(self).__name__}.load_state_dict"
        require_same_names(title, "parameters of this optimiser", own.keys(), state.keys())
        for key, array in own.items():
            if np.shape(state[key]) != array.shape:
                raise WeightsError(
                    f"{title}: {key} must have shape {array.shape}, "
                    f"not {np.shape(state[key])}; the state was made for another network"
                )
        for name, slots in self.state.items():
            self.n_steps[name] = int(state[f"{name}.step"])
            self.state[name] = {slot: np.array(state[f"{name}.{slot}"], array.dtype) for slot, array in slots.items()}

    def _require(self, holds: bool, argument: str, rule: str, value: object) -> None:
        if not holds:
            raise ParameterError(f"{type(self).__name__}: {argument} must be {rule}, not {value}")


class SGD(Optimizer):
    """Stochastic gradient descent with momentum. See sgd_update."""

    slots = ("velocity",)

    def __init__(
        self,
        parameters: NamedParameters,
        learning_rate: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, learning_rate, weight_decay)
        self._require(0 <= momentum < 1, "momentum", "in [0, 1)", momentum)
        self._require(momentum > 0 or not nesterov, "momentum", "positive with nesterov=True", momentum)
        self.momentum, self.nesterov = float(momentum), nesterov

    def update(
        self, value: np.ndarray, grad: np.ndarray, slots: Sequence[np.ndarray], step: int
    ) -> tuple[np.ndarray, ...]:
        (velocity,) = slots
        return sgd_update(value, grad, velocity, self.learning_rate, self.momentum, self.nesterov, self.weight_decay)


class Adam(Optimizer):
    """Adam; weight decay, if any, is added to the gradient. See adam_update."""

    slots = ("mean", "square")
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        parameters: NamedParameters,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, learning_rate, weight_decay)
        self._require(all(0 <= b < 1 for b in betas), "betas", "in [0, 1)", betas)
        self._require(epsilon > 0, "epsilon", "positive", epsilon)
        self.betas, self.epsilon = (float(betas[0]), float(betas[1])), float(epsilon)

    def update(
        self, value: np.ndarray, grad: np.ndarray, slots: Sequence[np.ndarray], step: int
    ) -> tuple[np.ndarray, ...]:
        settings = self.learning_rate, self.betas, self.epsilon, self.weight_decay, self.decoupled
        mean, square = slots
        return adam_update(value, grad, mean, square, step, *settings)


class AdamW(Adam):
    """Adam with decoupled weight decay, 0.01 by default. See adam_update."""

    decoupled = True

    def __init__(
        self,
        parameters: NamedParameters,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(parameters, learning_rate, betas, epsilon, weight_decay)


# ---------------------------------------------------------------------------------------------------- clipping


def clip_gradient_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most `max_norm`; returns the norm before.

    Parameters without a gradient are skipped; gradients within the bound stay as they are, bit for bit. Raises
    ParameterError, leaving the gradients untouched, for a non-positive bound and for a norm that is not finite: a
    clipped NaN would silently destroy every parameter at the next step.
    """
    if not max_norm > 0:
        raise ParameterError(f"clip_gradient_norm: max_norm must be positive, not {max_norm}")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients))
    if not math.isfinite(norm):
        bad = next(
            (f"number {i} of shape {g.shape}" for i, g in enumerate(gradients) if not np.isfinite(g).all()), "all"
        )
        raise ParameterError(
            f"clip_gradient_norm: the gradients must be finite, but their norm is {norm} (first offender: {bad}); "
            f"skip this step or lower the learning rate"
        )
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / norm
    return norm


# ---------------------------------------------------------------------------------------------------- schedules

Schedule = Callable[[int], float]  # number of the step, from 0 -> factor on the base learning rate


def constant() -> Schedule:
    """Always 1."""
    return lambda step: 1.0


def cosine(total: int, final: float = 0.0) -> Schedule:
    """From 1 at step 0 to `final` at step `total` along half a cosine, `final` afterwards.

    final + (1 - final) (1 + cos(pi step / total)) / 2   (Loshchilov and Hutter 2017, eq. 5, without restarts)
    """
    _require_steps("cosine", "total", total)
    return lambda step: final + (1 - final) * (1 + math.cos(math.pi * min(step, total) / total)) / 2


def warm_up_cosine(warm_up: int, total: int, final: float = 0.0) -> Schedule:
    """A straight line to 1 over the first `warm_up` steps, then a cosine to `final` at step `total`.

    Step 0 has the factor 1 / warm_up, step warm_up - 1 the factor 1.
    """
    _require_steps("warm_up_cosine", "warm_up", warm_up)
    _require_steps("warm_up_cosine", "total - warm_up", total - warm_up)
    after = cosine(total - warm_up, final)
    return lambda step: (step + 1) / warm_up if step < warm_up else after(step - warm_up)


def restarted(schedule: Schedule, every: int) -> Schedule:
    """`schedule` from its start again after each `every` steps (warm restarts, Loshchilov and Hutter 2017)."""
    _require_steps("restarted", "every", every)
    return lambda step: schedule(step % every)


def step_decay(every: int, factor: float = 0.1) -> Schedule:
    """1, multiplied by `factor` after each `every` steps."""
    _require_steps("step_decay", "every", every)
    return lambda step: factor ** (step // every)


def _require_steps(schedule: str, argument: str, value: int) -> None:
    if value < 1:
        raise ParameterError(f"{schedule}: {argument} must be at least 1, not {value}")
