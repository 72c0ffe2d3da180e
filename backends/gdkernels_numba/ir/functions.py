"""The functions of the graph, on vectors: within 4 units in the last place over the whole range.

Infinities and NaN come out as the standard wants; operands and results in the denormal range may be zero.
"""

from collections.abc import Callable

from llvmlite import ir

from gdkernels_numba.ir.exponentials import exp, expm1, log, log1p, tanh
from gdkernels_numba.ir.powers import power
from gdkernels_numba.ir.trigonometry import cos, sin

__all__ = ["FUNCTIONS"]

FUNCTIONS: dict[str, Callable[..., ir.Value]] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "tanh": tanh,
    "sin": sin,
    "cos": cos,
    "pow": power,
}
