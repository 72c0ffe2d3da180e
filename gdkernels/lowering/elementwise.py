"""The recipe of an elementwise loop: its computation without names, so that loops of one recipe share a kernel."""

import math
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import ScheduleError
from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import BITWISE, COMPARISONS, CONVERSIONS, INT, SCALAR
from gdkernels.lowering.loops import is_loaded, operands
from gdkernels.lowering.steps import COLUMN, MATRIX, NUMBER, UNITS, Loop, StepSchedule, value_of

__all__ = ["ELEMENT", "INTEGERS", "ROW", "SINGLE", "UNIT", "Instruction", "Recipe", "as_loaded", "recipe_of"]

# The rate at which a value changes: there is one number, or one for each row, unit or element.
SINGLE, ROW, UNIT, ELEMENT = range(4)

# The operations whose results are 32-bit integers, which wrap. "integer_loaded" finds one in what was loaded.
INTEGERS = BITWISE | {"to_int", "integer", "integer_loaded", "integer_add", "integer_subtract", "integer_multiply"}

_ARITHMETIC = BITWISE | CONVERSIONS | frozenset({
    "negative", "abs", "sign", "sqrt", "add", "subtract", "multiply", "divide", "maximum", "minimum",
    "greater", "greater_equal", "less", "less_equal", "equal", "not_equal",
    "logical_and", "logical_or", "logical_not", "where",
})  # fmt: skip
_LARGEST_POWER = 64


@dataclass(frozen=True)
class Instruction:
    """An operation on earlier results; "load" of an operand, "constant" of a number, "integer" of a whole one."""

    op: str
    arguments: tuple[int, ...]
    value: float
    rate: int


@dataclass(frozen=True)
class Recipe:
    """The text of a loop.

    Attributes
    ----------
    kind
        The kind of array that the loop runs over.
    code
        Instructions, each after what it needs; the first ones load the operands, in order.
    outputs
        The results that are stored.
    reductions
        The operation, which result it reduces, and whether to one number a row rather than to a single one.
    """

    kind: str
    code: tuple[Instruction, ...]
    outputs: tuple[int, ...]
    reductions: tuple[tuple[str, int, bool], ...]

    @property
    def loads(self) -> int:
        return sum(i.op == "load" for i in self.code)

    @property
    def row_wise(self) -> bool:
        """Whether it reduces to one number a row."""
        return any(to_row for _, _, to_row in self.reductions)

    def only_sign(self, load: int) -> bool:
        """Return whether an operand is only compared with 0."""
        if load in self.outputs or any(load == at for _, at, _ in self.reductions):
            return False
        users = [i for i in self.code if load in i.arguments]
        zeros = {k for k, i in enumerate(self.code) if i.op == "constant" and i.value == 0}
        return all(i.op in COMPARISONS and set(i.arguments) <= {load, *zeros} for i in users)


def recipe_of(result: StepSchedule, loop: Loop, kind: Callable[[Node], str], functions: Set[str]) -> Recipe:
    """Return the recipe of `loop`; its operands are the reads, then the outputs, then the reductions.

    Parameters
    ----------
    kind
        The kind of a value where this loop is.
    functions
        The functions of the backend besides arithmetic: exp, tanh, …; with "pow", powers of any exponent too.

    Raises
    ------
    ScheduleError
        For an operation that is not among them.
    """
    return _RecipeWriter(result, loop, kind, functions).recipe()


