"""A block of SIMD vectors as one Numba value, so that the sums of a convolution stay in registers.

A Tile holds rows x vectors vectors of `lanes` floats. To LLVM it is an array of vectors, and a local variable of that
type becomes registers: a loop around `multiply_add` touches memory only for its operands. The sizes below fill the
registers of the machine; LLVM compiles the same source for any of them.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, register_model


def _registers() -> tuple[int, int]:
    """Bytes of a vector register of the processor that Numba compiles for, and the number of these registers."""
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    if "+avx512f" in features:
        return 64, 32
    if "+avx2" in features:
        return 32, 16
    return 16, 32 if "+neon" in features else 16


VECTOR_BYTES, REGISTERS = _registers()
LANES = {types.float32: VECTOR_BYTES // 4, types.float64: VECTOR_BYTES // 8}
# The sums and `vectors` + 1 operands fill the registers; each vector that is read serves several multiplications.
ROWS, VECTORS = (8, 3) if REGISTERS == 32 else (4, 3)  # of a tile of outputs and positions
DOT_ROWS, DOT_VECTORS = (4, 6) if REGISTERS == 32 else (4, 3)  # of a tile of dot products
TILE_SUMS = -(-DOT_ROWS * DOT_VECTORS // 16) * 16  # elements that `add_lanes` needs
_FLOAT = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_INDEX = ir.IntType(64)


class Tile(types.Type):
    """rows x vectors vectors of floats."""

    def __init__(self, element: types.Float, rows: int, vectors: int):
        self.element, self.rows, self.vectors = element, rows, vectors
        self.lanes = LANES[element]
        super().__init__(name=f"Tile({element}, {rows}, {vectors})")

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(_FLOAT[self.element], self.lanes)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile: Tile):
        super().__init__(manager, tile, ir.ArrayType(tile.vector, tile.rows * tile.vectors))


def _address(context, builder, array_type, array, index, offset: int = 0, kind: ir.Type | None = None):
    """Pointer to array[index + offset], for values of LLVM type `kind`."""
    data = context.make_array(array_type)(context, builder, array).data
    pointer = builder.gep(data, [builder.add(index, _INDEX(offset))] if offset else [index])
    return builder.bitcast(pointer, kind.as_pointer()) if kind else pointer


def _load_vector(context, builder, tile: Tile, array_type, array, index, offset: int = 0):
    """The vector at array[index + offset], at any alignment of its element."""
    pointer = _address(context, builder, array_type, array, index, offset, tile.vector)
    return builder.load(pointer, align=tile.element.bitwidth // 8)


def _load_scalar(context, builder, array_type, array, index, offset: int = 0):
    return builder.load(_address(context, builder, array_type, array, index, offset))


def _broadcast(builder, tile: Tile, scalar):
    undefined = ir.Constant(tile.vector, ir.Undefined)
    lane0 = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(
        lane0, undefined, ir.Constant(ir.VectorType(ir.IntType(32), tile.lanes), [0] * tile.lanes)
    )


def _multiply_add(builder, tile: Tile, a, b, c):
    """a * b + c, rounded once where the processor can."""
    kind = f"v{tile.lanes}f{tile.element.bitwidth}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(tile.vector, [tile.vector] * 3), f"llvm.fmuladd.{kind}"
    )
    return builder.call(function, [a, b, c])


@intrinsic
def zeros(typing_context, like):
    """A tile of zeros, of the element type of the array `like`."""
    tile = Tile(like.dtype, DOT_ROWS, DOT_VECTORS)

    def generate(context, builder, signature, args):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(like), generate


@intrinsic
def broadcast_rows(typing_context, array, index):
    """The tile with array[index + r] in every lane of row r."""
    tile = Tile(array.dtype, ROWS, VECTORS)

    def generate(context, builder, signature, args):
        array, index = args
        total = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for r in range(tile.rows):
            x = _broadcast(builder, tile, _load_scalar(context, builder, signature.args[0], array, index, r))
            for v in range(tile.vectors):
                total = builder.insert_value(total, x, r * tile.vectors + v)
        return total

    return tile(array, types.intp), generate


@intrinsic
def multiply_add(typing_context, tile, source, position, weights, index):
    """tile[r, v] + weights[index + r] * source[position + v * lanes : ... + lanes]."""

    def generate(context, builder, signature, args):
        total, xs, position, ws, index = args
        _, source_type, _, weights_type, _ = signature.args
        x = [
            _load_vector(context, builder, tile, source_type, xs, position, v * tile.lanes) for v in range(tile.vectors)
        ]
        for r in range(tile.rows):
            w = _broadcast(builder, tile, _load_scalar(context, builder, weights_type, ws, index, r))
            for v in range(tile.vectors):
                at = r * tile.vectors + v
                total = builder.insert_value(
                    total, _multiply_add(builder, tile, w, x[v], builder.extract_value(total, at)), at
                )
        return total

    return tile(tile, source, types.intp, weights, types.intp), generate


@intrinsic
def multiply_add_rows(typing_context, tile, left, position, pitch, right, base, offsets, j):
    """tile[r, v] + left[position + r * pitch : ... + lanes] * right[base + offsets[j + v] : ... + lanes]."""

    def generate(context, builder, signature, args):
        total, a, position, pitch, b, base, offsets, j = args
        _, a_type, _, _, b_type, _, offsets_type, _ = signature.args
        y = []
        for v in range(tile.vectors):
            offset = _load_scalar(context, builder, offsets_type, offsets, j, v)
            y.append(_load_vector(context, builder, tile, b_type, b, builder.add(base, offset)))
        for r in range(tile.rows):
            row = builder.add(position, builder.mul(pitch, _INDEX(r)))
            x = _load_vector(context, builder, tile, a_type, a, row)
            for v in range(tile.vectors):
                at = r * tile.vectors + v
                total = builder.insert_value(
                    total, _multiply_add(builder, tile, x, y[v], builder.extract_value(total, at)), at
                )
        return total

    index = types.intp
    return tile(tile, left, index, index, right, index, offsets, index), generate


def _sum_lanes(builder, tile: Tile, vectors: list) -> list:
    """Vectors whose lanes are the sums over the lanes of each of `vectors`, in order, the last filled with zeros.

    Two vectors at a time are folded in half and joined, until every lane holds the sum of one vector: for 16 lanes that
    takes 15 additions per 16 vectors instead of 64.
    """
    vectors = vectors + [ir.Constant(tile.vector, None)] * (-len(vectors) % tile.lanes)
    length = tile.lanes  # of the piece that one vector has in the vectors it is part of
    while length > 1:
        length //= 2
        halves = [[2 * length * piece + i for piece in range(tile.lanes // length) for i in range(length)]]
        halves.append([lane + length for lane in halves[0]])
        low, high = (ir.Constant(ir.VectorType(ir.IntType(32), tile.lanes), lanes) for lanes in halves)
        vectors = [
            builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors


@intrinsic
def add_lanes(typing_context, tile, array, position):
    """array[position + i] += the sum over the lanes of vector i of the tile; TILE_SUMS elements are written."""

    def generate(context, builder, signature, args):
        total, out, position = args
        sums = _sum_lanes(builder, tile, [builder.extract_value(total, i) for i in range(tile.rows * tile.vectors)])
        for i, vector in enumerate(sums):
            at = builder.add(position, _INDEX(i * tile.lanes))
            before = _load_vector(context, builder, tile, signature.args[1], out, at)
            pointer = _address(context, builder, signature.args[1], out, at, kind=tile.vector)
            builder.store(builder.fadd(before, vector), pointer, align=tile.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(tile, array, types.intp), generate


@intrinsic
def store(typing_context, tile, array, position, pitch):
    """array[position + r * pitch + v * lanes : ... + lanes] = tile[r, v]."""

    def generate(context, builder, signature, args):
        total, out, position, pitch = args
        for r in range(tile.rows):
            row = builder.add(position, builder.mul(pitch, _INDEX(r)))
            for v in range(tile.vectors):
                pointer = _address(context, builder, signature.args[1], out, row, v * tile.lanes, tile.vector)
                builder.store(
                    builder.extract_value(total, r * tile.vectors + v), pointer, align=tile.element.bitwidth // 8
                )
        return context.get_dummy_value()

    return types.void(tile, array, types.intp, types.intp), generate


@intrinsic
def store_rows(typing_context, tile, array, position, pitch, rows):
    """The same as `store` for the first so many rows of the tile, or all if it has fewer."""

    def generate(context, builder, signature, args):
        total, out, position, pitch, rows = args
        for r in range(tile.rows):
            with builder.if_then(builder.icmp_signed("<", _INDEX(r), rows)):
                row = builder.add(position, builder.mul(pitch, _INDEX(r)))
                for v in range(tile.vectors):
                    pointer = _address(context, builder, signature.args[1], out, row, v * tile.lanes, tile.vector)
                    x = builder.extract_value(total, r * tile.vectors + v)
                    builder.store(x, pointer, align=tile.element.bitwidth // 8)
        return context.get_dummy_value()

    index = types.intp
    return types.void(tile, array, index, index, index), generate


def transform(matrix: tuple[tuple[int, ...], ...]):
    """The intrinsic that applies a matrix of 1, 0 and -1 to both axes of a square of vectors of an array.

    target[at + (k * rows + l) * pitch : ... + lanes] = sum over i and j of
    matrix[k][i] * matrix[l][j] * source[position + offsets[i * columns + j] : ... + lanes].
    """
    rows, columns = len(matrix), len(matrix[0])

    def combine(builder, row, vectors):
        plus, minus = ([x for m, x in zip(row, vectors, strict=True) if m == sign] for sign in (1, -1))
        total = plus[0]
        for x in plus[1:]:
            total = builder.fadd(total, x)
        for x in minus:
            total = builder.fsub(total, x)
        return total

    @intrinsic
    def apply(typing_context, source, position, offsets, target, at, pitch):
        tile = Tile(source.dtype, 1, 1)

        def generate(context, builder, signature, args):
            source, position, offsets, target, at, pitch = args
            source_type, _, offsets_type, target_type, _, _ = signature.args
            x = []
            for i in range(columns**2):
                offset = _load_scalar(context, builder, offsets_type, offsets, _INDEX(i))
                x.append(_load_vector(context, builder, tile, source_type, source, builder.add(position, offset)))
            lines = [[combine(builder, row, x[j::columns]) for j in range(columns)] for row in matrix]
            for k, line in enumerate(lines):
                for m, row in enumerate(matrix):
                    to = builder.add(at, builder.mul(pitch, _INDEX(k * rows + m)))
                    pointer = _address(context, builder, target_type, target, to, kind=tile.vector)
                    builder.store(combine(builder, row, line), pointer, align=tile.element.bitwidth // 8)
            return context.get_dummy_value()

        index = types.intp
        return types.void(source, index, offsets, target, index, index), generate

    return apply


@intrinsic
def lanes(typing_context, like):
    """Lanes of a vector of the element type of the array `like`."""
    n = LANES[like.dtype]

    def generate(context, builder, signature, args):
        return _INDEX(n)

    return types.intp(like), generate


@intrinsic
def copy(typing_context, target, at, source, position, n):
    """target[at : at + n] = source[position : position + n] for contiguous arrays of one type that do not overlap."""

    def generate(context, builder, signature, args):
        target, at, source, position, n = args
        target_type, _, source_type, _, _ = signature.args
        to = _address(context, builder, target_type, target, at)
        element_size = context.get_abi_sizeof(to.type.pointee)
        cgutils.raw_memcpy(
            builder, to, _address(context, builder, source_type, source, position), n, element_size, align=element_size
        )
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp, types.intp), generate


@intrinsic
def clear(typing_context, target, at, n):
    """target[at : at + n] = 0 for a contiguous array."""

    def generate(context, builder, signature, args):
        target, at, n = args
        pointer = _address(context, builder, signature.args[0], target, at)
        cgutils.memset(builder, pointer, builder.mul(n, _INDEX(context.get_abi_sizeof(pointer.type.pointee))), 0)
        return context.get_dummy_value()

    return types.void(target, types.intp, types.intp), generate


# A window is a Tile with a row for each tap (ky, kx) of a plane of a kernel, which holds the vectors of a block of
# outputs. The compiler must know its shape, so it is given as tuples: rows, columns and vectors are their lengths.


def _window(like: types.Array, rows: types.BaseTuple, columns: types.BaseTuple, vectors: types.BaseTuple) -> Tile:
    return Tile(like.dtype, len(rows) * len(columns), len(vectors))


def _window_addresses(builder, tile: Tile, columns: types.BaseTuple, position, pitch):
    """(index in the tile, index in the array) of each vector of a window whose tap (0, 0) lies at `position`."""
    block = tile.vectors * tile.lanes
    for tap in range(tile.rows):
        row, column = divmod(tap, len(columns))
        start = builder.sub(position, builder.mul(pitch, _INDEX(row)))
        for v in range(tile.vectors):
            yield tap * tile.vectors + v, builder.add(start, _INDEX(v * tile.lanes - column * block))


@intrinsic
def window_zeros(typing_context, like, rows, columns, vectors):
    """A window of zeros, of the element type of the array `like`."""
    tile = _window(like, rows, columns, vectors)

    def generate(context, builder, signature, args):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(like, rows, columns, vectors), generate


@intrinsic
def load_window(typing_context, array, index, rows, columns, vectors):
    """The window whose vectors stand side by side from array[index] on."""
    tile = _window(array, rows, columns, vectors)

    def generate(context, builder, signature, args):
        total = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for i in range(tile.rows * tile.vectors):
            x = _load_vector(context, builder, tile, signature.args[0], args[0], args[1], i * tile.lanes)
            total = builder.insert_value(total, x, i)
        return total

    return tile(array, types.intp, rows, columns, vectors), generate


@intrinsic
def add_window(typing_context, tile, array, index):
    """Add a window to the vectors that stand side by side from array[index] on."""

    def generate(context, builder, signature, args):
        total, out, index = args
        for i in range(tile.rows * tile.vectors):
            before = _load_vector(context, builder, tile, signature.args[1], out, index, i * tile.lanes)
            pointer = _address(context, builder, signature.args[1], out, index, i * tile.lanes, tile.vector)
            total_i = builder.extract_value(total, i)
            builder.store(builder.fadd(before, total_i), pointer, align=tile.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(tile, array, types.intp), generate


@intrinsic
def scatter_window(typing_context, tile, scale, array, position, pitch, columns):
    """array[position - ky * pitch - kx * block : ... + block] += scale * tile[ky, kx], block = vectors * lanes."""

    def generate(context, builder, signature, args):
        total, scale, out, position, pitch, _ = args
        factor = _broadcast(builder, tile, scale)
        for i, at in _window_addresses(builder, tile, columns, position, pitch):
            before = _load_vector(context, builder, tile, signature.args[2], out, at)
            after = _multiply_add(builder, tile, factor, builder.extract_value(total, i), before)
            pointer = _address(context, builder, signature.args[2], out, at, kind=tile.vector)
            builder.store(after, pointer, align=tile.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(tile, tile.element, array, types.intp, types.intp, columns), generate


@intrinsic
def gather_window(typing_context, tile, scale, array, position, pitch, columns):
    """tile[ky, kx] + scale * array[position - ky * pitch - kx * block : ... + block], block = vectors * lanes."""

    def generate(context, builder, signature, args):
        total, scale, source, position, pitch, _ = args
        factor = _broadcast(builder, tile, scale)
        for i, at in _window_addresses(builder, tile, columns, position, pitch):
            x = _load_vector(context, builder, tile, signature.args[2], source, at)
            total = builder.insert_value(
                total, _multiply_add(builder, tile, factor, x, builder.extract_value(total, i)), i
            )
        return total

    return tile(tile, tile.element, array, types.intp, types.intp, columns), generate


@intrinsic
def transpose(typing_context, source, position, pitch, target, at, target_pitch):
    """target[at + i * target_pitch + j] = source[position + j * pitch + i] for i and j below `lanes`.

    Square blocks of half the size change places, then blocks of half of that, down to single elements.
    """
    tile = Tile(source.dtype, 1, 1)
    n = tile.lanes

    def generate(context, builder, signature, args):
        source, position, pitch, target, at, target_pitch = args
        source_type, target_type = signature.args[0], signature.args[3]
        rows = []
        for j in range(n):
            row = builder.add(position, builder.mul(pitch, _INDEX(j)))
            rows.append(_load_vector(context, builder, tile, source_type, source, row))
        size = n
        while size > 1:
            size //= 2
            upper = [lane if not lane & size else lane - size + n for lane in range(n)]
            masks = (upper, [lane + size for lane in upper])
            kept, moved = (ir.Constant(ir.VectorType(ir.IntType(32), n), mask) for mask in masks)
            for j in (j for j in range(n) if not j & size):
                a, b = rows[j], rows[j + size]
                rows[j], rows[j + size] = builder.shuffle_vector(a, b, kept), builder.shuffle_vector(a, b, moved)
        for i, row in enumerate(rows):
            to = builder.add(at, builder.mul(target_pitch, _INDEX(i)))
            pointer = _address(context, builder, target_type, target, to, kind=tile.vector)
            builder.store(row, pointer, align=tile.element.bitwidth // 8)
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, target, index, index), generate


def _bits(context, builder, tile: Tile, array_type, array, index, of):
    """A number of `lanes` bits: bit i is set where of(the vector at array[index]) is not zero, or not a number."""
    x = of(_load_vector(context, builder, tile, array_type, array, index))
    different = builder.fcmp_unordered("!=", x, ir.Constant(tile.vector, None))
    return builder.zext(builder.bitcast(different, ir.IntType(tile.lanes)), _INDEX)


@intrinsic
def nonzero_bits(typing_context, array, index):
    """Bit i: whether array[index + i] is not zero, for the elements of a vector."""
    tile = Tile(array.dtype, 1, 1)

    def generate(context, builder, signature, args):
        return _bits(context, builder, tile, signature.args[0], *args, of=lambda x: x)

    return types.uint64(array, types.intp), generate


@intrinsic
def nonfinite_bits(typing_context, array, index):
    """Bit i: whether array[index + i] is infinite or not a number, for the elements of a vector."""
    tile = Tile(array.dtype, 1, 1)

    def generate(context, builder, signature, args):
        return _bits(context, builder, tile, signature.args[0], *args, of=lambda x: builder.fsub(x, x))

    return types.uint64(array, types.intp), generate


@intrinsic
def count_bits(typing_context, bits):
    """Number of bits that are set in `bits`."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.intp(types.uint64), generate


@intrinsic
def lowest_bit(typing_context, bits):
    """Position of the lowest bit that is set in `bits`, which is not 0."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.intp(types.uint64), generate


@njit(nogil=True, cache=True, error_model="numpy")
def aligned_zeros(n, like):
    """n zeros of the type of the array `like`, from a multiple of 64 bytes on."""
    buffer = np.zeros(n + 64 // like.itemsize, like.dtype)
    start = -buffer.ctypes.data % 64 // like.itemsize
    return buffer[start : start + n]
