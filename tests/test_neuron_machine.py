"""A neuron used in any order (steps, runs, resets, copies, files) against ten lines of plain Python, bit for bit."""

import io

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pysnnmed.kernels import available, use_backend
from pysnnmed.neurons import IF, LIF, run, unroll
from pysnnmed.tensor import Tensor

N = 3  # neurons side by side
eighths = st.integers(-16, 24).map(lambda k: k / 8)
backends = st.sampled_from(available())
currents = st.lists(eighths, min_size=N, max_size=N)


class Model:
    """The equations of one LIF, on Python numbers. A leak of 0, 1/2 or 1 rounds nothing, whichever backend runs."""

    def __init__(self, beta, threshold, soft, v_reset, v, strict):
        self.beta, self.threshold, self.soft, self.v_reset, self.v, self.strict = (
            beta,
            threshold,
            soft,
            v_reset,
            v,
            strict,
        )

    def step(self, x):
        h = self.beta * self.v + x
        fires = h > self.threshold if self.strict else h >= self.threshold
        self.v = h if not fires else h - self.threshold if self.soft else self.v_reset
        return float(fires)


class NeuronMachine(RuleBasedStateMachine):
    make = staticmethod(LIF)
    betas = st.sampled_from([0.0, 0.5, 1.0])

    @initialize(
        data=st.data(),
        threshold=st.sampled_from([0.5, 1.0, 1.25]),
        soft=st.booleans(),
        v_reset=eighths,
        strict=st.booleans(),
    )
    def build(self, data, threshold, soft, v_reset, strict):
        start = data.draw(eighths, "v_initial")
        leak = {} if self.betas is None else {"beta": data.draw(self.betas, "beta")}
        self.neuron = self.make(
            v_threshold=threshold,
            reset="soft" if soft else "hard",
            v_reset=v_reset,
            v_initial=start,
            tie=">" if strict else ">=",
            **leak,
        )
        self.fresh = lambda: [Model(leak.get("beta", 1.0), threshold, soft, v_reset, start, strict) for _ in range(N)]
        self.reset()

    @rule()
    def reset(self):
        self.models, self.state = self.fresh(), self.neuron.init(Tensor(np.zeros(N)))

    @rule(x=currents)
    def step(self, x):
        s, self.state = self.neuron.step(Tensor(np.array(x)), self.state)
        assert s.data.tolist() == [model.step(current) for model, current in zip(self.models, x, strict=True)]

    @rule(x=st.lists(currents, min_size=2, max_size=4), runner=st.sampled_from([run, unroll]), data=st.data())
    def run_in_two_parts(self, x, runner, data):
        cut = data.draw(st.integers(1, len(x) - 1), "cut")
        for part in (x[:cut], x[cut:]):
            with use_backend(data.draw(backends, "backend")):
                spikes, self.state = runner(self.neuron, np.array(part), self.state)
            assert spikes.data.tolist() == self.expected(part)

    @rule(x=currents, steps=st.integers(1, 4), runner=st.sampled_from([run, unroll]), backend=backends)
    def run_a_constant_current(self, x, steps, runner, backend):
        with use_backend(backend):
            spikes, self.state = runner(self.neuron, np.array(x), self.state, steps)
        assert spikes.data.tolist() == self.expected([x] * steps)

    @rule()
    def save_and_load(self):
        file = io.BytesIO()
        np.savez(file, **{name: part.data for name, part in self.state._asdict().items()})
        file.seek(0)
        with np.load(file) as saved:
            self.state = type(self.state)(**{name: Tensor(saved[name]) for name in saved.files})

    @rule(x=currents)
    def run_a_clone(self, x):
        clone = type(self.state)(*(Tensor(part.data.copy()) for part in self.state))
        ahead, _ = self.neuron.step(Tensor(np.array(x)), clone)
        again, _ = self.neuron.step(Tensor(np.array(x)), self.state)
        assert ahead.data.tolist() == again.data.tolist()  # and the invariant: neither has moved the state

    @invariant()
    def membranes_are_those_of_the_model(self):
        if hasattr(self, "state"):
            assert self.state.v.data.tolist() == [model.v for model in self.models]

    def expected(self, x):
        return [[model.step(current) for model, current in zip(self.models, row, strict=True)] for row in x]


class IntegrateAndFireMachine(NeuronMachine):
    make = staticmethod(IF)
    betas = None


BUDGET = settings(max_examples=40, stateful_step_count=15, deadline=None, derandomize=True)
NeuronMachine.TestCase.settings = IntegrateAndFireMachine.TestCase.settings = BUDGET
TestLeakyIntegrateAndFire = NeuronMachine.TestCase
TestIntegrateAndFire = IntegrateAndFireMachine.TestCase


def test_the_machine_finds_a_planted_fault():
    class Forgetful(NeuronMachine):
        @rule()
        def save_and_load(self):
            self.state = self.neuron.init(self.state.v)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Forgetful, settings=settings(BUDGET, database=None, phases=[Phase.generate]))
