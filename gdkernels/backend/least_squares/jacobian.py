"""Rows of the Jacobian of a network's outputs, traced once and computed for some records at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.least_squares.products import slices_of
from gdkernels.backend.program import Program
from gdkernels.graph import remembered, topological, vjps
from gdkernels.graph.interpret import Context, Dropped, Step, dropping, run_steps, steps_of
from gdkernels.graph.nodes import Node
from gdkernels.graph.record_wise import record_wise
from gdkernels.system.cached_property import cached_property

__all__ = ["Jacobian", "jacobian_of"]

Array = npt.NDArray[Any]
ToHost = Callable[[Any], Array]


@dataclass(frozen=True)
class _Columns:
    """Some columns of the Jacobian: where they go, and the nodes that they are made of.

    Attributes
    ----------
    place
        The columns; None where they are of an array that is computed of parameters.
    factors
        The two sides of the row-wise outer product; a single node where they are no such.
    shared
        The number of that array's own way back to the parameters.
    """

    place: slice | None
    factors: tuple[Node, ...]
    shared: int = -1


@dataclass(frozen=True)
class _WayBack:
    """The derivative of an array that is computed of parameters, with respect to these."""

    steps: list[tuple[Step, Dropped]]
    size: int
    shape: tuple[Any, ...]
    cotangent: Node
    results: tuple[tuple[Node, slice], ...]


class Jacobian:
    """The derivatives of the outputs with respect to the parameters that are trained, a row for each record.

    Parameters
    ----------
    program
        A network that predicts; its outputs are what the loss takes.

    Raises
    ------
    InputError
        If the network computes something of several records together.
    TraceError
        If it cannot be recorded.
    """

    def __init__(self, program: Program) -> None:
        traced = program.trace_forward()
        graph, self.output = traced.graph, traced.output
        inputs = {node.attribute: node for node in graph.nodes if node.op == "input"}
        self._inputs = list(inputs.values())
        self.cotangent = graph.input("cotangent", self.output.shape)
        self.slices = slices_of(program)
        self.parameters = max((s.stop for s in self.slices.values()), default=0)
        wrt = [inputs[name] for name in program.trained]
        self._wrt = wrt
        self._columns: list[_Columns] = []
        self._ways_back: list[_WayBack] = []
        for found in record_wise(self.output, wrt, self.cotangent, traced.batch):
            node, shared = found.columns, found.shared
            factors = node.args if node.op == "row_outer" else (node,)
            if shared.op == "input":
                self._columns.append(_Columns(self.slices[shared.attribute], factors))
            else:
                self._columns.append(_Columns(None, factors, len(self._ways_back)))
                self._ways_back.append(self._way_back(shared, wrt, traced.sizes))
        written = {c.place.start for c in self._columns if c.place is not None}
        self._untouched = [s for s in self.slices.values() if s.start not in written]
        forward = topological(self.output)
        wanted = [node for columns in self._columns for node in columns.factors]
        backward = steps_of(wanted, known=forward)
        used = {a.id for node, _ in backward for a in node.args} | {n.id for n in wanted}
        self._kept = tuple(n.id for n in forward if n.id in used)
        self._forward = dropping(steps_of([self.output]), keep={self.output.id, *self._kept})
        self._predict = dropping(steps_of([self.output]), keep={self.output.id})
        self._backward = dropping(backward, keep={n.id for n in wanted})

    def _way_back(self, shared: Node, wrt: list[Node], sizes: Mapping[str, int]) -> _WayBack:
        own = {n.id for n in topological(shared)}
        names = [n for n in wrt if n.id in own]
        cotangent = shared.graph.input(f"cotangent of {shared.id}", shared.shape)
        results = vjps(shared, names, cotangent)
        steps = dropping(steps_of(results), keep={n.id for n in results})
        shape = tuple(d if isinstance(d, int) else sizes[d.name] for d in shared.shape)
        places = tuple((r, self.slices[n.attribute]) for r, n in zip(results, names, strict=True))
        return _WayBack(steps, int(np.prod(shape)), shape, cotangent, places)

    def predict(self, arrays: Mapping[str, Any], x: Any, *, xp: Any) -> Any:
        """Return the outputs for x."""
        context, values = self._begin(arrays, x, xp)
        run_steps(self._predict, context, values)
        return values[self.output.id]

    def at(self, arrays: Mapping[str, Any], x: Any, *, xp: Any) -> tuple[Any, Callable[[Any], _Rows]]:
        """Return the outputs for x, and a function from a cotangent [records, outputs] to the rows that it weights."""
        context, values = self._begin(arrays, x, xp)
        run_steps(self._forward, context, values)
        kept = {k: values[k] for k in self._kept}

        def rows(cotangent: Any) -> _Rows:
            available = {**kept, self.cotangent.id: cotangent}
            run_steps(self._backward, context, available)
            factors = [tuple(available[n.id] for n in c.factors) for c in self._columns]
            return _Rows(self, factors, int(x.shape[0]))

        return values[self.output.id], rows

    def gradient(self, arrays: Mapping[str, Any], x: Any, cotangent: Any, to_host: ToHost, *, xp: Any) -> Array:
        """Return the sum of the rows that a cotangent [records, outputs] weights: one vector of the host's."""
        context, values = self._begin(arrays, x, xp)
        values[self.cotangent.id] = cotangent
        results, steps = self._summing
        run_steps(steps, context, values)
        return np.concatenate([to_host(values[n.id]).ravel() for n in results])

    @cached_property
    def _summing(self) -> tuple[list[Node], list[tuple[Step, Dropped]]]:
        """The gradient of the outputs with respect to each parameter, and the steps to it from the inputs."""
        results = vjps(self.output, self._wrt, self.cotangent)
        return results, dropping(steps_of(results), keep={n.id for n in results})

    def _begin(self, arrays: Mapping[str, Any], x: Any, xp: Any) -> tuple[Context, dict[int, Any]]:
        given = [x if node.attribute == "x" else arrays[node.attribute] for node in self._inputs]
        return Context(self._inputs, given, xp), {n.id: a for n, a in zip(self._inputs, given, strict=True)}

    def ways_back(self, arrays: Mapping[str, Any], to_host: ToHost, *, xp: Any) -> list[Array]:
        """Return for each array that is computed of parameters its derivative [numbers of it, all parameters].

        It is a matrix of the host's, in float64; for nearly all networks there is none.
        """
        return [self._derivative(way, arrays, to_host, xp) for way in self._ways_back]

    def _derivative(self, way: _WayBack, arrays: Mapping[str, Any], to_host: ToHost, xp: Any) -> Array:
        found = np.zeros((way.size, self.parameters))
        nodes = [n for n in self._inputs if n.attribute in arrays]
        context = Context(nodes, [arrays[n.attribute] for n in nodes], xp)
        like = context.like
        for k in range(way.size):
            unit = np.zeros(way.size)
            unit[k] = 1.0
            values = {n.id: arrays[n.attribute] for n in nodes}
            cotangent = xp.asarray(unit.reshape(way.shape), dtype=like.dtype, device=getattr(like, "device", None))
            values[way.cotangent.id] = cotangent
            run_steps(way.steps, context, values)
            for node, place in way.results:
                found[k, place] = to_host(values[node.id]).ravel()
        return found

    @property
    def columns(self) -> list[_Columns]:
        """The columns, in the order of the factors of `_Rows`."""
        return self._columns

    @property
    def untouched(self) -> list[slice]:
        """The columns that nothing is written to: those of parameters that no record meets by themselves."""
        return self._untouched


