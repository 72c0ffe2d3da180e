"""A traced graph in ONNX's operations: the same nodes that every backend runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gdkernels.errors import TraceError
from gdkernels.graph.derivative import topological
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import REAL, SCALAR
from gdkernels.interchange.onnx.builder import Builder

__all__ = ["ANY_RANK", "emit"]

_DIRECT = {
    "negative": "Neg",
    "abs": "Abs",
    "sign": "Sign",
    "sqrt": "Sqrt",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "sin": "Sin",
    "cos": "Cos",
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "pow": "Pow",
    "maximum": "Max",
    "minimum": "Min",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "equal": "Equal",
    "logical_and": "And",
    "logical_or": "Or",
    "logical_not": "Not",
    "where": "Where",
    "matmul": "MatMul",
}
_REDUCTIONS = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}


def emit(builder: Builder, output: Node, inputs: Mapping[str, str], sizes: Mapping[str, int], dtype: str) -> str:
    """Add what computes `output`, and return the name of its value.

    Parameters
    ----------
    inputs
        The names of the values that stand for the graph's inputs; ``x`` is the one with the records.
    sizes
        The widths; the size that is not among them is that of the batch.
    dtype
        That of the arrays.

    Raises
    ------
    TraceError
        For an operation that ONNX does not have.
    """
    writer = _GraphWriter(builder, inputs, sizes, dtype)
    for node in topological(output):
        if node.op != "constant":
            writer.values[node.id] = writer.write(node)
    return writer.operand(output, dtype)


class _GraphWriter:
    def __init__(self, builder: Builder, inputs: Mapping[str, str], sizes: Mapping[str, int], dtype: str) -> None:
        self.builder, self.inputs, self.sizes, self.dtype = builder, inputs, sizes, dtype
        self.values: dict[int, str] = {}

    def operand(self, node: Node, dtype: str) -> str:
        """Return a value as an operation in `dtype` takes it: numbers are float64 until they meet an array."""
        if node.op == "constant":
            return self.builder.constant(node.attribute, dtype if node.dtype == SCALAR else "bool")
        value = self.values[node.id]
        return self.builder.cast(value, dtype) if node.dtype == SCALAR and dtype != "float64" else value

    def write(self, node: Node) -> str:
        """Add a node whose operands are there, and return the name of its value."""
        op, b = node.op, self.builder
        if op == "input":
            return self.inputs[node.attribute]
        if op == "dim":
            return b.cast(self._size(node.attribute), "float64")
        arrays = any(n.dtype == REAL for n in (node, *node.args))
        dtype = self.dtype if arrays else "float64"
        operands = [self.operand(a, dtype) for a in node.args]
        if op in _DIRECT:
            return b.op(_DIRECT[op], *operands)
        if op in _REDUCTIONS:
            # Counted from the last axis, because networks side by side have one more before them.
            axes = [axis - len(node.args[0].shape) for axis in node.attribute]
            return b.op(_REDUCTIONS[op], operands[0], b.constant(axes, np.int64), keepdims=1)
        if op in _COMPOSED:
            return _COMPOSED[op](b, lambda v: b.constant(v, dtype), *operands)
        if op == "to_int":
            return b.cast(operands[0], np.int32)
        if op == "column":
            return b.op("Gather", operands[0], b.constant(node.attribute, np.int64), axis=1)
        if op == "columns":
            ends = [b.constant([edge], np.int64) for edge in node.attribute]
            return b.op("Slice", operands[0], *ends, b.constant([1], np.int64))
        if op == "concat":
            return b.op("Concat", *operands, axis=1)
        if op == "take":
            return b.op("Gather", *operands, axis=0)
        if op == "row_product":
            return self._row_product(node, operands)
        if op == "transpose":
            return b.op("Transpose", operands[0], perm=[1, 0])
        if op == "broadcast_to":
            shape = [self._size(d) if isinstance(d, Dim) else b.constant([d], np.int64) for d in node.shape]
            return b.op("Expand", operands[0], b.op("Concat", *[self._as_vector(s) for s in shape], axis=0))
        if op in {"expand_dims", "squeeze"}:
            axes = [node.attribute] if op == "expand_dims" else list(node.attribute)
            return b.op("Unsqueeze" if op == "expand_dims" else "Squeeze", operands[0], b.constant(axes, np.int64))
        if op == "detach":
            return operands[0]
        raise TraceError(f"the operation {op} has no counterpart in ONNX; the network cannot be exported")

    def _row_product(self, node: Node, operands: Sequence[str]) -> str:
        n, k, m, *turned = node.attribute
        factors = []
        for operand, is_turned, shape in zip(operands, turned, ((n, k), (k, m)), strict=True):
            rows = self._reshaped(operand, *(shape[::-1] if is_turned else shape))
            factors.append(self.builder.op("Transpose", rows, perm=[0, 2, 1]) if is_turned else rows)
        return self._reshaped(self.builder.op("MatMul", *factors), n * m)

    def _reshaped(self, value: str, *units: int) -> str:
        return self.builder.op("Reshape", value, self.builder.constant([-1, *units], np.int64))

    def _size(self, dim: Dim) -> str:
        if dim.name in self.sizes:
            return self.builder.constant(self.sizes[dim.name], np.int64)
        shape = self.builder.op("Shape", self.inputs["x"])
        return self.builder.op("Gather", shape, self.builder.constant(0, np.int64))

    def _as_vector(self, size: str) -> str:
        return self.builder.op("Reshape", size, self.builder.constant([1], np.int64))


Constant = Callable[[float], str]


def _expm1(b: Builder, constant: Constant, z: str) -> str:
    """Exp(z) − 1 = 2t / (1 − t) with t = tanh(z/2), exact where exp(z) is near 1; beyond 1 nothing cancels."""
    t = b.op("Tanh", b.op("Mul", constant(0.5), b.op("Min", z, constant(1.0))))
    near = b.op("Div", b.op("Mul", constant(2.0), t), b.op("Sub", constant(1.0), t))
    return b.op("Where", b.op("Greater", z, constant(1.0)), b.op("Sub", b.op("Exp", z), constant(1.0)), near)


def _log1p(b: Builder, constant: Constant, z: str) -> str:
    """Return log(1 + z), the rounding of 1 + z undone (Hewlett-Packard's HP-15C handbook, 1982, appendix)."""
    u = b.op("Add", constant(1.0), z)
    lost = b.op("Sub", u, constant(1.0))
    tiny = b.op("Equal", lost, constant(0.0))
    factor = b.op("Div", z, b.op("Where", tiny, constant(1.0), lost))
    near = b.op("Where", tiny, z, b.op("Mul", b.op("Log", u), factor))
    return b.op("Where", b.op("Less", z, constant(1.0)), near, b.op("Log", u))


def _not_equal(b: Builder, constant: Constant, x: str, y: str) -> str:
    return b.op("Not", b.op("Equal", x, y))


_COMPOSED: dict[str, Callable[..., str]] = {"expm1": _expm1, "log1p": _log1p, "not_equal": _not_equal}

# Operations that do the same to each of several arrays that are stacked.
ANY_RANK = frozenset({*_DIRECT, *_REDUCTIONS, *_COMPOSED, "input", "constant", "dim", "detach"})
