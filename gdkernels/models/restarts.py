"""Several starts: descent from different initial weights, to find the lower of several minima."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from gdkernels.data.stored import Stored
from gdkernels.dispatch.shared_executables import Executables, sharing
from gdkernels.network import BoundNetwork
from gdkernels.system.progress import progress_bar
from gdkernels.system.thread_limits import at_most
from gdkernels.training.checkpointing import subfolder
from gdkernels.training.history import History, Start
from gdkernels.training.jobs.fit_job import FitJob, Paces, PlanChoices
from gdkernels.training.jobs.one_pass import in_one_pass
from gdkernels.training.jobs.shared_data import SharedData
from gdkernels.training.jobs.shown import shown_by
from gdkernels.training.jobs.threads import run_jobs
from gdkernels.training.settings import FitSettings
from gdkernels.training.trainer import Trainable, Trainer

__all__ = ["best_of_starts"]

_OF_FIT = ("epochs", "patience", "metrics", "stop_gradient_norm", "gradient_norm", "retries")
_MOST_NUMBERS = 1 << 26  # parameters of all the starts that are there at once


@dataclass(frozen=True)
class _Copy:
    """What a trainer trains beside others."""

    network: BoundNetwork


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
    many = mlp.network.parameter_count * starts > _MOST_NUMBERS
    if many or _is_watched(run) or _has_others(settings) or _comes_in_parts(X, Y, run["validation"]):
        return _one_by_one(mlp, X, Y, settings, run, starts)
    return _side_by_side(mlp, X, Y, settings, run, starts) or _one_by_one(mlp, X, Y, settings, run, starts)


def _is_watched(run: dict[str, Any]) -> bool:
    """Return whether somebody sees each epoch, in order, or keeps something of it."""
    return any(run[name] for name in ("callbacks", "checkpoint", "resume", "retries"))


def _has_others(settings: dict[str, Any]) -> bool:
    """Return whether a single start computes on several ranks, or by a solver's own means."""
    return any(settings.get(name) is not None for name in ("group", "shards", "solver"))


def _comes_in_parts(X: Any, Y: Any, validation: Any) -> bool:
    """Return whether the data are not all there as dense arrays."""
    given = [(X, Y), (validation, None)]
    if isinstance(validation, tuple) and len(validation) > 1:
        given.append(validation[:2])
    return Y is None or hasattr(X, "tocsr") or any(Stored.of(x, y, None) is not None for x, y in given)


def _side_by_side(
    mlp: Trainable, X: Any, Y: Any, settings: dict[str, Any], run: dict[str, Any], starts: int
) -> tuple[Trainer, History] | None:
    """Do what `_one_by_one` does, but several starts at the same time; None where they would get other bits.

    Each has the plan of its fit alone. A start that takes all threads therefore has them for itself; on a device,
    several in one launch would have another plan. Until all are done, the network stays as it is.
    """
    trainer, network = Trainer(mlp, **settings), mlp.network
    asked = FitSettings.checked(**{name: run[name] for name in _OF_FIT})
    validation = run["validation"]
    data = SharedData(X, Y, run["sample_weight"], validation)
    binding = data.place(trainer, asked, 1)
    if not (binding.on_host and binding.backend.threads(binding.device)):
        return None
    copies = [_started(network, number) for number in range(starts)]
    if not all(one.network.join(binding, X) for one in copies):
        return None
    train, held_out = data.of(trainer, asked, 1)
    share = validation if isinstance(validation, (int, float)) else None
    plans, paces = PlanChoices(single=True), Paces()

    def job(of: Trainer, number: int) -> FitJob:
        return FitJob(of, train, held_out, None, None, share, asked, plans, paces, number, None)

    jobs = [job(Trainer(one, **settings), number) for number, one in enumerate(copies)]
    with at_most(network.threads):
        threads = min(starts, max(binding.backend.threads(binding.device)))
    bar = progress_bar(run["progress"], total=starts, unit="start")
    try:
        histories = _histories(jobs, threads, shown_by(bar))
    finally:
        if bar is not None:
            bar.close()
    tried, best = _compared(histories)
    job(trainer, best).restore(jobs[best].state())
    history = histories[best]
    history.starts, history.memory = tried, jobs[best].memory(history)
    return trainer, history


def _started(network: BoundNetwork, number: int) -> _Copy:
    """Return a copy of a network with the initial parameters of a start; those of the first are as they are."""
    made = copy(network)
    if number:
        made.restart(number)
    return _Copy(made)


def _histories(jobs: Sequence[FitJob], threads: int, done: Callable[[History], None]) -> list[History]:
    """Return the histories of fits, several of which are done at a time where each takes one thread."""
    found = in_one_pass(dict(enumerate(jobs)), threads, done)
    left = [k for k in range(len(jobs)) if k not in found]
    for k in left[:1]:  # which shows how many threads each of the others takes
        found[k] = jobs[k].run(Executables(), lambda: False)
        done(found[k])
        threads = threads if found[k].plan.choices.get("threads") == 1 else 1
    found |= zip(left[1:], run_jobs([jobs[k].run for k in left[1:]], threads, done), strict=True)
    return [found[k] for k in range(len(jobs))]


def _one_by_one(
    mlp: Trainable, X: Any, Y: Any, settings: dict[str, Any], run: dict[str, Any], starts: int
) -> tuple[Trainer, History]:
    network, histories = mlp.network, []
    best: tuple[float, Any] = (math.inf, None)
    executables = Executables()
    for number in range(starts):
        if number:
            network.restart(number)
        trainer = Trainer(mlp, **settings)
        folder = run["checkpoint"] and {"checkpoint": subfolder(run["checkpoint"], f"start-{number + 1}")}
        with sharing(executables):
            history = trainer.fit(X, Y, **run | (folder or {}))
        histories.append(history)
        reached = _worth(history)
        if best[1] is None or reached < best[0]:
            best = (reached, (trainer, history, network.copied_parameters()))
    trainer, history, parameters = best[1]
    network.set_parameters(parameters)
    history.starts, _ = _compared(histories)
    return trainer, history


def _compared(histories: Sequence[History]) -> tuple[tuple[Start, ...], int]:
    """Return what the starts have reached, and the number of the best, the first of equals."""
    tried = tuple(Start(k, _final_loss(h), len(h.epochs), h.stopped) for k, h in enumerate(histories))
    return tried, min(range(len(histories)), key=lambda k: _worth(histories[k]))


def _worth(history: History) -> float:
    """Return what is lower for a better start: with the evidence, a lower error may only be a weaker penalty."""
    last = history.epochs[-1] if history.epochs else None
    if last is None or last.log_evidence is None or last.validation_loss is not None:
        return _final_loss(history)
    return -last.log_evidence


def _final_loss(history: History) -> float:
    """Return the loss of the epoch whose parameters were kept."""
    kept = [e.watched for e in history.epochs if e.number == history.best_epoch]
    return kept[0] if kept else math.inf
