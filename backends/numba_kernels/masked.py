"""Vectors of a row of an image whose lanes outside of the row are zeros, so that no padded copy is needed.

Lanes that a mask leaves out are neither read nor written. LLVM has one instruction for that where `MASKED`; elsewhere
it makes a branch of every lane.

Tiles are those of `.simd`: PLANE_ROWS x 1 of neighbouring rows for sums over taps, WINDOW_TAPS x 1 for the sums that
make the gradient of so many weights. A row that a plane does not have is read from `nothing`, zeros of its length.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .simd import _INDEX, VECTOR_BYTES, Tile, _address, _broadcast, _load_scalar, _multiply_add

MASKED = VECTOR_BYTES > 16
PLANE_ROWS = 8
WINDOW = 3  # rows and columns of the kernels that have loops of their own
WINDOW_TAPS = WINDOW**2
_LANE = ir.IntType(32)
_INDEX_TYPE = types.intp


def _inside(builder, tile: Tile, column, width):
    """Mask of the lanes with 0 <= column + lane < width."""
    kind = ir.VectorType(_LANE, tile.lanes)
    undefined, zeros = ir.Constant(kind, ir.Undefined), ir.Constant(kind, [0] * tile.lanes)

    def splat(value):
        first = builder.insert_element(undefined, builder.trunc(value, _LANE), _LANE(0))
        return builder.shuffle_vector(first, undefined, zeros)

    places = builder.add(splat(column), ir.Constant(kind, list(range(tile.lanes))))
    return builder.icmp_unsigned("<", places, splat(width))  # a negative place is a large one without sign


def _pointer(builder, tile: Tile, data, at):
    return builder.bitcast(builder.gep(data, [at]), tile.vector.as_pointer())


def _name(operation: str, tile: Tile) -> str:
    return f"llvm.masked.{operation}.v{tile.lanes}f{tile.element.bitwidth}.p0"


def _load_part(builder, tile: Tile, pointer, mask):
    """The vector at `pointer` in the lanes of the mask, zeros in the others."""
    kind = ir.FunctionType(tile.vector, [pointer.type, _LANE, mask.type, tile.vector])
    function = cgutils.get_or_insert_function(builder.module, kind, _name("load", tile))
    align = _LANE(tile.element.bitwidth // 8)
    return builder.call(function, [pointer, align, mask, ir.Constant(tile.vector, None)])


def _store_part(builder, tile: Tile, vector, pointer, mask):
    kind = ir.FunctionType(ir.VoidType(), [tile.vector, pointer.type, _LANE, mask.type])
    function = cgutils.get_or_insert_function(builder.module, kind, _name("store", tile))
    builder.call(function, [vector, pointer, _LANE(tile.element.bitwidth // 8), mask])


def _row_data(context, builder, array_type, array, start, pitch, row, rows, nothing_type, nothing):
    """Pointer to a row of array[start :] if 0 <= row < rows, else to `nothing`."""
    at = builder.add(start, builder.mul(row, pitch))
    data = _address(context, builder, array_type, array, at)
    zeros = _address(context, builder, nothing_type, nothing, _INDEX(0))
    return builder.select(builder.icmp_unsigned("<", row, rows), data, zeros)


@intrinsic
def broadcast_plane_rows(typing_context, array, index):
    """PLANE_ROWS vectors with array[index] in every lane."""
    tile = Tile(array.dtype, PLANE_ROWS, 1)

    def generate(context, builder, signature, args):
        x = _broadcast(builder, tile, _load_scalar(context, builder, signature.args[0], *args))
        total = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for r in range(tile.rows):
            total = builder.insert_value(total, x, r)
        return total

    return tile(array, _INDEX_TYPE), generate


@intrinsic
def multiply_add_tap(typing_context, tile, source, start, row, column, rows, width, nothing, weights, index):
    """tile[r] + weights[index] * plane[row + r, column : column + lanes], plane [rows, width] at source[start :]."""

    def generate(context, builder, signature, args):
        total, source_, start, row, column, rows, width, nothing_, weights_, index = args
        mask = _inside(builder, tile, column, width)
        w = _broadcast(builder, tile, _load_scalar(context, builder, weights, weights_, index))
        for r in range(tile.rows):
            r_row = builder.add(row, _INDEX(r))
            data = _row_data(context, builder, source, source_, start, width, r_row, rows, nothing, nothing_)
            x = _load_part(builder, tile, _pointer(builder, tile, data, column), mask)
            total = builder.insert_value(total, _multiply_add(builder, tile, w, x, builder.extract_value(total, r)), r)
        return total

    i = _INDEX_TYPE
    return tile(tile, source, i, i, i, i, i, nothing, weights, i), generate


@intrinsic
def multiply_add_window(typing_context, tile, source, start, row, column, rows, width, nothing, weights, index):
    """tile[r] + sum over i, j < WINDOW of weights[index + WINDOW i + j] * plane[row + r + i, column + j : ... + lanes].

    The same as `multiply_add_tap` for all of these taps, but what several rows of the tile read is read once.
    """

    def generate(context, builder, signature, args):
        total, source_, start, row, column, rows, width, nothing_, weights_, index = args
        columns = [builder.add(column, _INDEX(j)) for j in range(WINDOW)]
        masks = [_inside(builder, tile, at, width) for at in columns]
        w = [
            _broadcast(builder, tile, _load_scalar(context, builder, weights, weights_, index, k))
            for k in range(WINDOW * WINDOW)
        ]
        sums = [builder.extract_value(total, r) for r in range(tile.rows)]
        for i in range(tile.rows + WINDOW - 1):
            read = builder.add(row, _INDEX(i))
            data = _row_data(context, builder, source, source_, start, width, read, rows, nothing, nothing_)
            for j in range(WINDOW):
                x = _load_part(builder, tile, _pointer(builder, tile, data, columns[j]), masks[j])
                for r in range(max(0, i - WINDOW + 1), min(i + 1, tile.rows)):
                    sums[r] = _multiply_add(builder, tile, w[(i - r) * WINDOW + j], x, sums[r])
        for r, x in enumerate(sums):
            total = builder.insert_value(total, x, r)
        return total

    i = _INDEX_TYPE
    return tile(tile, source, i, i, i, i, i, nothing, weights, i), generate


@intrinsic
def store_plane_rows(typing_context, tile, target, start, row, column, rows, width):
    """plane[row + r, column : column + lanes] = tile[r] inside the plane [rows, width] at target[start :]."""

    def generate(context, builder, signature, args):
        total, target_, start, row, column, rows, width = args
        mask = _inside(builder, tile, column, width)
        for r in range(tile.rows):
            r_row = builder.add(row, _INDEX(r))
            with builder.if_then(builder.icmp_signed("<", r_row, rows)):
                at = builder.add(builder.add(start, builder.mul(r_row, width)), column)
                pointer = _address(context, builder, target, target_, at, kind=tile.vector)
                _store_part(builder, tile, builder.extract_value(total, r), pointer, mask)
        return context.get_dummy_value()

    i = _INDEX_TYPE
    return types.void(tile, target, i, i, i, i, i), generate


@intrinsic
def load_taps(typing_context, sums, index):
    """WINDOW_TAPS vectors that stand side by side from sums[index] on."""
    tile = Tile(sums.dtype, WINDOW_TAPS, 1)

    def generate(context, builder, signature, args):
        total = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for t in range(tile.rows):
            pointer = _address(context, builder, sums, *args, t * tile.lanes, tile.vector)
            total = builder.insert_value(total, builder.load(pointer, align=tile.element.bitwidth // 8), t)
        return total

    return tile(sums, _INDEX_TYPE), generate


@intrinsic
def store_taps(typing_context, tile, sums, index):
    """Put the vectors of a tile side by side from sums[index] on."""

    def generate(context, builder, signature, args):
        total, sums_, index = args
        for t in range(tile.rows):
            pointer = _address(context, builder, sums, sums_, index, t * tile.lanes, tile.vector)
            builder.store(builder.extract_value(total, t), pointer, align=tile.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(tile, sums, _INDEX_TYPE), generate


@intrinsic
def load_plane_row(typing_context, source, start, row, column, rows, width, nothing):
    """plane[row, column : column + lanes] of the plane [rows, width] at source[start :], zeros outside of it."""
    tile = Tile(source.dtype, 1, 1)

    def generate(context, builder, signature, args):
        source_, start, row, column, rows, width, nothing_ = args
        data = _row_data(context, builder, source, source_, start, width, row, rows, nothing, nothing_)
        x = _load_part(builder, tile, _pointer(builder, tile, data, column), _inside(builder, tile, column, width))
        return builder.insert_value(ir.Constant(context.get_value_type(tile), ir.Undefined), x, 0)

    i = _INDEX_TYPE
    return tile(source, i, i, i, i, i, nothing), generate


@intrinsic
def multiply_add_row_window(typing_context, tile, g0, g1, g2, source, start, column, width):
    """tile[WINDOW i + j] + g_i * row[column + j : ... + lanes], for the row of `width` at source[start :]."""

    def generate(context, builder, signature, args):
        total, *gs, source_, start, column, width = args
        data = _address(context, builder, source, source_, start)
        for j in range(WINDOW):
            at = builder.add(column, _INDEX(j))
            x = _load_part(builder, tile, _pointer(builder, tile, data, at), _inside(builder, tile, at, width))
            for i, g in enumerate(gs):
                k = i * WINDOW + j
                before = builder.extract_value(total, k)
                total = builder.insert_value(
                    total, _multiply_add(builder, tile, builder.extract_value(g, 0), x, before), k
                )
        return total

    i = _INDEX_TYPE
    return tile(tile, g0, g1, g2, source, i, i, i), generate
