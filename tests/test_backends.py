"""Every kernel of every backend keeps the contract, and the published check finds what breaks it.

$PYSNNMED_TEST_BACKEND names the one backend to check: one of ours, or a module that can be imported.
"""

import importlib
import os
import types
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from pysnnmed import kernels
from pysnnmed.deploy.operations import Geometry, ReadOut, Synapses
from pysnnmed.deploy.values import Packed
from pysnnmed.errors import ParameterError
from pysnnmed.testing import KernelMismatch, check_backend
from pysnnmed.testing.kernel_cases import CASES, KernelCase
from pysnnmed.testing.kernel_checks import kernels_of

REFERENCE = kernels.load("numpy")
CHOSEN = os.environ.get("PYSNNMED_TEST_BACKEND")
BACKENDS = [CHOSEN] if CHOSEN else kernels.available()[1:]


def loaded(backend):
    return kernels.load(backend) if backend in kernels.available() else importlib.import_module(backend)


def test_every_reference_kernel_has_a_case():
    assert set(kernels_of("numpy")) == set(CASES)


@pytest.mark.parametrize(("backend", "kernel"), [(b, k) for b in BACKENDS for k in kernels_of(loaded(b))])
def test_kernels_keep_the_contract(backend, kernel):
    assert check_backend(loaded(backend), only=[kernel]) == (kernel,)


# ------------------------------------------------------------------------------------- the check finds planted faults


def backend(kernel):
    """A backend of one kernel, which has the name of its function."""
    module = types.ModuleType("planted_kernels")
    setattr(module, kernel.__name__, kernel)
    return module


def test_the_reference_passes_as_a_backend():
    assert set(check_backend(REFERENCE, max_examples=5)) == set(CASES)


def test_a_border_that_is_off_by_one_is_found():
    def warp_forward(image, displacement):
        inside = image.copy()
        if image.shape[2] > 1:
            inside[:, :, -1] = inside[:, :, -2]
        return REFERENCE.warp_forward(inside, displacement)

    with pytest.raises(KernelMismatch, match=r"warp_forward: result 0 at .* instead of") as error:
        check_backend(backend(warp_forward))
    assert error.value.kernel == "warp_forward"
    assert error.value.arguments[0].shape == (1, 1, 2)  # the smallest image with a border and an inside


def test_a_wrong_type_is_found():
    def warp_forward(image, displacement):
        return REFERENCE.warp_forward(image, displacement).astype(np.float64)

    with pytest.raises(KernelMismatch, match=r"result 0 is float64 of shape .* instead of float32"):
        check_backend(backend(warp_forward))


def test_a_kernel_that_writes_to_its_input_is_found():
    def lif_forward(x, v0, steps, beta, v_threshold, amount, v_reset, soft, firing):
        result = REFERENCE.lif_forward(x, v0, steps, beta, v_threshold, amount, v_reset, soft, firing)
        v0 += 1
        return result

    with pytest.raises(KernelMismatch, match="lif_forward: it writes to its argument 1"):
        check_backend(backend(lif_forward))


def test_the_other_tie_rule_is_found():
    def lif_forward(x, v0, steps, beta, v_threshold, amount, v_reset, soft, firing):
        other = replace(firing, strict=True) if hasattr(firing, "strict") else firing
        return REFERENCE.lif_forward(x, v0, steps, beta, v_threshold, amount, v_reset, soft, other)

    with pytest.raises(KernelMismatch, match=r"lif_forward: result 0 at .* is 0 instead of 1"):
        check_backend(backend(lif_forward), max_examples=100)


@pytest.fixture
def one_read_out(monkeypatch):
    """The cases of read_out are a single one, so that nothing is searched for a smaller one."""

    def arguments():
        ones = np.ones(1, np.float32)
        synapses = Synapses(("s",), np.full((1, 2, 3), 2, np.int8), ones)
        operation = ReadOut("head", Geometry((3,), (1,), (1,), (1,)), synapses, ones)
        return operation, (Packed(np.array([[[3], [1], [0], [2]]], np.uint8), 2),), None

    monkeypatch.setitem(CASES, "read_out", KernelCase(st.builds(arguments), out=2))


@pytest.mark.usefixtures("one_read_out")
def test_a_kernel_that_writes_to_packed_spikes_is_found():
    def read_out(operation, sources, out=None, scratch=None):
        result = REFERENCE.read_out(operation, sources, out, scratch)
        sources[-1].words[...] = 0
        return result

    with pytest.raises(KernelMismatch, match=r"read_out: it writes to its argument 1; .*ReadOut\(.*uint8"):
        check_backend(backend(read_out))


