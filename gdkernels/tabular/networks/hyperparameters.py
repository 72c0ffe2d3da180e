"""From settings and the size of a table to the arguments of `MLP`, of its trainer and of its fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from gdkernels.definition.solvers import LevenbergMarquardt, Solver
from gdkernels.dispatch.explanation import Explanation
from gdkernels.system.thread_limits import at_most
from gdkernels.tabular.networks.encoding import encoding_of, network_of
from gdkernels.tabular.settings import defaults
from gdkernels.tabular.settings.keywords import CLASS_LOSSES
from gdkernels.tabular.settings.tabular_settings import TabularSettings, chooses_penalty, name_of
from gdkernels.training.trainer import Trainer

__all__ = ["explanation_of", "network_arguments", "run_arguments", "settings_as_told", "trainer_arguments"]


def network_arguments(
    settings: TabularSettings,
    task: str,
    loss: str,
    records: int,
    outputs: int,
    sample: npt.NDArray[Any],
    days: Sequence[int],
) -> dict[str, Any]:
    """Return the arguments of `network_of` for so many training records.

    Parameters
    ----------
    sample
        Training rows as they are prepared, or some of them.
    days
        The columns of theirs that number the days.
    """
    solves = isinstance(settings.optimizer, LevenbergMarquardt)  # which is for few inputs
    encoding = None if solves and settings.encoding == "auto" else encoding_of(settings.encoding, sample, days=days)
    hidden = settings.hidden
    if hidden is None:
        if solves:
            hidden = defaults.hidden_of_least_squares(sample.shape[1], outputs)
        else:
            hidden = defaults.hidden(records) if encoding is None else defaults.hidden_of_encoded(records)
    if settings.residual and settings.hidden is None and len(hidden) == 1:  # a skip leads past the second of two
        hidden *= 2
    return {
        "sizes": [sample.shape[1], *hidden, outputs],
        "encoding": encoding,
        "days": tuple(days),
        "activation": settings.activation,
        "residual": settings.residual,
        "norm": settings.norm,
        "dropout": settings.dropout,
        "output": "softmax" if task == "classification" and loss not in CLASS_LOSSES else "identity",
        "seed": settings.seed,
        "backend": settings.backend,
        "device": settings.device,
        "precision": settings.precision,
        "threads": settings.threads,
    }


def trainer_arguments(settings: TabularSettings, loss: str, records: int, *, encoded: bool) -> dict[str, Any]:
    """Return how a network is trained on so many records: the arguments of `Trainer`."""
    chosen = loss if settings.loss is None else settings.loss
    if isinstance(settings.optimizer, Solver):
        return {"solver": settings.optimizer, "loss": chosen, "l2": _l2(settings, records, encoded)}
    return {
        "optimizer": settings.optimizer,
        "loss": chosen,
        "batch_size": settings.batch_size or defaults.batch_size(records),
        "schedule": settings.schedule,
        "l2": _l2(settings, records, encoded),
        "clip_norm": settings.clip_norm,
        "group": settings.group,
        "shards": settings.shards,
    }


def run_arguments(settings: TabularSettings, records: int, validation: int) -> dict[str, Any]:
    """Return how long it is trained, and how it can be stopped: the other arguments of `MLP.fit`."""
    # What the evidence has chosen needs no rows to say when to stop.
    stops = bool(validation) and not chooses_penalty(settings)
    patience = settings.patience if settings.patience is not None else defaults.patience(records) * stops
    return {
        "epochs": settings.epochs or defaults.epochs(records),
        "patience": patience or None,
        "starts": settings.starts,
        "retries": settings.retries,
        "checkpoint": settings.checkpoint,
        "every": settings.every,
        "keep": settings.keep,
        "resume": settings.resume,
        "progress": settings.progress,
    }


def settings_as_told(
    settings: TabularSettings, trainer: dict[str, Any], run: dict[str, Any], average: int
) -> dict[str, Any]:
    """Return what a result tells of them."""
    solver = trainer.get("solver")
    told = trainer if solver is None else {"optimizer": solver, "batch_size": None, "schedule": "constant"} | trainer
    return {
        **{name: value for name, value in told.items() if name not in ("group", "shards", "solver")},
        "loss": name_of("loss", trainer["loss"]),
        "schedule": name_of("schedule", told["schedule"]),
        "epochs": run["epochs"],
        "patience": run["patience"] or 0,
        "seed": settings.seed,
        "average": average,
        "class_weight": settings.class_weight,
        "split": str(settings.split),
    }


def explanation_of(
    settings: TabularSettings, network: dict[str, Any], trainer: dict[str, Any], records: int, epochs: int
) -> Explanation | None:
    """Return why it runs where it does, if that was asked for."""
    if not settings.explain:
        return None
    work = Trainer(network_of(network), **trainer).workload(records, epochs)
    with at_most(settings.threads):
        return Explanation(settings.backend, settings.device, settings.precision, work)  # type: ignore[arg-type]


def _l2(settings: TabularSettings, records: int, encoded: bool) -> float:
    if settings.l2 is not None:
        return float(settings.l2)
    if isinstance(settings.optimizer, Solver):
        return 0.0 if chooses_penalty(settings) else defaults.l2(records)
    # AdamW decays weights itself.
    return 0.0 if name_of("optimizer", settings.optimizer) == "adamw" else defaults.l2(records, encoded=encoded)
