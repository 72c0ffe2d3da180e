"""Measuring a network after each epoch: the loss of the records held out, and the metrics that the user named."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gdkernels.backend import Executable
from gdkernels.data.batches import Batches
from gdkernels.data.records import Records, changed
from gdkernels.data.stored.windows import Windows
from gdkernels.errors import InputError
from gdkernels.groups.sharding import ALONE, Sharding
from gdkernels.metrics.figures import Metric, check_takes_weights
from gdkernels.metrics.streaming import Sums, check_sums
from gdkernels.network import BoundNetwork
from gdkernels.training.shared_measuring import SharedMeasuring

__all__ = ["Evaluator"]


class Evaluator:
    """Measures a network on the records that are held out, or by metrics alone on those it trains on.

    Parameters
    ----------
    network
        The network to measure.
    train, held_out
        The records that it trains on, and those that it is validated on, if any.
    metrics
        The functions by name.
    sharding
        The shards that records are measured in, and the ranks that have them.
    executable
        What predicts the inputs of the loss; None lets the network make it.

    Raises
    ------
    InputError
        For metrics that cannot be computed from such records.
    """

    def __init__(
        self,
        network: BoundNetwork,
        train: Records | Windows | Batches,
        held_out: Records | Windows | None,
        metrics: dict[str, Metric],
        sharding: Sharding = ALONE,
        executable: Executable | None = None,
    ) -> None:
        self._executable = executable
        self._network, self.held_out, self._metrics = network, held_out, metrics
        splits = sharding is not ALONE and sharding.splits
        self._shared = SharedMeasuring(network, sharding) if splits else None
        self._measured: Records | Windows | None = held_out
        measured = train if held_out is None else held_out
        if not metrics:
            return
        if measured.weighted:
            check_takes_weights(metrics)
        if isinstance(measured, Batches):
            raise InputError("metrics of batches need validation=(X, Y): the batches themselves are not kept")
        if isinstance(measured, Windows):
            check_sums(metrics)
        self._measured = measured

    @property
    def measures(self) -> bool:
        """Whether there is anything to measure after an epoch."""
        return self.held_out is not None or bool(self._metrics)

    @property
    def at_once(self) -> int:
        """The number of records that are predicted at a time."""
        return self._measured.evaluated_at_once if isinstance(self._measured, Windows) else len(self._measured or ())

    def validation_loss(self, epoch: int) -> float | None:
        """Return the mean error of the records held out, if there are any, after the epoch of this number."""
        held_out = self.held_out
        if held_out is None:
            return None
        if self._shared is None:
            errors = (self._network.error(p, by=self._executable) for p in held_out.parts())
            error = sum(errors) / held_out.total_weight
        else:
            error = self._shared.error(held_out) / held_out.total_weight
        if math.isfinite(error) or not isinstance(held_out, Records):
            return error
        if (found := changed(held_out, np.arange(len(held_out)), "the validation ")) is not None:
            raise InputError(
                f"{found[1]} after epoch {epoch}: it was finite when training began, so something writes into the "
                "data meanwhile; the parameters are those of that epoch"
            )
        return error

    def metrics(self) -> dict[str, float]:
        """Return the metrics that the user named."""
        if not self._metrics or self._measured is None:
            return {}
        if isinstance(self._measured, Records) and self._shared is not None:
            everything = self._shared.targets_and_predictions(self._measured)
            return {name: float(metric(*everything)) for name, metric in self._metrics.items()}
        if isinstance(self._measured, Records):
            target_and_prediction = self._network.targets_and_predictions(self._measured)
            return {name: float(metric(*target_and_prediction)) for name, metric in self._metrics.items()}
        sums = Sums()
        for measured in self._parts(self._measured):
            sums.add(*measured)
        return {name: sums.figure(name) for name in self._metrics}

    def _parts(self, measured: Windows) -> Iterator[list[Any]]:
        """Yield targets and predictions, and weights if there are some, of records in files, part by part."""
        if self._shared is None:
            yield from (self._network.targets_and_predictions(part) for part in measured.parts())
        else:
            yield from self._shared.in_parts(measured)