@dataclass(frozen=True)
class _Rows:
    """Rows of a Jacobian as the factors of their columns, before they are written out."""

    jacobian: Jacobian
    factors: list[tuple[Any, ...]]
    records: int

    def write(self, into: Array, ways_back: list[Array]) -> None:
        """Write them to the first columns of a NumPy array [records, …]."""
        for place in self.jacobian.untouched:
            into[:, place] = 0.0
        through: list[tuple[_Columns, tuple[Any, ...]]] = []  # added last: others are written
        for columns, factors in zip(self.jacobian.columns, self.factors, strict=True):
            if columns.place is None:
                through.append((columns, factors))
                continue
            there = into[:, columns.place]
            if len(factors) == 1:
                there[:] = factors[0]
                continue
            a, d = factors
            if 1 in (a.shape[1], d.shape[1]):  # long products rather than many of one number
                np.multiply(a, d, out=there)
            else:
                products = there.reshape(self.records, a.shape[1], d.shape[1])  # a view
                np.multiply(a[:, :, None], d[:, None, :], out=products)
        for columns, factors in through:
            back = ways_back[columns.shared].astype(into.dtype)
            into[:, : self.jacobian.parameters] += _joined(factors, self.records, np) @ back

    def beside(self, last: Any, *, xp: Any) -> Any:
        """Return them, and a column more, as `TracedProducts` has columns: arrays of the namespace."""
        own: dict[int, Any] = {}
        others: list[Any] = []
        for columns, factors in zip(self.jacobian.columns, self.factors, strict=True):
            part = _joined(factors, self.records, xp)
            part = xp.broadcast_to(part, (self.records, part.shape[1]))
            if columns.place is None:
                others.append(part)
            else:
                own[columns.place.start] = part
        return xp.concat([*(own[start] for start in sorted(own)), *others, xp.expand_dims(last, axis=1)], axis=1)

    def joined(self, ways_back: list[Any], *, xp: Any) -> Any:
        """Return them as an array [records, parameters] of the namespace."""
        parts: dict[int, Any] = {}
        through: list[Any] = []
        like = self.factors[0][0]
        for columns, factors in zip(self.jacobian.columns, self.factors, strict=True):
            part = _joined(factors, self.records, xp)
            if columns.place is None:
                through.append(xp.matmul(part, ways_back[columns.shared]))
            else:
                parts[columns.place.start] = part
        for place in self.jacobian.untouched:
            shape = (self.records, place.stop - place.start)
            parts[place.start] = xp.zeros(shape, dtype=like.dtype, device=getattr(like, "device", None))
        whole = xp.concat([parts[start] for start in sorted(parts)], axis=1)
        for part in through:
            whole = whole + part
        return whole


def _joined(factors: tuple[Any, ...], records: int, xp: Any) -> Any:
    """Return the row-wise outer product of two factors, or the one that there is."""
    if len(factors) == 1:
        return factors[0]
    a, d = factors
    products = xp.expand_dims(a, axis=2) * xp.expand_dims(d, axis=1)
    return xp.reshape(products, (records, a.shape[1] * d.shape[1]))


@remembered(32)
def jacobian_of(program: Program) -> Jacobian:
    """Return the Jacobian of a program's outputs, traced once."""
    return Jacobian(program)
