"""Copying between neighbours and elements a constant step apart, by vectors where the step is 2."""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .simd import Tile, _address, _load_vector, lanes

__all__ = ["copy_from_steps", "copy_to_steps"]


@intrinsic
def _take_alternate(typing_context, target, at, source, position):
    """target[at + i] = source[position + 2 i] for the lanes i of a vector; reads no further than the last of them."""
    tile = Tile(source.dtype, 1, 1)
    n = tile.lanes

    def generate(context, builder, signature, args):
        target_, at, source_, position = args
        low = _load_vector(context, builder, tile, source, source_, position)
        high = _load_vector(context, builder, tile, source, source_, position, n - 1)
        places = [2 * i for i in range(n // 2)] + [n + 2 * i + 1 for i in range(n // 2)]
        x = builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(ir.IntType(32), n), places))
        pointer = _address(context, builder, target, target_, at, kind=tile.vector)
        builder.store(x, pointer, align=tile.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp), generate


@intrinsic
def _put_alternate(typing_context, target, at, source, position):
    """target[at + 2 i] = source[position + i] for the lanes i of a vector; what lies between keeps its value."""
    tile = Tile(source.dtype, 1, 1)
    n = tile.lanes

    def generate(context, builder, signature, args):
        target_, at, source_, position = args
        x = _load_vector(context, builder, tile, source, source_, position)
        half, parts = n // 2, []
        for begin, places in (
            (0, [n + i // 2 if i % 2 == 0 else i for i in range(n)]),
            (n - 1, [n + half + i // 2 if i % 2 else i for i in range(n)]),
        ):
            before = _load_vector(context, builder, tile, target, target_, at, begin)
            places = ir.Constant(ir.VectorType(ir.IntType(32), n), places)
            parts.append((begin, builder.shuffle_vector(before, x, places)))
        for begin, after in parts:  # after both loads: they overlap in an element that stays, and would wait for it
            pointer = _address(context, builder, target, target_, at, begin, tile.vector)
            builder.store(after, pointer, align=tile.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp), generate


@njit(nogil=True, cache=True, error_model="numpy")
def copy_from_steps(target, at, source, position, step, n):
    """target[at + i] = source[position + i * step] for i < n."""
    done = 0
    if step == 2:
        while done + lanes(source) <= n:
            _take_alternate(target, at + done, source, position + 2 * done)
            done += lanes(source)
    for i in range(done, n):
        target[at + i] = source[position + i * step]


@njit(nogil=True, cache=True, error_model="numpy")
def copy_to_steps(target, at, step, source, position, n):
    """target[at + i * step] = source[position + i] for i < n."""
    done = 0
    if step == 2:
        while done + lanes(source) <= n:
            _put_alternate(target, at + 2 * done, source, position + done)
            done += lanes(source)
    for i in range(done, n):
        target[at + i * step] = source[position + i]
