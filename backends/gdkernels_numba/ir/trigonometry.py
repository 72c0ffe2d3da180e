"""sin and cos on vectors.

The argument is reduced to [−¼ π, ¼ π] by multiples of ½ π in three parts, with fused multiply-adds (Cody and Waite); a
vector with a number too large for that, which training seldom meets, is left to the C library, number by number. The
polynomials are those of FreeBSD's msun (k_sin.c, k_cos.c) in float64, of Cephes (sinf.c) in float32.
"""

from dataclasses import dataclass

from llvmlite import ir

from gdkernels_numba.ir.emit import Variable
from gdkernels_numba.ir.exponentials import polynomial
from gdkernels_numba.ir.lanes import each_by_library
from gdkernels_numba.ir.vector import Vectors

__all__ = ["cos", "sin"]


@dataclass(frozen=True)
class _TrigonometricConstants:
    """The constants of one precision.

    Attributes
    ----------
    fraction
        The bits of a number's fraction.
    half_pi
        ½ π in three parts, each of full precision.
    largest
        Arguments up to here are reduced in the vector.
    sin, cos
        Coefficients from r³ and r⁴ upwards.
    """

    fraction: int
    half_pi: tuple[float, float, float]
    largest: float
    sin: tuple[float, ...]
    cos: tuple[float, ...]


_CONSTANTS = {
    32: _TrigonometricConstants(
        fraction=23,
        half_pi=(1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
        largest=2.0**16,
        sin=(-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4),
        cos=(4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5),
    ),
    64: _TrigonometricConstants(
        fraction=52,
        half_pi=(1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
        largest=2.0**30,
        sin=(
            -1.66666666666666324348e-01,
            8.33333333332248946124e-03,
            -1.98412698298579493134e-04,
            2.75573137070700676789e-06,
            -2.50507602534068634195e-08,
            1.58969099521155010221e-10,
        ),
        cos=(
            4.16666666666666019037e-02,
            -1.38888888888741095749e-03,
            2.48015872894767294178e-05,
            -2.75573143513906633035e-07,
            2.08757232129817482790e-09,
            -1.13596475577881948265e-11,
        ),
    ),
}

_TWO_OVER_PI = 0.6366197723675814


def sin(v: Vectors, x: ir.Value) -> ir.Value:
    return _shifted_sine(v, x, 0, "sin")


def cos(v: Vectors, x: ir.Value) -> ir.Value:
    return _shifted_sine(v, x, 1, "cos")


def _shifted_sine(v: Vectors, x: ir.Value, quarters: int, name: str) -> ir.Value:
    """Return the sine so many quarters of a turn later."""
    c = _CONSTANTS[v.format.bits]
    shift = v.constant(1.5 * 2.0**c.fraction)  # leaves the nearest integer in the lowest bits
    shifted = v.fma(x, v.constant(_TWO_OVER_PI), shift)
    n, r = v.subtract(shifted, shift), x
    for part in c.half_pi:
        r = v.exact_fma(n, v.constant(-part), r)
    z = v.multiply(r, r)
    sine = v.fma(v.multiply(z, r), polynomial(v, z, c.sin), r)
    cosine = v.fma(v.multiply(z, z), polynomial(v, z, c.cos), v.fma(z, v.constant(-0.5), v.constant(1.0)))
    quarter = v.builder.add(v.as_integers(shifted), v.integer(quarters))
    odd = v.builder.icmp_signed("!=", v.builder.and_(quarter, v.integer(1)), v.integer(0))
    behind = v.builder.icmp_signed("!=", v.builder.and_(quarter, v.integer(2)), v.integer(0))
    value = v.where(odd, cosine, sine)
    result = Variable(v.function, v.where(behind, v.negative(value), value))
    with v.builder.if_then(v.any(v.greater(v.abs(x), v.constant(c.largest))), likely=False):
        result.set(each_by_library(v, name, x))
    return result.get()
