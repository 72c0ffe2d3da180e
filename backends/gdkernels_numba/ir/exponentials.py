"""exp, expm1, log, log1p and tanh without branches, on vectors.

Within 4 units in the last place over the whole range; infinities and NaN come out as the standard wants, and results
in the denormal range may be zero. Sources: the reductions and coefficients of log are those of FreeBSD's msun
(e_log.c, e_logf.c); exp is a Taylor polynomial on [−½ ln 2, ½ ln 2].
"""

import math
from dataclasses import dataclass

from llvmlite import ir

from gdkernels_numba.ir.vector import Vectors

__all__ = ["exp", "expm1", "log", "log1p", "polynomial", "tanh"]


@dataclass(frozen=True)
class _ExponentialConstants:
    """The constants of one precision.

    Attributes
    ----------
    fraction, bias
        The bits of a number's fraction, and the bias of its exponent.
    ln2_high, ln2_low
        ln 2 in two parts, the first with so many zeros at its end that its multiples are exact.
    degree
        Of the polynomial for exp.
    log
        Coefficients of the polynomial for log, from the square upwards.
    highest, lowest
        Beyond these exp is infinite, or zero.
    one_less
        Below this expm1 is −1.
    tiniest
        The least positive normal number.
    """

    fraction: int
    bias: int
    ln2_high: float
    ln2_low: float
    degree: int
    log: tuple[float, ...]
    highest: float
    lowest: float
    one_less: float
    tiniest: float


_CONSTANTS = {
    32: _ExponentialConstants(
        fraction=23,
        bias=127,
        ln2_high=6.9313812256e-01,
        ln2_low=9.0580006145e-06,
        degree=7,
        log=(0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841),
        highest=89.0,
        lowest=-104.0,
        one_less=-18.0,
        tiniest=2.0**-126,
    ),
    64: _ExponentialConstants(
        fraction=52,
        bias=1023,
        ln2_high=6.93147180369123816490e-01,
        ln2_low=1.90821492927058770002e-10,
        degree=13,
        log=(
            6.666666666666735130e-01,
            3.999999999940941908e-01,
            2.857142874366239149e-01,
            2.222219843214978396e-01,
            1.818357216161805012e-01,
            1.531383769920937332e-01,
            1.479819860511658591e-01,
        ),
        highest=710.0,
        lowest=-746.0,
        one_less=-38.0,
        tiniest=2.0**-1022,
    ),
}


def polynomial(v: Vectors, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    """Return the polynomial with these coefficients, the constant first, by Horner's rule."""
    value = v.constant(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = v.fma(value, x, v.constant(c))
    return value


def _clamp(v: Vectors, x: ir.Value, low: float, high: float) -> ir.Value:
    """Return x between two numbers; NaN stays."""
    x = v.where(v.greater(x, v.constant(high)), v.constant(high), x)
    return v.where(v.less(x, v.constant(low)), v.constant(low), x)


def _reduce(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the integer n closest to x / ln 2 and exp(x − n ln 2) − 1."""
    c = _CONSTANTS[v.format.bits]
    # Adding 1.5·2^fraction leaves the nearest integer in the lowest bits, and no conversion meets a NaN.
    shift = v.constant(1.5 * 2.0**c.fraction)
    shifted = v.fma(x, v.constant(1.0 / math.log(2.0)), shift)
    n = v.subtract(shifted, shift)
    r = v.fma(n, v.constant(-c.ln2_high), x)
    r = v.fma(n, v.constant(-c.ln2_low), r)
    tail = polynomial(v, r, tuple(1.0 / math.factorial(k) for k in range(2, c.degree + 1)))
    integer = v.builder.sub(v.as_integers(shifted), v.as_integers(shift))
    return integer, v.fma(v.multiply(r, r), tail, r)


def _power_of_two(v: Vectors, n: ir.Value) -> ir.Value:
    c = _CONSTANTS[v.format.bits]
    return v.as_numbers(v.builder.shl(v.builder.add(n, v.integer(c.bias)), v.integer(c.fraction)))


def exp(v: Vectors, x: ir.Value) -> ir.Value:
    c = _CONSTANTS[v.format.bits]
    n, q = _reduce(v, _clamp(v, x, c.lowest, c.highest))
    # In two factors: 2^n alone overflows, or vanishes, before the result does.
    half = v.builder.ashr(n, v.integer(1))
    rest = v.builder.sub(n, half)
    value = v.add(q, v.constant(1.0))
    return v.multiply(v.multiply(value, _power_of_two(v, half)), _power_of_two(v, rest))


def expm1(v: Vectors, x: ir.Value) -> ir.Value:
    c = _CONSTANTS[v.format.bits]
    n, q = _reduce(v, _clamp(v, x, c.one_less, c.highest))
    # 2^n (q + 1) − 1 as 2 (2^(n−1) q + (2^(n−1) − ½)): exact for small x, and 2^n may overflow.
    half = _power_of_two(v, v.builder.sub(n, v.integer(1)))
    value = v.fma(half, q, v.subtract(half, v.constant(0.5)))
    return v.add(value, value)


def log(v: Vectors, x: ir.Value) -> ir.Value:
    c = _CONSTANTS[v.format.bits]
    bits = v.as_integers(x)
    # x = 2^k (1 + f) with 1 + f between √½ and √2.
    root = v.as_integers(v.constant(math.sqrt(0.5)))
    offset = v.builder.sub(bits, root)
    k = v.builder.ashr(offset, v.integer(c.fraction))
    f = v.subtract(v.as_numbers(v.builder.sub(bits, v.builder.shl(k, v.integer(c.fraction)))), v.constant(1.0))
    k = v.builder.sitofp(k, v.type)
    s = v.divide(f, v.add(f, v.constant(2.0)))
    z = v.multiply(s, s)
    tail = v.multiply(z, polynomial(v, z, c.log))
    half = v.multiply(v.constant(0.5), v.multiply(f, f))
    low = v.fma(k, v.constant(c.ln2_low), v.multiply(s, v.add(half, tail)))
    value = v.fma(k, v.constant(c.ln2_high), v.subtract(f, v.subtract(half, low)))
    value = v.where(v.less(x, v.constant(math.inf)), value, x)  # infinity and NaN are their own logarithms
    value = v.where(v.less(x, v.constant(c.tiniest)), v.constant(-math.inf), value)
    return v.where(v.less(x, v.constant(0.0)), v.constant(math.nan), value)


def log1p(v: Vectors, x: ir.Value) -> ir.Value:
    u = v.add(x, v.constant(1.0))
    value = log(v, u)
    # The part that rounding 1 + x lost.
    corrected = v.add(value, v.divide(v.subtract(x, v.subtract(u, v.constant(1.0))), u))
    inside = v.logical_and(v.greater(u, v.constant(0.0)), v.less(u, v.constant(math.inf)))
    return v.where(inside, corrected, value)


def tanh(v: Vectors, x: ir.Value) -> ir.Value:
    size = _clamp(v, v.abs(x), 0.0, 20.0)  # 1 from there on, in either precision
    e = expm1(v, v.add(size, size))
    value = v.divide(e, v.add(e, v.constant(2.0)))
    return v.intrinsic("copysign", value, x)
