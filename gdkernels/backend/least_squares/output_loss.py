"""A loss as a function of a network's outputs: its value, its slope and its second derivative, from its trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.losses import Loss
from gdkernels.graph import remembered, topological, vjp
from gdkernels.graph.interpret import Context, dropping, run_steps, steps_of
from gdkernels.graph.namespace import Graph
from gdkernels.graph.pullback import returned

__all__ = ["OutputLoss", "output_loss"]

Array = npt.NDArray[Any]


class OutputLoss:
    """A loss of outputs and targets [records, outputs] with its derivatives by the outputs.

    Parameters
    ----------
    loss
        The loss.
    outputs
        The number of outputs.

    Attributes
    ----------
    factor
        A matrix C [outputs, outputs] with C Cᵀ = the second derivative of each record, if that is the same for all
        records, as for squared errors; else None.
    """

    def __init__(self, loss: Loss, outputs: int) -> None:
        graph = Graph()
        records, units = graph.dim("B"), graph.dim(f"n{outputs}", outputs)
        self._inputs = [graph.input(name, (records, units)) for name in ("prediction", "target")]
        prediction, target = self._inputs
        rule = "a loss returns a number for each record, such as xp.sum(…, axis=-1)"
        self._value = returned(loss(prediction, target, xp=graph), loss, (records,), rule)
        self._slope = vjp(self._value, prediction, graph.ones_like(self._value))
        of_outputs = [graph.column(self._slope, k) for k in range(outputs)]
        self._curvature = [vjp(slope, prediction, graph.ones_like(slope)) for slope in of_outputs]
        self._outputs = outputs
        both = [self._value, self._slope]
        self._steps = dropping(steps_of(both), keep={n.id for n in both})
        self._steps_of_slope = dropping(steps_of([self._slope]), keep={self._slope.id})
        self._steps_of_value = dropping(steps_of([self._value]), keep={self._value.id})
        self._second = dropping(steps_of(self._curvature), keep={n.id for n in self._curvature})
        same = all(n.op != "input" for n in topological(*self._curvature))
        self.factor: Array | None = None
        if same:
            anything = np.zeros((1, outputs))
            self.factor = _roots(self._second_derivatives(anything, anything, np))[0]

    def value(self, prediction: Any, target: Any, *, xp: Any) -> Any:
        """Return the loss of each record."""
        context, values = self._begin(prediction, target, xp)
        run_steps(self._steps_of_value, context, values)
        return values[self._value.id]

    def value_and_slope(self, prediction: Any, target: Any, *, xp: Any) -> tuple[Any, Any]:
        """Return the loss of each record, and its derivative [records, outputs]."""
        context, values = self._begin(prediction, target, xp)
        run_steps(self._steps, context, values)
        return values[self._value.id], values[self._slope.id]

    def slope(self, prediction: Any, target: Any, *, xp: Any) -> Any:
        """Return the derivative of the loss alone."""
        context, values = self._begin(prediction, target, xp)
        run_steps(self._steps_of_slope, context, values)
        return values[self._slope.id]

    def factors(self, prediction: Array, target: Array) -> Array:
        """Return for each record a matrix C with C Cᵀ = its second derivative, as far as that is not negative."""
        return _roots(self._second_derivatives(prediction, target, np))

    def _second_derivatives(self, prediction: Array, target: Array, xp: Any) -> Array:
        context, values = self._begin(prediction, target, xp)
        with np.errstate(all="ignore"):
            run_steps(self._second, context, values)
        shape = prediction.shape
        return np.stack([np.broadcast_to(np.asarray(values[n.id]), shape) for n in self._curvature], axis=1)

    def _begin(self, prediction: Any, target: Any, xp: Any) -> tuple[Context, dict[int, Any]]:
        arrays = [prediction, target]
        return Context(self._inputs, arrays, xp), {n.id: a for n, a in zip(self._inputs, arrays, strict=True)}


def _roots(second: Array) -> Array:
    """Return C with C Cᵀ = each of some symmetric matrices [records, n, n], negative directions left out."""
    diagonal = np.diagonal(second, axis1=1, axis2=2)
    if not np.isfinite(second).all():
        return np.full(second.shape, np.nan)
    if second.shape[1] == 1 or not np.any(second - diagonal[:, :, None] * np.eye(second.shape[1])):
        roots: Array = np.sqrt(np.maximum(diagonal, 0.0))
        return roots[:, :, None] * np.eye(second.shape[1])
    values, vectors = np.linalg.eigh(0.5 * (second + np.swapaxes(second, 1, 2)))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])


@remembered(32)
def output_loss(loss: Loss, outputs: int) -> OutputLoss:
    """Return a loss with its derivatives by the outputs, traced once."""
    return OutputLoss(loss, outputs)
