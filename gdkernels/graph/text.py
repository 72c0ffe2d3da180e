"""Graphs as text: equal for equal work, whatever stands around it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from gdkernels.graph.derivative import topological
from gdkernels.graph.nodes import Node

__all__ = ["nodes_text"]


def nodes_text(nodes: Iterable[Node]) -> str:
    """Return how nodes are computed from their inputs."""
    wanted = list(nodes)
    at: dict[int, int] = {}
    lines = []
    for node in topological(*wanted):
        at[node.id] = len(at)
        lines.append([node.op, str(node.attribute), [at[a.id] for a in node.args]])
    return json.dumps([lines, [at[n.id] for n in wanted]])
