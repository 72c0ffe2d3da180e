"""The loss of a network on the user's data, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdkernels.data.records import place_records
from gdkernels.definition import gradient
from gdkernels.definition.losses import Loss
from gdkernels.dispatch.binding import Binding
from gdkernels.network import BoundNetwork

__all__ = ["gradient_on", "loss_on"]


def loss_on(network: BoundNetwork, X: Any, Y: Any, loss: str | Loss | None, reduction: str) -> float:
    """Return the loss; the arguments are those of `gdkernels.Network.loss`."""
    objective = network.objective_for(loss, reduction)

    def measured(binding: Binding) -> float:
        records = place_records(binding, X, Y, None, spec=network.expects(objective))
        return network.error(records, objective) / (1 if objective.reduction == "sum" else len(records))

    return network.computing(X, measured)


def gradient_on(network: BoundNetwork, X: Any, Y: Any, loss: str | Loss | None, reduction: str) -> Any:
    """Return the gradient by the names of the parameters; the arguments are those of `gdkernels.Network.gradient`."""
    objective = network.objective_for(loss, reduction)

    def computed(binding: Binding) -> Any:
        records = place_records(binding, X, Y, None, spec=network.expects(objective))
        program = network.structure.program(objective)
        return gradient(
            program.block,
            network.parameters,
            records.x,
            records.y,
            trained=program.trained,
            loss=objective.loss,
            reduction=objective.reduction,
            xp=binding.xp,
        )[1]

    with np.errstate(all="ignore"):
        return network.computing(X, computed)
