"""Every kernel of every backend: signature and results of the reference, inputs untouched, threads irrelevant."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import CASES

from pysnnmed import kernels


def kernels_of(backend):
    """Public functions of a backend, wherever in its package they are written."""
    module = kernels.load(backend)
    return {
        name: f
        for name, f in vars(module).items()
        if not name.startswith("_") and inspect.isfunction(f) and f.__module__.startswith(module.__name__)
    }


REFERENCE = kernels_of("numpy")
OTHERS = [(b, k) for b in kernels.available() if b != "numpy" for k in kernels_of(b)]


def arrays(result):
    """The arrays and numbers of a result, in order; None stays None."""
    return list(result) if isinstance(result, tuple) else [result]


def test_every_reference_kernel_has_a_case():
    assert set(REFERENCE) == set(CASES)


@pytest.mark.parametrize(("backend", "kernel"), OTHERS)
def test_signature_is_the_reference_one(backend, kernel):
    assert kernel in REFERENCE, f"{backend}: {kernel} has no reference; helpers start with an underscore"
    theirs = inspect.signature(kernels_of(backend)[kernel]).parameters
    ours = inspect.signature(REFERENCE[kernel]).parameters
    assert [(p.name, p.default) for p in theirs.values()] == [(p.name, p.default) for p in ours.values()]


@pytest.mark.parametrize(("backend", "kernel"), OTHERS)
@given(data=st.data(), threads=st.integers(1, 3))
def test_result_is_the_reference_one(backend, kernel, data, threads):
    case = CASES[kernel]
    args = data.draw(case.arguments)
    keep = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    with kernels.use_threads(threads):
        got = arrays(kernels_of(backend)[kernel](*args))
    want = arrays(REFERENCE[kernel](*keep))
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        if w is None:
            assert g is None
            continue
        assert np.shape(g) == np.shape(w)
        assert np.asarray(g).dtype == np.asarray(w).dtype
        np.testing.assert_allclose(g, w, rtol=case.rtol, atol=case.atol)
    for a, k in zip(args, keep, strict=True):
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, k)


@pytest.mark.parametrize(("backend", "kernel"), OTHERS)
@given(data=st.data())
def test_number_of_threads_does_not_change_a_bit(backend, kernel, data):
    args = data.draw(CASES[kernel].arguments)
    function = kernels_of(backend)[kernel]
    with kernels.use_threads(1):
        one = arrays(function(*args))
    with kernels.use_threads(3):
        three = arrays(function(*args))
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)
