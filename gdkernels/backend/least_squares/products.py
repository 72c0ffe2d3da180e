"""The products of the Jacobian's rows, recorded as one graph: what a backend compiles to add up JᵀJ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program, slot_names
from gdkernels.graph import remembered, vjps
from gdkernels.graph.moves import units
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.record_wise import record_wise

__all__ = [
    "SUM_OF_PRODUCTS",
    "Products",
    "TracedProducts",
    "TracedSums",
    "slices_of",
    "traced_products",
    "traced_sums",
]

SUM_OF_PRODUCTS = "sum of products"  # the name of the input that is added to; no parameter's has a space

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TracedProducts:
    """The sum of (J r)ᵀ(J r) over a batch, added to what is there, with a column r beside those of J.

    Attributes
    ----------
    graph
        With the inputs ``x``; ``y``, what each record's outputs are weighted by; ``sample_weight``, which is r;
        the parameters by name; and `SUM_OF_PRODUCTS`.
    batch, sizes
        As in `TracedStep`.
    result
        The new sum.
    places
        For each column but the last which number it is of the vector of all parameters, as slices one after the other.
        None are columns of an array that is computed of parameters, in the order of `Jacobian.ways_back`.
    """

    graph: Graph
    batch: Dim
    sizes: Mapping[str, int]
    result: Node
    places: tuple[tuple[slice | None, int], ...]

    @property
    def width(self) -> int:
        """The number of columns with r."""
        return 1 + sum(count for _, count in self.places)


@dataclass(frozen=True)
class TracedSums:
    """The sum of the rows of J over a batch, added to what is there.

    Attributes
    ----------
    graph
        With the inputs ``x``; ``y``, what each record's outputs are weighted by; the parameters by name; and the sums.
    batch, sizes
        As in `TracedStep`.
    results
        The new sums by name, and the parameters, which stay as they are.
    sums
        The name of the sum for each parameter.
    """

    graph: Graph
    batch: Dim
    sizes: Mapping[str, int]
    results: Mapping[str, Node]
    sums: Mapping[str, str]


class Products(ABC):
    """Adds up products of the Jacobian's rows, compiled by a backend."""

    @property
    @abstractmethod
    def choices(self) -> Mapping[str, Any]:
        """The choices that bits depend on; its plan holds them. Some are only known after the first sum."""

    @property
    def problem(self) -> str | None:
        """Why it is not what computes after all; None if it is."""
        return None

    @abstractmethod
    def rows(self, dtype: str) -> int:
        """Return the most records that it is given at a time, which it adds up in their own precision."""

    @abstractmethod
    def add(self, arrays: Mapping[str, Any], x: Any, y: Any, r: Any, total: Any) -> None:
        """Add the products of some records to `total` [width, width], of which the lower triangle counts.

        All arrays are the backend's, on one device and of one dtype.

        Parameters
        ----------
        arrays
            The parameters and constants, by name.
        x, y, r
            The records; what their outputs are weighted by; and the column beside those of J.
        """

    def gradient(self, arrays: Mapping[str, Any], x: Any, y: Any) -> Vector | None:
        """Return the sum of the rows of J, whose outputs are weighted by y, on the host; None leaves it to others."""
        return None

    @abstractmethod
    def predict(self, arrays: Mapping[str, Any], x: Any) -> Any:
        """Return the network's outputs for x."""

    def rest(self) -> None:
        """Let others have the memory that the next call can fill anew."""
        return

    @abstractmethod
    def workspace(self, dtype: str) -> int:
        """Return about how many bytes of the host's memory it takes."""


def slices_of(program: Program) -> dict[str, slice]:
    """Return by name where each parameter that is trained stands in a vector of all of them."""
    found, start = {}, 0
    for name in program.trained:
        stop = start + int(np.prod(program.shapes[name]))
        found[name], start = slice(start, stop), stop
    return found


@remembered(32)
def traced_products(program: Program) -> TracedProducts:
    """Record the products of a network's outputs.

    Raises
    ------
    InputError
        If the network computes something of several records together.
    TraceError
        If it cannot be recorded.
    """
    traced = program.trace_forward()
    graph, batch, output = traced.graph, traced.batch, traced.output
    inputs = {node.attribute: node for node in graph.nodes if node.op == "input"}
    slices = slices_of(program)
    wrt = [inputs[name] for name in program.trained if name in inputs]
    cotangent = graph.input("y", output.shape)
    r = graph.expand_dims(graph.input("sample_weight", (batch,)), axis=1)
    found = record_wise(output, wrt, cotangent, batch)
    own = {slices[f.shared.attribute].start: f.columns for f in found if f.shared.op == "input"}
    of_others = [f.columns for f in found if f.shared.op != "input"]
    # In the order of the parameters, so that the sum needs no other.
    of_place = {s.start: s for s in slices.values()}
    places: list[tuple[slice | None, int]] = [(of_place[start], units(own[start])) for start in sorted(own)]
    places += [(None, units(columns)) for columns in of_others]
    J = graph.concat([*(own[start] for start in sorted(own)), *of_others, r], axis=1)
    width = graph.width(units(J))
    total = graph.input(SUM_OF_PRODUCTS, (width, width))
    result = total + graph.matmul(J.T, J)
    sizes = {dim.name: n for n, dim in graph.widths.items()}
    return TracedProducts(graph, batch, sizes, result, tuple(places))


@remembered(32)
def traced_sums(program: Program) -> TracedSums:
    """Record the gradient of a network's outputs, added to sums that stand beside the parameters as an optimizer's do.

    Raises
    ------
    TraceError
        If it cannot be recorded.
    """
    traced = program.trace_forward()
    graph, output = traced.graph, traced.output
    inputs = {node.attribute: node for node in graph.nodes if node.op == "input"}
    names = [name for name in program.trained if name in inputs]
    sums = {name: slot_names(name, 1)[0] for name in names}
    gradients = vjps(output, [inputs[name] for name in names], graph.input("y", output.shape))
    results: dict[str, Node] = {name: inputs[name] for name in names}
    for name, gradient in zip(names, gradients, strict=True):
        results[sums[name]] = graph.input(sums[name], inputs[name].shape) + gradient
    sizes = {dim.name: n for n, dim in graph.widths.items()}
    return TracedSums(graph, traced.batch, sizes, results, sums)