@pytest.mark.usefixtures("one_read_out")
def test_a_kernel_that_changes_the_layer_is_found():
    def read_out(operation, sources, out=None, scratch=None):
        result = REFERENCE.read_out(operation, sources, out, scratch)
        operation.synapses.factor[0] += 1
        return result

    with pytest.raises(KernelMismatch, match="read_out: it writes to its argument 0"):
        check_backend(backend(read_out))


@pytest.mark.usefixtures("one_read_out")
def test_a_spike_counted_once_too_often_is_found():
    def read_out(operation, sources, out=None, scratch=None):
        values, counts = REFERENCE.read_out(operation, sources, out, scratch)
        return values, counts._replace(synops=counts.synops + 1)

    with pytest.raises(KernelMismatch, match=r"read_out: result 2 at .* is 10 instead of 9"):
        check_backend(backend(read_out))


def test_a_threshold_that_must_be_passed_is_found():
    def spiking_layer(layer, frames, raised, rates, analog, out=None, scratch=None):
        neurons = layer.dynamics
        above = neurons.thresholds + neurons.thresholds.dtype.type(0.25 if layer.bias.dtype.kind == "f" else 1)
        strict = replace(layer, dynamics=replace(neurons, thresholds=above))
        return REFERENCE.spiking_layer(strict, frames, raised, rates, analog, out, scratch)

    with pytest.raises(KernelMismatch, match="spiking_layer: result 0 at"):
        check_backend(backend(spiking_layer))


def test_a_lost_bit_of_a_long_word_is_found(monkeypatch):
    def repeat_spikes(words, size, out=None):
        return REFERENCE.repeat_spikes(words - np.ones(1, words.dtype), size, out)

    words = np.array([[[2**63 + 1]]], np.uint64)  # float64 holds neither this nor the difference
    monkeypatch.setitem(CASES, "repeat_spikes", KernelCase(st.just((words, 1, None)), out=2))
    with pytest.raises(KernelMismatch, match=f"repeat_spikes: result 0 at .* is {2**63} instead of {2**63 + 1}"):
        check_backend(backend(repeat_spikes))


def test_a_result_that_is_not_written_where_it_was_wanted_is_found():
    def pool_spikes(words, size, kind, out=None):
        return REFERENCE.pool_spikes(words, size, kind)

    with pytest.raises(KernelMismatch, match="pool_spikes: its first result must be its argument 3"):
        check_backend(backend(pool_spikes))


def test_a_result_that_depends_on_the_threads_is_found():
    limit = importlib.import_module("pysnnmed.backends.threads").limit

    def batch_norm_forward(x, gamma, beta, mean, variance, epsilon):
        noise = 1e-7 * limit.get()  # far below the tolerance against the reference
        return REFERENCE.batch_norm_forward(x, gamma, beta, mean + noise, variance, epsilon)

    with pytest.raises(KernelMismatch, match="on another number of threads, or when called again, result 0"):
        check_backend(backend(batch_norm_forward))


def test_a_missing_result_is_found():
    def max_pool_forward(x, kernel, stride, padding):
        return REFERENCE.max_pool_forward(x, kernel, stride, padding)[0]

    with pytest.raises(KernelMismatch, match="it returns 1 results instead of 2"):
        check_backend(backend(max_pool_forward))


def test_an_error_of_a_kernel_is_reported_with_its_arguments():
    def lif_forward(x, v0, steps, beta, v_threshold, amount, v_reset, soft, firing):
        raise ZeroDivisionError("no")

    with pytest.raises(KernelMismatch, match=r"it raises ZeroDivisionError: no; smallest case: float"):
        check_backend(backend(lif_forward))


def test_another_signature_is_found():
    def lif_forward(x, v0, beta):
        return x

    with pytest.raises(KernelMismatch, match=r"lif_forward: the parameters must be \(x.*, not \(x, v0, beta\)"):
        check_backend(backend(lif_forward))


def test_a_kernel_without_a_reference_is_found():
    def conv_backwards(x):
        return x

    conv_backwards.__module__ = "planted_kernels"
    with pytest.raises(KernelMismatch, match="conv_backwards: the reference has no such kernel"):
        check_backend(backend(conv_backwards))


def test_asking_for_a_kernel_that_is_not_there_is_refused():
    with pytest.raises(ParameterError, match="there is no kernel 'fft'"):
        check_backend(REFERENCE, only=["fft"])


def test_small_work_is_split_only_where_that_is_asked_for():
    threads = importlib.import_module("pysnnmed.backends.threads")

    def ranges(cost, **options):
        found = []
        with kernels.use_threads(2, **options):
            threads.for_ranges(lambda start, stop: found.append((start, stop)), 8, threads.share(cost))
        return sorted(found)

    assert ranges(1) == [(0, 8)]
    assert ranges(1, split_small=True) == ranges(10**9) == [(0, 4), (4, 8)]
    assert ranges(0) == [(0, 8)]
