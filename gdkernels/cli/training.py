"""What ``gdkernels train`` does alike with tables in memory and with larger ones."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import storage_dtype
from gdkernels.cli import pictures
from gdkernels.cli.result import Result
from gdkernels.definition import optimizers
from gdkernels.dispatch.explanation import Explanation
from gdkernels.errors import InputError
from gdkernels.models.mlp import MLP
from gdkernels.plots import loss_curves
from gdkernels.system.profiling import phase
from gdkernels.tables import Table, task_of
from gdkernels.tables.outcomes import labels
from gdkernels.tabular import defaults
from gdkernels.training.trainer import Trainer

__all__ = [
    "CLASS_LOSSES",
    "check_range",
    "deliver",
    "explanation_of",
    "network_of",
    "objective",
    "schedule_of",
    "settings_of",
    "told_settings",
]

CLASS_LOSSES = ("cross_entropy", "binary_cross_entropy")


def deliver(args: Namespace, result: Result, panels: Sequence[pictures.Panel]) -> None:
    """Write the model and the picture that were asked for, and say what it came to."""
    try:
        with phase("writing"):
            if args.out is not None:
                result.mlp.extra = result.for_model()
                result.mlp.save(args.out, overwrite=args.force)
                result = replace(result, model=args.out)
            if args.plot is not None:
                figure = pictures.draw([partial(loss_curves, result.histories), *panels])
                pictures.write(figure, args.plot, overwrite=args.force)
                result = replace(result, plot=args.plot)
    finally:
        result = replace(result, profile=args.profile)
        # Also where a file cannot be written: what was learned is at least said.
        print(result.as_json() if args.json else result.as_text())


def settings_of(args: Namespace, optimizer: optimizers.Optimizer, loss: str, records: int) -> dict[str, Any]:
    """Return how a network is trained on so many records."""
    return {
        "optimizer": optimizer,
        "loss": loss,
        "batch_size": args.batch_size or defaults.batch_size(records),
        "schedule": args.schedule,
        "l2": _l2(args, records),
        "clip_norm": args.clip_norm,
    }


def network_of(args: Namespace, task: str, loss: str, records: int, inputs: int, outputs: int) -> dict[str, Any]:
    """Return the arguments of `MLP` for so many training records."""
    return {
        "sizes": [inputs, *(defaults.hidden(records) if args.hidden is None else args.hidden), outputs],
        "activation": args.activation,
        "output": "softmax" if task == "classification" and loss not in CLASS_LOSSES else "identity",
        "seed": args.seed,
        "backend": args.backend,
        "device": args.device,
        "precision": args.precision,
    }


def schedule_of(args: Namespace, records: int, validation: int) -> dict[str, Any]:
    """Return how long it is trained, and how it can be stopped."""
    patience = args.patience if args.patience is not None else defaults.patience(records) * bool(validation)
    return {
        "epochs": args.epochs or defaults.epochs(records),
        "patience": patience or None,
        "starts": args.starts,
        "retries": args.retries,
        "checkpoint": args.checkpoint,
        "every": args.every,
        "resume": args.resume,
    }


def told_settings(args: Namespace, settings: dict[str, Any], schedule: dict[str, Any], average: int) -> dict[str, Any]:
    """Return what a result tells of them."""
    return {
        **settings,
        "epochs": schedule["epochs"],
        "patience": schedule["patience"] or 0,
        "seed": args.seed,
        "average": average,
        "class_weight": args.class_weight,
    }


def explanation_of(
    args: Namespace, network: dict[str, Any], settings: dict[str, Any], records: int, epochs: int
) -> Explanation | None:
    """Return why it runs where it does, if that was asked for."""
    if not args.explain:
        return None
    work = Trainer(MLP(**network), **settings).workload(records, epochs)
    return Explanation(args.backend, args.device, args.precision, work)


def _l2(args: Namespace, records: int) -> float:
    if args.l2 is not None:
        return float(args.l2)
    return 0.0 if args.optimizer == "adamw" else defaults.l2(records)  # AdamW decays weights itself


def objective(args: Namespace, table: Table, targets: tuple[str, ...]) -> tuple[str, str]:
    """Return the task and the loss; each follows from the other where only one is said."""
    task = args.task
    if task == "auto" and args.loss in CLASS_LOSSES:
        task = "classification"
    elif task == "auto":
        task = "regression" if args.loss == "poisson" else task_of(table, targets)
    loss = args.loss or defaults.LOSSES[task]
    if (loss in CLASS_LOSSES and task == "regression") or (loss == "poisson" and task == "classification"):
        raise InputError(f"--loss {loss} is not for {task}; leave out --task or --loss")
    if args.class_weight == "balanced" and task != "classification":
        raise InputError("--class-weight balanced is for classes; leave it out for numbers")
    if task == "classification":
        if len(targets) > 1:
            raise InputError(f"classes are one target, not {len(targets)}; name one, or say --task regression")
        count = len(set(labels(table, targets[0]).tolist()))
        if loss == "binary_cross_entropy" and count != 2:
            raise InputError(f"--loss binary_cross_entropy is for two classes; {targets[0]!r} has {count:,}")
        if count > max(1, len(table) // 3):
            raise InputError(
                f"{targets[0]!r} has {count:,} different values in {len(table):,} records: too many for classes; "
                "use --task regression if they are numbers, or another --target"
            )
    return task, loss


def check_range(y: npt.NDArray[Any], table: Table, targets: tuple[str, ...], precision: str) -> None:
    """Refuse targets that become infinite in the precision: rows kept from training may hold anything."""
    wrong = ~(np.abs(y.reshape(len(y), -1)) < np.finfo(storage_dtype(precision)).max)
    if wrong.any():
        row, column = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        value = np.asarray(table.columns[targets[column]])[row]
        raise InputError(
            f"{table.place(int(row), targets[column])}: {value:g} is too far from the other values for {precision}; "
            "remove it"
        )
