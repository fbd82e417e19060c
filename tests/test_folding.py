"""Folding repeated positions: the same spikes with the additions that are left."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysnnmed import kernels
from pysnnmed.deploy.executor import execute
from pysnnmed.deploy.folding import fold_repeats, raised_geometry, raised_weights
from pysnnmed.deploy.operations import Dynamics, Geometry, Pool, Repeat, SpikingLayer, Synapses
from pysnnmed.deploy.program import Program
from pysnnmed.deploy.storage import load_program, save_program

BACKENDS = kernels.available()


def layer(name, sources, n_in, n_out, rng, geometry, number, whole=True):
    weight = rng.integers(-5, 6, (n_out, n_in, *geometry.kernel))
    thresholds = rng.integers(1, 12, (1, n_out)).astype(number)
    rest = np.zeros(n_out, number)
    dynamics = Dynamics(3, thresholds, thresholds[0], rest, rest, leak=1.0)
    weight = weight.astype(np.int8) if whole else (weight / 4).astype(np.float32)
    part = {"analog" if sources == ("image",) else "frames": Synapses(sources, weight, np.ones(n_out, number))}
    return SpikingLayer(name, geometry, dynamics, rest, **part)


@st.composite
def unets(draw):
    """A layer, its pooled spikes repeated, and a layer that sees both. Its image has whole numbers."""
    n, size, whole = draw(st.integers(1, 3)), draw(st.integers(2, 3)), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    number = np.int32 if whole else np.float32
    same = Geometry((3,) * n, (1,) * n, (1,) * n, (1,) * n)
    taps = tuple(draw(st.integers(1, 4)) for _ in range(n))
    padding = tuple(draw(st.integers(0, k - 1)) for k in taps)
    free = Geometry(taps, (1,) * n, padding, (1,) * n)
    operations = (
        layer("first", ("image",), 1, 5, rng, same, np.float32, whole=False),
        Pool("pooled", "first", size, "or"),
        Repeat("copies", "pooled", size),
        layer("last", draw(st.permutations(("copies", "first"))), 10, 4, rng, free, number, whole),
    )
    shape = tuple(size * draw(st.integers(2, 3)) for _ in range(n))
    program = Program({"image": 1}, operations, ("last",), n, size, shape)
    image = rng.integers(0, 3, (1, *shape)).astype(np.float32)
    return program, {"image": image}


@pytest.mark.parametrize("backend", BACKENDS)
@given(case=unets())
@settings(max_examples=30)
def test_a_folded_program_gives_the_same_spikes_with_the_additions_that_are_left(backend, case, tmp_path_factory):
    program, inputs = case
    folded = fold_repeats(program)
    assert [op.name for op in folded.operations] == ["first", "pooled", "last"]
    with kernels.use_backend(backend):
        before, after = execute(program, inputs, keep=("first", "last")), execute(folded, inputs, keep=("pooled",))
    np.testing.assert_array_equal(after.outputs["last"], before.outputs["last"])
    reads = folded.operations[-1]
    counts = {"before": before.report.layers[-1].synops, "after": after.report.layers[-1].synops}
    own = reads.geometry.fanout(program.example, 4).weigh(before.kept["first"].sum(axis=(0, 1), dtype=np.int64))
    below = reads.raised.geometry
    pooled = after.kept["pooled"].sum(axis=(0, 1), dtype=np.int64)
    assert counts["after"] == own + below.fanout(pooled.shape, 4).weigh(pooled)
    assert counts["after"] <= counts["before"]
    path = tmp_path_factory.mktemp("folded") / "program"
    save_program(path, folded)
    with kernels.use_backend(backend):
        again = execute(load_program(path), inputs)
    np.testing.assert_array_equal(again.outputs["last"], before.outputs["last"])


def test_three_taps_of_two_copies_are_sixty_four_weights():
    geometry = Geometry((3,) * 3, (1,) * 3, (1,) * 3, (1,) * 3)
    raised = raised_geometry(geometry, 2)
    assert (raised.kernel, raised.stride, raised.padding) == ((4,) * 3, (2,) * 3, (1,) * 3)
    weight = raised_weights(np.ones((1, 1, 3, 3, 3), np.int8), 2)
    assert weight.sum() == 216
    assert weight[0, 0, 0, 0].tolist() == [1, 2, 2, 1]
    inner = raised.fanout((8, 8, 8), 1).weigh(np.pad(np.ones((1, 1, 1), np.int64), ((3, 4),) * 3))
    assert inner == 64


def test_what_does_not_fold_stays(rng):
    same = Geometry((3,), (1,), (1,), (1,))
    first = layer("first", ("image",), 1, 5, rng, same, np.float32, whole=False)
    pooled, copies = Pool("pooled", "first", 2, "or"), Repeat("copies", "pooled", 2)

    def folds(last, outputs=("last",)):
        program = Program({"image": 1}, (first, pooled, copies, last), outputs, 1, 2, (8,))
        return fold_repeats(program).operations != program.operations

    def last(geometry=same, sources=("copies", "first")):
        return layer("last", sources, 5 * len(sources) // geometry.groups, 5, rng, geometry, np.int32)

    assert folds(last())
    assert not folds(last(sources=("copies",)))
    assert not folds(last(sources=("first",)), outputs=("last", "copies"))
    strided, dilated = Geometry((3,), (2,), (1,), (1,)), Geometry((3,), (1,), (2,), (2,))
    padded, grouped = Geometry((1,), (1,), (1,), (1,)), Geometry((3,), (1,), (1,), (1,), groups=5)
    for geometry in (strided, dilated, padded, grouped):
        assert not folds(last(geometry)), geometry
    wide = last()
    heavy = replace(wide.frames, weight=np.full_like(wide.frames.weight, 127).astype(np.int16) * 200)
    assert not folds(replace(wide, frames=heavy))


def test_copies_that_others_read_are_still_made(rng):
    same = Geometry((3,), (1,), (1,), (1,))
    first = layer("first", ("image",), 1, 5, rng, same, np.float32, whole=False)
    last = layer("last", ("copies", "first"), 10, 4, rng, same, np.int32)
    program = Program(
        {"image": 1},
        (first, Pool("pooled", "first", 2, "or"), Repeat("copies", "pooled", 2), last),
        ("last", "copies"),
        1,
        2,
        (8,),
    )
    assert "copies" in [operation.name for operation in fold_repeats(program).operations]
