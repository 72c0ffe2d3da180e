"""The definition as data: tracing, differentiation, interpretation, cost.

Code here knows nodes and namespaces, and no network.
Cutting a graph into steps that a backend can compile belongs to `gdkernels.lowering`.
"""

from gdkernels.graph.cost import Cost, cost
from gdkernels.graph.derivative import topological, vjp
from gdkernels.graph.interpret import interpret
from gdkernels.graph.namespace import Graph, detach
from gdkernels.graph.nodes import Dim, Node, Shape
from gdkernels.graph.operations import COMPARISONS, ELEMENTWISE
from gdkernels.graph.pullback import returned, trace, value_and_derivative, value_and_pullback

__all__ = [
    "COMPARISONS",
    "ELEMENTWISE",
    "Cost",
    "Dim",
    "Graph",
    "Node",
    "Shape",
    "cost",
    "detach",
    "interpret",
    "returned",
    "topological",
    "trace",
    "value_and_derivative",
    "value_and_pullback",
    "vjp",
]
