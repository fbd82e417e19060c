"""The safetensors layout: agreement with the reference implementation, and refusal of everything else."""

import json

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.deploy.weights import DTYPES, load_arrays, save_arrays
from pysnnmed.errors import PysnnmedError, WeightsError

names = st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__")
any_array = st.sampled_from(sorted(set(DTYPES.values()))).flatmap(
    lambda code: hnp.arrays(
        np.dtype(code),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if np.dtype(code).kind == "f" else None,
    )
)
named_arrays = st.dictionaries(names, any_array, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def assert_same(got, want):
    assert set(got) == set(want)
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], strict=True)


@given(arrays=named_arrays, metadata=st.dictionaries(st.sampled_from(["arch", "note"]), st.text(max_size=5)))
def test_what_is_saved_is_loaded(folder, arrays, metadata):
    path = folder / "a.safetensors"
    save_arrays(path, arrays, metadata)
    got, facts = load_arrays(path)
    assert_same(got, arrays)
    assert {k: facts[k] for k in metadata} == metadata


@given(arrays=named_arrays)
def test_the_reference_implementation_reads_our_files(folder, arrays):
    reference = pytest.importorskip("safetensors.numpy")
    path = folder / "b.safetensors"
    save_arrays(path, arrays)
    assert_same(reference.load_file(path), arrays)


@given(arrays=named_arrays)
def test_we_read_files_of_the_reference_implementation(folder, arrays):
    reference = pytest.importorskip("safetensors.numpy")
    path = folder / "c.safetensors"
    reference.save_file({n: np.ascontiguousarray(a).reshape(a.shape) for n, a in arrays.items()}, path)
    assert_same(load_arrays(path)[0], arrays)


def test_order_in_memory_does_not_matter(folder, rng):
    a = rng.normal(size=(3, 4)).astype(np.float32)
    views = {"transposed": a.T, "reversed": a[::-1], "strided": a[:, ::2], "fortran": np.asfortranarray(a)}
    save_arrays(folder / "d.safetensors", views)
    assert_same(load_arrays(folder / "d.safetensors")[0], views)


def test_saving_twice_gives_the_same_bytes(folder, rng):
    arrays = {"b": rng.normal(size=3), "a": np.arange(4, dtype=np.int8)}
    for name in ("e1", "e2"):
        save_arrays(folder / name, arrays, {"x": "1"})
    assert (folder / "e1").read_bytes() == (folder / "e2").read_bytes()


@pytest.fixture(scope="module")
def good(folder):
    path = folder / "good.safetensors"
    save_arrays(
        path, {"weight": np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6), "bias": np.arange(4)}, {"k": "v"}
    )
    return path.read_bytes()


@given(data=st.data())
def test_a_flipped_bit_never_changes_a_value_in_silence(folder, good, data):
    original, _ = load_arrays(_written(folder, good))
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    flipped = bytearray(good)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        got, _ = load_arrays(_written(folder, bytes(flipped)))
    except WeightsError:
        return
    for a, b in zip(got.values(), original.values(), strict=True):  # the bit was in a name or in foreign metadata
        np.testing.assert_array_equal(a, b)


@given(data=st.data())
def test_every_truncation_is_refused(folder, good, data):
    n = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(WeightsError):
        load_arrays(_written(folder, good[:n]))


def _written(folder, content):
    path = folder / "m.safetensors"
    path.write_bytes(content)
    return path


def _file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a weights file"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "not a weights file"),
        (_file(b"[1]"), "JSON object"),
        (_file(b"{nonsense"), "not valid JSON"),
        (_file(b"[" * 100_000), "not valid JSON"),
        (_file(b'{"a":1,"a":1}'), "twice"),
        (_file({"a": 3}), "exactly dtype"),
        (_file({"a": {**ENTRY, "dtype": "F7"}}, bytes(8)), "unknown type"),
        (_file({"a": {**ENTRY, "shape": [-2]}}, bytes(8)), "natural numbers"),
        (_file({"a": {**ENTRY, "shape": [10**12]}}, bytes(8)), "needs 4000000000000 bytes"),
        (_file({"a": ENTRY}, bytes(4)), "needs 8 bytes"),
        (_file({"a": ENTRY, "b": ENTRY}, bytes(8)), "overlap or hole"),
        (_file({"a": {**ENTRY, "data_offsets": [4, 12]}}, bytes(12)), "overlap or hole"),
        (_file({"a": ENTRY}, bytes(9)), "belong to nothing"),
        (_file({"a": ENTRY, "__metadata__": {"x": 1}}, bytes(8)), "strings"),
        (_file({"a": ENTRY, "__metadata__": {"sha256": "0"}}, bytes(8)), "checksum"),
        (_file({"a": ENTRY}, np.float32([np.nan, 1]).tobytes()), "NaN"),
    ],
)
def test_malformed_files_are_refused(folder, content, says):
    with pytest.raises(WeightsError, match=says):
        load_arrays(_written(folder, content))


def test_a_missing_file_is_our_own_error(folder):
    with pytest.raises(PysnnmedError, match=r"absent\.safetensors"):
        load_arrays(folder / "absent.safetensors")


def test_what_cannot_be_stored_is_refused_and_leaves_no_file(folder):
    with pytest.raises(WeightsError, match="complex"):
        save_arrays(folder / "f.safetensors", {"a": np.zeros(2, complex)})
    with pytest.raises(WeightsError, match="NaN"):
        save_arrays(folder / "f.safetensors", {"a": np.array([np.nan])})
    assert not (folder / "f.safetensors").exists()
