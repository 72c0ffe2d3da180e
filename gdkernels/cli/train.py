"""``gdkernels train``: from a raw table to a trained network and figures on rows that it never saw."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from typing import Any

import numpy.typing as npt

from gdkernels.cli import large, pictures
from gdkernels.cli.options import add_train
from gdkernels.cli.result import Result
from gdkernels.cli.training import (
    CLASS_LOSSES,
    check_range,
    deliver,
    explanation_of,
    network_of,
    objective,
    schedule_of,
    settings_of,
    told_settings,
)
from gdkernels.cli.watching import watched
from gdkernels.definition import optimizers
from gdkernels.dispatch import registry
from gdkernels.errors import InputError
from gdkernels.system.atomic_files import check_destination
from gdkernels.system.profiling import phase
from gdkernels.tables import Preparation, Table, read
from gdkernels.tables.outcomes import labels
from gdkernels.tables.preparation import checked_targets, with_targets
from gdkernels.tabular import defaults
from gdkernels.tabular.cross_validation import cross_validated
from gdkernels.tabular.fitting import Rows, balanced, fit, network_targets
from gdkernels.tabular.predictor import Judgement, Predictor
from gdkernels.tabular.splits import draw, is_cross_validated
from gdkernels.training.checkpointing import Cadence

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    add_train(commands).set_defaults(run=run)


def run(args: Namespace) -> None:
    """Train as the command line says; everything that can be wrong in it is found out before."""
    with watched(args):
        _run(args)


def _run(args: Namespace) -> None:
    optimizer = _optimizer(args)
    _check_files(args)
    if args.checkpoint is None and args.resume:
        raise InputError("--resume goes on from checkpoints; give --checkpoint DIR too")
    Cadence.parse(args.every)
    registry.choose(args.backend, args.device, args.precision)
    if (allowed := large.memory_for(args)) is not None:
        large.run(args, optimizer, allowed)
        return

    with phase("reading"):
        table = read(args.data)
    targets, table = _targets(args, table)
    task, loss = objective(args, table, targets)
    weighted = args.class_weight == "balanced"
    classes = labels(table, targets[0]) if task == "classification" else None
    rest, test, draws = draw(args, len(table), classes)
    train, validation = draws[0]
    with phase("preparing"):
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
    check_range(y, table, targets, args.precision)
    rows = {"train": len(train), "validation": len(validation), "test": len(test)}
    outputs, network_y = network_targets(preparation, loss, y)
    settings = settings_of(args, optimizer, loss, len(train))
    network = network_of(args, task, loss, len(train), x.shape[1], outputs)
    schedule = schedule_of(args, len(train), len(validation))

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
            epochs=schedule["epochs"],
            patience=schedule["patience"] or 0,
        )
        settings["l2"] = choice.l2
        if choice.networks == len(parts):  # they stop together
            schedule |= {"epochs": choice.epochs, "patience": None}
    mlp, histories = fit(network, parts, run={**settings, **schedule})
    seconds = time.perf_counter() - began
    with phase("judging"):
        prediction = Predictor(mlp, preparation).predict_prepared(x[test]) if len(test) else None
        truth, judgement = _truth(preparation, table, y)[test], Judgement(preparation)
        if prediction:
            judgement.add(truth, prediction)
    result = Result(
        table=table,
        preparation=preparation,
        mlp=mlp,
        histories=tuple(histories),
        settings=told_settings(args, settings, schedule, len(draws)),
        rows=rows,
        metrics=judgement.figures() if prediction else {},
        by_class=judgement.by_class() if prediction else None,
        seconds=seconds,
        choice=choice,
        explanation=explanation_of(args, network, settings, len(train), schedule["epochs"]),
    )
    panels = pictures.matching(preparation, judgement, truth, prediction) if prediction and args.plot else []
    deliver(args, result, panels)


def _check_files(args: Namespace) -> None:
    if args.out is None and args.plot is None and args.force:
        raise InputError("--force says that --out or --plot may replace a file; give --out MODEL or --plot FILE too")
    if args.out is not None:
        check_destination(args.out, overwrite=args.force)
    if args.plot is not None:
        pictures.check(args.plot, overwrite=args.force)
        if args.out is not None and os.path.realpath(args.plot) == os.path.realpath(args.out):
            raise InputError(f"--out and --plot name the same file, {args.out}; give two")


def _optimizer(args: Namespace) -> optimizers.Optimizer:
    given: dict[str, Any] = {} if args.learning_rate is None else {"learning_rate": args.learning_rate}
    if args.optimizer == "sgd":
        given["momentum"] = defaults.MOMENTUM if args.momentum is None else args.momentum
        given["nesterov"] = args.nesterov
    elif args.momentum is not None or args.nesterov:
        option = "--nesterov" if args.nesterov else "--momentum"
        raise InputError(f"{option} is for --optimizer sgd; {args.optimizer} has none")
    return optimizers.BY_NAME[args.optimizer](**given)


def _targets(args: Namespace, table: Table) -> tuple[tuple[str, ...], Table]:
    """Return the names of the targets, and the table without the records that lack one, if those may be left out."""
    if args.drop_missing:
        table = with_targets(table, args.target)
    task = "classification" if args.loss in CLASS_LOSSES else args.task
    return checked_targets(table, args.target, task), table


def _truth(preparation: Preparation, table: Table, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what predictions are compared with: class indices, or numbers in the target's own terms."""
    return y if preparation.classes is not None else preparation.target_values(table)
