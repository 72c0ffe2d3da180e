"""A graph as Python code without objects: a function of one statement for each node, on arrays of NumPy.

Between the operations of a network of one record, Python takes longer than NumPy does in them. The function calls the
same functions of the namespace on the same numbers as the definition, one after the other, and looks nothing up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import TraceError
from gdkernels.graph.derivative import topological
from gdkernels.graph.interpret import interpret
from gdkernels.graph.nodes import Node, same_shape
from gdkernels.graph.operations import COMPARISONS, ELEMENTWISE, REAL

__all__ = ["straight_line"]

# Arithmetic is written with operators, as definitions write it.
_BETWEEN = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "pow": "**",
    "greater": ">",
    "greater_equal": ">=",
    "less": "<",
    "less_equal": "<=",
    "equal": "==",
    "not_equal": "!=",
    "logical_and": "&",
    "logical_or": "|",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "bitwise_left_shift": "<<",
    "bitwise_right_shift": ">>",
}
_BEFORE = {"negative": "-", "abs": "abs"}

# Where a number beside an array may come as an array without axes, which NumPy reads in half of the time.
_WITH_NUMBERS = frozenset({"add", "subtract", "multiply", "divide", "maximum", "minimum"}) | COMPARISONS

_VIEWS = frozenset({"broadcast_to", "expand_dims", "squeeze", "transpose", "column", "columns", "detach"})
_FRESH = (frozenset(ELEMENTWISE) | {"matmul"}) - {"where", "to_real", "to_int"}  # whose results nothing else holds


def straight_line(
    output: Node, *, xp: Any, dtype: npt.DTypeLike
) -> Callable[[Mapping[str, Any], npt.NDArray[Any]], Any]:
    """Return a function of the parameters by name and of ``x`` that computes `output`.

    Parameters
    ----------
    output
        Made from the inputs ``x`` and parameters.
    xp
        The namespace whose functions are called.
    dtype
        That of the arrays.

    Raises
    ------
    TraceError
        If the graph cannot be written so: it uses a size that is not known, or an operation of training.
    """
    writer = _Writer(output, xp, np.dtype(dtype))
    lines = writer.lines()
    source = "\n    ".join(["def computed(p, x):", *lines])
    exec(source, writer.names)  # noqa: S102  # written here, from a graph's operations, as `dataclass` writes methods
    function: Callable[[Mapping[str, Any], npt.NDArray[Any]], Any] = writer.names["computed"]
    return function


class _Writer:
    def __init__(self, output: Node, xp: Any, dtype: np.dtype[Any]) -> None:
        self._nodes, self._output, self._xp, self._dtype = topological(output), output, xp, dtype
        self._last: dict[int, int] = {output.id: len(self._nodes)}
        self._viewed: set[int] = set()
        self._numbers: dict[int, Any] = {}  # values that need no array, by their nodes
        for at, node in enumerate(self._nodes):
            self._last.update((a.id, max(at, self._last.get(a.id, 0))) for a in node.args)
            if node.op in _VIEWS:
                self._viewed.update(a.id for a in node.args)
        self.names: dict[str, Any] = {"copyto": np.copyto, "dtype": dtype, "int32": np.int32}

    def lines(self) -> list[str]:
        return [line for at, node in enumerate(self._nodes) for line in self._written(at, node)] + [
            f"return {self._value(self._output)}"
        ]

    def _written(self, at: int, node: Node) -> list[str]:
        """Return the statements that compute a node; none for a number."""
        if node.op == "input":
            return [f"v{node.id} = {self._input(node)}"]
        if not node.shape and all(a.id in self._numbers for a in node.args):
            try:
                self._numbers[node.id] = interpret([node], {}, xp=self._xp)[0]
            except KeyError as error:
                raise TraceError("the number of records is part of the computation") from error
            return []
        if node.op == "where" and self._in_place(at, node):
            condition, a, b = node.args
            into = f"v{node.id}"
            return [
                f"{into} = {self._value(b)}",
                f"copyto({into}, {self._array(a)}, where={self._value(condition)})",
            ]
        return [f"v{node.id} = {self._expression(node)}"]

    def _input(self, node: Node) -> str:
        if node.attribute == "x":
            return "x"
        readers = [n for n in self._nodes if node.id in {a.id for a in n.args}]
        # A row beside records is quicker with both axes. Other operations need the axes that it has.
        row = node.ndim == 1 and all(n.op in _BETWEEN and n.ndim == 2 for n in readers)
        return f"p[{node.attribute!r}]" + ("[None]" if row else "")

    def _in_place(self, at: int, node: Node) -> bool:
        """Return whether the last operand of a `where` can hold the result: nobody else has or reads it."""
        condition, a, b = node.args
        fresh = b.op in _FRESH and b.id not in self._numbers and b.id not in self._viewed and self._last[b.id] == at
        alone = b.id != a.id and b.dtype == REAL and b.ndim > 0 and condition.id not in self._numbers
        return fresh and alone and same_shape(b.shape, node.shape)

    def _expression(self, node: Node) -> str:
        op, args = node.op, node.args
        if op in _BETWEEN:
            values = [self._array(a) if op in _WITH_NUMBERS and _mixes_arrays(args) else self._value(a) for a in args]
            return f"{values[0]} {_BETWEEN[op]} {values[1]}"
        if op in _BEFORE:
            return f"{_BEFORE[op]}({self._value(args[0])})"
        if op in ("sum", "max", "min"):
            axes = node.attribute if len(node.attribute) > 1 else node.attribute[0]
            return f"{self._function(op)}({self._value(args[0])}, axis={axes!r}, keepdims=True)"
        if op in ("column", "columns"):
            part = (node.attribute,) if op == "column" else node.attribute  # a number; or the first and the one after
            return f"{self._value(args[0])}[:, {':'.join(map(str, part))}]"
        if op in ("expand_dims", "squeeze"):
            return f"{self._value(args[0])}[{_picked(node)}]"
        if op == "transpose":
            return f"{self._value(args[0])}.T"
        if op == "detach":
            return self._value(args[0])
        if op in ("to_int", "to_real"):
            return f"{self._function('astype')}({self._value(args[0])}, {'int32' if op == 'to_int' else 'dtype'})"
        if op == "concat":
            return f"{self._function('concat')}([{', '.join(map(self._value, args))}], axis=1)"
        if op == "take":
            return f"{self._function('take')}({self._value(args[0])}, {self._value(args[1])}, axis=0)"
        if op == "row_product":
            n, k, m, *turned = node.attribute
            left, right = (
                f"{self._value(a)}.reshape(-1, {columns}, {rows}).swapaxes(1, 2)"
                if t
                else f"{self._value(a)}.reshape(-1, {rows}, {columns})"
                for a, t, rows, columns in zip(args, turned, (n, k), (k, m), strict=True)
            )
            return f"({left} @ {right}).reshape(-1, {n * m})"
        if op == "where":
            if args[0].id in self._numbers:
                raise TraceError("a choice that no array decides")
            first = self._array if args[2].id in self._numbers else self._value  # an array is wanted among the branches
            return f"{self._function(op)}({self._value(args[0])}, {first(args[1])}, {self._value(args[2])})"
        if op in ELEMENTWISE or op == "matmul":
            number = self._array if op in _WITH_NUMBERS else self._value
            return f"{self._function(op)}({', '.join(map(number, args))})"
        raise TraceError(f"{op} has no statement")

    def _value(self, node: Node) -> str:
        """Return the name of a value, or a number as Python's own."""
        return _written_number(self._numbers[node.id]) if node.id in self._numbers else f"v{node.id}"

    def _array(self, node: Node) -> str:
        """Return the name of a value, of a number as an array without axes."""
        if node.id not in self._numbers:
            return f"v{node.id}"
        name = f"k{node.id}"
        with np.errstate(all="ignore"):  # one that is too large for the precision is infinite there
            number = np.asarray(self._numbers[node.id], self._dtype)
        number.flags.writeable = False
        self.names[name] = number
        return name

    def _function(self, name: str) -> str:
        self.names[f"xp_{name}"] = getattr(self._xp, name)
        return f"xp_{name}"


def _mixes_arrays(args: tuple[Node, ...]) -> bool:
    """Return whether an array of the precision is among operands."""
    return any(a.dtype == REAL for a in args)


def _written_number(number: Any) -> str:
    """Return a number in Python."""
    return f"float({str(number)!r})" if isinstance(number, float) and not np.isfinite(number) else repr(number)


def _picked(node: Node) -> str:
    """Return the index that adds an axis, or takes some away."""
    if node.op == "expand_dims":
        return ", ".join([":"] * node.attribute + ["None"])
    return ", ".join("0" if k in node.attribute else ":" for k in range(node.args[0].ndim))
