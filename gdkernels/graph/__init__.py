"""The definition as data: tracing, differentiation, interpretation, cost.

Code here knows nodes and namespaces, and no network.
Cutting a graph into steps that a backend can compile belongs to `gdkernels.lowering`.
"""

from gdkernels.graph.cost import Cost, cost
from gdkernels.graph.derivative import topological, vjp, vjps
from gdkernels.graph.interpret import interpret
from gdkernels.graph.namespace import Graph, detach
from gdkernels.graph.nodes import Dim, Node, Shape
from gdkernels.graph.operations import COMPARISONS, ELEMENTWISE
from gdkernels.graph.pullback import returned, trace, value_and_derivative, value_and_pullback, value_and_pullbacks
from gdkernels.graph.remembered import forget_traces, remembered

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
    "forget_traces",
    "interpret",
    "remembered",
    "returned",
    "topological",
    "trace",
    "value_and_derivative",
    "value_and_pullback",
    "value_and_pullbacks",
    "vjp",
    "vjps",
]
