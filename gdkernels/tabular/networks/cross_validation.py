"""The penalty that suits a table, and when to stop: those with which networks do best on rows that they never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from gdkernels.definition.optimizers import Optimizer
from gdkernels.dispatch.shared_executables import Executables, sharing
from gdkernels.errors import DivergenceError
from gdkernels.groups import Group, joined
from gdkernels.groups.agreement import guarded
from gdkernels.network import BoundNetwork
from gdkernels.system.progress import RecordCount
from gdkernels.tabular.networks.epoch_by_epoch import EpochByEpoch, epoch_of_each
from gdkernels.tabular.networks.fitting import PreparedRows, diverged, kth
from gdkernels.training.trainer import Trainer

__all__ = ["CrossValidation", "cross_validated"]

STEP = 4.0  # from one penalty to the next: halves and doubles can hardly be told apart
MOST_STEPS = 4
# A gain is one if it is more than this share of the loss before training: of a penalty, and of an epoch for patience.
GAIN, GAIN_OF_EPOCH = 2e-4, 3e-5
# Multiply-adds of forward and backward passes, after which no further penalty is tried: some seconds of one core.
MOST_WORK = 3e11


@dataclass(frozen=True)
class CrossValidation:
    """The settings that were best for the rows left out.

    Attributes
    ----------
    networks
        The number of networks, each trained without another part of the rows.
    loss
        The mean over those rows, each predicted by the network that was trained without it, after so many epochs.
    tried
        The lowest such loss of each penalty.
    """

    networks: int
    l2: float
    epochs: int
    loss: float
    tried: dict[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return asdict(self) | {"tried": [{"l2": l2, "loss": loss} for l2, loss in self.tried.items()]}

    def as_text(self) -> str:
        """Return a line."""
        others = [f"{l2:.2g}" for l2 in sorted(self.tried) if l2 != self.l2]
        among = f" (of {', '.join(others)} too)" if others else ""
        who = "a network" if self.networks == 1 else f"{self.networks} networks, each"
        return (
            f"l2 {self.l2:.2g}{among} and {self.epochs} epochs, by the lowest loss, {self.loss:.4g}, of {who} on the "
            "rows that it was trained without"
        )


def cross_validated(
    network: dict[str, Any],
    draws: Sequence[tuple[PreparedRows, PreparedRows]],
    *,
    settings: dict[str, Any],
    search: bool,
    epochs: int,
    patience: int,
    progress: bool | None = None,
) -> CrossValidation:
    """Train networks in turns, an epoch each, and return by which penalty and when the rows left out fit best.

    A few rows left out of one network are a rough measure. Together they are all the rows, so that one moment to stop
    is found for all the networks, and penalties can be compared.

    Parameters
    ----------
    network
        The arguments of `network_of`.
    draws
        For each network the rows to train on, and those left out.
    settings
        Those of `Trainer`.
    search
        Whether to try penalties above that of the settings, in steps of four, or else below, while the loss falls. It
        ends where there is nothing to gain, where penalties make no difference, and after `MOST_WORK`.
    epochs, patience
        The largest number of epochs, and after how many without a lower loss to end.
    progress
        Whether to count the records on stderr; None means on a terminal.

    Raises
    ------
    DivergenceError
        If one of them diverges.
    """
    first, group = settings["l2"], joined(settings.get("group"))
    own = {name: value for name, value in settings.items() if name not in ("group", "shards")}
    with RecordCount("cross-validating", progress) as bar, sharing(Executables()):
        spent = [0.0]

        def evaluated(l2: float) -> Lowest:
            mine = range(group.rank, len(draws), group.size)
            trainers = [Trainer(kth(network, k), **own | {"l2": l2}, group="none") for k in mine]
            left = [EpochByEpoch(trainer, draws[k], epochs) for trainer, k in zip(trainers, mine, strict=True)]
            with guarded(group):
                lowest = _lowest(left, _Turns(group, len(draws), own.get("optimizer")), epochs, patience, bar)
            spent.append(lowest.work)
            return lowest

        def may_go_on() -> bool:
            return sum(spent) + spent[-1] <= MOST_WORK

        start = evaluated(first)
        found, least = {first: (start.loss, start.epoch)}, GAIN * start.before
        if search and first > 0 and start.loss > least:
            for step in (STEP, 1 / STEP):
                penalties = [first * step**k for k in range(1, MOST_STEPS + 1)]
                _follow(found, lambda l2: evaluated(l2)[:2], penalties, may_go_on, least)
                told = [loss for loss, _ in found.values()]
                if _best(found) != first or (len(told) > 1 and abs(told[1] - told[0]) <= least):
                    break
    l2 = _best(found)
    loss, epoch = found[l2]
    return CrossValidation(len(draws), l2, epoch, loss, {penalty: reached for penalty, (reached, _) in found.items()})


class Lowest(NamedTuple):
    """The lowest mean loss over all rows left out, in which epoch it was, the loss before, and the multiply-adds."""

    loss: float
    epoch: int
    before: float
    work: float


def _best(found: dict[float, tuple[float, int]]) -> float:
    return min(found, key=lambda l2: found[l2][0])


def _follow(
    found: dict[float, tuple[float, int]],
    evaluated: Callable[[float], tuple[float, int]],
    penalties: Sequence[float],
    may_go_on: Callable[[], bool] = lambda: True,
    least: float = 0.0,
) -> None:
    """Try one penalty after the other until the loss does not fall any more, or by no more than `least`."""
    for l2 in penalties:
        if not may_go_on():
            return
        before = found[_best(found)][0]
        found[l2] = evaluated(l2)
        if not found[l2][0] < before - least:
            return


@dataclass(frozen=True)
class _Turns:
    """Networks that are dealt to ranks in turn."""

    group: Group
    count: int
    optimizer: Optimizer | None

    def all_of(self, mine: list[float]) -> list[float]:
        """Return a number of each network, in their order, from those of this rank's networks."""
        if self.group.size == 1:
            return mine
        told = self.group.gather_numbers([*mine, *[0.0] * (-(-self.count // self.group.size) - len(mine))])
        found: list[float] = told.T.reshape(-1)[: self.count].tolist()
        return found

    def errors(self, left: Sequence[EpochByEpoch], epoch: int) -> list[float]:
        """Do an epoch of each network, and return their errors."""
        if self.group.size == 1:
            return epoch_of_each(left, epoch, BoundNetwork.error)
        mine: list[float] = []
        for one in left:
            try:
                mine.append(one.epoch(epoch, BoundNetwork.error))
            except DivergenceError:
                mine.append(math.nan)
        found = self.all_of(mine)
        if any(map(math.isnan, found)):
            raise diverged(epoch, self.optimizer)
        return found


def _lowest(left: Sequence[EpochByEpoch], turns: _Turns, epochs: int, patience: int, bar: RecordCount) -> Lowest:
    """Return the lowest mean loss over all rows left out, and in which epoch it was."""
    whole = sum(turns.all_of([one.weight for one in left]))
    before = sum(turns.all_of([one.before for one in left])) / whole
    if not math.isfinite(before):
        before = 0.0
    work = sum(turns.all_of([float(one.multiply_adds) for one in left]))
    best, gained = (math.inf, 1), (math.inf, 1)
    for epoch in range(1, epochs + 1):
        error = 0.0
        for each in turns.errors(left, epoch):
            error += each
        for one in left:
            bar.update(one.trained)
        best = min(best, (error / whole, epoch))
        if best[0] < gained[0] - GAIN_OF_EPOCH * before:
            gained = best
        if epoch - gained[1] >= patience:
            break
    return Lowest(*best, before, 3.0 * epoch * work)
