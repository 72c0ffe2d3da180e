"""The vocabulary of a graph: elementwise operations, kinds of values, and the bounds that are known beforehand."""

from __future__ import annotations

__all__ = [
    "BITWISE",
    "BOOL",
    "COMPARISONS",
    "CONVERSIONS",
    "ELEMENTWISE",
    "INT",
    "INT_ARITHMETIC",
    "LOGICAL",
    "MOVES",
    "PYTHON_COMPARISONS",
    "REAL",
    "SCALAR",
]

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
BITWISE = frozenset({"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"})
INT_ARITHMETIC = frozenset({"add", "subtract", "multiply"}) | BITWISE  # what there is of 32-bit integers; they wrap
CONVERSIONS = frozenset({"to_int", "to_real"})  # what xp.astype becomes; not functions of the standard

# What a backend has to know, with the number of operands. Everything else that the tracer accepts is made of these.
ELEMENTWISE: dict[str, int] = (
    dict.fromkeys(("negative", "abs", "sign", "sqrt", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos"), 1)
    | dict.fromkeys(("add", "subtract", "multiply", "divide", "pow", "maximum", "minimum"), 2)
    | dict.fromkeys(sorted(COMPARISONS), 2)
    | {"logical_and": 2, "logical_or": 2, "logical_not": 1, "where": 3}
    | dict.fromkeys(sorted(BITWISE), 2)
    | dict.fromkeys(sorted(CONVERSIONS), 1)
)

# What copies numbers and computes none: a column, some columns, arrays side by side, rows of a table by their numbers.
MOVES = frozenset({"column", "columns", "concat", "take"})

REAL = "real"  # an array of the program's precision
BOOL = "bool"
INT = "int"  # an array of 32-bit integers, of which random numbers are made
SCALAR = "scalar"  # a float64 number on the host: cast once, where it meets an array
