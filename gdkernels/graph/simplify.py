"""Simplifications of an elementwise operation that keep its value to the bit."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import PYTHON_COMPARISONS, SCALAR

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["simplified"]

_FOLD: dict[str, Callable[..., float]] = {
    "negative": lambda a: -a,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "pow": math.pow,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "tanh": math.tanh,
    **{name: getattr(operator, short) for name, short in PYTHON_COMPARISONS.items()},
}


def simplified(graph: Graph, op: str, args: tuple[Node, ...]) -> Node | None:
    """Return a node with the value of ``op(*args)`` that is simpler, or None.

    Products with constants are gathered only where a power of two takes part: those are exact.
    """
    numbers = [a.attribute if a.op == "constant" else None for a in args]
    if op in _FOLD and all(n is not None for n in numbers):
        try:
            return graph.lift(_FOLD[op](*numbers))
        except (ValueError, ZeroDivisionError, OverflowError):
            return None  # left to the namespace, which has infinities and NaN
    if op == "negative" and args[0].op == "negative":
        return args[0].args[0]
    if op == "where":
        chosen = args[1] if numbers[0] or args[1] is args[2] else args[2]
        return chosen if numbers[0] is not None or args[1] is args[2] else None
    if op == "logical_not":
        return None if numbers[0] is None else graph.lift(not numbers[0])
    if len(args) != 2:
        return None
    a, b = args
    if op in {"logical_and", "logical_or"}:
        settled = op == "logical_or"  # true or anything is true, false and anything is false
        for number, other in ((numbers[0], b), (numbers[1], a)):
            if number is not None:
                return graph.lift(settled) if number == settled else other
    if op == "add":
        # Only -0 leaves every number as it is: 0 + (-0) is 0.
        return b if _is_zero(numbers[0], -1.0) else a if _is_zero(numbers[1], -1.0) else None
    if op == "subtract":
        return a if _is_zero(numbers[1], 1.0) else None
    if op == "divide":
        return a if numbers[1] == 1 else None
    if op == "pow":
        if numbers[1] == 0:
            return graph.lift(1.0)
        return a if numbers[1] == 1 else graph.apply("multiply", a, a) if numbers[1] == 2 else None
    if op == "multiply":
        if numbers[0] == 1 or numbers[1] == 1:
            return b if numbers[0] == 1 else a
        if (b.dtype == SCALAR and a.dtype != SCALAR) or (numbers[1] is not None and numbers[0] is None):
            return graph.apply("multiply", b, a)  # constants, then scalars, first: one form for one value
        if a.dtype == SCALAR and b.op == "multiply" and b.args[0].dtype == SCALAR:
            inner = b.args[0].attribute if b.args[0].op == "constant" else None
            if _is_power_of_two(numbers[0]) or _is_power_of_two(inner):
                return graph.apply("multiply", graph.apply("multiply", a, b.args[0]), b.args[1])
    return None


def _is_zero(number: float | None, sign: float) -> bool:
    return number == 0 and math.copysign(1.0, number) == sign


def _is_power_of_two(number: float | None) -> bool:
    return number is not None and math.isfinite(number) and abs(math.frexp(number)[0]) == 0.5
