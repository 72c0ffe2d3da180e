"""The steps of what is computed of parameters alone, and of sums over the batch: few and small beside those of a tile.

Values have two axes here: a vector is a row, a number is 1 by 1, and a size of 1 is the number 1. So no step has to ask
which axis a vector runs along. Loops run over matrices row by row, and over vectors as over one row.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import accumulate
from typing import Any

from gdkernels.errors import ScheduleError
from gdkernels.graph.derivative import topological
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Node, Shape, is_one, same_shape
from gdkernels.graph.operations import ELEMENTWISE, INT, REAL, SCALAR
from gdkernels.lowering.cut import Cut
from gdkernels.lowering.elementwise import ELEMENT, SINGLE, Instruction, Recipe, recipe_of
from gdkernels.lowering.loops import make_loop
from gdkernels.lowering.scalars import ScalarTable
from gdkernels.lowering.steps import COLUMN, MATRIX, NUMBER, UNITS, Part, StepSchedule, wide_dims
from gdkernels.lowering.value_steps import (
    COPY,
    COPY_ROWS,
    NOUGHT,
    Pass,
    SummedColumns,
    Turn,
    ValueCopy,
    ValueProduct,
    ValueStep,
    ValueSteps,
    is_matrix,
    is_number,
    number_of,
)

__all__ = ["Values"]

_COSTLY = frozenset({"exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "pow", "sqrt", "divide"})
_REDUCTIONS = frozenset({"sum", "max", "min"})
_MOVES = frozenset({"columns", "concat"})
_MADE = frozenset(ELEMENTWISE) | {"broadcast_to", "matmul"} | _MOVES

# The recipes of loops that only move numbers; those that stand alone are float64, those of arrays are not.
_FROM_NUMBER = Recipe(UNITS, (Instruction("load", (), 0.0, SINGLE),), (0,), ())
_TO_NUMBER = Recipe(UNITS, (Instruction("load", (), 0.0, ELEMENT),), (), (("sum", 0, False),))


class Values:
    """Makes the steps of a cut.

    Parameters
    ----------
    functions
        The functions of the backend besides arithmetic.

    Raises
    ------
    ScheduleError
        If a value is computed by an operation that only the work on a batch has.
    """

    def __init__(self, cut: Cut, functions: Set[str]) -> None:
        self._graph, self._functions = Graph(), functions
        self._made: dict[int, Node] = {}
        self._sums = {node.id: made for node, made in cut.sums}
        self._result = StepSchedule()
        self.steps = ValueSteps()
        before = {name: self._value(node) for name, node in cut.before.items()}
        after = {name: self._value(node) for name, node in cut.after.items()}
        self._numbers = {name for name, node in (*cut.before.items(), *cut.after.items()) if not wide_dims(node.shape)}
        self.steps.outputs = before | after
        needed = topological(*before.values(), *after.values())
        first = {n.id for n in topological(*before.values())}
        self._store(needed)
        for node in needed:
            self._step(node, self.steps.before if node.id in first else self.steps.after)
        for outputs, steps in ((before, self.steps.before), (after, self.steps.after)):
            for name, node in outputs.items():
                self._write(name, node, steps)

    # ---- values with two axes

    def _value(self, node: Node) -> Node:
        known = self._made.get(node.id)
        if known is None:
            known = self._made[node.id] = self._translated(node)
        return known

    def _translated(self, node: Node) -> Node:
        graph = self._graph
        if node.id in self._sums:
            return self._input(f"sum {node.id}", node, self.steps.sums, self._sums[node.id])
        if node.dtype == SCALAR:
            return self._scalar(node)
        if node.dtype == INT:
            raise ScheduleError(f"{node} computes integers of parameters")
        if node.op == "input":
            return self._input(node.attribute, node, self.steps.parameters, node.attribute)
        if node.op in ELEMENTWISE:
            return graph.apply(node.op, *map(self._value, node.args))
        if node.op == "broadcast_to":
            return graph.broadcast_to(self._value(node.args[0]), self._shape(node.shape))
        if node.op == "matmul":
            return self._product(*map(self._value, node.args))
        if node.op == "transpose":
            return graph.matrix_transpose(self._value(node.args[0]))
        if node.op in ("squeeze", "expand_dims", "detach"):  # of a vector, if they turn it
            (source,) = map(self._value, node.args)
            return source if same_shape(source.shape, self._shape(node.shape)) else graph.matrix_transpose(source)
        if node.op in _REDUCTIONS:
            return self._reduced(node)
        if node.op == "column":  # a vector, which is a row here
            return graph.matrix_transpose(self._columns(node.args[0], node.attribute, node.attribute + 1))
        if node.op == "columns":
            return self._columns(node.args[0], *node.attribute)
        if node.op == "concat":
            parts = tuple(map(self._part, node.args))
            return graph.node("concat", parts, None, self._shape(node.shape), REAL)
        raise ScheduleError(f"{node} is not an operation that is compiled of parameters alone")

    def _input(self, name: str, node: Node, told: dict[int, Any], what: Any) -> Node:
        """Return an input; one that is no vector or matrix as such is copied to where it is."""
        made = self._graph.input(name, self._shape(node.shape))
        told[made.id] = what
        if is_matrix(made) or not wide_dims(node.shape) or (node.ndim == 1 and not is_number(made)):
            return made
        return self._graph.node("copy", (made,), None, made.shape, REAL)

    def _scalar(self, node: Node) -> Node:
        """Return a number that the host knows, also of an array that repeats it."""
        while node.op == "broadcast_to":
            (node,) = node.args
        dims = [n.attribute for n in topological(node) if n.op == "dim"]
        sizes = {str(dim): float(dim.size) for dim in dims if dim.size is not None}
        try:
            return self._graph.lift(float(ScalarTable([node]).values(sizes, 1)[0, 0]))
        except KeyError:  # it differs from step to step
            made = self._graph.input(f"scalar {node.id}", dtype=SCALAR)
            self.steps.scalars[made.id] = node
            return made

    def _shape(self, shape: Shape) -> Shape:
        sizes = [size if isinstance(size, int) else size.size for size in shape]
        two = [*(1,) * (2 - len(sizes)), *(size for size in sizes if size is not None)]
        if len(two) != 2:
            raise ScheduleError(f"{list(shape)} is no shape of what is computed of parameters")
        return tuple(map(self._graph.width, two))

    def _product(self, a: Node, b: Node) -> Node:
        graph = self._graph
        if is_one(a.shape[1]):
            return graph.apply("multiply", a, b)
        if is_one(b.shape[1]):
            return graph.sum(graph.apply("multiply", a, graph.matrix_transpose(b)), axis=1, keepdims=True)
        return graph.matmul(a, b)

    def _columns(self, node: Node, first: int, last: int) -> Node:
        value = self._value(node)
        if not value.ndim or last - first == number_of(value.shape[1]):
            return value
        shape = (value.shape[0], self._graph.width(last - first))
        taken = self._graph.node("columns", (value,), (first, last), shape, REAL)
        return self._graph.node("copy", (taken,), None, shape, REAL) if is_number(taken) else taken

    def _part(self, node: Node) -> Node:
        """Return a part of several side by side, as an array: numbers are none."""
        value, shape = self._value(node), self._shape(node.shape)
        if not value.ndim:
            if value.op != "constant":
                raise ScheduleError(f"{node} is put beside others, and differs from step to step")
            key = ("filled", value.attribute, shape)
            return self._graph.node("filled", (), value.attribute, shape, REAL, key=key)
        return self._graph.node("cell", (value,), None, shape, REAL) if is_number(value) else value

    def _reduced(self, node: Node) -> Node:
        graph = self._graph
        value = self._value(node.args[0])
        axes = tuple(k + 2 - node.args[0].ndim for k in node.attribute)
        if node.op == "sum":
            return graph.sum(value, axis=axes, keepdims=True)
        extremum = graph.max if node.op == "max" else graph.min
        if 1 in axes:
            value = extremum(value, axis=1, keepdims=True)
        if 0 in axes and not is_one(value.shape[0]):
            value = graph.matrix_transpose(extremum(graph.matrix_transpose(value), axis=1, keepdims=True))
        return value

    # ---- what is stored

    def _store(self, nodes: list[Node]) -> None:
        """Decide what has a place of its own; all else is computed inside the loops that need it."""
        users: dict[int, int] = {}
        stored = self._result.stored
        for node in nodes:
            for operand in node.args:
                users[operand.id] = users.get(operand.id, 0) + 1
        for node in nodes:
            if node.op in ("cell", "copy", "matmul", "transpose", *_MOVES) or _is_filled(node):
                stored[node.id] = node
            in_memory = node.op in ("cell", "matmul", "transpose", *_MOVES) or (node.op == "sum" and _of_columns(node))
            for operand in node.args if in_memory else ():
                if operand.dtype == REAL and operand.op != "filled":
                    stored[operand.id] = operand
            if node.op in _COSTLY and node.dtype == REAL and users.get(node.id, 0) > 1 and not is_number(node):
                stored[node.id] = node
        for node in self.steps.outputs.values():
            stored[node.id] = node
        for node in [n for n in stored.values() if n.op == "constant"]:
            del stored[node.id]

    def _step(self, node: Node, steps: list[ValueStep]) -> None:
        """Add the step that gives a value its place, if it has one."""
        if node.op in _REDUCTIONS:
            if _of_columns(node):
                steps.append(SummedColumns(node, node.args[0]))
            elif node.op != "sum" and is_number(node):
                self._add_extremum(node, steps)
            else:
                if is_number(node):
                    steps.append(Pass(NOUGHT, node, (), (node,)))
                steps.append(self._pass(node.args[0], (), (node,)))
        elif node.id not in self._result.stored or node.op == "input":
            return
        elif node.op == "copy":
            if is_number(node):
                self._add_number(node.args[0], node, steps)
            else:
                steps.append(Pass(COPY, node, node.args, (node,)))
        elif node.op == "transpose":
            if is_matrix(node):
                steps.append(Turn(node, node.args[0]))
        elif node.op == "matmul":
            steps.append(ValueProduct(node, *node.args))
        elif node.op == "columns":
            first, last = node.attribute
            steps.append(ValueCopy(node, (Part(node.args[0], first, last - first),)))
        elif node.op == "concat":
            steps.append(_side_by_side(node))
        elif node.op == "cell":
            steps.append(Pass(_FROM_NUMBER, node, node.args, (node,)))
        elif node.op == "filled":
            kind = UNITS if is_number(node) else _kind(node)
            recipe = Recipe(kind, (Instruction("constant", (), node.attribute, SINGLE),), (0,), ())
            steps.append(Pass(recipe, node, (), (node,)))
        else:
            steps.append(self._pass(node, (node,), ()))

    def _pass(self, over: Node, outputs: tuple[Node, ...], reductions: tuple[Node, ...]) -> Pass:
        loop = make_loop(self._result, _kind(over), 0, outputs, reductions)
        recipe = recipe_of(self._result, loop, _kind, self._functions)
        return Pass(recipe, over, loop.reads, (*loop.outputs, *loop.reductions))

    def _add_extremum(self, node: Node, steps: list[ValueStep]) -> None:
        """Add the steps to the extremum of a vector: loops find it along a row, and then it is made a number."""
        cell = self._graph.node("cell", (node.args[0],), node.op, node.shape, REAL)
        found = self._pass(node.args[0], (), (node,))
        ((op, at, _),) = found.recipe.reductions
        recipe = Recipe(found.recipe.kind, found.recipe.code, (), ((op, at, True),))
        steps.append(Pass(recipe, found.over, found.reads, (cell,)))
        self._add_number(cell, node, steps)

    def _add_number(self, cell: Node, node: Node, steps: list[ValueStep]) -> None:
        """Add the steps that make a number of an array of one."""
        steps += [Pass(NOUGHT, node, (), (node,)), Pass(_TO_NUMBER, cell, (cell,), (node,))]

    def _write(self, name: str, node: Node, steps: list[ValueStep]) -> None:
        """Bring an output to its place."""
        if name in self._numbers:
            return
        if is_number(node):
            steps.append(Pass(_FROM_NUMBER, node, (node,), (name,)))
        elif is_matrix(node) and node.op in _MADE and node.id not in self.steps.placed:
            self.steps.placed[node.id] = name
        else:
            steps.append(Pass(COPY_ROWS if is_matrix(node) else COPY, node, (node,), (name,)))


def _side_by_side(node: Node) -> ValueCopy:
    counts = [number_of(part.shape[1]) for part in node.args]
    edges = accumulate(counts, initial=0)
    nought = [part.op == "filled" and not _is_filled(part) for part in node.args]
    parts = zip(node.args, nought, counts, edges, strict=False)
    return ValueCopy(node, tuple(Part(None if zero else part, 0, count, to) for part, zero, count, to in parts))


def _is_filled(node: Node) -> bool:
    """Return whether an array has one number everywhere that is stored; 0 is not."""
    return node.op == "filled" and node.attribute != 0


def _of_columns(node: Node) -> bool:
    """Return whether a sum is that of the columns of a matrix."""
    return node.op == "sum" and node.attribute == (0,) and is_matrix(node.args[0])


def _kind(node: Node) -> str:
    if not node.ndim or is_number(node):
        return NUMBER
    rows, columns = (not is_one(size) for size in node.shape)
    return MATRIX if rows and columns else COLUMN if rows else UNITS
