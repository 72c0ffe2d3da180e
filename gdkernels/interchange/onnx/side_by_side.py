"""The mean of networks in ONNX: those of one shape stand side by side, in products of stacked weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program
from gdkernels.definition.blocks import Block, Mean
from gdkernels.definition.blocks.names import names_inside
from gdkernels.graph.derivative import topological
from gdkernels.graph.nodes import Node
from gdkernels.interchange.onnx.builder import Builder
from gdkernels.interchange.onnx.graph import ANY_RANK, emit

__all__ = ["emit_mean"]

Arrays = Mapping[str, npt.NDArray[Any]]


def emit_mean(builder: Builder, mean: Mean, inputs: int, x: str, arrays: Arrays, dtype: str) -> str:
    """Add what computes the mean of some blocks, and return the name of its value.

    Blocks of one shape become one, whose weights are stacked: [blocks, inputs, units]. A block that comes several times
    counts as often, and is computed once.
    """
    groups: dict[Block, list[tuple[Arrays, float]]] = {}
    for k, block in enumerate(mean.blocks):
        own = {name: arrays[full] for name, full in names_inside(tuple(arrays), k)}
        _count(groups.setdefault(block, []), own, 1 / len(mean.blocks))
    parts: list[str] = []
    for block, members in groups.items():
        traced = Program(block, inputs).trace_forward()
        stacks = len(members) > 1 and all(node.op in ANY_RANK for node in topological(traced.output))
        apart = [members] if stacks else [[member] for member in members]
        parts += [_weighted(builder, traced.output, traced.sizes, x, group, dtype) for group in apart]
    total = parts[0]
    for part in parts[1:]:
        total = builder.op("Add", total, part)
    return total


def _count(members: list[tuple[Arrays, float]], own: Arrays, share: float) -> None:
    """Add a member, or its share to the one that it is another copy of."""
    for k, (other, sum_of_shares) in enumerate(members):
        if all(np.array_equal(a, other[name]) for name, a in own.items()):
            members[k] = other, sum_of_shares + share
            return
    members.append((own, share))


def _weighted(
    builder: Builder,
    output: Node,
    sizes: Mapping[str, int],
    x: str,
    members: Sequence[tuple[Arrays, float]],
    dtype: str,
) -> str:
    """Return the sum of the outputs of networks of one shape, each times its share."""
    shares = np.array([share for _, share in members])
    if len(members) == 1:
        values = {"x": x} | {name: builder.constant(a, dtype) for name, a in members[0][0].items()}
        return builder.op("Mul", emit(builder, output, values, sizes, dtype), builder.constant(shares[0], dtype))
    values = {"x": x}
    for name in members[0][0]:
        stacked = np.stack([np.atleast_2d(own[name]) for own, _ in members])
        values[name] = builder.constant(stacked, dtype)
    found = emit(builder, output, values, sizes, dtype)
    scaled = builder.op("Mul", found, builder.constant(shares[:, None, None], dtype))
    return builder.op("ReduceSum", scaled, builder.constant([0], np.int64), keepdims=0)
