"""What a graph is made of: the elementwise operations, the kinds of values, and what can be said of them beforehand."""

from __future__ import annotations

__all__ = ["BOOL", "COMPARISONS", "ELEMENTWISE", "INT", "LOGICAL", "MOVES", "PYTHON_COMPARISONS", "REAL", "SCALAR"]

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

# What copies numbers and computes none: a column, some columns, arrays side by side, rows of a table by their numbers.
MOVES = frozenset({"column", "columns", "concat", "take"})

REAL = "real"  # an array of the program's precision
BOOL = "bool"
INT = "int"  # an array of int32
SCALAR = "scalar"  # a float64 number on the host: cast once, where it meets an array