def as_loaded(integers: npt.NDArray[np.int32], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return int32 numbers as loops load them: among numbers of 4 bytes as they are, among float64 as such."""
    return integers.view(np.float32) if np.dtype(dtype) == np.float32 else integers.astype(np.float64)


class _RecipeWriter:
    def __init__(self, result: StepSchedule, loop: Loop, kind: Callable[[Node], str], functions: Set[str]) -> None:
        self.result, self.loop, self.kind, self.functions = result, loop, kind, functions
        self.code: list[Instruction] = []
        self.at: dict[int, int] = {}
        self.inside = {n.id for n in loop.outputs}

    def recipe(self) -> Recipe:
        for node in self.loop.reads:
            self.at[node.id] = self._add("load", (), 0.0, self._rate(node))
        for node in self.loop.reads:
            if node.dtype == INT:
                self.at[node.id] = self._emit("integer_loaded", self.at[node.id])
        outputs = tuple(self._value(n) for n in self.loop.outputs)
        reductions = tuple(
            (n.op, self._value(value_of(n.args[0])), self.kind(n) == COLUMN) for n in self.loop.reductions
        )
        return Recipe(self.loop.kind, tuple(self.code), outputs, reductions)

    def _rate(self, node: Node) -> int:
        kind = NUMBER if node.dtype == SCALAR else self.kind(node)
        if kind == NUMBER:
            return SINGLE
        if self.loop.kind == MATRIX and kind in (COLUMN, UNITS):
            return ROW if kind == COLUMN else UNIT
        return ELEMENT

    def _add(self, op: str, arguments: tuple[int, ...], value: float, rate: int) -> int:
        self.code.append(Instruction(op, arguments, value, rate))
        return len(self.code) - 1

    def _value(self, node: Node) -> int:
        """Return the place of a value, after those of all that it is made of: a norm is as deep as there are layers."""
        waiting = [node]
        while node.id not in self.at:
            value = waiting[-1]
            missing = next((a for a in self._made_of(value) if a.id not in self.at), None)
            if missing is not None:
                waiting.append(missing)
                continue
            self.at[value.id] = self._compute(value)
            waiting.pop()
        return self.at[node.id]

    def _made_of(self, node: Node) -> tuple[Node, ...]:
        if node.op == "constant":
            return ()
        if node.id not in self.inside and is_loaded(self.result, node):
            raise AssertionError(f"{node} should have been among what is read")
        sources = operands(self.result, node, self.loop.stage)
        return sources[:1] if self._is_power(node, sources) else sources

    def _is_power(self, node: Node, sources: tuple[Node, ...]) -> bool:
        """Return whether a power is written as products, whose exponent is none of them."""
        return node.op == "pow" and (_half_integer(sources[1]) or "pow" not in self.functions)

    def _compute(self, node: Node) -> int:
        if node.op == "constant":
            return self._add("integer" if node.dtype == INT else "constant", (), node.attribute, SINGLE)
        sources = operands(self.result, node, self.loop.stage)
        if self._is_power(node, sources):
            return self._power(self.at[sources[0].id], sources[1])
        arguments = tuple(self.at[a.id] for a in sources)
        if node.op == "broadcast_to":
            return arguments[0]
        if node.op not in _ARITHMETIC and node.op not in self.functions:
            raise ScheduleError(f"{node}: {node.op} cannot be compiled here")
        integers = node.dtype == INT and node.op not in INTEGERS
        return self._emit(f"integer_{node.op}" if integers else node.op, *arguments)

    def _emit(self, op: str, *arguments: int) -> int:
        rates = [self.code[a].rate for a in arguments]
        # A value that differs by row and by unit differs by element.
        rate = ELEMENT if ROW in rates and UNIT in rates else max(rates)
        return self._add(op, arguments, 0.0, rate)

    def _power(self, base: int, exponent: Node) -> int:
        """Write a power with a constant half-integer exponent as products and a square root."""
        if not _half_integer(exponent):
            raise ScheduleError(f"a power with the exponent {exponent} cannot be compiled here")
        value = exponent.attribute
        whole, half = divmod(abs(value), 1.0)
        result = self._emit("sqrt", base) if half else None
        square, n = base, int(whole)
        while n:
            if n & 1:
                result = square if result is None else self._emit("multiply", result, square)
            n >>= 1
            square = self._emit("multiply", square, square) if n else square
        one = self._add("constant", (), 1.0, SINGLE)
        if result is None:
            return one
        return self._emit("divide", one, result) if value < 0 else result


def _half_integer(exponent: Node) -> bool:
    value = exponent.attribute if exponent.op == "constant" else math.inf
    return abs(value) <= _LARGEST_POWER and value * 2 == int(value * 2)
