"""Powers with any exponent on vectors: exp(y log |x|), the logarithm and the product with twice the digits.

A number with twice the digits is a sum of two, the second below half a unit of the first. float32 is computed in
float64, whose ordinary functions have digits enough. log(1 + f) = 2 artanh(f / (2 + f)).
"""

import math
from collections.abc import Callable

from llvmlite import ir

from gdkernels_numba.ir.exponentials import exp, log, polynomial
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.vector import Vectors

__all__ = ["power"]

_Double = tuple[ir.Value, ir.Value]
_Operation = Callable[[Vectors, ir.Value, ir.Value], ir.Value]

_FRACTION = 52
_LN2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)  # multiples of the first are exact
_THIRDS = (2.0 / 3.0, 3.7007434154171882e-17)  # ⅔
# Of artanh, from s⁵ upwards, twice: what is left out is below 2⁻⁶⁵ where s² ≤ 0.0295.
_ARTANH = tuple(2.0 / k for k in range(5, 27, 2))
_LARGEST = 2.0**53  # from here on every float64 is an even integer


def power(v: Vectors, x: ir.Value, y: ir.Value) -> ir.Value:
    if v.format.bits == 64:
        return _power(v, x, y, _exp_of_product)
    wide = Vectors(v.function, Format("float64", v.format.lanes))
    value = _power(wide, v.builder.fpext(x, wide.type), v.builder.fpext(y, wide.type), _plain_exp_of_product)
    return v.builder.fptrunc(value, v.type)


def _power(v: Vectors, x: ir.Value, y: ir.Value, exp_of_product: _Operation) -> ir.Value:
    size, zero, one = v.abs(x), v.constant(0.0), v.constant(1.0)
    value = exp_of_product(v, size, y)
    value = v.where(v.equal(size, one), one, value)
    rounded, half = v.intrinsic("rint", y), v.multiply(y, v.constant(0.5))
    whole = v.equal(rounded, y)  # so are infinities
    odd = v.logical_and(whole, v.not_equal(v.intrinsic("rint", half), half))
    odd = v.logical_and(odd, v.less(v.abs(y), v.constant(_LARGEST)))
    # The sign of −0 counts, too.
    turned = v.less(v.intrinsic("copysign", one, x), zero)
    value = v.where(v.logical_and(turned, odd), v.negative(value), value)
    outside = v.logical_and(v.less(x, zero), v.greater(x, v.constant(-math.inf)))
    value = v.where(v.logical_and(outside, v.logical_not(whole)), v.constant(math.nan), value)
    certain = v.builder.or_(v.equal(y, zero), v.equal(x, one))
    nan = v.builder.or_(v.is_nan(x), v.is_nan(y))
    return v.where(certain, one, v.where(nan, v.constant(math.nan), value))


def _plain_exp_of_product(v: Vectors, x: ir.Value, y: ir.Value) -> ir.Value:
    return exp(v, v.multiply(y, log(v, x)))


def _exp_of_product(v: Vectors, x: ir.Value, y: ir.Value) -> ir.Value:
    high, low = _long_log(v, x)
    product = v.multiply(y, high)
    rest = v.exact_fma(y, low, v.exact_fma(y, high, v.negative(product)))
    value = exp(v, product)
    # Where the result overflows or vanishes the rest is meaningless.
    meant = v.logical_and(v.less(value, v.constant(math.inf)), v.less(v.abs(product), v.constant(800.0)))
    return v.where(meant, v.fma(value, rest, value), value)


def _long_log(v: Vectors, x: ir.Value) -> _Double:
    """Return the logarithm of x ≥ 0 in two parts; of infinities and zeros in the first."""
    bits = v.as_integers(x)
    offset = v.builder.sub(bits, v.as_integers(v.constant(math.sqrt(0.5))))
    k = v.builder.ashr(offset, v.integer(_FRACTION))
    m = v.as_numbers(v.builder.sub(bits, v.builder.shl(k, v.integer(_FRACTION))))
    k = v.builder.sitofp(k, v.type)
    one = v.constant(1.0)
    f, below = v.subtract(m, one), v.add(m, one)
    below_low = v.subtract(m, v.subtract(below, one))
    s = v.divide(f, below)
    left = v.subtract(v.exact_fma(v.negative(s), below, f), v.multiply(s, below_low))
    s_low = v.divide(left, below)
    z = v.multiply(s, s)
    z_low = v.fma(v.add(s, s), s_low, v.exact_fma(s, s, v.negative(z)))
    tail = v.multiply(z, polynomial(v, z, _ARTANH))
    factor = _sum(v, v.constant(_THIRDS[0]), tail)
    factor = factor[0], v.add(factor[1], v.constant(_THIRDS[1]))
    cube = _product(v, (s, s_low), _product(v, (z, z_low), factor))
    high, low = _sum(v, v.add(s, s), cube[0])
    low = v.add(low, v.add(v.add(s_low, s_low), cube[1]))
    first, rest = _sum(v, v.multiply(k, v.constant(_LN2[0])), high)
    second, more = _sum(v, v.multiply(k, v.constant(_LN2[1])), rest)
    first, second = _sum(v, first, second)
    second = v.add(second, v.add(more, low))
    plain = log(v, x)
    usual = v.logical_and(v.greater(plain, v.constant(-math.inf)), v.less(plain, v.constant(math.inf)))
    return v.where(usual, first, plain), v.where(usual, second, v.constant(0.0))


def _sum(v: Vectors, a: ir.Value, b: ir.Value) -> _Double:
    """Return a + b and what its rounding lost, whichever is larger (Knuth)."""
    total = v.add(a, b)
    part = v.subtract(total, a)
    return total, v.add(v.subtract(a, v.subtract(total, part)), v.subtract(b, part))


def _product(v: Vectors, a: _Double, b: _Double) -> _Double:
    high = v.multiply(a[0], b[0])
    low = v.exact_fma(a[0], b[0], v.negative(high))
    return high, v.add(low, v.fma(a[0], b[1], v.multiply(a[1], b[0])))
