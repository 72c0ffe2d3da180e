"""What the network of a fitted estimator puts out: at its end, in its hidden layers, and how well that does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gdkernels.backend import Program
from gdkernels.data.taking_sparse import taking
from gdkernels.data.validation import place_inputs
from gdkernels.definition.blocks import Sequential
from gdkernels.definition.blocks.names import names_inside
from gdkernels.definition.losses import Loss, link_of
from gdkernels.definition.objective import Objective
from gdkernels.dispatch.binding import Binding, namespace_of
from gdkernels.estimators.inputs import Given
from gdkernels.network import BoundNetwork

__all__ = ["hidden_outputs", "linked", "raw_outputs", "score_of"]


def raw_outputs(network: BoundNetwork, X: Any, loss: Loss) -> Any:
    """Return what a network puts out before the link of a loss, [records, outputs], in the place of X."""
    objective = Objective(loss)
    return network.computing(X, lambda binding: binding.give_back(network.place_and_predict(X, objective), X))


def linked(raw: Any, loss: Loss) -> Any:
    """Return what the link of a loss makes of raw outputs."""
    with np.errstate(all="ignore"):
        return link_of(loss)(raw, xp=namespace_of(raw) or np)


def hidden_outputs(network: BoundNetwork, x: Any) -> list[Any]:
    """Return what each block before the output layer puts out, in the place of x."""
    whole = network.structure.block
    assert isinstance(whole, Sequential), "an estimator's network ends with the output layer"

    def outputs(binding: Binding) -> list[Any]:
        a, found = place_inputs(binding, x, network.inputs, codes=network.structure.codes), []
        names = tuple(network.parameters)
        for k, block in enumerate(whole.blocks[:-1]):
            program = Program(block, int(a.shape[1]))
            parameters = {own: network.parameters[name] for own, name in names_inside(names, k)}
            a = taking(a, binding.executable(program), program, binding).predict(parameters, a)
            found.append(binding.give_back(a, x))
        return found

    return network.computing(x, outputs)


def score_of(network: BoundNetwork, given: Given, loss: Loss, metric: Callable[..., float]) -> float:
    """Return a metric of targets, linked outputs and, where there are some, weights: all on the host."""

    def score(binding: Binding) -> float:
        output = linked(binding.to_numpy(network.place_and_predict(given.rows, Objective(loss))), loss)
        weights = given.sample_weight
        judged = (given.targets,) if weights is None else (given.targets, weights)
        target, *weights = (binding.to_numpy(binding.place(a, "y")) for a in judged)
        return float(metric(target, output, *weights))

    return network.computing(given.x, score)
