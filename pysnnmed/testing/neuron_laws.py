"""What must hold for a neuron, as laws to point at a model of your own: `check_neuron(MyNeuron)`.

A law is a function of a neuron and of a case, from which it draws its inputs; its docstring is the statement. Most laws
hold for every neuron. A neuron says in its attribute `laws`, {name: bool}, which of these it does not keep (a
per-channel threshold breaks "channels_are_interchangeable") and which of the others it does keep: those marked
"claimed" below describe the integrate-and-fire family and use its parameters beta, v_threshold, tie, reset, v_reset and
surrogate. No law looks at the name of a model.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from ..errors import ParameterError, PysnnmedError
from ..neurons import Neuron, run, unroll
from ..neurons.base import value_of
from ..tensor import Tensor
from .hypotheses import hypothesis, quiet_settings, st
from .strategies import dyadic_currents, neurons, shapes

STEPS = 6


class NeuronLawError(AssertionError):
    """A neuron breaks a law; `neuron`, `law` (its name) and `counterexample` {name: value} are the smallest case."""

    def __init__(self, neuron: Any, law: Law, counterexample: Mapping[str, Any], reason: str):
        drawn = "".join(f"\n  {name} = {_brief(value)}" for name, value in counterexample.items())
        super().__init__(
            f"{type(neuron).__name__} breaks the law {law.name!r} ({law.statement}): {reason}; "
            f"smallest counterexample:\n  neuron = {neuron!r}{drawn}"
        )
        self.neuron, self.law, self.counterexample = neuron, law.name, dict(counterexample)


@dataclass(frozen=True)
class Law:
    name: str
    statement: str
    claimed: bool  # holds only for neurons that say so
    most_examples: int  # an expensive law is content with fewer than asked for
    holds: Callable[[Any, Case], None]  # raises if not

    def concerns(self, neuron: Any) -> bool:
        """Whether `neuron`, an object or a class, is to keep this law."""
        declared = getattr(neuron, "laws", {})
        if isinstance(declared, Mapping):  # a property of the objects is none on their class
            if unknown := sorted(declared.keys() - LAWS.keys()):
                raise ParameterError(f"there is no law {unknown[0]!r} of neurons; there are {', '.join(LAWS)}")
            return declared.get(self.name, not self.claimed)
        return True


class Case:
    """What a law has drawn, by name."""

    def __init__(self, data: Any):
        self._data, self.drawn = data, dict[str, Any]()

    def draw(self, name: str, strategy: Any) -> Any:
        value = self._data.draw(strategy)
        self.drawn[name] = value.copy() if isinstance(value, np.ndarray) else value
        return value


LAWS: dict[str, Law] = {}


def check_neuron(
    neuron: Any, *, laws: Iterable[str] | None = None, max_examples: int | None = None, seed: int = 0
) -> tuple[str, ...]:
    """Check every law that concerns `neuron`, or those named in `laws`; the names of the laws that were checked.

    `neuron` is a dataclass, whose parameters are drawn by `strategies.neurons`; or one object; or a function without
    arguments that makes one; or a strategy. It needs `init(x)` and `step(x, state)`, see `neurons.Neuron`; where it has
    a `sequence` of its own, the laws hold for that too, on every backend. Each law meets `max_examples` cases, drawn
    from `seed`; without it, as many as the hypothesis profile says. Raises NeuronLawError for the first law broken.

        def test_my_neuron():
            check_neuron(MyNeuron)
    """
    names = list(LAWS) if laws is None else list(laws)
    if unknown := sorted(set(names) - LAWS.keys()):
        raise ParameterError(f"check_neuron: there is no law {unknown[0]!r}; there are {', '.join(LAWS)}")
    drawn = _drawn(neuron)
    if hasattr(neuron, "step"):
        names = [name for name in names if LAWS[name].concerns(neuron)]
    n = hypothesis.settings().max_examples if max_examples is None else max_examples
    return tuple(name for name in names if _checked(LAWS[name], drawn, n, seed))


def _drawn(neuron: Any) -> Any:
    if isinstance(neuron, hypothesis.strategies.SearchStrategy):
        return neuron
    if isinstance(neuron, type):
        return neurons(neuron) if hasattr(neuron, "__dataclass_fields__") else st.builds(neuron)
    if hasattr(neuron, "step"):
        return st.just(neuron)
    if callable(neuron):
        return st.builds(neuron)
    raise ParameterError(f"check_neuron: needs a neuron, its class or a function that makes one, not {neuron!r}")


def _checked(law: Law, drawn: Any, max_examples: int, seed: int) -> bool:
    """Whether there was a case to check. Raises the NeuronLawError of the smallest case that breaks the law."""
    last: NeuronLawError | None = None

    @hypothesis.seed(seed)
    @quiet_settings(min(max_examples, law.most_examples))
    @hypothesis.given(neuron=drawn, data=st.data())
    def examine(neuron: Any, data: Any) -> None:
        nonlocal last
        hypothesis.assume(law.concerns(neuron))
        case = Case(data)
        try:
            law.holds(neuron, case)
        except hypothesis.errors.UnsatisfiedAssumption:
            raise
        except Exception as error:  # whatever a neuron of one's own may raise
            reason = str(error) if isinstance(error, _Broken) else f"it raises {type(error).__name__}: {error}"
            last = NeuronLawError(neuron, law, case.drawn, reason)
            raise last from error

    try:
        examine()
    except hypothesis.errors.Unsatisfiable:
        return False
    except hypothesis.errors.Flaky:  # the neuron answers differently when asked again, which is what the law found
        if last is None:
            raise
        raise last from None
    return True


# ---------------------------------------------------------------------------------------------------- tools of the laws


class _Broken(Exception):
    """What is wrong, as the end of the sentence "X breaks the law Y: ..."."""


def _law(
    *, claimed: bool = False, most_examples: int = sys.maxsize
) -> Callable[[Callable[[Any, Case], None]], Callable[[Any, Case], None]]:
    """Enter a function into LAWS under its name; the first paragraph of its docstring is the statement."""

    def enter(holds: Callable[[Any, Case], None]) -> Callable[[Any, Case], None]:
        statement = " ".join((inspect.getdoc(holds) or "").split("\n\n")[0].rstrip(".").split())
        LAWS[holds.__name__] = Law(holds.__name__, statement, claimed, most_examples, holds)
        return holds

    return enter


def _equal(what: str, got: np.ndarray, want: Any) -> None:
    _close(what, got, want, tolerance=0.0)


def _close(what: str, got: np.ndarray, want: Any, tolerance: float) -> None:
    """Equal to within `tolerance` of the largest magnitude wanted (of 1, if that is smaller)."""
    want = np.broadcast_to(want, np.shape(want) or got.shape)
    if got.shape != want.shape:
        raise _Broken(f"{what} has shape {got.shape} instead of {want.shape}")
    finite = np.abs(want[np.isfinite(want)])
    room = tolerance * max(1.0, float(finite.max(initial=0)))
    wrong = ~np.isclose(got, want, rtol=0, atol=room, equal_nan=True)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise _Broken(f"{what} at {index} is {got[index]:.10g} instead of {want[index]:.10g}")


def _require(holds: bool | np.bool_, reason: str) -> None:
    if not holds:
        raise _Broken(reason)


def _brief(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    return f"{value.tolist()} {value.dtype} of shape {value.shape}" if value.size <= 64 else f"array{value.shape}"


def _fused(neuron: Any) -> bool:
    return getattr(type(neuron), "sequence", Neuron.sequence) is not Neuron.sequence


def _runners(neuron: Any) -> Iterator[Callable[..., tuple[Tensor, Any]]]:
    yield unroll
    if _fused(neuron):
        yield run


def _threshold(neuron: Any) -> float:
    return value_of(getattr(neuron, "v_threshold", 1.0))


def _current(neuron: Any, case: Case, steps: int = STEPS, name: str = "x", **limits: Any) -> np.ndarray:
    """A current [T, B, C, *S] in quarters of the threshold, so that membranes meet the threshold exactly."""
    shape = case.drawn.get("shape") or case.draw("shape", shapes(max_side=3, max_batch=2, max_channels=2))
    unit = _threshold(neuron) / 4
    return case.draw(name, dyadic_currents((steps, *shape), unit, **({"low": -4, "high": 8} | limits)))


def _rest(neuron: Any, x: np.ndarray) -> Any:
    """The initial state for the input x of one step, with the membrane at 0 whatever the neuron starts from."""
    state = neuron.init(Tensor(x))
    return state._replace(v=Tensor(np.zeros_like(state.v.data))) if hasattr(state, "v") else state


def _parts(state: Any) -> list[tuple[str, Tensor]]:
    names = getattr(state, "_fields", None) or [str(i) for i in range(len(state))]
    return [(f"state.{name}", part) for name, part in zip(names, state, strict=True)]


def _equal_states(got: Any, want: Any) -> None:
    for (name, a), (_, b) in zip(_parts(got), _parts(want), strict=True):
        _equal(name, a.data, b.data)


def _weights(shape: tuple[int, ...]) -> np.ndarray:
    """Weights of a sum that no symmetry cancels."""
    return np.random.default_rng(0).normal(size=shape)


# ---------------------------------------------------------------------------------------------------- every neuron


@_law()
def no_spikes_without_input(neuron: Any, case: Case) -> None:
    """From rest and without input there are no spikes, and the state stays finite."""
    x = np.zeros((STEPS, *case.draw("shape", shapes())))
    for runner in _runners(neuron):
        spikes, state = runner(neuron, x, _rest(neuron, x[0]))
        _equal("the spike", spikes.data, 0)
        for name, part in _parts(state):
            _require(np.isfinite(part.data).all(), f"{name} is not finite")


@_law()
def two_parts_equal_one_run(neuron: Any, case: Case) -> None:
    """Running in two parts equals running at once: spikes, state and gradients."""
    data, cut = _current(neuron, case), case.draw("cut", st.integers(1, STEPS - 1))
    weights = _weights(data.shape)

    def results(runner: Callable, slices: list[slice]) -> tuple[np.ndarray, Any, np.ndarray]:
        x, state, total, spikes = Tensor(data, requires_grad=True), None, Tensor(np.zeros(())), []
        for piece in slices:
            s, state = runner(neuron, x[piece], state)
            total = total + (s * weights[piece]).sum()
            spikes.append(s.data)
        for _, part in _parts(state):
            total = total + part.sum()
        return np.concatenate(spikes), state, _gradient(total, x)

    for runner in _runners(neuron):
        spikes, state, gradient = results(runner, [slice(0, STEPS)])
        s, end, g = results(runner, [slice(0, cut), slice(cut, STEPS)])
        _equal("the spike of two parts", s, spikes)
        _equal_states(end, state)
        _close("the gradient through two parts", g, gradient, 1e-9)


@_law()
def a_step_changes_neither_input_nor_state(neuron: Any, case: Case) -> None:
    """A step leaves its input and its state alone, and taken again it gives the same."""
    data = _current(neuron, case, steps=2)
    _, state = neuron.step(Tensor(data[0].copy()), neuron.init(Tensor(data[0])))
    x, before = Tensor(data[1].copy()), [part.data.copy() for _, part in _parts(state)]
    first, second = neuron.step(x, state), neuron.step(x, state)
    _equal("after the step, the input", x.data, data[1])
    for (name, part), copy in zip(_parts(state), before, strict=True):
        _equal(f"after the step, the old {name}", part.data, copy)
    _equal("the spike of the same step taken again", second[0].data, first[0].data)
    _equal_states(second[1], first[1])


def _interchangeable(axis: int, neuron: Any, case: Case) -> None:
    x = _current(neuron, case)
    axes = range(3, x.ndim) if axis == 3 else [axis]
    orders = [(a, case.draw(f"order of axis {a}", st.permutations(range(x.shape[a])))) for a in axes]

    def move(array: np.ndarray, time: int) -> np.ndarray:
        for a, order in orders:
            array = np.take(array, order, axis=a - 1 + time)
        return array

    moved = move(x, 1)
    for runner in _runners(neuron):
        spikes, state = runner(neuron, x)
        s, end = runner(neuron, moved)
        _equal("the spike of the reordered input", s.data, move(spikes.data, 1))
        for (name, a_part), (_, b) in zip(_parts(end), _parts(state), strict=True):
            _equal(f"{name} of the reordered input", a_part.data, move(b.data, 0))


@_law()
def samples_are_interchangeable(neuron: Any, case: Case) -> None:
    """Reordering the batch reorders spikes and state."""
    _interchangeable(1, neuron, case)


@_law()
def channels_are_interchangeable(neuron: Any, case: Case) -> None:
    """Reordering the channels reorders spikes and state."""
    _interchangeable(2, neuron, case)


@_law()
def positions_are_interchangeable(neuron: Any, case: Case) -> None:
    """Reordering the voxels along the spatial axes reorders spikes and state."""
    _interchangeable(3, neuron, case)


@_law()
def a_sample_does_not_depend_on_its_batch(neuron: Any, case: Case) -> None:
    """A sample alone gives what it gives among others."""
    x = _current(neuron, case)
    for runner in _runners(neuron):
        together, state = runner(neuron, x)
        for i in range(x.shape[1]):
            alone, end = runner(neuron, x[:, i : i + 1])
            _equal(f"the spike of sample {i} alone", alone.data, together.data[:, i : i + 1])
            for (name, a), (_, b) in zip(_parts(end), _parts(state), strict=True):
                _equal(f"{name} of sample {i} alone", a.data, b.data[i : i + 1])


@_law()
def the_future_does_not_change_the_past(neuron: Any, case: Case) -> None:
    """Spikes depend on no later input, neither do their gradients."""
    data, now = _current(neuron, case), case.draw("now", st.integers(1, STEPS - 1))
    other = np.concatenate([data[:now], _current(neuron, case, STEPS - now, "other future")])
    for runner in _runners(neuron):
        x = Tensor(data, requires_grad=True)
        spikes, _ = runner(neuron, x)
        _equal("with another future, the spike", runner(neuron, other)[0].data[:now], spikes.data[:now])
        _equal("the gradient of earlier spikes in the future", _gradient(spikes[:now].sum(), x)[now:], 0)


@_law()
def more_current_never_gives_fewer_spikes(neuron: Any, case: Case) -> None:
    """Of two constant currents the larger gives at least as many spikes."""
    unit, level = _threshold(neuron) / 16, st.integers(-16, 64)
    low, high = sorted((case.draw("low / (v_threshold / 16)", level), case.draw("high / (v_threshold / 16)", level)))
    for runner in _runners(neuron):
        few, many = runner(neuron, np.array([[[low * unit], [high * unit]]])[0], steps=16)[0].data.sum(axis=0).ravel()
        _require(few <= many, f"the larger current gives {many:g} spikes, the smaller one {few:g}")


@_law()
def a_constant_current_equals_its_copies(neuron: Any, case: Case) -> None:
    """A current given once for several steps equals the same current given at each: spikes, state and gradient."""
    data = _current(neuron, case, steps=1)[0]
    for runner in _runners(neuron):
        constant, copies = Tensor(data, requires_grad=True), Tensor(np.stack([data] * STEPS), requires_grad=True)
        once, state = runner(neuron, constant, steps=STEPS)
        repeated, end = runner(neuron, copies)
        _equal("the spike of the constant current", once.data, repeated.data)
        _equal_states(state, end)
        gradient = _gradient(repeated.sum(), copies).sum(axis=0)
        _close("the gradient of the constant current", _gradient(once.sum(), constant), gradient, 1e-9)


@_law()
def fused_equals_unrolled(neuron: Any, case: Case) -> None:
    """The sequence equals its steps, in float32 and float64 and on every backend: spikes, state and gradients."""
    hypothesis.assume(_fused(neuron))
    dtype = np.dtype(case.draw("dtype", st.sampled_from(["float64", "float32"])))
    constant = case.draw("constant current", st.booleans())
    data = _current(neuron, case, steps=1 if constant else STEPS, dtype=dtype)
    data = data[0] if constant else data
    start = case.draw("start", st.integers(-2, 2)) * _threshold(neuron) / 4
    weights = _weights((STEPS, *case.drawn["shape"])).astype(dtype)

    def results(runner: Callable) -> tuple[Tensor, Any, list[np.ndarray]]:
        x = Tensor(data, requires_grad=True)
        state = neuron.init(x if constant else x[0])
        first = type(state)(*(Tensor((part.data + start).astype(dtype), requires_grad=True) for part in state))
        spikes, state = runner(neuron, x, first, STEPS if constant else None)
        total = (spikes * weights).sum()
        for _, part in _parts(state):
            total = total + (part * part).sum()
        return spikes, state, [_gradient(total, x), *(_filled(part) for part in first)]

    spikes, state, gradients = results(unroll)
    for backend in kernels.available():
        with kernels.use_backend(backend):
            s, end, fused_gradients = results(run)
        _equal(f"on {backend}, the spike", s.data, spikes.data)
        _equal_states(end, state)
        for got, want in zip(fused_gradients, gradients, strict=True):
            _close(f"on {backend}, the gradient", got, want, 1e-9 if dtype == np.float64 else 1e-3)


@_law()
def shape_and_type_are_kept(neuron: Any, case: Case) -> None:
    """Spikes, state and gradients have the shape of the input, and its floating-point type."""
    dtype = np.dtype(case.draw("dtype", st.sampled_from(["float32", "float64"])))
    data = _current(neuron, case, dtype=dtype)
    for runner in _runners(neuron):
        x = Tensor(data, requires_grad=True)
        spikes, state = runner(neuron, x)
        total = spikes.sum()
        for _, part in _parts(state):
            total = total + part.sum()
        _require(spikes.shape == x.shape, f"the spikes have shape {spikes.shape}, the input {x.shape}")
        for name, part in _parts(state):
            _require(part.shape == x.shape[1:], f"{name} has shape {part.shape}, the input of a step {x.shape[1:]}")
        gradient = _gradient(total, x)
        types = {"the spikes": spikes.dtype, "the gradient": gradient.dtype}
        for what, kind in (types | {name: part.dtype for name, part in _parts(state)}).items():
            _require(kind == dtype, f"{what}: the type is {kind}, that of the input {dtype}")


@_law(most_examples=2)
def long_runs_backpropagate(neuron: Any, case: Case) -> None:
    """2,000 steps can be differentiated, and with a detached reset the gradient is finite."""
    data = np.random.default_rng(0).normal(0.4, 0.8, (2000, 1, 2))
    for runner in _runners(neuron):
        x = Tensor(data, requires_grad=True)
        with np.errstate(over="ignore", invalid="ignore"):  # through an attached reset gradients may grow at every step
            gradient = _gradient(runner(neuron, x)[0].sum(), x)
        if getattr(neuron, "detach_reset", True):
            _require(np.isfinite(gradient).all(), "the gradient is not finite")


@_law()
def not_a_number_stays_where_it_is(neuron: Any, case: Case) -> None:
    """A NaN in the input raises a PysnnmedError, or stays visible in the state of its neuron and touches no other."""
    x = _current(neuron, case)
    poisoned, place = x.copy(), (0,) * (x.ndim - 1)
    poisoned[(case.draw("step", st.integers(0, STEPS - 1)), *place)] = np.nan
    for runner in _runners(neuron):
        spikes, state = runner(neuron, x)
        try:
            s, end = runner(neuron, poisoned)
        except PysnnmedError:
            continue
        _require(any(np.isnan(part.data[place]) for _, part in _parts(end)), "the NaN has vanished from the state")
        others = np.ones(x.shape[1:], bool)
        others[place] = False
        _equal("the spike of another neuron", s.data[:, others], spikes.data[:, others])
        for (name, a), (_, b) in zip(_parts(end), _parts(state), strict=True):
            _equal(f"{name} of another neuron", a.data[others], b.data[others])


@_law()
def bad_input_is_refused(neuron: Any, case: Case) -> None:
    """Integers, no steps, and a state of another shape or type raise a PysnnmedError that names the neuron."""
    shape = case.draw("shape", shapes())
    x, other = np.zeros((STEPS, *shape)), np.zeros((shape[0] + 1, *shape[1:]))
    bad: dict[str, tuple[np.ndarray, Any, int | None]] = {
        "input of integers": (x.astype(np.int64), None, None),
        "number of steps 0": (x[0], None, 0),
        "input without steps": (x[:0], None, None),
        "state of another shape": (x, neuron.init(Tensor(other)), None),
        "state of another type": (x.astype(np.float32), neuron.init(Tensor(x[0])), None),
    }
    for what, (array, state, steps) in bad.items():
        if state is not None and not len(state):
            continue  # a neuron without memory
        for runner in _runners(neuron):
            try:
                runner(neuron, array, state, steps)
            except PysnnmedError as error:
                _require(type(neuron).__name__ in str(error), f"the error about an {what} does not name it: {error}")
            else:
                raise _Broken(f"an {what} is accepted")


# ------------------------------------------------------------------------------------- claimed: integrate and fire


@_law(claimed=True)
def charge_is_conserved(neuron: Any, case: Case) -> None:
    """For the soft reset: v[T] = sum over t of beta^(T-1-t) (gain x[t] + bias - charge s[t]), with v[-1] = 0.

    With beta = 1, what went in is what came out and what is left. The charge of s = 1 is `amount / unit`: amount is the
    threshold where there is none, unit (what s says for one event) is 1, as gain is, and bias 0.
    """
    hypothesis.assume(neuron.reset == "soft")
    x = _current(neuron, case)
    amount, unit = getattr(neuron, "amount", None), getattr(neuron, "unit", 1.0)
    charge = (_threshold(neuron) if amount is None else amount) / unit
    for runner in _runners(neuron):
        spikes, state = runner(neuron, x, _rest(neuron, x[0]))
        left = _decayed_sum(neuron, _charging(neuron, x) - charge * spikes.data)
        _close("the membrane", state.v.data, left, 1e-12)


@_law(claimed=True)
def quiet_membranes_integrate(neuron: Any, case: Case) -> None:
    """Without spikes, v[T] = sum over t of beta^(T-1-t) (gain x[t] + bias), with v[-1] = 0."""
    x = _current(neuron, case, low=-1, high=1) / STEPS
    hypothesis.assume(np.abs(_charging(neuron, x)).sum(axis=0).max() < _threshold(neuron) / 2)
    for runner in _runners(neuron):
        spikes, state = runner(neuron, x, _rest(neuron, x[0]))
        _equal("below the threshold, the spike", spikes.data, 0)
        _close("the membrane", state.v.data, _decayed_sum(neuron, _charging(neuron, x)), 1e-12)


def _charging(neuron: Any, x: np.ndarray) -> np.ndarray:
    """What a step adds to the membrane."""
    return getattr(neuron, "gain", 1.0) * x + getattr(neuron, "bias", 0.0)


def _plainly_charged(neuron: Any) -> bool:
    return getattr(neuron, "gain", 1.0) == 1 and getattr(neuron, "bias", 0.0) == 0


def _decayed_sum(neuron: Any, terms: np.ndarray) -> np.ndarray:
    decay = value_of(neuron.beta) ** np.arange(len(terms) - 1, -1, -1.0)
    return np.tensordot(decay, terms, axes=1)


@_law(claimed=True)
def small_currents_keep_the_membrane_bounded(neuron: Any, case: Case) -> None:
    """For 0 <= x <= v_threshold and a reset to within: 0 <= v <= v_threshold after every step (gain 1, bias 0)."""
    threshold, amount = _threshold(neuron), getattr(neuron, "amount", None)
    hypothesis.assume(_plainly_charged(neuron))
    hypothesis.assume(
        amount in (None, threshold)
        if neuron.reset == "soft"
        else neuron.reset == "hard" and 0 <= neuron.v_reset < threshold
    )
    x = _current(neuron, case, low=0, high=4)
    for runner in _runners(neuron):
        state = _rest(neuron, x[0])
        for t in range(STEPS):
            _, state = runner(neuron, x[t : t + 1], state)
            v = state.v.data / threshold
            _require((v >= -1e-12).all() and (v <= 1 + 1e-12).all(), f"after step {t}, v / v_threshold is {_brief(v)}")


@_law(claimed=True)
def the_tie_rule_decides_at_the_threshold(neuron: Any, case: Case) -> None:
    """At h = v_threshold it fires if tie is ">=", not if tie is ">"; above it does, below not (gain 1, bias 0)."""
    hypothesis.assume(_plainly_charged(neuron))
    at = _threshold(neuron)
    x = np.array([np.nextafter(at, 0), at, np.nextafter(at, np.inf)]).reshape(1, 1, 3)
    for runner in _runners(neuron):
        spikes, _ = runner(neuron, x, _rest(neuron, x[0]))
        _equal("just below, at and just above the threshold, the spike", spikes.data[0, 0], [0, neuron.tie == ">=", 1])


@_law(claimed=True)
def the_gradient_of_a_step_is_the_surrogate(neuron: Any, case: Case) -> None:
    """ds/dx of a step from rest is surrogate(x - v_threshold) (gain 1, bias 0)."""
    hypothesis.assume(_plainly_charged(neuron))
    data = case.draw("x", dyadic_currents((1, 9), _threshold(neuron) / 4, low=-16, high=16))
    x = Tensor(data, requires_grad=True)
    spikes, _ = neuron.step(x, _rest(neuron, data))
    weights = _weights(data.shape)
    wanted = weights * neuron.surrogate(data - _threshold(neuron))
    _close("the gradient", _gradient((spikes * weights).sum(), x), wanted, 1e-12)


def _gradient(total: Tensor, x: Tensor) -> np.ndarray:
    if total.requires_grad:
        total.backward()
    return _filled(x)


def _filled(x: Tensor) -> np.ndarray:
    return np.zeros_like(x.data) if x.grad is None else x.grad
