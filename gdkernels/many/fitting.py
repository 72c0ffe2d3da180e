"""`fit_many`: the fits of many models, several at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.shared_executables import Executables
from gdkernels.errors import InputError, Interrupted, shown
from gdkernels.groups import Group, joined
from gdkernels.groups.agreement import agree, guarded
from gdkernels.groups.sharding import threads_of_ranks
from gdkernels.many.arguments import check_share, checked_models, checked_rows, checked_settings, of_model, rows_of
from gdkernels.many.dealing import dealt
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork
from gdkernels.system.given import checked_progress
from gdkernels.system.machine import cores
from gdkernels.system.progress import progress_bar
from gdkernels.system.thread_limits import at_most
from gdkernels.system.threads import asked_bound
from gdkernels.training.checkpointing import Keeping, StopSignals
from gdkernels.training.history import History
from gdkernels.training.jobs.fit_job import FitJob, Paces, PlanChoices, digest_of
from gdkernels.training.jobs.meeting import MOST_AT_A_TIME, Meeting
from gdkernels.training.jobs.one_pass import in_one_pass
from gdkernels.training.jobs.shared_data import SharedData
from gdkernels.training.jobs.shown import shown_by
from gdkernels.training.jobs.threads import GivenUpError, run_jobs
from gdkernels.training.own_functions import agree_on_functions
from gdkernels.training.settings import FitSettings

__all__ = ["fit_many"]


def fit_many(
    models: Sequence[Network],
    X: Any,
    Y: Any,
    *,
    epochs: int,
    settings: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    rows: Sequence[Any] | None = None,
    validation_rows: Sequence[Any] | None = None,
    sample_weight: Any = None,
    validation: float | tuple[Any, ...] | None = None,
    patience: int | None = None,
    threads: int | None = None,
    group: str | Group | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: str = "5min",
    resume: bool = False,
    progress: bool | None = None,
) -> list[History]:
    """Train many models on the same data, several at the same time, and return their histories.

    Each model ends with the bits that `Network.fit` on a single thread gives it; on the compiled engine, that is so
    for any number of threads. A single model ends with those of its own fit. Data are placed once, code is compiled
    once for models that differ only in numbers, and each thread takes the next model. A second call with the same
    settings goes on where the first ended.

    Parameters
    ----------
    models
        Networks of any shapes, activations and blocks; each has its own initial weights and seed.
    X, Y, sample_weight
        As for `Network.fit`; arrays in memory.
    epochs
        The largest number of passes.
    settings
        The settings of training, as keywords of `Trainer`: one dictionary for all models, or one for each.
    rows
        For each model the rows of the data that it is trained on, such as those of a fold or a bootstrap sample, which
        may come more than once; None for a model, or for all, is all rows.
    validation, patience
        As for `Network.fit`; a share is taken of each model's rows.
    validation_rows
        For each model the rows of the data to validate it on, such as those of the fold that it leaves out; instead of
        `validation`.
    threads
        The number of models that are trained at the same time. None is the smallest number of threads that a model and
        this process may have, as `Network` explains, and one where models would wait for each other.
    group
        The processes that the models are dealt to, as for `Trainer`; all of them have all models in the end.
    checkpoint
        A folder, with one for each model in it: its checkpoint when it is done, and others on the way. On SIGINT,
        SIGTERM or SIGHUP, the models that are trained finish their epoch, write theirs, and `Interrupted` is raised.
    every, resume
        As for `Network.fit`. A model that was done is not trained again.
    progress
        Whether to show a bar, with the lowest loss so far; None means on a terminal, when it takes longer than a
        second.

    Returns
    -------
    list
        The history of each model. One that diverged says so, and does not disturb the others.

    Raises
    ------
    InputError
        For data that does not fit a network, and for settings that are not possible; before any training.
    BackendError
        If the place where the models compute fails. Those that were done have their parameters.
    FileError
        If the checkpoints cannot be kept or resumed from.
    Interrupted
        After a signal, where there are checkpoints.
    """
    models = checked_models(models)
    trainers = []
    for k, (model, given) in enumerate(zip(models, checked_settings(settings, len(models)), strict=True)):
        with of_model(k, len(models)):
            trainers.append(model.trainer(**given))
    asked = FitSettings.checked(
        epochs=epochs, patience=patience, metrics=(), stop_gradient_norm=None, gradient_norm=False, retries=0
    )
    keeping, progress = Keeping.checked(checkpoint, every, 1, resume), checked_progress(progress)
    if validation_rows is not None and validation is not None:
        raise InputError("validation and validation_rows both say what to validate on; leave one of them out")
    chosen, left_out = checked_rows(rows, len(models)), checked_rows(validation_rows, len(models), "validation_rows")
    data, work = SharedData(X, Y, sample_weight, validation), []
    for k, trainer in enumerate(trainers):
        with of_model(k, len(models)):
            work.append(data.of(trainer, asked, len(models)))
    all_rows = zip(chosen, left_out, work, strict=True)
    checked = [
        (rows_of(trained_on, train, f"rows[{k}]"), rows_of(measured, train, f"validation_rows[{k}]"))
        for k, (trained_on, measured, (train, _)) in enumerate(all_rows)
    ]
    if isinstance(validation, (int, float)):
        for k, ((some, _), (train, _)) in enumerate(zip(checked, work, strict=True)):
            check_share(validation, train if some is None else some, k)
    plans, paces = PlanChoices(single=len(models) == 1 and threads is None), Paces()
    jobs = [
        FitJob(trainer, *given, *its_rows, validation, asked, plans, paces, k, keeping)
        for k, (trainer, given, its_rows) in enumerate(zip(trainers, work, checked, strict=True))
    ]
    ranks = joined(group)
    if ranks.size > 1:
        digest = digest_of([(job.train, job.held_out) for job in jobs])
        with guarded(ranks):
            agree(ranks, {"call": "fit_many", "models": len(models), "data": digest})
            agree(ranks, {f"model {k}": job.identity() for k, job in enumerate(jobs)})
            fits = [(job.trainer.mlp.network.structure, job.trainer.settings) for job in jobs]
            agree_on_functions(ranks, fits, [f"model {k}" for k in range(len(jobs))])
    at_once = _threads(threads, [model.network for model in models], [job.train.binding for job in jobs])
    mine = range(ranks.rank, len(jobs), ranks.size)
    bar = progress_bar(False if ranks.rank else progress, total=len(mine), unit="model")
    try:
        with nullcontext() if keeping is None else StopSignals() as signals:

            def asked_to_end() -> Interrupted | None:
                if signals is None or signals.asked is None:
                    return None
                told = f"{signals.asked.name} ended training; the checkpoints are in {os.fspath(checkpoint or '')}"
                return Interrupted(told, int(signals.asked))

            def histories(jobs: Sequence[FitJob], threads: int) -> list[History]:
                shown = shown_by(bar)
                found = in_one_pass(dict(enumerate(jobs)), threads, shown)
                left = [k for k in range(len(jobs)) if k not in found]
                found |= zip(left, _in_turn([jobs[k] for k in left], threads, shown, asked_to_end), strict=True)
                return [found[k] for k in range(len(jobs))]

            if ranks.size == 1:
                return histories(jobs, at_once)
            with guarded(ranks), at_most(threads_of_ranks(ranks)[ranks.rank]):
                own = histories([jobs[k] for k in mine], min(at_once, len(mine) or 1))
                found = dealt(ranks, len(jobs), lambda k: (jobs[k].state(), own[mine.index(k)]))
            for k, (arrays, _) in enumerate(found):
                if k not in mine:
                    jobs[k].restore(arrays)
            return [history for _, history in found]
    finally:
        if bar is not None:
            bar.close()


def _in_turn(
    jobs: Sequence[FitJob], threads: int, done: Callable[[History], None], ends: Callable[[], BaseException | None]
) -> list[History]:
    """Return the histories of fits on some threads; where a backend trains many at once, they meet after each epoch."""
    together = sum(job.train.binding.backend.trains_together for job in jobs) > 1
    if not together:
        return run_jobs([job.run for job in jobs], threads, done, ends)
    at_once = min(len(jobs), MOST_AT_A_TIME)
    meeting = Meeting(len(jobs), at_once)

    def attending(job: FitJob) -> Callable[[Executables, Callable[[], bool]], History]:
        return lambda executables, gives_up: meeting.attend(lambda: job.run(executables, gives_up), gives_up)

    try:
        return run_jobs([attending(job) for job in jobs], at_once, done, ends, lambda: meeting.executables)
    except GivenUpError as given_up:
        raise meeting.error or given_up from None


def _threads(wanted: int | None, networks: Sequence[BoundNetwork], bindings: Sequence[Binding]) -> int:
    """Return how many models are trained at the same time."""
    if wanted is not None and (isinstance(wanted, bool) or not isinstance(wanted, (int, np.integer)) or wanted < 1):
        raise InputError(f"threads must be a whole number of at least 1 or None, got {shown(wanted)}")
    if wanted is None:
        most = min(max(b.backend.threads(b.device), default=1) for b in bindings)
        most = min([most, *(n.threads for n in networks if n.threads is not None)])
    else:  # variables such as OMP_NUM_THREADS=1 often mean that somebody else starts the threads, as here
        bound = asked_bound()
        most = min(wanted, cores() if bound is None else min(cores(), bound.threads))
    return int(min(most, len(bindings)))
