"""From settings and the size of a table to the arguments of `MLP`, of its trainer and of its fit."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from gdkernels.dispatch.explanation import Explanation
from gdkernels.system.threads import at_most
from gdkernels.tabular import defaults
from gdkernels.tabular.encoding import encoding_of, network_of
from gdkernels.tabular.settings import CLASS_LOSSES, TabularSettings, name_of
from gdkernels.training.trainer import Trainer

__all__ = ["explanation_of", "network_arguments", "run_arguments", "settings_as_told", "trainer_arguments"]


def network_arguments(
    settings: TabularSettings, task: str, loss: str, records: int, outputs: int, sample: npt.NDArray[Any]
) -> dict[str, Any]:
    """Return the arguments of `network_of` for so many training records.

    Parameters
    ----------
    sample
        Training rows as they are prepared, or some of them.
    """
    encoding = encoding_of(settings.encoding, sample)
    hidden = settings.hidden
    if hidden is None:
        hidden = defaults.hidden(records) if encoding is None else defaults.hidden_of_encoded(records)
    if settings.residual and settings.hidden is None and len(hidden) == 1:  # a skip leads past the second of two
        hidden *= 2
    return {
        "sizes": [sample.shape[1], *hidden, outputs],
        "encoding": encoding,
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
    return {
        "optimizer": settings.optimizer,
        "loss": loss if settings.loss is None else settings.loss,
        "batch_size": settings.batch_size or defaults.batch_size(records),
        "schedule": settings.schedule,
        "l2": _l2(settings, records, encoded),
        "clip_norm": settings.clip_norm,
    }


def run_arguments(settings: TabularSettings, records: int, validation: int) -> dict[str, Any]:
    """Return how long it is trained, and how it can be stopped: the other arguments of `MLP.fit`."""
    patience = settings.patience if settings.patience is not None else defaults.patience(records) * bool(validation)
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
    return {
        **trainer,
        "loss": name_of("loss", trainer["loss"]),
        "schedule": name_of("schedule", trainer["schedule"]),
        "epochs": run["epochs"],
        "patience": run["patience"] or 0,
        "seed": settings.seed,
        "average": average,
        "class_weight": settings.class_weight,
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
    # AdamW decays weights itself.
    return 0.0 if name_of("optimizer", settings.optimizer) == "adamw" else defaults.l2(records, encoded=encoded)
