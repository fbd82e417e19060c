"""Memory that kernels use again: never while anybody can still see it, and never more than was in use at once."""

import importlib
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels, nn, ops
from pysnnmed.conv import conv
from pysnnmed.neurons import LIF, run

buffers = importlib.import_module("pysnnmed.backends.buffers")
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _own_pool(monkeypatch):
    monkeypatch.setattr(buffers, "_pool", buffers._Pool())


def address(array):
    return array.ctypes.data


@given(st.lists(st.tuples(st.sampled_from(["ask", "view", "drop"]), st.integers(0, 5)), max_size=40))
def test_what_is_held_keeps_its_values_and_no_more_is_kept_than_was_lent(orders):
    pool = buffers._pool = buffers._Pool()
    held, tag, most = [], 0, 0
    for order, k in orders:
        if order == "ask":
            tag += 1
            array = buffers.empty((1 + k, MIB // 4), np.float32)
            array[...] = tag
            held.append((array, tag))
            del array
        elif held and order == "view":
            array, value = held[k % len(held)]
            held[k % len(held)] = (array[-1:].T[::7], value)  # the view alone holds the memory now
            del array
        elif held:
            del held[k % len(held)]
        pool._count_returned()
        most = max(most, pool.lent)
        assert pool.lent + sum(block.size for block in pool.idle) <= most
        assert all((array == value).all() for array, value in held)


def test_arrays_of_growing_size_leave_no_trail():
    for n in range(1, 6):
        buffers.empty((n, MIB), np.uint8)  # dropped at once
        pool = buffers._pool
        pool._count_returned()
        assert pool.lent + sum(block.size for block in pool.idle) == n * MIB + buffers.ALIGNMENT


def test_memory_is_used_again_once_the_last_view_is_gone():
    array = buffers.empty((MIB,), np.float64)
    first, part = address(array), array.reshape(2, -1)[1, 5:]
    del array
    other = buffers.empty((MIB,), np.float64)
    assert address(other) != first
    del part
    assert address(buffers.empty((MIB,), np.float64)) == first


def test_a_block_that_would_waste_an_eighth_is_not_used():
    first = address(buffers.empty((8 * MIB,), np.uint8))
    assert address(buffers.empty((8 * MIB - 100,), np.uint8)) == first
    small = buffers.empty((6 * MIB,), np.uint8)
    assert not first <= address(small) < first + 8 * MIB or not buffers._pool.idle


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [3, MIB])
def test_arrays_are_ordinary_and_large_ones_aligned(dtype, n):
    array = buffers.empty((2, n), dtype)
    assert array.shape == (2, n)
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert n == 3 or address(array) % buffers.ALIGNMENT == 0


def test_released_memory_leaves_what_is_in_use():
    kept = buffers.empty((MIB,), np.float32)
    kept[...] = 3
    buffers.empty((MIB,), np.float64)
    assert kernels.release_memory() == 8 * MIB + buffers.ALIGNMENT
    assert kernels.release_memory() == 0
    assert (kept == 3).all()


def test_threads_never_share_a_block():
    def work(tag):
        for _ in range(30):
            array = buffers.empty((MIB // 4,), np.float32)
            array[...] = tag
            assert (array == tag).all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    buffers._pool._count_returned()
    assert buffers._pool.lent == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_the_lock_is_held_can_ask_for_memory():
    with buffers._pool.lock:
        child = multiprocessing.get_context("fork").Process(target=buffers.empty, args=((MIB,), np.float32))
        child.start()
    child.join(20)
    alive = child.is_alive()
    if alive:
        child.kill()
    assert not alive
    assert child.exitcode == 0


@pytest.mark.parametrize("backend", kernels.available())
def test_results_of_neurons_survive_later_runs(backend):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, MIB // 4), dtype=np.float32)
    with kernels.use_backend(backend):
        s, state = run(LIF(), x)
        kept, v = s.data[1:, ::2], state.v.data
        expected = kept.copy(), v.copy()
        del s, state
        for _ in range(3):
            leaf = Tensor(-x, requires_grad=True)
            run(LIF(), leaf)[0].backward(np.ones_like(x))
    np.testing.assert_array_equal(kept, expected[0])
    np.testing.assert_array_equal(v, expected[1])


def test_a_gradient_on_loan_is_not_copied():
    x = Tensor(np.ones((2, MIB), np.float32), requires_grad=True)
    run(LIF(), x)[0].backward(np.ones((2, MIB), np.float32))
    assert isinstance(x.grad.base, buffers.Loan)


def test_spikes_that_nobody_keeps_make_room_for_the_gradient():
    x = Tensor(np.ones((2, MIB), np.float32), requires_grad=True)
    s, _ = run(LIF(), x)
    spikes = address(s.data)
    loss = (s * 2.0).sum()
    del s, _
    loss.backward()
    assert address(x.grad) == spikes


@pytest.mark.parametrize("backend", kernels.available())
def test_results_of_convolutions_survive_later_runs(backend):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 4, 40, 30, 30), dtype=np.float32), np.ones((4, 4, 1, 1, 1), np.float32)
    with kernels.use_backend(backend):
        leaf = Tensor(x, requires_grad=True)
        out = conv(leaf, Tensor(weight))
        kept, copy = out.data[1:], out.data[1:].copy()
        out.backward(x)
        del out
        grad = leaf.grad.copy()
        for _ in range(3):
            other = Tensor(-x, requires_grad=True)
            conv(other, Tensor(weight)).backward(-x)
    np.testing.assert_array_equal(kept, copy)
    np.testing.assert_array_equal(leaf.grad, grad)


@pytest.mark.parametrize("backend", kernels.available())
def test_elements_that_no_tap_reads_have_no_gradient_whatever_the_memory_held(backend):
    shape = (2, 4, 40, 30, 30)
    buffers.empty(shape, np.float32)[...] = 7  # dropped at once
    x, weight = Tensor(np.ones(shape, np.float32), requires_grad=True), Tensor(np.ones((4, 4, 1, 2, 1), np.float32))
    with kernels.use_backend(backend):
        out = conv(x, weight, stride=3)
        out.backward(np.ones_like(out.data))
    read = np.zeros(shape, np.float32)
    read[:, :, ::3, :, ::3] = 4
    read[:, :, :, 2::3] = 0
    np.testing.assert_array_equal(x.grad, read)


@pytest.mark.parametrize("backend", kernels.available())
def test_a_gradient_of_another_shape_on_loan_is_not_copied(backend):
    with kernels.use_backend(backend):
        x = Tensor(np.ones((2, 1, 4, 40, 30, 30), np.float32), requires_grad=True)
        out = nn.over_time(lambda x: conv(x, Tensor(np.ones((4, 4, 1, 1, 1), np.float32))), x)
        out.backward(np.ones_like(out.data))
    base = x.grad
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, buffers.Loan)


def test_gradients_that_share_their_memory_with_another_array_are_copied():
    def leaf(*shape):
        return Tensor(np.ones(shape, np.float32), requires_grad=True)

    first, second, given = leaf(2, MIB), leaf(2, MIB), np.ones((MIB, 2), np.float32)
    (first.reshape((MIB, 2)) + second.reshape((MIB, 2))).backward(given)
    assert not np.shares_memory(first.grad, second.grad)
    assert not np.shares_memory(first.grad, given)
    assert not np.shares_memory(second.grad, given)
    parts = leaf(1, MIB), leaf(2, MIB)
    (ops.concatenate(parts) * 2.0).backward(np.ones((3, MIB), np.float32))
    for part in parts:
        assert part.grad.base is None  # not a view that keeps the memory of both
    repeated = leaf(MIB)
    repeated.reshape((1, MIB)).sum().backward()
    repeated.grad += np.arange(MIB)  # its elements are its own
    np.testing.assert_array_equal(repeated.grad, np.arange(MIB) + np.float32(1))
