"""The vocabulary of a graph: elementwise operations, kinds of values, and the bounds that are known beforehand."""

from __future__ import annotations

__all__ = ["BOOL", "COMPARISONS", "ELEMENTWISE", "LOGICAL", "PYTHON_COMPARISONS", "REAL", "SCALAR"]

PYTHON_COMPARISONS = {
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "equal": "eq",
    "not_equal": "ne",
}
COMPARISONS = frozenset(PYTHON_COMPARISONS)
LOGICAL = frozenset({"logical_and", "logical_or", "logical_not"})

# What a backend has to know, with the number of operands. Everything else that the tracer accepts is made of these.
ELEMENTWISE: dict[str, int] = (
    dict.fromkeys(("negative", "abs", "sign", "sqrt", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos"), 1)
    | dict.fromkeys(("add", "subtract", "multiply", "divide", "pow", "maximum", "minimum"), 2)
    | dict.fromkeys(sorted(COMPARISONS), 2)
    | {"logical_and": 2, "logical_or": 2, "logical_not": 1, "where": 3}
)

REAL = "real"  # an array of the program's precision
BOOL = "bool"
SCALAR = "scalar"  # a float64 number on the host: cast once, where it meets an array
