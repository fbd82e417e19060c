"""The memory of a run is known before it starts, and is what the run then takes."""

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import kernels
from pysnnmed.deploy import memory
from pysnnmed.deploy.executor import Executor, execute
from pysnnmed.deploy.operations import (
    Add,
    Attend,
    Convolve,
    Dynamics,
    Enlarge,
    Fire,
    Gate,
    Geometry,
    Integrate,
    MeanSteps,
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
from pysnnmed.errors import ProgramError
from pysnnmed.testing import programs

SMALL_CHANGE = 48 * 2**10  # bytes of Python objects, tables of fan-outs and blocks of counting


def lives(program, plan):
    """{name: (first operation, last operation)} by the definition."""
    index = {operation.name: i for i, operation in enumerate(program.operations)}
    return {
        name: (index[name], max([index[name], *(i for i, op in enumerate(program.operations) if name in op.reads)]))
        for name in plan.places
    }


@given(program=programs.programs(), data=st.data())
def test_values_that_live_together_do_not_share_memory(program, data):
    made = [operation.name for operation in program.operations]
    keep = tuple(data.draw(st.sets(st.sampled_from(made)))) if made else ()
    plan = memory.plan(program, program.example, keep)
    assert set(plan.returned) == {*program.outputs, *keep}
    assert set(plan.places) == set(made) - set(plan.returned)
    for name, span in lives(program, plan).items():
        place = plan.places[name]
        assert (place.first, place.last) == span
        assert place.nbytes == plan.values[name].nbytes
        assert place.start % memory.ALIGNMENT == 0
        assert place.start >= 0
        assert place.start + place.nbytes <= plan.arena
    for one, other in itertools.combinations([*plan.places.values(), *plan.scratch.values()], 2):
        together = max(one.first, other.first) <= min(one.last, other.last)
        apart = one.start + one.nbytes <= other.start or other.start + other.nbytes <= one.start
        assert apart or not together
    total = sum(place.nbytes + memory.ALIGNMENT for place in [*plan.places.values(), *plan.scratch.values()])
    assert plan.busiest <= plan.arena <= total + memory.ALIGNMENT


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_any_lives_find_places_that_do_not_overlap(lives):
    wanted = [memory.Place(str(i), 0, n, min(a, b), max(a, b)) for i, (n, a, b) in enumerate(lives)]
    placed = memory.placed(wanted)
    assert [replace(place, start=0) for place in placed] == wanted
    assert all(place.start >= 0 and place.start % memory.ALIGNMENT == 0 for place in placed)
    for one, other in itertools.combinations([place for place in placed if place.nbytes], 2):
        together = max(one.first, other.first) <= min(one.last, other.last)
        apart = one.start + one.nbytes <= other.start or other.start + other.nbytes <= one.start
        assert apart or not together


@given(case=programs.cases())
def test_the_arena_is_as_large_as_planned(case):
    executor = Executor(case.program)
    found = executor(case.inputs)
    assert memory.allocation(executor._arena.nbytes) == found.plan.arena
    assert executor._arena.ctypes.data % memory.ALIGNMENT == 0 or not found.plan.arena
    before = executor._arena
    executor(case.inputs)
    assert executor._arena is before


def chain(n):
    """A program whose values are each read once, by the next."""
    reals = [Quantize("q0", "x", 2.0), *(Quantize(f"q{i}", f"q{i - 1}", 1.0, 0.0, 2.0) for i in range(1, n))]
    return Program({"x": 1}, tuple(reals), (f"q{n - 1}",), 1)


def test_a_chain_needs_two_places():
    plan = memory.plan(chain(9), (1000,))
    assert plan.busiest == 2 * 4000
    assert plan.arena == 4032 + 4000 + memory.ALIGNMENT
    assert plan.peak == plan.arena + 4000 + memory.ALIGNMENT


def test_a_value_of_which_only_the_shape_is_read_is_not_held():
    operations = (Quantize("a", "x", 1.0), Quantize("b", "x", 2.0), Enlarge("c", "b", "a"), Quantize("d", "c", 1.0))
    plan = memory.plan(Program({"x": 1}, operations, ("d",), 1), (8,))
    assert plan.places["a"].last == 0


def network(integer, ndim=3):
    """One operation of every kind, in the order of a registration network."""
    rng = np.random.default_rng(0)
    kind, small = (np.int32, np.int8) if integer else (np.float32, np.float32)
    ones, n = (1,) * ndim, 8
    same, down = Geometry((3,) * ndim, ones, ones, ones), Geometry((3,) * ndim, (2,) * ndim, ones, ones)

    def neurons():
        whole = np.arange(1, n + 1).astype(kind)
        return Dynamics(3, 40 * whole[None], 30 * whole, whole, 0 * whole, leak=1.0)

    def synapses(source, n_out, n_in):
        weight = rng.integers(-2, 4, (n_out, n_in, *same.kernel)).astype(small)
        return Synapses((source,), weight, np.ones(n_out, kind))

    zeros, scale = np.zeros(n, kind), np.full(ndim, 2**-6, np.float32)
    operations = (
        Quantize("grey", "image", 16.0),
        SpikingLayer("down", down, neurons(), zeros, analog=synapses("grey", n, 1)),
        Pool("pooled", "down", 2, "or"),
        Repeat("repeated", "pooled", 2),
        SpikingLayer(
            "refined", same, neurons(), zeros, frames=synapses("repeated", n, n), rates=synapses("down", n, n)
        ),
        ReadOut("velocity", same, replace(synapses("refined", ndim, n), factor=scale), 0 * scale),
        Integrate("field", "velocity", 3),
        Enlarge("displacement", "field", "image", 2.0),
        Warp("moved", "image", "displacement"),
    )
    return Program({"image": 1}, operations, ("displacement", "moved"), ndim, multiple=4)


TRUNK = {Add, Attend, Convolve, Fire, Gate, MeanSteps}  # see test_trunk


def test_every_source_of_an_operation_holds_its_memory():
    places = memory.plan(network(True), (16, 16, 16)).places
    lives = {name: (place.first, place.last) for name, place in places.items()}
    assert lives == {
        "grey": (0, 1),
        "down": (1, 4),  # refined reads it as its rates
        "pooled": (2, 3),
        "repeated": (3, 4),
        "refined": (4, 5),
        "velocity": (5, 6),
        "field": (6, 7),
    }


def fields(ndim):
    """The same without layers of packed spikes, whose reference kernels leave their memory to NumPy."""
    operations = (
        Quantize("grey", "image", 16.0),
        Integrate("field", "velocity", 3),
        Enlarge("larger", "grey", "image", 1.5),
        Warp("moved", "larger", "field"),
    )
    return Program({"image": 1, "velocity": ndim}, operations, ("moved",), ndim)


def measured_peak(program, shape, keep=(), batch=1):
    """(bytes that a run takes at its peak, plan), on the active backend, after everything is compiled."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.random((batch, n, *shape), np.float32) for name, n in program.inputs.items()}
    execute(program, inputs, keep=keep)
    executor = Executor(program, keep=keep)
    executor.plan(shape, batch)
    tracemalloc.start()
    try:
        found = executor(inputs)
        return tracemalloc.get_traced_memory()[1], found.plan
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("ndim", "shape"), [(1, (300_000,)), (2, (600, 500)), (3, (64, 72, 60))])
@pytest.mark.parametrize("batch", [1, 2])
def test_fields_take_the_planned_memory(ndim, shape, batch):
    pytest.importorskip("numba")
    with kernels.use_backend("numba"):
        peak, plan = measured_peak(fields(ndim), shape, batch=batch)
    assert plan.peak <= peak + SMALL_CHANGE
    assert peak <= plan.peak + SMALL_CHANGE


@pytest.mark.parametrize("keep", [(), ("down", "refined")])
@pytest.mark.parametrize("integer", [True, False])
def test_networks_take_the_planned_memory(integer, keep):
    pytest.importorskip("numba")
    if not hasattr(kernels.load("numba"), "spiking_layer"):
        pytest.skip("this backend runs packed layers on the reference, whose temporary memory is NumPy's")
    with kernels.use_backend("numba"):
        peak, plan = measured_peak(network(integer), (48, 48, 48), keep)
    assert plan.peak <= peak + SMALL_CHANGE
    assert peak <= plan.peak + SMALL_CHANGE


@pytest.mark.parametrize("backend", kernels.available())
def test_the_network_of_every_kind_runs(backend):
    with kernels.use_backend(backend):
        found = execute(
            network(True), {"image": np.random.default_rng(0).random((1, 8, 8, 8), np.float32)}, keep=("down",)
        )
    kinds = {type(operation) for operation in network(True).operations} | TRUNK
    assert kinds == set(Operation.kinds.values())
    assert 0 < found.rates["refined"] < 1
    assert found.outputs["moved"].shape == (1, 8, 8, 8)


# ---------------------------------------------------------------------------------------------------------- limits


def test_too_little_memory_is_refused_before_anything_is_allocated(monkeypatch):
    program = network(True)
    image = {"image": np.zeros((1, 16, 16, 16), np.float32)}
    need = execute(program, image).plan.peak
    assert execute(program, image, memory_limit=need).plan.peak == need
    monkeypatch.setattr(memory, "allocate", lambda nbytes: pytest.fail("allocated"))
    with pytest.raises(
        ProgramError, match=rf"(?s)takes {need:,} bytes, the limit is {need - 1:,}.*refined .*peak {need:,}"
    ):
        execute(program, image, memory_limit=need - 1)


def test_the_memory_of_the_machine_is_the_limit_unless_another_is_given():
    assert Executor(chain(2)).memory_limit == memory.machine_memory()
    assert memory.machine_memory() > 2**20


def test_an_allocation_that_the_system_refuses_is_an_error_of_ours():
    with pytest.raises(ProgramError, match="which this machine refuses"):
        memory.allocate(2**62)


def test_the_table_shows_every_value_and_the_peak():
    plan = memory.plan(network(True), (16, 16, 16), ("down",), batch=2)
    lines = plan.table().splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(plan.values)
    assert "spikes [T=3, C=8, 8, 8, 8]" in plan.table()
    assert f"peak {plan.peak:,} bytes for 2 samples of [16, 16, 16]" in lines[-1]
    assert next(line for line in lines if line.startswith("down ")).split()[-3] == "returned"
