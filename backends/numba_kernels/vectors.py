"""Vectors of any length as Numba values, for kernels that handle all channels of a position at once.

A Vec is one LLVM vector with a lane for each channel: a local variable of that type becomes as many registers as it
needs, and LLVM compiles the same source for any processor. Its length is 16 * len(blocks), where `blocks` is a tuple
that is given to the kernel for its length only, because the length of a tuple is part of its type.

Lanes are int16, int32 or float32. Narrower whole numbers are widened when they are loaded, and real numbers made whole
if the lanes are.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, register_model

_BIT, _INT32, _INT64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_ELEMENT = {
    types.int8: ir.IntType(8),
    types.int16: ir.IntType(16),
    types.int32: _INT32,
    types.float32: ir.FloatType(),
}
GROUP = 16  # lanes for each entry of `blocks`
_INSTRUCTIONS = str(get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES)
COLUMNS = 8  # words that are merged at a time
COMPRESSES = "+avx512vbmi2" in _INSTRUCTIONS  # one instruction collects the bytes that a mask selects


class Vec(types.Type):
    """`lanes` numbers of type `element`."""

    def __init__(self, element: types.Type, lanes: int):
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vec({element}, {lanes})")

    @property
    def ir(self) -> ir.VectorType:
        return ir.VectorType(_ELEMENT[self.element], self.lanes)


class Mask(types.Type):
    """`lanes` truth values."""

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(name=f"Mask({lanes})")

    @property
    def ir(self) -> ir.VectorType:
        return ir.VectorType(_BIT, self.lanes)


class Rows(types.Type):
    """`rows` vectors, the sums of so many neighbouring positions."""

    def __init__(self, vec: Vec, rows: int):
        self.vec, self.rows = vec, rows
        super().__init__(name=f"Rows({vec}, {rows})")

    @property
    def ir(self) -> ir.ArrayType:
        return ir.ArrayType(self.vec.ir, self.rows)


@register_model(Vec)
@register_model(Mask)
@register_model(Rows)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, kind.ir)


def _pointer(context, builder, array_type, array, index, kind: ir.Type):
    pointer = builder.gep(context.make_array(array_type)(context, builder, array).data, [index])
    return builder.bitcast(pointer, kind.as_pointer())


def _load(context, builder, vec: Vec, array_type, array, index):
    """The lanes from array[index] on, at any alignment of its element, widened to those of `vec`."""
    stored = ir.VectorType(_ELEMENT[array_type.dtype], vec.lanes)
    pointer = _pointer(context, builder, array_type, array, index, stored)
    loaded = builder.load(pointer, align=array_type.dtype.bitwidth // 8)
    return _widened(builder, array_type.dtype, vec, loaded)


def _widened(builder, element, vec: Vec, loaded):
    if element == vec.element:
        return loaded
    if element == types.float32:
        return builder.fptosi(loaded, vec.ir)
    return builder.sext(loaded, vec.ir)


def _splat(builder, kind: ir.VectorType, scalar):
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, _INT32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT32, kind.count), [0] * kind.count))


def _add(builder, vec: Vec, x, y):
    return builder.fadd(x, y) if vec.element == types.float32 else builder.add(x, y)


def _call(builder, name: str, kind: ir.Type, *args):
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [a.type for a in args]), name)
    return builder.call(function, args)


# --------------------------------------------------------------------------------------------------- making vectors


@intrinsic
def zeros(typing_context, like, blocks):
    """A vector of zeros of the type of the elements of the array `like`."""
    vec = Vec(like.dtype, GROUP * len(blocks))

    def generate(context, builder, signature, args):
        return ir.Constant(vec.ir, None)

    return vec(like, blocks), generate


@intrinsic
def splat(typing_context, like, scalar, blocks):
    """A vector with the number in every lane, of the type of the elements of the array `like`."""
    vec = Vec(like.dtype, GROUP * len(blocks))

    def generate(context, builder, signature, args):
        return _splat(builder, vec.ir, args[1])

    return vec(like, like.dtype, blocks), generate


@intrinsic
def load(typing_context, like, array, index, blocks):
    """The lanes array[index : index + lanes], widened to the type of the elements of the array `like`."""
    vec = Vec(like.dtype, GROUP * len(blocks))

    def generate(context, builder, signature, args):
        return _load(context, builder, vec, array, args[1], args[2])

    return vec(like, array, types.intp, blocks), generate


@intrinsic
def store(typing_context, vec, array, index):
    """array[index : index + lanes] = vec."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[1], args[2], vec.ir)
        builder.store(args[0], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(vec, array, types.intp), generate


# ------------------------------------------------------------------------------------------------------- arithmetic


@intrinsic
def add_from(typing_context, vec, array, index):
    """vec + array[index : index + lanes]."""

    def generate(context, builder, signature, args):
        return _add(builder, vec, args[0], _load(context, builder, vec, array, args[1], args[2]))

    return vec(vec, array, types.intp), generate


def _binary(whole: str, real: str):
    @intrinsic
    def operation(typing_context, x, y):
        def generate(context, builder, signature, args):
            return getattr(builder, real if x.element == types.float32 else whole)(*args)

        return x(x, x), generate

    return operation


add = _binary("add", "fadd")
subtract = _binary("sub", "fsub")
multiply = _binary("mul", "fmul")


@intrinsic
def shift_down(typing_context, vec, places):
    """Whole numbers divided by 2**places, rounding to -infinity; real numbers unchanged."""

    def generate(context, builder, signature, args):
        if vec.element == types.float32:
            return args[0]
        return builder.ashr(args[0], _splat(builder, vec.ir, builder.trunc(args[1], vec.ir.element)))

    return vec(vec, types.intp), generate


@intrinsic
def reached(typing_context, x, y):
    """Mask of the lanes with x >= y."""

    def generate(context, builder, signature, args):
        compare = builder.fcmp_ordered if x.element == types.float32 else builder.icmp_signed
        return compare(">=", *args)

    return Mask(x.lanes)(x, x), generate


@intrinsic
def where(typing_context, mask, x, y):
    """Lanes of x where the mask holds, else of y."""

    def generate(context, builder, signature, args):
        return builder.select(*args)

    return x(mask, x, x), generate


@intrinsic
def bits(typing_context, mask):
    """Bit i is lane i of the mask, of at most 64 lanes."""

    def generate(context, builder, signature, args):
        word = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return builder.zext(word, _INT64) if mask.lanes < 64 else word

    return types.uint64(mask), generate


# ------------------------------------------------------------------------------------------------- bits of one word


@intrinsic
def at(typing_context, array, index):
    """array[index] as int64 or uint64, for an index that is known not to be negative, which Numba would test."""
    signed = array.dtype.signed
    result = types.int64 if signed else types.uint64

    def generate(context, builder, signature, args):
        pointer = builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]])
        value = builder.load(pointer)
        if array.dtype.bitwidth < 64:
            value = builder.sext(value, _INT64) if signed else builder.zext(value, _INT64)
        return value

    return result(array, types.intp), generate


