"""Programs in files: what is saved comes back, and nothing else does."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysnnmed.deploy import storage
from pysnnmed.deploy.operations import Dynamics, Geometry, Quantize, ReadOut, SpikingLayer, Synapses
from pysnnmed.deploy.program import Program
from pysnnmed.deploy.storage import load_program, save_program
from pysnnmed.deploy.weights import load_arrays, save_arrays
from pysnnmed.errors import ProgramError, PysnnmedError, WeightsError
from pysnnmed.testing import programs


def same(a, b):
    (text, arrays), (other_text, other_arrays) = storage.to_text(a), storage.to_text(b)
    return (
        text == other_text
        and arrays.keys() == other_arrays.keys()
        and all(
            array.dtype == other_arrays[name].dtype and np.array_equal(array, other_arrays[name])
            for name, array in arrays.items()
        )
    )


def small_program():
    whole = np.array([1, 2], np.int32)
    geometry = Geometry((3,), (1,), (1,), (1,))
    neurons = Dynamics(2, np.array([[3, 4]], np.int32), whole, whole, whole, leak=3, shift=2)
    layer = SpikingLayer(
        "encoder.0", geometry, neurons, whole, analog=Synapses(("grey",), np.ones((2, 1, 3), np.int8), whole)
    )
    scale = np.ones(1, np.float32)
    head = ReadOut("head", geometry, Synapses(("encoder.0",), np.full((1, 2, 3), -2, np.int16), scale), scale)
    return Program({"image": 1}, (Quantize("grey", "image", 16.0), layer, head), ("head",), 1, facts={"dice": 0.5})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.safetensors"
    save_program(path, small_program())
    return path


@given(program=programs.programs())
def test_what_is_saved_comes_back(program, tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "program.safetensors"
    save_program(path, program)
    assert same(load_program(path), program)
    before = path.read_bytes()
    save_program(path, load_program(path))
    assert path.read_bytes() == before


def test_facts_come_back(file):
    assert load_program(file).facts == {"dice": 0.5}


# --------------------------------------------------------------------------------------------------- damaged files


def refused_or_equal(path, wanted):
    try:
        found = load_program(path)
    except (WeightsError, ProgramError) as error:
        assert str(path) in str(error)  # noqa: PT017  (either way is right)
        return "refused"
    assert same(found, wanted)
    return "equal"


def test_every_flipped_byte_is_refused_or_harmless(file):
    wanted, whole = load_program(file), file.read_bytes()
    outcomes = []
    header = 8 + int.from_bytes(whole[:8], "little")
    for i in [*range(header), *range(header, len(whole), 16)]:
        file.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        outcomes.append(refused_or_equal(file, wanted))
    assert outcomes.count("refused") > 0.9 * len(outcomes)


def test_truncated_files_are_refused(file):
    whole = file.read_bytes()
    for length in [*range(0, len(whole), 16), *range(len(whole) - 16, len(whole))]:
        file.write_bytes(whole[:length])
        assert refused_or_equal(file, None) == "refused"


@given(program=programs.programs(most=3), data=st.data())
def test_random_damage_is_refused_or_harmless(program, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "program.safetensors"
    save_program(path, program)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged))
    refused_or_equal(path, program)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    text, arrays = storage.to_text(small_program())
    arrays["head.bias"] = np.array([np.nan], np.float32)
    with pytest.raises(ProgramError, match=r"operation 'head'|ReadOut 'head': bias must be finite"):
        storage.from_text(text, arrays)
    with pytest.raises(WeightsError, match="NaN"):
        save_arrays(tmp_path / "x", arrays)


def test_another_weights_file_holds_no_program(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_arrays(path, {"a": np.zeros(3)}, {"network": "SpikeReg"})
    with pytest.raises(ProgramError, match=r"weights.safetensors: holds no program"):
        load_program(path)


def test_the_checksum_covers_the_description(file):
    arrays, metadata = load_arrays(file)
    save_arrays(file, arrays, {**metadata, "program": metadata["program"].replace('"steps":2', '"steps":3')})
    with pytest.raises(ProgramError, match="checksum of the program"):
        load_program(file)


# ----------------------------------------------------------------------------- whole files with a wrong description


def description(change):
    """(text, arrays) of the small program after `change(content, arrays)`."""
    text, arrays = storage.to_text(small_program())
    content = json.loads(text)
    change(content, arrays)
    return json.dumps(content), arrays


def layer_of(content):
    return next(entry for entry in content["operations"] if entry["operation"] == "SpikingLayer")


WRONG = {
    "kind": (
        lambda c, a: layer_of(c).update(operation="Transformer"),
        "operation 'encoder.0': 'Transformer' is unknown",
    ),
    "unknown field": (lambda c, a: layer_of(c).update(color=1), r"'encoder.0'.*fields"),
    "missing field": (lambda c, a: layer_of(c).pop("rates"), r"'encoder.0'.*fields"),
    "field type": (lambda c, a: layer_of(c)["dynamics"].update(steps="two"), r"'encoder.0'.*steps must be int"),
    "bool for int": (lambda c, a: layer_of(c)["dynamics"].update(steps=True), r"'encoder.0'.*steps must be int"),
    "steps": (lambda c, a: layer_of(c)["dynamics"].update(steps=10**9), r"'encoder.0'.*steps must be 1 to"),
    "shift": (lambda c, a: layer_of(c)["dynamics"].update(shift=10**9), r"'encoder.0'.*leak"),
    "leak": (lambda c, a: layer_of(c)["dynamics"].update(leak=10**400), r"'encoder.0'.*leak"),
    "stride": (lambda c, a: layer_of(c)["geometry"].update(stride=[10**12]), r"'encoder.0'.*at most"),
    "padding": (lambda c, a: layer_of(c)["geometry"].update(padding=[10**12]), r"'encoder.0'.*at most"),
    "kernel": (lambda c, a: layer_of(c)["geometry"].update(kernel=[10**9]), r"'encoder.0'"),
    "groups": (lambda c, a: layer_of(c)["geometry"].update(groups=10**12), r"'encoder.0'.*groups"),
    "axes": (lambda c, a: layer_of(c)["geometry"].update(kernel=[]), r"'encoder.0'"),
    "source": (lambda c, a: layer_of(c)["analog"].update(sources=["nowhere"]), r"'encoder.0'.*'nowhere'"),
    "no sources": (lambda c, a: layer_of(c)["analog"].update(sources=[]), r"'encoder.0'.*at least one source"),
    "array missing": (lambda c, a: a.pop("head.bias"), r"'head'.*'head.bias' is missing"),
    "array too many": (lambda c, a: a.update({"tail.bias": a["head.bias"]}), "'tail.bias' belongs to no operation"),
    "array shape": (lambda c, a: a.update({"head.bias": a["head.bias"][:0]}), "'head'.*bias"),
    "array of no axes": (lambda c, a: a.update({"encoder.0.bias": np.int32(1)[...]}), r"'encoder.0'.*bias"),
    "array type": (lambda c, a: a.update({"encoder.0.bias": np.ones(2)}), r"'encoder.0'.*bias"),
    "weights": (
        lambda c, a: a.update({"encoder.0.analog.weight": np.ones((2, 2, 3), np.int8)}),
        r"'encoder.0'.*must have shape",
    ),
    "range": (
        lambda c, a: a.update({"encoder.0.analog.factor": np.full(2, 2**26, np.int32)}),
        r"'encoder.0'.*int32",
    ),
    "outputs": (lambda c, a: c.update(outputs=["tail"]), "tail"),
    "multiple": (lambda c, a: c.update(multiple=10**12, example=[]), "at most"),
    "example": (lambda c, a: c.update(example=[10**12]), "at most"),
    "axes of the program": (lambda c, a: c.update(ndim=10**6), "axes"),
    "channels": (lambda c, a: c.update(inputs={"image": 10**12}), "channels"),
    "inputs": (lambda c, a: c.update(inputs={"image": None}), "inputs must be int"),
    "analog channels of nobody": (lambda c, a: c.update(analog_channels={"nobody": 0}), "operations.*'nobody'"),
    "analog channels": (lambda c, a: c.update(analog_channels={"encoder.0": 10**9}), "'encoder.0'.*analog_channels"),
    "analog channels of a head": (lambda c, a: c.update(analog_channels={"head": 10}), "'head'.*analog_channels"),
    "no analog channels": (lambda c, a: c.update(analog_channels=[]), "analog_channels must be"),
    "later version": (lambda c, a: c.update(version=3), "not 3; update pysnnmed"),
    "earlier version": (lambda c, a: c.update(version=1), "not 1; lower the network again"),
    "operations": (lambda c, a: c.update(operations={}), "list"),
    "nameless": (lambda c, a: c["operations"][0].pop("name"), "operation 0 has no name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_description_is_refused(case):
    change, message = WRONG[case]
    text, arrays = description(change)
    with pytest.raises(ProgramError, match=f"(?s){message}"):
        storage.from_text(text, arrays)


def leaves(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from leaves(part, (*path, key))


ODD = [None, True, -1, 0, 2, 10**12, 0.5, -1e308, "", "head", "\ud800", [], [0], [[1]], {}, {"name": "x"}]


@settings(max_examples=100)
@given(program=programs.programs(most=3), data=st.data())
def test_any_odd_field_is_refused_or_fits(program, data):
    text, arrays = storage.to_text(program)
    content = {"root": json.loads(text)}
    *way, last = data.draw(st.sampled_from([path for path in leaves(content) if path]))
    target = content
    for key in way:
        target = target[key]
    target[last] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    try:
        found = storage.from_text(json.dumps(content["root"]), arrays)
    except PysnnmedError:
        return
    assert isinstance(found, Program)
    assert np.prod(found.example, dtype=float) <= 2**24


# -------------------------------------------------------------------------------------------------- what is refused


def test_facts_that_are_no_json_are_refused(tmp_path):
    program = replace(small_program(), facts={"when": object()})
    with pytest.raises(ProgramError, match="facts"):
        save_program(tmp_path / "x", program)
    assert not list(tmp_path.iterdir())


def test_facts_that_would_not_be_read_again_are_refused(tmp_path):
    with pytest.raises(ProgramError, match="must stay within"):
        save_program(tmp_path / "x", replace(small_program(), facts={"log": "x" * 2**20}))
    assert not list(tmp_path.iterdir())
