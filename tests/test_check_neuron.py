"""The published suite of laws: a right neuron keeps them all, each law finds its fault, a new file is picked up."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pytest
from conftest import ROOT

from pysnnmed import ops
from pysnnmed.errors import ParameterError
from pysnnmed.neurons import LIF, unroll
from pysnnmed.surrogate import ATan, Surrogate
from pysnnmed.tensor import Function, Tensor
from pysnnmed.testing import LAWS, NeuronLawError, check_neuron
from pysnnmed.testing.strategies import neurons, st


class _Fire(Function):
    """The step, with a surrogate derivative. The underscore keeps it out of the registry of the package."""

    def forward(ctx, z, strict, surrogate):
        ctx.save(z)
        ctx.surrogate = surrogate
        return (z > 0 if strict else z >= 0).astype(z.dtype)

    def backward(ctx, grad):
        (z,) = ctx.saved
        return grad * ctx.surrogate(z)


class Membrane(NamedTuple):
    v: Tensor


@dataclasses.dataclass(frozen=True)
class Plain:
    """A leaky integrate-and-fire neuron as a user may write it: no base class, nothing fused."""

    laws: ClassVar[dict] = dict.fromkeys((name for name, law in LAWS.items() if law.claimed), True)

    beta: float = 0.5
    v_threshold: float = 1.0
    v_reset: float = 0.0
    reset: Literal["soft", "hard"] = "soft"
    tie: Literal[">=", ">"] = ">="
    surrogate: Surrogate = dataclasses.field(default_factory=ATan)

    def init(self, x):
        return Membrane(Tensor(np.zeros_like(x.data)))

    def charge(self, x, v):
        return v * self.beta + x

    def fire(self, h):
        return _Fire.apply(h - self.v_threshold, strict=self.tie == ">", surrogate=self.surrogate)

    def after(self, h, s):
        return h - s * self.v_threshold if self.reset == "soft" else (1 - s) * h + s * self.v_reset

    def step(self, x, state):
        h = self.charge(x, state.v)
        s = self.fire(h)
        return s, Membrane(self.after(h, s.detach()))


class LeaksIn(Plain):
    def charge(self, x, v):
        return super().charge(x, v) + 0.3 * self.v_threshold


class OverwritesItsState(Plain):
    def charge(self, x, v):
        v.data[...] = super().charge(x, v).data
        return v + 0.0


class OverwritesItsInput(Plain):
    def charge(self, x, v):
        x.data[...] += self.beta * v.data
        return x + 0.0


class TakesTheOtherTie(Plain):
    def fire(self, h):
        return _Fire.apply(h - self.v_threshold, strict=self.tie == ">=", surrogate=self.surrogate)


class Forgets(Plain):
    def charge(self, x, v):
        return x + 0.0


class PeeksAhead(Plain):
    def sequence(self, x, state, steps=None):
        if steps is not None:
            return unroll(self, x, state, steps)
        return unroll(self, ops.concatenate([x[:-1] + x[1:], x[-1:]]), state)


class CouplesTheBatch(Plain):
    def charge(self, x, v):
        return super().charge(x, v) - x.mean(axis=0, keepdims=True) / 2


class PrefersTheFirstSample(Plain):
    def charge(self, x, v):
        return super().charge(x * np.arange(1, len(x.data) + 1).reshape(-1, *[1] * (x.ndim - 1)), v)


class HasAThresholdPerChannel(Plain):
    def charge(self, x, v):
        if x.ndim < 2:
            return super().charge(x, v)
        return super().charge(x * np.arange(1, x.shape[1] + 1).reshape(-1, *[1] * (x.ndim - 2)), v)


class LooksAtItsNeighbour(Plain):
    def charge(self, x, v):
        return super().charge(x + Tensor(np.roll(x.data, 1, axis=-1)) if x.ndim > 2 else x, v)


class StepsBySurrogate(Plain):
    def fire(self, h):
        return _Fire.apply(h - self.v_threshold, strict=self.tie == ">", surrogate=lambda z: 2 * self.surrogate(2 * z))


class LosesCharge(Plain):
    def after(self, h, s):
        return h - 0.9 * s * self.v_threshold


class NeverResets(Plain):
    def after(self, h, s):
        return h


class FiresOnlyWithinABand(Plain):
    def fire(self, h):
        return Tensor(super().fire(h).data * (h.data < 2 * self.v_threshold))


class IsDouble(Plain):
    def init(self, x):
        return Membrane(Tensor(np.zeros(x.shape)))


class HidesNaN(Plain):
    def charge(self, x, v):
        return super().charge(Tensor(np.nan_to_num(x.data)), v)


class Explodes(Plain):
    def charge(self, x, v):
        return super().charge(x, v) + 2 * (v - v.detach())


class BareTuple(Plain):
    def init(self, x):
        return (super().init(x).v,)

    def step(self, x, state):
        s, state = super().step(x, Membrane(*state))
        return s, tuple(state)


class FusesAnotherTie(Plain):
    def sequence(self, x, state, steps=None):
        return unroll(dataclasses.replace(self, tie=">" if self.tie == ">=" else ">="), x, state, steps)


class FusesWithoutGradient(Plain):
    def sequence(self, x, state, steps=None):
        return unroll(self, x.detach(), state, steps)


class StartsAfresh(Plain):
    def sequence(self, x, state, steps=None):
        return unroll(self, x, None, steps)


class PausesAConstantCurrent(Plain):
    def sequence(self, x, state, steps=None):
        if steps is None:
            return unroll(self, x, state)
        return unroll(self, ops.stack([x] + [x * 0.0] * (steps - 1)), state)


FAULTS = [
    (LeaksIn, "no_spikes_without_input"),
    (StartsAfresh, "two_parts_equal_one_run"),
    (OverwritesItsState, "a_step_changes_neither_input_nor_state"),
    (OverwritesItsInput, "a_step_changes_neither_input_nor_state"),
    (PrefersTheFirstSample, "samples_are_interchangeable"),
    (HasAThresholdPerChannel, "channels_are_interchangeable"),
    (LooksAtItsNeighbour, "positions_are_interchangeable"),
    (CouplesTheBatch, "a_sample_does_not_depend_on_its_batch"),
    (PeeksAhead, "the_future_does_not_change_the_past"),
    (FiresOnlyWithinABand, "more_current_never_gives_fewer_spikes"),
    (PausesAConstantCurrent, "a_constant_current_equals_its_copies"),
    (FusesAnotherTie, "fused_equals_unrolled"),
    (FusesWithoutGradient, "fused_equals_unrolled"),
    (IsDouble, "shape_and_type_are_kept"),
    (Explodes, "long_runs_backpropagate"),
    (HidesNaN, "not_a_number_stays_where_it_is"),
    (BareTuple, "bad_input_is_refused"),
    (LosesCharge, "charge_is_conserved"),
    (Forgets, "charge_is_conserved"),
    (Forgets, "quiet_membranes_integrate"),
    (NeverResets, "small_currents_keep_the_membrane_bounded"),
    (TakesTheOtherTie, "the_tie_rule_decides_at_the_threshold"),
    (StepsBySurrogate, "the_gradient_of_a_step_is_the_surrogate"),
]


def test_a_right_neuron_keeps_every_law():
    assert set(check_neuron(Plain)) == LAWS.keys() - {"fused_equals_unrolled"}


@pytest.mark.parametrize(("fault", "law"), FAULTS)
def test_a_planted_fault_is_found_by_its_law(fault, law):
    with pytest.raises(NeuronLawError, match=f"{fault.__name__} breaks the law '{law}'") as error:
        check_neuron(fault, laws=[law], max_examples=300)
    assert error.value.law == law
    assert isinstance(error.value.neuron, fault)


def test_every_law_has_found_a_fault():
    assert {law for _, law in FAULTS} == LAWS.keys()


def test_the_error_shows_the_smallest_case():
    with pytest.raises(NeuronLawError) as error:
        check_neuron(LosesCharge, laws=["charge_is_conserved"])
    assert error.value.counterexample["shape"] == (1, 1)
    assert re.search(
        r"smallest counterexample:\n  neuron = LosesCharge\(.*\)\n  shape = \(1, 1\)\n  x = ", str(error.value)
    )


def test_a_neuron_that_remembers_outside_its_state_is_found():
    class Counts(Plain):
        calls = 0

        def charge(self, x, v):
            Counts.calls += 1
            return super().charge(x, v) + Counts.calls * self.v_threshold

    with pytest.raises(NeuronLawError, match="taken again"):
        check_neuron(Counts, laws=["a_step_changes_neither_input_nor_state"])


def test_an_error_of_the_neuron_is_a_broken_law():
    class Fails(Plain):
        def charge(self, x, v):
            raise ZeroDivisionError("no")

    with pytest.raises(NeuronLawError, match="it raises ZeroDivisionError: no"):
        check_neuron(Fails)


@pytest.mark.parametrize("target", [LIF(beta=0.9), lambda: LIF(beta=0.9), neurons(LIF, beta=st.just(0.9))])
def test_objects_functions_and_strategies_can_be_checked_too(target):
    assert "charge_is_conserved" in check_neuron(target, max_examples=5)


def test_what_is_no_neuron_is_refused():
    with pytest.raises(ParameterError, match="needs a neuron, its class or a function that makes one, not 3"):
        check_neuron(3)


def test_a_law_can_be_disclaimed_but_not_invented():
    class Honest(HasAThresholdPerChannel):
        laws: ClassVar = {"channels_are_interchangeable": False}

    class Inventive(Plain):
        laws: ClassVar = {"perpetual_motion": True}

    assert "channels_are_interchangeable" not in check_neuron(Honest, max_examples=5)
    with pytest.raises(ParameterError, match="there is no law 'perpetual_motion' of neurons; there are no_spikes"):
        check_neuron(Inventive)
    with pytest.raises(ParameterError, match="there is no law 'perpetual_motion'"):
        check_neuron(Plain, laws=["perpetual_motion"])


class TwoStates(NamedTuple):
    current: Tensor
    v: Tensor


@dataclasses.dataclass(frozen=True)
class CurrentBased:
    """Two states, parameters nobody has heard of, claims nothing."""

    decay: float
    quick: bool = True

    @classmethod
    def strategies(cls):
        return {"decay": st.floats(0, 1)}

    def init(self, x):
        return TwoStates(*(Tensor(np.zeros_like(x.data)) for _ in range(2)))

    def step(self, x, state):
        current = state.current * self.decay + x
        h = state.v * self.decay + current
        s = _Fire.apply(h - 1.0, strict=False, surrogate=ATan())
        return s, TwoStates(current, h - s.detach())


def test_a_neuron_with_two_states_and_parameters_of_its_own():
    assert set(check_neuron(CurrentBased)) == {
        name for name, law in LAWS.items() if not law.claimed and name != "fused_equals_unrolled"
    }


NEW_FILE = '''
"""Leaky integrate-and-fire with another name, in a file that nothing mentions."""

from __future__ import annotations

from dataclasses import dataclass

from .lif import LIF


@dataclass(frozen=True)
class Newcomer(LIF):
    """A neuron like any other."""

    def step(self, x, state):
        return super().step(x + FAULT, state)
'''


def test_a_neuron_in_a_new_file_meets_every_law_without_an_edit(tmp_path):
    def nothing_heavy(folder, names):
        return [name for name in names if name == "__pycache__" or folder.endswith("models/weights")]

    for folder in ("pysnnmed", "backends"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=nothing_heavy)
    (tmp_path / "tests").mkdir()
    for file in ("setup.cfg", "tests/conftest.py", "tests/test_neurons.py"):
        shutil.copy(ROOT / file, tmp_path / file)

    def outcome(fault, laws):
        new = tmp_path / "pysnnmed" / "neurons" / "newcomer.py"
        new.write_text(NEW_FILE.replace("FAULT", fault))
        command = [sys.executable, "-B", "-m", "pytest", "-q", "-rA", "-k", laws, "tests/test_neurons.py"]
        # kernels in another place would be compiled again, which takes longer than to interpret them
        environment = {**os.environ, "PYTHONPATH": "", "NUMBA_DISABLE_JIT": "1"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        return {
            kind: set(re.findall(rf"^{kind} .*\[Newcomer-(\w+)\]", done.stdout, flags=re.M))
            for kind in ("PASSED", "FAILED")
        }

    assert outcome("0.0", "Newcomer") == {"PASSED": set(LAWS), "FAILED": set()}
    faulty = outcome("0.5", "Newcomer and (no_spikes or fused_equals)")
    assert faulty == {"PASSED": set(), "FAILED": {"no_spikes_without_input", "fused_equals_unrolled"}}
