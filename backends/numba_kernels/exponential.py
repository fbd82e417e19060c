"""The exponential function for loops that the compiler makes vectors of, which a call of a library would prevent."""

from __future__ import annotations

from math import exp, factorial
from typing import NamedTuple

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.693359375  # of few bits, so that its multiples are exact
LN2_LOW = -2.1219444005469058e-4


class _Format(NamedTuple):
    """A floating-point type, and what its precision asks for."""

    name: str
    bits: int
    mantissa: int
    bias: int
    least: float  # below, the result may be smaller than any normal number
    degree: int  # of the series


_FORMATS = {
    types.float32: _Format("f32", 32, 23, 127, -87.0, 7),
    types.float64: _Format("f64", 64, 52, 1023, -708.0, 13),
}


@intrinsic
def exp_of_negative(typing_context, x):
    """e**x for x <= 0, to an error of one last place; 0 where it would be smaller than any normal number.

    x = n ln 2 + r with a whole n, so that e**x = 2**n e**r with |r| <= ln 2 / 2: the series of e**r soon ends.
    """
    form = _FORMATS[x]

    def generate(context, builder, signature, args):
        (x,) = args
        real, whole = x.type, ir.IntType(form.bits)

        def call(name, *operands):
            kind = ir.FunctionType(real, [real] * len(operands))
            return builder.call(
                cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{form.name}"), operands
            )

        def multiply_add(a, b, c):
            return call("fmuladd", a, b, c)

        near = builder.fcmp_ordered(">=", x, real(form.least))
        inside = builder.select(near, x, real(form.least))
        n = call("rint", builder.fmul(inside, real(LOG2_E)))
        r = multiply_add(n, real(-LN2_LOW), multiply_add(n, real(-LN2_HIGH), inside))
        total = real(1 / factorial(form.degree))
        for k in range(form.degree - 1, -1, -1):
            total = multiply_add(total, r, real(1 / factorial(k)))
        exponent = builder.add(builder.fptosi(n, whole), whole(form.bias))
        power = builder.bitcast(builder.shl(exponent, whole(form.mantissa)), real)
        below = builder.select(builder.fcmp_ordered("<", x, real(form.least)), real(0), x)  # else not a number
        return builder.select(near, builder.fmul(total, power), below)

    return x(x), generate


if config.DISABLE_JIT:  # loops that are interpreted cannot call an intrinsic
    exp_of_negative = exp
