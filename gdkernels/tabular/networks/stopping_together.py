"""When networks that are averaged are to stop: when their mean fits rows best that none of them was trained on.

A network alone overfits sooner than the mean of several: what each has learned of its own by heart averages out. And of
classes, the mean is less sure than it could be, so that its outputs are stretched, or shrunk, by the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.records import Records
from gdkernels.definition.losses import is_classifier
from gdkernels.definition.objective import Objective
from gdkernels.dispatch.shared_executables import Executables, sharing
from gdkernels.groups import Group, joined
from gdkernels.groups.agreement import guarded
from gdkernels.network import BoundNetwork
from gdkernels.system.progress import RecordCount
from gdkernels.tabular.networks.cross_validation import GAIN_OF_EPOCH
from gdkernels.tabular.networks.epoch_by_epoch import EpochByEpoch, epoch_of_each
from gdkernels.tabular.networks.fitting import PreparedRows, kth
from gdkernels.tabular.settings import defaults
from gdkernels.training.trainer import Trainer

__all__ = ["StoppingTogether", "stopped_together"]

Array = npt.NDArray[np.float64]

_SCALES = tuple(2.0 ** (k / 8) for k in range(-8, 5))  # of logits; 1 is among them


@dataclass(frozen=True)
class StoppingTogether:
    """When the mean of some networks fitted rows best that none of them was trained on.

    Attributes
    ----------
    networks
        Their number.
    epochs
        How long each was trained.
    scale
        By what the outputs of the mean were multiplied.
    loss
        That of the mean, so long after the beginning and scaled so.
    """

    networks: int
    epochs: int
    scale: float
    loss: float

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return asdict(self)

    def as_text(self) -> str:
        """Return a line."""
        scaled = "" if self.scale == 1 else f" and logits times {self.scale:.2f}"
        return (
            f"{self.epochs} epochs{scaled}, by the lowest loss, {self.loss:.4g}, of the mean of {self.networks} "
            "networks on rows that none of them was trained on"
        )


def stopped_together(
    network: dict[str, Any],
    parts: tuple[PreparedRows, PreparedRows],
    *,
    settings: dict[str, Any],
    epochs: int,
    patience: int,
    progress: bool | None = None,
) -> StoppingTogether:
    """Train a few networks on the same rows, an epoch each in turns, and return when their mean fits the others best.

    Parameters
    ----------
    network
        The arguments of `network_of`.
    parts
        The rows to train on, and the others.
    settings
        Those of `Trainer`.
    epochs, patience
        The largest number of epochs, and after how many without a lower loss to end.
    progress
        Whether to count the records on stderr; None means on a terminal.

    Raises
    ------
    DivergenceError
        If one of the networks diverges.
    """
    group = joined(settings.get("group"))
    own = {name: value for name, value in settings.items() if name not in ("group", "shards")}
    with RecordCount("choosing when to stop", progress) as bar, sharing(Executables()), guarded(group):
        first = Trainer(kth(network, 0), **own, group="none")
        count = defaults.stopping_together(len(parts[0]) * first.mlp.network.structure.multiply_adds)
        trainers = [
            Trainer(kth(network, k), **own, group="none") if k else first for k in range(group.rank, count, group.size)
        ]
        mean = _Mean(parts[1], settings["loss"], network["sizes"][-1], count, group)
        networks = [EpochByEpoch(trainer, parts, epochs) for trainer in trainers]
        best = gained = (math.inf, 1, 1.0)
        for epoch in range(1, epochs + 1):
            loss, scale = mean.loss(epoch_of_each(networks, epoch, mean.outputs))
            bar.update(sum(one.trained for one in networks))
            best = min(best, (loss, epoch, scale))
            if best[0] < gained[0] - GAIN_OF_EPOCH * mean.before:
                gained = best
            if epoch - gained[1] >= patience:
                break
    loss, epoch, scale = best
    return StoppingTogether(count, epoch, scale, loss)


class _Mean:
    """The mean of networks that are dealt to ranks in turn, and its loss on some rows."""

    def __init__(self, rows: PreparedRows, loss: Any, outputs: int, count: int, group: Group) -> None:
        self._objective = Objective.checked(loss, outputs=outputs)
        self._shape, self._count, self._group = (-1, len(rows), outputs), count, group
        assert rows.y is not None
        y = np.asarray(rows.y)
        # Classes may come by their numbers.
        self._y = np.eye(outputs)[y] if y.ndim == 1 and outputs > 1 else y.reshape(len(y), -1)
        self._weights = rows.weights
        self.before = self._of(np.zeros(self._shape[1:]))

    def outputs(self, network: BoundNetwork, others: Records) -> Array:
        """Return what a network puts out for the rows, before the loss's link."""
        raw = network.raw(others.x, self._objective)
        return np.asarray(others.binding.to_numpy(raw), np.float64)

    def loss(self, mine: Sequence[Array]) -> tuple[float, float]:
        """Return the lowest loss of the mean, and the scale of its outputs with which it is so low."""
        everybody = [np.array(mine)]
        if self._group.size > 1:
            told = self._group.gather_bytes(np.array(mine).tobytes())
            everybody = [np.frombuffer(data, np.float64).reshape(self._shape) for data in told]
        raw = np.zeros(self._shape[1:])
        for k in range(self._count):  # in this order on any number of ranks
            raw += everybody[k % len(everybody)][k // len(everybody)] / self._count
        scales = _SCALES if is_classifier(self._objective.loss) else (1.0,)
        return min(((self._of(raw * scale), scale) for scale in scales), key=lambda one: (one[0], abs(one[1] - 1)))

    def _of(self, raw: Array) -> float:
        with np.errstate(all="ignore"):
            values = self._objective.loss(raw, self._y, xp=np)
        found = float(np.average(values, weights=self._weights))
        return found if math.isfinite(found) else math.inf
