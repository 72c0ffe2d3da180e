"""From the totals of epochs to their records in the history."""

from __future__ import annotations

from collections.abc import Sequence

from gdkernels.data.records import Records
from gdkernels.training.epoch_values import EpochTotals
from gdkernels.training.history import Epoch

__all__ = ["record_of", "records_of_unseen"]


def record_of(
    totals: EpochTotals,
    number: int,
    seconds: float,
    weight: float,
    validation_loss: float | None = None,
    metrics: dict[str, float] | None = None,
) -> Epoch:
    """Return the record of an epoch.

    Parameters
    ----------
    number
        That of the epoch, from 1.
    seconds
        How long it took.
    weight
        The weights of its records together: E over them is the loss.
    validation_loss, metrics
        What was measured after it, if anything was.
    """
    return Epoch(
        number=number,
        loss=totals.error / weight,
        validation_loss=validation_loss,
        learning_rate=totals.rate,
        seconds=seconds,
        samples_per_second=totals.records / seconds,
        gradient_norm=totals.norm,
        metrics={} if metrics is None else metrics,
        **totals.figures,
    )


def records_of_unseen(train: Records, totals: Sequence[EpochTotals], done: int, seconds: float) -> list[Epoch]:
    """Return the records of epochs after which nobody has looked at the network, each of so many seconds."""
    weight, speed = train.total_weight, totals[0].records / seconds
    return [
        Epoch(done + k, each.error / weight, None, each.rate, seconds, speed, each.norm, **each.figures)
        for k, each in enumerate(totals, start=1)
    ]
