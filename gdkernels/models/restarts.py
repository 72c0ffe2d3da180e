"""Several starts: descent from different initial weights, to find the lower of several minima."""

from __future__ import annotations

import math
from typing import Any

from gdkernels.dispatch.shared_executables import Executables, sharing
from gdkernels.training.checkpointing import subfolder
from gdkernels.training.history import History, Start
from gdkernels.training.trainer import Trainable, Trainer

__all__ = ["best_of_starts"]


def best_of_starts(
    mlp: Trainable, X: Any, Y: Any, settings: dict[str, Any], run: dict[str, Any], starts: int
) -> tuple[Trainer, History]:
    """Train from `starts` initial weights and leave `mlp` with the best.

    Returns
    -------
    tuple
        The trainer and the history of the best start; the history describes all the starts. The best has the lowest
        final loss, or the greatest evidence where a solver knows that and no validation rows decide.
    """
    network = mlp.network
    tried: list[Start] = []
    best: tuple[float, Any] = (math.inf, None)
    executables = Executables()
    for number in range(starts):
        if number:
            network.restart(number)
        trainer = Trainer(mlp, **settings)
        folder = run["checkpoint"] and {"checkpoint": subfolder(run["checkpoint"], f"start-{number + 1}")}
        with sharing(executables):
            history = trainer.fit(X, Y, **run | (folder or {}))
        tried.append(Start(number, _final_loss(history), len(history.epochs), history.stopped))
        reached = _worth(history)
        if best[1] is None or reached < best[0]:
            best = (reached, (trainer, history, network.copied_parameters()))
    trainer, history, parameters = best[1]
    network.set_parameters(parameters)
    history.starts = tuple(tried)
    return trainer, history


def _worth(history: History) -> float:
    """Return what is lower for a better start: with the evidence, a lower error may only be a weaker penalty."""
    last = history.epochs[-1]
    if last.log_evidence is None or last.validation_loss is not None:
        return _final_loss(history)
    return -last.log_evidence


def _final_loss(history: History) -> float:
    """Return the loss of the epoch whose parameters were kept."""
    kept = [e.watched for e in history.epochs if e.number == history.best_epoch]
    return kept[0] if kept else math.inf
