"""How well ranks are expected to do, before they train: the time of a step, and how much of it is exchange."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from gdkernels.backend import storage_dtype
from gdkernels.dispatch import registry
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.estimates import estimates, in_words
from gdkernels.dispatch.workload import Workload
from gdkernels.groups.link import Link
from gdkernels.groups.sharding import Sharding

__all__ = ["Efficiency"]


@dataclass(frozen=True)
class Efficiency:
    """The expected time of a step on several ranks.

    Attributes
    ----------
    step, exchange
        Its seconds, and those in which sums are exchanged.
    alone
        The seconds of such a step on one of them.
    alpha, beta
        The seconds of a message, and the bytes a second, as measured.
    share
        The efficiency: what a rank is worth beside one that works alone.
    """

    step: float
    exchange: float
    alone: float
    alpha: float
    beta: float
    share: float

    @classmethod
    def of(
        cls, work: Workload, binding: Binding, sharding: Sharding, link: Link, measured: float | None = None
    ) -> Efficiency | None:
        """Return what is expected of a workload; None if nobody knows how long its steps take.

        Parameters
        ----------
        measured
            The seconds of a rank's own part of a step; None estimates them.
        """
        ranks, shards = sharding.group.size, sharding.shards
        most = -(-shards // ranks)  # shards of a rank
        alone, mine = (_step(work, binding, rows) for rows in (work.batch, -(-work.batch * most // shards)))
        if measured is not None:
            alone, mine = measured * shards / most, measured
        if alone is None or mine is None:
            return None
        width = 8 if storage_dtype(binding.precision) == "float64" else 4
        numbers = sum(_size(work.program.shapes[name]) for name in work.program.trained)
        exchange = link.exchange(width * numbers, shards, ranks)
        step = mine + exchange
        return cls(step, exchange, alone, link.alpha, link.beta, alone / (ranks * step))

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return asdict(self)

    def __str__(self) -> str:
        link = f"a message takes {in_words(self.alpha)}, and a second carries {self.beta / 1e6:,.0f} MB"
        step = f"a step is expected to take {in_words(self.step)}, {in_words(self.exchange)} of it in exchange"
        return f"{self.share:.0%} efficient: {step}; alone {in_words(self.alone)}; {link}"


def _step(work: Workload, binding: Binding, rows: int) -> float | None:
    part = replace(work, batch_size=rows, records=max(rows, work.records))
    found = estimates([(binding.backend, binding.device)], binding.precision, part, registry.versions())
    return next((e.step_seconds for e in found if e.candidate.threads in (None, 1)), None)


def _size(shape: tuple[int, ...]) -> int:
    numbers = 1
    for n in shape:
        numbers *= n
    return numbers
