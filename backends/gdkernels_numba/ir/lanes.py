"""What goes across the lanes of vectors: sums and extrema in a fixed order, and a library's function lane by lane."""

from typing import Literal

from llvmlite import ir

from gdkernels_numba.ir.emit import I32
from gdkernels_numba.ir.vector import Vectors

__all__ = ["combined", "each_by_library", "separate_sums", "sums_as_vector"]


def combined(v: Vectors, op: Literal["add", "maximum", "minimum"], a: ir.Value) -> ir.Value:
    """Return the scalar that an operation makes of all lanes, halving in a fixed order."""
    lanes = distance = v.format.lanes
    while distance > 1:
        distance //= 2
        order = [(k + distance) % lanes for k in range(lanes)]
        a = getattr(v, op)(a, v.shuffled(a, a, order))
    return v.lane(a, 0)


def separate_sums(v: Vectors, values: list[ir.Value]) -> list[ir.Value]:
    """Return the scalars that `combined` makes of some vectors by "add", of a power of two of them at once."""
    lanes, distance = v.format.lanes, v.format.lanes // 2
    whose = [[k] * lanes for k in range(len(values))]  # for each vector and lane, whose sum that is a part of
    while distance:
        folded = [x ^ distance for x in range(lanes)]
        half = len(values) // 2
        if half:
            low = [x if not x & distance else lanes + x for x in range(lanes)]
            high = [k ^ distance for k in low]
            whose = [
                [whose[k][x] if not x & distance else whose[k + half][x] for x in range(lanes)] for k in range(half)
            ]
            values = [
                v.add(*(v.shuffled(values[k], values[k + half], order) for order in (low, high))) for k in range(half)
            ]
        else:
            values = [v.add(value, v.shuffled(value, value, folded)) for value in values]
        distance //= 2
    places = {row: (k, x) for k, rows in enumerate(whose) for x, row in enumerate(rows)}
    return [v.lane(values[k], x) for _, (k, x) in sorted(places.items())]


def sums_as_vector(v: Vectors, values: list[ir.Value]) -> ir.Value:
    """Return the sum over the lanes of each of as many vectors as there are lanes, in the lane of its number."""
    lanes = v.format.lanes
    distance = lanes // 2
    while distance:
        # Two vectors become one: each is folded to half as many sums, and these stand in alternate runs of lanes.
        low = [x if not x & distance else lanes + (x ^ distance) for x in range(lanes)]
        high = [x | distance if not x & distance else lanes + x for x in range(lanes)]
        values = [
            v.add(*(v.shuffled(values[k], values[k + distance], order) for order in (low, high)))
            for k in range(distance)
        ]
        distance //= 2
    return values[0]


def each_by_library(v: Vectors, name: str, a: ir.Value) -> ir.Value:
    """Return the result of the C library's function of this name, from float64 to float64, for each lane.

    The loop is a function of its own, because it is seldom needed and would swell the code around it.
    """
    module, called = v.function.module, f"each_{name}_{v.suffix}"
    return v.builder.call(module.globals.get(called) or _looped(v, module, name, called), [a])


def _looped(v: Vectors, module: ir.Module, name: str, called: str) -> ir.Function:
    function = ir.Function(module, ir.FunctionType(v.type, [v.type]), called)
    function.linkage = "internal"
    function.attributes.add("noinline")
    double = ir.DoubleType()
    library = module.globals.get(name) or ir.Function(module, ir.FunctionType(double, [double]), name)
    builder = ir.IRBuilder(function.append_basic_block())
    result = function.args[0]
    for k in (ir.Constant(I32, k) for k in range(v.format.lanes)):
        number = builder.extract_element(function.args[0], k)
        wide = number if v.format.bits == 64 else builder.fpext(number, double)
        found = builder.call(library, [wide])
        narrow = found if v.format.bits == 64 else builder.fptrunc(found, v.format.scalar)
        result = builder.insert_element(result, narrow, k)
    builder.ret(result)
    return function
