"""`fit_many`: the fits of many models, several at the same time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from gdkernels.data.records import Records
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError, Interrupted, shown
from gdkernels.groups import Group, joined
from gdkernels.many.arguments import check_share, checked_models, checked_rows, checked_settings, of_model, rows_of
from gdkernels.many.running import JobRunner, agree_on
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork
from gdkernels.system.given import checked_progress
from gdkernels.system.machine import cores
from gdkernels.system.progress import progress_bar
from gdkernels.system.threads import asked_bound
from gdkernels.training.checkpointing import Keeping, StopSignals
from gdkernels.training.history import History
from gdkernels.training.jobs.fit_job import FitJob, Paces, PlanChoices
from gdkernels.training.jobs.shared_data import SharedData
from gdkernels.training.settings import FitSettings
from gdkernels.training.trainer import Trainer

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
    work = _work(trainers, SharedData(X, Y, sample_weight, validation), asked, chosen, left_out)
    if isinstance(validation, (int, float)):
        for k, (train, _, some, _) in enumerate(work):
            check_share(validation, train if some is None else some, k)
    plans, paces = PlanChoices(single=len(models) == 1 and threads is None), Paces()
    jobs = [
        FitJob(trainer, *its_work, validation, asked, plans, paces, k, keeping)
        for k, (trainer, its_work) in enumerate(zip(trainers, work, strict=True))
    ]
    ranks = joined(group)
    agree_on(ranks, jobs)
    at_once = _threads(threads, [model.network for model in models], [job.train.binding for job in jobs])
    mine = len(range(ranks.rank, len(jobs), ranks.size))
    bar = progress_bar(False if ranks.rank else progress, total=mine, unit="model")
    try:
        with nullcontext() if keeping is None else StopSignals() as signals:
            return JobRunner(at_once, bar, lambda: _interrupted(signals, checkpoint)).run(jobs, ranks)
    finally:
        if bar is not None:
            bar.close()


def _work(
    trainers: Sequence[Trainer], data: SharedData, asked: FitSettings, chosen: Sequence[Any], left_out: Sequence[Any]
) -> list[tuple[Records, Records | None, Any, Any]]:
    """Return for each model its records, those to validate it on if the user gave some, and the rows of either."""
    given = []
    for k, trainer in enumerate(trainers):
        with of_model(k, len(trainers)):
            given.append(data.of(trainer, asked, len(trainers)))
    return [
        (
            *records,
            rows_of(trained_on, records[0], f"rows[{k}]"),
            rows_of(measured, records[0], f"validation_rows[{k}]"),
        )
        for k, (records, trained_on, measured) in enumerate(zip(given, chosen, left_out, strict=True))
    ]


def _interrupted(signals: StopSignals | None, checkpoint: str | os.PathLike[str] | None) -> Interrupted | None:
    """Return the error of a signal that asked training to end, if one has."""
    if signals is None or signals.asked is None:
        return None
    told = f"{signals.asked.name} ended training; the checkpoints are in {os.fspath(checkpoint or '')}"
    return Interrupted(told, int(signals.asked))


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
