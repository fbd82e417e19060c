"""What goes into an executor: rounding of real numbers, other types and grids, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_programs import layer_and_repeats, two_layers

from pysnnmed import kernels
from pysnnmed.deploy.executor import Executor, execute
from pysnnmed.deploy.operations import Enlarge, Integrate, Quantize
from pysnnmed.deploy.program import Program
from pysnnmed.errors import ProgramError


@given(x=st.lists(st.floats(-4, 4, width=32) | st.sampled_from([0.5, 1.5, 0.125]), min_size=1, max_size=9))
def test_quantizing_rounds_halves_to_even(x):
    program = Program({"x": 1}, (Quantize("q", "x", 4.0, -1.0, 2.0),), ("q",), 1)
    found = execute(program, {"x": np.array([x], np.float32)}).outputs["q"]
    np.testing.assert_array_equal(found[0], [round(4 * min(max(value, -1.0), 2.0)) for value in x])


def test_quantizing_more_than_a_block():
    program = Program({"x": 1}, (Quantize("q", "x", 4.0),), ("q",), 1)
    x = np.random.default_rng(3).random((1, 2**15 + 5), np.float32)
    np.testing.assert_array_equal(execute(program, {"x": x}).outputs["q"], np.rint(4 * x))


# -------------------------------------------------------------------------------------------------- what is refused


WRONG_INPUTS = {
    "another name": ({"picture": np.zeros((1, 5, 6))}, "inputs image, not picture"),
    "none": ({}, "not none"),
    "channels": ({"image": np.zeros((2, 5, 6))}, "1 channels"),
    "axes": ({"image": np.zeros(5)}, "spatial axes"),
    "no number": ({"image": np.array(["a"])}, "real numbers"),
    "complex": ({"image": np.zeros((1, 5, 6), complex)}, "real numbers"),
    "empty batch": ({"image": np.zeros((0, 1, 5, 6))}, "batch"),
    "NaN": ({"image": np.full((1, 5, 6), np.nan)}, "finite"),
    "infinity": ({"image": np.full((1, 5, 6), -np.inf)}, "finite"),
    "beyond float32": ({"image": np.full((1, 5, 6), 1e300)}, "finite"),
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_wrong_inputs_are_refused(case):
    inputs, message = WRONG_INPUTS[case]
    with pytest.raises(ProgramError, match=message):
        execute(two_layers(), inputs)


def test_inputs_of_other_types_are_converted():
    program, image = two_layers(), np.arange(30).reshape(1, 5, 6) % 2
    wanted = execute(program, {"image": image.astype(np.float32)}).outputs["head"]
    for array in (image, image.astype(bool), image.astype(np.float64), np.asfortranarray(image.astype(np.float32))):
        np.testing.assert_array_equal(execute(program, {"image": array}).outputs["head"], wanted)


def test_a_program_of_nothing_returns_its_inputs():
    x = np.ones((1, 4), np.float32)
    found = execute(Program({"x": 1}, (), ("x",), 1), {"x": x}).outputs["x"]
    np.testing.assert_array_equal(found, x)
    assert not np.shares_memory(found, x)


def test_plans_are_made_once_for_each_shape_backend_and_number_of_threads():
    executor = Executor(two_layers())
    plan = executor.plan((5, 6))
    assert executor.plan((5, 6)) is plan
    assert executor.plan((6, 6)) is not plan
    with kernels.use_threads(1 + kernels.threads()):
        assert executor.plan((5, 6)) is not plan
    for n in range(1, 99):
        executor.plan((n, 6))
    assert len(executor._plans) < 99


def test_what_is_no_number_is_quantized_to_the_lowest():
    huge = np.full((1, 2), 3e38, np.float32)
    operations = (Enlarge("inf", "x", "x", 3.0), Integrate("nan", "inf", 1), Quantize("q", "nan", 2.0, -1.0, 1.0))
    program = Program({"x": 1}, operations, ("nan", "q"), 1, example=(2,))
    with np.errstate(all="ignore"):
        found = execute(program, {"x": huge}).outputs
    assert np.isnan(found["nan"]).any()
    np.testing.assert_array_equal(found["q"][np.isnan(found["nan"])], -2.0)


def test_inputs_that_do_not_lie_on_one_grid_are_refused():
    program = Program({"a": 1, "b": 1}, (Quantize("q", "a", 1.0),), ("q",), 1)
    with pytest.raises(ProgramError, match=r"input 'b'.*of the others"):
        execute(program, {"a": np.zeros((1, 4)), "b": np.zeros((1, 5))})


def test_keeping_what_is_not_there_is_refused():
    with pytest.raises(ProgramError, match="no value 'third'"):
        Executor(two_layers(), keep=("third",))


def test_real_numbers_are_not_packed():
    found = execute(two_layers(), {"image": np.zeros((1, 5, 6))}, keep=("grey",))
    with pytest.raises(ProgramError, match="real numbers"):
        found.kept.packed("grey")


def test_repeated_sizes_are_refused_before_they_are_allocated():
    program = Program({"x": 1}, layer_and_repeats(), ("r2",), 1)
    with pytest.raises(ProgramError, match=r"takes .* bytes, the limit is"):
        execute(program, {"x": np.ones((1, 4), np.float32)})
