"""What a fit is judged by after each epoch: the loss of what is held out, and the metrics that were asked for."""

from __future__ import annotations

import math

import numpy as np

from gdkernels.data.batches import Batches
from gdkernels.data.records import Records, changed
from gdkernels.data.stored.windows import Windows
from gdkernels.errors import InputError
from gdkernels.metrics.figures import Metric, check_takes_weights
from gdkernels.metrics.streaming import Sums, check_sums
from gdkernels.network.network import Model

__all__ = ["Judge"]


class Judge:
    """Measures a network on the records that are held out, or by metrics alone on those it trains on.

    Parameters
    ----------
    mlp
        The network.
    train, held_out
        What it trains on, and what it is validated on, if anything.
    metrics
        Name to function.

    Raises
    ------
    InputError
        For metrics that cannot be computed from such records.
    """

    def __init__(
        self,
        mlp: Model,
        train: Records | Windows | Batches,
        held_out: Records | Windows | None,
        metrics: dict[str, Metric],
    ) -> None:
        self._mlp, self.held_out, self._metrics = mlp, held_out, metrics
        self._judged: Records | Windows | None = held_out
        judged = train if held_out is None else held_out
        if judged.weighted:
            check_takes_weights(metrics)
        if not metrics:
            return
        if isinstance(judged, Batches):
            raise InputError("metrics of batches need validation=(X, Y): the batches themselves are not kept")
        if isinstance(judged, Windows):
            check_sums(metrics)
        self._judged = judged

    @property
    def at_once(self) -> int:
        """How many records are predicted at a time."""
        return self._judged.judged if isinstance(self._judged, Windows) else len(self._judged or ())

    def validation_loss(self, epoch: int) -> float | None:
        """Return the mean error of what is held out, if anything is, after the epoch of this number."""
        held_out = self.held_out
        if held_out is None:
            return None
        errors = (self._mlp._error(p.x, p.y, sample_weight=p.weights) for p in held_out.parts())
        error = sum(errors) / held_out.total_weight
        if math.isfinite(error) or not isinstance(held_out, Records):
            return error
        if (found := changed(held_out, np.arange(len(held_out)), "the validation ")) is not None:
            raise InputError(
                f"{found[1]} after epoch {epoch}: it was finite when training began, so something writes into the "
                "data meanwhile; the parameters are those of that epoch"
            )
        return error

    def metrics(self) -> dict[str, float]:
        """Return the figures that were asked for."""
        if not self._metrics or self._judged is None:
            return {}
        if isinstance(self._judged, Records):
            target_and_prediction = self._mlp._judged_by(self._judged)
            return {name: float(metric(*target_and_prediction)) for name, metric in self._metrics.items()}
        sums = Sums()
        for part in self._judged.parts():
            sums.add(*self._mlp._judged_by(part))
        return {name: sums.figure(name) for name in self._metrics}
