"""``gdkernels train``: from a raw table to a trained network and figures on rows that it never saw."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import registry
from gdkernels.backend import storage_dtype
from gdkernels.checkpoints import Cadence
from gdkernels.cli import defaults, pictures
from gdkernels.cli.cross_validation import cross_validated
from gdkernels.cli.drawing import draw, is_cross_validated
from gdkernels.cli.explain import Explanation
from gdkernels.cli.fitting import Rows, balanced, fit, network_targets
from gdkernels.cli.options import add_train
from gdkernels.cli.result import Result
from gdkernels.definition import optimizers
from gdkernels.errors import InputError
from gdkernels.files.atomic import check_destination
from gdkernels.mlp import MLP
from gdkernels.plots import loss_curves
from gdkernels.predictor import Judgement, Predictor
from gdkernels.tables import Preparation, Table, read, task_of
from gdkernels.tables.outcomes import labels
from gdkernels.tables.preparation import checked_targets, with_targets
from gdkernels.trainer import Trainer

__all__ = ["add_to"]

_CLASS_LOSSES = ("cross_entropy", "binary_cross_entropy")


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    add_train(commands).set_defaults(run=run)


def run(args: Namespace) -> None:
    """Train as the command line says; everything that can be wrong in it is found out before."""
    optimizer = _optimizer(args)
    _check_files(args)
    if args.checkpoint is None and args.resume:
        raise InputError("--resume goes on from checkpoints; give --checkpoint DIR too")
    Cadence.parse(args.every)
    registry.choose(args.backend, args.device, args.precision)

    table = read(args.data)
    targets, table = _targets(args, table)
    task, loss = _objective(args, table, targets)
    weighted = args.class_weight == "balanced"
    if weighted and task != "classification":
        raise InputError("--class-weight balanced is for classes; leave it out for numbers")
    classes = labels(table, targets[0]) if task == "classification" else None
    rest, test, draws = draw(args, len(table), classes)
    train, validation = draws[0]
    preparation = Preparation.fit(
        table,
        targets,
        task=task,
        rows=rest,
        ignore=args.ignore,
        keep=args.keep,
        categorical=args.categorical,
        numeric=args.numeric,
        standardise_targets=loss != "poisson",
    )
    x, y = preparation.transform(table), preparation.transform_targets(table)
    _check_range(y, table, targets, args.precision)
    rows = {"train": len(train), "validation": len(validation), "test": len(test)}
    outputs, network_y = network_targets(preparation, loss, y)
    settings: dict[str, Any] = {
        "optimizer": optimizer,
        "loss": loss,
        "batch_size": args.batch_size or defaults.batch_size(len(train)),
        "schedule": args.schedule,
        "l2": _l2(args, len(train)),
        "clip_norm": args.clip_norm,
    }
    network = {
        "sizes": [x.shape[1], *(defaults.hidden(len(train)) if args.hidden is None else args.hidden), outputs],
        "activation": args.activation,
        "output": "softmax" if task == "classification" and loss not in _CLASS_LOSSES else "identity",
        "seed": args.seed,
        "backend": args.backend,
        "device": args.device,
        "precision": args.precision,
    }
    epochs = args.epochs or defaults.epochs(len(train))
    patience = args.patience if args.patience is not None else defaults.patience(len(train)) * bool(len(validation))

    def network_rows(chosen: npt.NDArray[Any]) -> Rows:
        return Rows(x[chosen], network_y[chosen], balanced(y[chosen]) if weighted else None)

    parts = [(network_rows(t), network_rows(v)) for t, v in draws]
    began = time.perf_counter()
    choice = None
    if is_cross_validated(args, len(rest)):
        choice = cross_validated(
            network,
            parts if len(rest) <= defaults.FEW else parts[:1],
            settings=settings,
            search=args.l2 is None,
            epochs=epochs,
            patience=patience,
        )
        settings["l2"] = choice.l2
        if choice.networks == len(parts):  # they stop together
            epochs, patience = choice.epochs, 0
    mlp, histories = fit(
        network,
        parts,
        run={
            **settings,
            "epochs": epochs,
            "patience": patience or None,
            "starts": args.starts,
            "retries": args.retries,
            "checkpoint": args.checkpoint,
            "every": args.every,
            "resume": args.resume,
        },
    )
    seconds = time.perf_counter() - began
    prediction = Predictor(mlp, preparation).predict_prepared(x[test]) if len(test) else None
    truth, judgement = _truth(preparation, table, y)[test], Judgement(preparation)
    if prediction:
        judgement.add(truth, prediction)
    result = Result(
        table=table,
        preparation=preparation,
        mlp=mlp,
        histories=tuple(histories),
        settings=settings
        | {"epochs": epochs, "patience": patience, "seed": args.seed, "average": len(draws)}
        | {"class_weight": args.class_weight},
        rows=rows,
        metrics=judgement.figures() if prediction else {},
        by_class=judgement.by_class() if prediction else None,
        seconds=seconds,
        choice=choice,
        explanation=_explanation(args, network, settings, len(train), epochs) if args.explain else None,
    )
    try:
        if args.out is not None:
            mlp.extra = result.for_model()
            mlp.save(args.out, overwrite=args.force)
            result = replace(result, model=args.out)
        if args.plot is not None:
            panels = pictures.matching(preparation, judgement, truth, prediction) if prediction else []
            figure = pictures.draw([partial(loss_curves, histories), *panels])
            pictures.write(figure, args.plot, overwrite=args.force)
            result = replace(result, plot=args.plot)
    finally:
        _show(result, args.json)  # also where a file cannot be written: what was learned is at least said


def _check_files(args: Namespace) -> None:
    if args.out is None and args.plot is None and args.force:
        raise InputError("--force says that --out or --plot may replace a file; give --out MODEL or --plot FILE too")
    if args.out is not None:
        check_destination(args.out, overwrite=args.force)
    if args.plot is not None:
        pictures.check(args.plot, overwrite=args.force)
        if args.out is not None and os.path.realpath(args.plot) == os.path.realpath(args.out):
            raise InputError(f"--out and --plot name the same file, {args.out}; give two")


def _explanation(
    args: Namespace, network: dict[str, Any], settings: dict[str, Any], records: int, epochs: int
) -> Explanation:
    work = Trainer(MLP(**network), **settings).work(records, epochs)
    return Explanation(args.backend, args.device, args.precision, work)


def _show(result: Result, as_json: bool) -> None:
    print(result.as_json() if as_json else result.as_text())


def _optimizer(args: Namespace) -> optimizers.Optimizer:
    given: dict[str, Any] = {} if args.learning_rate is None else {"learning_rate": args.learning_rate}
    if args.optimizer == "sgd":
        given["momentum"] = defaults.MOMENTUM if args.momentum is None else args.momentum
        given["nesterov"] = args.nesterov
    elif args.momentum is not None or args.nesterov:
        option = "--nesterov" if args.nesterov else "--momentum"
        raise InputError(f"{option} is for --optimizer sgd; {args.optimizer} has none")
    return optimizers.BY_NAME[args.optimizer](**given)


def _l2(args: Namespace, records: int) -> float:
    if args.l2 is not None:
        return float(args.l2)
    return 0.0 if args.optimizer == "adamw" else defaults.l2(records)  # AdamW decays weights itself


def _targets(args: Namespace, table: Table) -> tuple[tuple[str, ...], Table]:
    """Return the names of the targets, and the table without the records that lack one, if those may be left out."""
    if args.drop_missing:
        table = with_targets(table, args.target)
    task = "classification" if args.loss in _CLASS_LOSSES else args.task
    return checked_targets(table, args.target, task), table


def _objective(args: Namespace, table: Table, targets: tuple[str, ...]) -> tuple[str, str]:
    """Return the task and the loss; each follows from the other where only one is said."""
    task = args.task
    if task == "auto" and args.loss in _CLASS_LOSSES:
        task = "classification"
    elif task == "auto":
        task = "regression" if args.loss == "poisson" else task_of(table, targets)
    loss = args.loss or defaults.LOSSES[task]
    if (loss in _CLASS_LOSSES and task == "regression") or (loss == "poisson" and task == "classification"):
        raise InputError(f"--loss {loss} is not for {task}; leave out --task or --loss")
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


def _check_range(y: npt.NDArray[Any], table: Table, targets: tuple[str, ...], precision: str) -> None:
    """Refuse targets that become infinite in the precision: rows kept from training may hold anything."""
    wrong = ~(np.abs(y.reshape(len(y), -1)) < np.finfo(storage_dtype(precision)).max)
    if wrong.any():
        row, column = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        value = np.asarray(table.columns[targets[column]])[row]
        raise InputError(
            f"{table.place(int(row), targets[column])}: {value:g} is too far from the other values for {precision}; "
            "remove it"
        )


def _truth(preparation: Preparation, table: Table, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what predictions are compared with: class indices, or numbers in the target's own terms."""
    return y if preparation.classes is not None else preparation.target_values(table)
