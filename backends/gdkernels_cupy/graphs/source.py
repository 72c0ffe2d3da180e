"""CUDA C++ for the loops of a program, from what the graph says they compute."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np

from gdkernels.graph.operations import COMPARISONS, LOGICAL
from gdkernels.lowering.elementwise import ELEMENT, INTEGERS, ROW, SINGLE, UNIT, Instruction
from gdkernels.lowering.steps import NUMBER
from gdkernels_cupy.cuda.keyed_order import order_text
from gdkernels_cupy.graphs.operations import LoopKernel

__all__ = [
    "CUDA_FUNCTIONS",
    "constant_text",
    "fixed_text",
    "kernel_name",
    "loop_job",
    "loop_parameters",
    "operation_text",
    "preamble",
]

# What CUDA computes besides arithmetic.
CUDA_FUNCTIONS = frozenset({"exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "pow"})

_TYPES = {"float64": "double", "float32": "float", "bfloat16": "bfloat16", "number": "double"}

_OPERATORS = {
    "negative": "-{0}",
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_not": "!{0}",
    "where": "{0} ? {1} : {2}",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "sign": "sign_of({0})",
    "to_int": "int({0})",
    "to_real": "{real}({0})",
    # Unsigned numbers wrap; of signed ones the language says nothing.
    "integer_add": "int(unsigned({0}) + unsigned({1}))",
    "integer_subtract": "int(unsigned({0}) - unsigned({1}))",
    "integer_multiply": "int(unsigned({0}) * unsigned({1}))",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "bitwise_left_shift": "int(unsigned({0}) << {1})",
    "bitwise_right_shift": "{0} >> {1}",
    "integer_loaded": "integer_loaded({0})",
}
_FUNCTIONS = {"abs": "fabs"}  # the rest is called as in C

_IDENTITY = {"sum": "0", "max": "-INFINITY", "min": "INFINITY"}
_BOTH = {"sum": "added", "max": "larger", "min": "smaller"}


@cache
def preamble() -> str:
    """Return what every module begins with."""
    return files("gdkernels_cupy.graphs").joinpath("primitives.cuh").read_text("utf-8").replace("#pragma once\n", "")


@cache
def fixed_text() -> str:
    """Return the functions that are the same for every program."""
    orders = "#define ORDER_FN __device__ inline\n" + order_text()
    return orders + files("gdkernels_cupy.graphs").joinpath("fixed.cu").read_text("utf-8")


@cache
def kernel_name(kernel: LoopKernel) -> str:
    """Return a name that no other text has."""
    return f"loop_{hashlib.sha256(_CudaLoopWriter(kernel).job('NAME').encode()).hexdigest()[:16]}"


@cache
def loop_job(kernel: LoopKernel) -> str:
    """Return the text of a loop, as a function of the place where a thread stands in it."""
    return _CudaLoopWriter(kernel).job(kernel_name(kernel))


def loop_parameters(kernel: LoopKernel) -> list[str]:
    """Return the parameters of that function after the place."""
    return _CudaLoopWriter(kernel).parameters()


class _CudaLoopWriter:
    def __init__(self, kernel: LoopKernel) -> None:
        self.kernel, self.recipe = kernel, kernel.recipe
        self.real = _TYPES[kernel.real]
        self.booleans: set[int] = set()
        for k, i in enumerate(self.recipe.code):
            chosen = i.op == "where" and i.arguments[1] in self.booleans and i.arguments[2] in self.booleans
            if i.op in COMPARISONS or i.op in LOGICAL or chosen:
                self.booleans.add(k)
        self.loads = [k for k, i in enumerate(self.recipe.code) if i.op == "load"]

    # ---- the parts

    def job(self, name: str) -> str:
        """Return a function for the threads at a place."""
        body = self._numbers() if self.recipe.kind == NUMBER else self._pass()
        parameters = ", ".join(["const Place& at", *self.parameters()])
        return "\n".join([f"__device__ inline void {name}_job({parameters}) {{", *_indented(body), "}"]) + "\n"

    def parameters(self) -> list[str]:
        found = ["int rows", "int columns"]
        for j, (k, storage) in enumerate(zip(self.loads, self.kernel.reads, strict=True)):
            found.append(f"const {_TYPES[storage]}* x{j}")
            if self.recipe.code[k].rate == ELEMENT:
                found.append(f"long long x{j}_pitch")
        for j, storages in enumerate(self.kernel.writes):
            for s, storage in enumerate(storages):
                found.append(f"{_TYPES[storage]}* y{j}_{s}")
                if self.recipe.kind != NUMBER:
                    found.append(f"long long y{j}_{s}_pitch")
        for j, (_, _, to_row) in enumerate(self.recipe.reductions):
            found.append(f"{self.real if to_row else 'double'}* z{j}")
        for j in self.kernel.summed:
            found += [f"{self.real}* s{j}", f"long long s{j}_pitch"]
        return found

    def _numbers(self) -> list[str]:
        """Write a loop over numbers: it is one thread's work."""
        lines = self._instructions(SINGLE) + self._instructions(ELEMENT)
        return lines + [f"*y{j}_0 = v{at};" for j, at in enumerate(self.recipe.outputs)]

    def _pass(self) -> list[str]:
        lines = self._instructions(SINGLE)
        totals = [j for j, (_, _, to_row) in enumerate(self.recipe.reductions) if not to_row]
        lines += [f"double total{j} = 0;" for j in totals]
        lines += [f"{self.real} column{j}[ELEMENTS] = {{}};" for j in self.kernel.summed]
        if self.recipe.row_wise:
            # All lanes of a warp take part in its reductions: also those whose row lies beyond the last.
            lines.append(
                "for (int first = at.block_x * at.threads_y; first < rows; first += at.blocks_x * at.threads_y) {"
            )
            inner = ["const int row = first + at.y;", "const long long r = row < rows ? row : rows - 1;"]
            inner.append("const int end = row < rows ? columns : 0;")
        else:
            lines.append(
                "for (long long r = at.block_x * at.threads_y + at.y; r < rows; r += at.blocks_x * at.threads_y) {"
            )
            inner = ["const int end = columns;"]
        lines += [*_indented(inner + self._row()), "}"]
        where = "at.block_y * at.blocks_x + at.block_x"
        lines += [f"block_total(at, total{j}, z{j} + {where});" for j in totals]
        return lines + [
            f"block_columns(at, column{j}, columns, s{j} + at.block_x * s{j}_pitch);" for j in self.kernel.summed
        ]

    def _row(self) -> list[str]:
        lines = self._instructions(ROW)
        rows = [(j, op) for j, (op, _, to_row) in enumerate(self.recipe.reductions) if to_row]
        lines += [f"{self.real} reduced{j} = {_IDENTITY[op]};" for j, op in rows]
        start = "at.x" if self.recipe.row_wise else "(at.block_y * at.threads_x + at.x)"
        stride = "at.threads_x" if self.recipe.row_wise else "at.blocks_y * at.threads_x"
        lines.append(f"for (int c = ELEMENTS * {start}; c < end; c += ELEMENTS * {stride}) {{")
        lines += [*_indented(self._elements()), "}"]
        for j, op in rows:
            lines.append(f"reduced{j} = over_lanes<{self.real}>(reduced{j}, at.threads_x, {_BOTH[op]});")
            lines.append(f"if (at.x == 0 && row < rows) z{j}[r] = reduced{j};")
        return lines

    def _elements(self) -> list[str]:
        lines = []
        for j, k in enumerate(self.loads):
            rate = self.recipe.code[k].rate
            if rate in (UNIT, ELEMENT):
                row = f"r * x{j}_pitch + " if rate == ELEMENT else ""
                lines.append(f"const Four<{_TYPES[self.kernel.reads[j]]}> four{j} = load(x{j} + {row}c);")
        for j, storages in enumerate(self.kernel.writes):
            lines += [f"Four<{_TYPES[storage]}> out{j}_{s};" for s, storage in enumerate(storages)]
        inner = self._instructions(UNIT, ELEMENT)
        for j, (at, storages) in enumerate(zip(self.recipe.outputs, self.kernel.writes, strict=True)):
            inner += [f"out{j}_{s}.at[k] = stored<{_TYPES[storage]}>(v{at});" for s, storage in enumerate(storages)]
        for j, (op, at, to_row) in enumerate(self.recipe.reductions):
            into = f"reduced{j}" if to_row else f"total{j}"
            value = f"{_BOTH[op]}({into}, v{at})" if to_row else f"{into} + v{at}"
            inner.append(f"if (c + k < columns) {into} = {value};")
        inner += [f"column{j}[k] += v{self.recipe.outputs[j]};" for j in self.kernel.summed]
        lines += ["#pragma unroll", "for (int k = 0; k < ELEMENTS; k++) {", *_indented(inner), "}"]
        for j, storages in enumerate(self.kernel.writes):
            lines += [f"store(y{j}_{s} + r * y{j}_{s}_pitch + c, out{j}_{s});" for s in range(len(storages))]
        return lines

    # ---- instructions

    def _instructions(self, *rates: int) -> list[str]:
        return [
            f"const {self._type(k, i)} v{k} = {self._value(k, i)};"
            for k, i in enumerate(self.recipe.code)
            if i.rate in rates
        ]

    def _type(self, k: int, i: Instruction) -> str:
        return "bool" if k in self.booleans else "int" if i.op in INTEGERS else self.real

    def _value(self, k: int, i: Instruction) -> str:
        if i.op == "constant":
            return constant_text(i.value, self.real)
        if i.op == "integer":
            return f"int({int(i.value)}LL)"
        if i.op == "load":
            j = self.loads.index(k)
            source = {SINGLE: f"*x{j}", ROW: f"x{j}[r]"}.get(i.rate, f"four{j}.at[k]")
            if self.recipe.kind == NUMBER:
                source = f"*x{j}"
            return f"widened<{self.real}>({source})"
        return operation_text(i.op, [f"v{a}" for a in i.arguments], self.real)


def operation_text(op: str, arguments: Sequence[str], real: str) -> str:
    """Return an operation of a recipe on names of earlier results, in "float" or "double"."""
    if op in _OPERATORS:
        return _OPERATORS[op].format(*arguments, real=real)
    return f"{_FUNCTIONS.get(op, op)}{'f' if real == 'float' else ''}({', '.join(arguments)})"


def constant_text(value: float, real: str) -> str:
    """Return a constant in "float" or "double"."""
    if isinstance(value, bool):
        return str(value).lower()
    number = np.float32(value) if real == "float" else np.float64(value)
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    text = str(number)
    text = text if any(mark in text for mark in ".e") else f"{text}.0"
    return f"{text}f" if real == "float" else text


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