@intrinsic
def popcount(typing_context, word):
    """Number of set bits."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic
def trailing_zeros(typing_context, word):
    """Index of the lowest set bit; 64 if there is none."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], _BIT(0))

    return types.int64(types.uint64), generate


@intrinsic
def merge_columns(typing_context, words, at, shift, first, row, index):
    """row[index : index + COLUMNS] |= words[at : at + COLUMNS] << shift, or = if `first`; row is of uint64.

    Written out because LLVM, not knowing how short rows are, vectorises for long ones only.
    """
    wide = ir.VectorType(_INT64, COLUMNS)

    def generate(context, builder, signature, args):
        words_, at, shift, first, row_, index = args
        kind = ir.VectorType(ir.IntType(words.dtype.bitwidth), COLUMNS)
        found = builder.load(_pointer(context, builder, words, words_, at, kind), align=words.dtype.bitwidth // 8)
        if words.dtype.bitwidth < 64:
            found = builder.zext(found, wide)
        found = builder.shl(found, _splat(builder, wide, shift))
        pointer = _pointer(context, builder, row, row_, index, wide)
        before = builder.select(first, ir.Constant(wide, None), builder.load(pointer, align=8))
        builder.store(builder.or_(before, found), pointer, align=8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.uint64, types.boolean, row, types.intp), generate


@intrinsic
def compress_bits(typing_context, word, first, array, index):
    """array[index + i] = first + index of the i-th set bit, for an array of uint16; returns how many there are.

    Up to 64 elements are written, those after the last set bit with anything. Needs COMPRESSES.
    """
    lanes, half = 64, 32

    def generate(context, builder, signature, args):
        word, first, array, index = args
        octets, wide = ir.VectorType(ir.IntType(8), lanes), ir.VectorType(ir.IntType(16), half)
        places = ir.Constant(octets, list(range(lanes)))
        mask = builder.bitcast(word, ir.VectorType(_BIT, lanes))
        name = "llvm.x86.avx512.mask.compress.v64i8"
        found = _call(builder, name, octets, places, ir.Constant(octets, None), mask)
        count = builder.ctpop(word)
        offset = _splat(builder, wide, builder.trunc(first, ir.IntType(16)))

        def write(start: int) -> None:
            lanes_of = ir.Constant(ir.VectorType(_INT32, half), list(range(start, start + half)))
            part = builder.zext(builder.shuffle_vector(found, found, lanes_of), wide)
            at = builder.add(index, _INT64(start))
            pointer = _pointer(context, builder, signature.args[2], array, at, wide)
            builder.store(builder.add(part, offset), pointer, align=2)

        write(0)
        with builder.if_then(builder.icmp_signed(">", count, _INT64(half)), likely=False):
            write(half)
        return count

    return types.int64(types.uint64, types.intp, array, types.intp), generate


# ---------------------------------------------------------------------------------- sums of neighbouring positions


@intrinsic
def zero_rows(typing_context, like, blocks, positions):
    """As many vectors of zeros as the tuple `positions` is long."""
    rows = Rows(Vec(like.dtype, GROUP * len(blocks)), len(positions))

    def generate(context, builder, signature, args):
        return ir.Constant(rows.ir, None)

    return rows(like, blocks, positions), generate


@intrinsic
def multiply_add(typing_context, rows, weights, index, values, position, step):
    """rows[i] + values[position + i * step] * weights[index : index + lanes], for float32."""

    def generate(context, builder, signature, args):
        total, weights_, index, values_, position, step = args
        vec = rows.vec
        weight = _load(context, builder, vec, weights, weights_, index)
        data = context.make_array(values)(context, builder, values_).data
        for i in range(rows.rows):
            at = builder.add(position, builder.mul(step, _INT64(i)))
            x = _splat(builder, vec.ir, builder.load(builder.gep(data, [at])))
            row = builder.extract_value(total, i)
            row = _call(builder, f"llvm.fmuladd.v{vec.lanes}f32", vec.ir, weight, x, row)
            total = builder.insert_value(total, row, i)
        return total

    return rows(rows, weights, types.intp, values, types.intp, types.intp), generate


@intrinsic
def store_rows(typing_context, rows, array, index):
    """array[index + i * lanes : ... + lanes] = rows[i]."""

    def generate(context, builder, signature, args):
        for i in range(rows.rows):
            at = builder.add(args[2], _INT64(i * rows.vec.lanes))
            pointer = _pointer(context, builder, array, args[1], at, rows.vec.ir)
            builder.store(builder.extract_value(args[0], i), pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(rows, array, types.intp), generate
