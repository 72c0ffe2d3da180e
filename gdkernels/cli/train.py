"""``gdkernels train``: from a table to a trained network and figures on rows that it never saw."""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import metrics, registry
from gdkernels.backend import PRECISIONS, storage_dtype
from gdkernels.cli import defaults
from gdkernels.cli.arguments import at_least, layers, name_of, positive, share, whole
from gdkernels.cli.result import Result
from gdkernels.definition import optimizers
from gdkernels.definition.naming import names
from gdkernels.errors import DivergenceError, FileError, InputError
from gdkernels.files.atomic import check_destination
from gdkernels.mlp import MLP
from gdkernels.streams import generator
from gdkernels.tables import BUILT_IN, Preparation, Table, read_table, split, task_of
from gdkernels.tables.task import TASKS, labels_of

__all__ = ["add_to"]

_CLASS_LOSSES = ("cross_entropy", "binary_cross_entropy")


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    sets = "; ".join(f"{name}: {what}" for name, (_, what) in BUILT_IN.items())
    parser = commands.add_parser(
        "train",
        help="train a network on a table",
        description="Train a multilayer perceptron on a table, and report how it does on rows that it never saw.",
        epilog=f"Built-in data sets: {sets}. NPZ files bring the arrays X and Y; CSV files need a header.",
    )
    parser.add_argument("data", metavar="DATA", help="a CSV file of numbers, an NPY or NPZ file, digits or diabetes")
    parser.add_argument("--target", metavar="COLUMN", help="what to predict: a column's name, for NPY its number")
    parser.add_argument(
        "--task",
        type=name_of("task", TASKS),
        metavar="TASK",
        help="classification or regression (default: by the target)",
    )

    network = parser.add_argument_group("network")
    hidden = ",".join(map(str, defaults.HIDDEN))
    network.add_argument(
        "--hidden",
        type=layers,
        default=defaults.HIDDEN,
        metavar="N,N,…",
        help=f"units of hidden layers, or none ({hidden})",
    )
    _add_name(network, "activation", defaults.ACTIVATION)
    _add_name(network, "loss", None, "cross_entropy for classes, sse for numbers")

    training = parser.add_argument_group("training")
    _add_name(training, "optimizer", defaults.OPTIMIZER)
    rates = ", ".join(f"{name} {kind().learning_rate:g}" for name, kind in optimizers.BY_NAME.items())
    training.add_argument("--learning-rate", type=positive, metavar="RATE", help=f"({rates})")
    training.add_argument("--momentum", type=share, metavar="SHARE", help=f"of sgd ({defaults.MOMENTUM:g})")
    training.add_argument("--nesterov", action="store_true", help="look ahead in sgd's momentum")
    training.add_argument("--l2", type=at_least(0), metavar="LAMBDA", help="penalty on weights (2 / training rows)")
    training.add_argument("--clip-norm", type=positive, metavar="NORM", help="largest norm of the gradient (none)")
    _add_name(training, "schedule", "constant")
    training.add_argument(
        "--epochs", type=whole(1), default=defaults.EPOCHS, metavar="N", help="passes at most (%(default)s)"
    )
    training.add_argument("--batch-size", type=whole(1), metavar="N", help="rows a step (32 to 512, by training rows)")
    training.add_argument(
        "--patience",
        type=whole(0),
        metavar="N",
        help=f"stop after N epochs without a lower validation loss, 0: never ({defaults.PATIENCE})",
    )
    training.add_argument(
        "--starts", type=whole(1), default=1, metavar="N", help="train from N initial weights, keep the best (1)"
    )
    training.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of everything random (%(default)s)")

    rows = parser.add_argument_group("rows")
    rows.add_argument(
        "--test",
        type=share,
        default=defaults.TEST,
        metavar="SHARE",
        help="rows kept from training and stopping; the figures are theirs (%(default)s)",
    )
    rows.add_argument(
        "--validation",
        type=share,
        default=defaults.VALIDATION,
        metavar="SHARE",
        help="of the others, the rows that decide when to stop (%(default)s)",
    )

    where = parser.add_argument_group("where to run")
    where.add_argument("--backend", default="auto", metavar="NAME", help="such as numpy or cupy (auto: the best here)")
    where.add_argument("--device", metavar="NAME", help="such as cpu or cuda:0")
    where.add_argument(
        "--precision",
        type=name_of("precision", PRECISIONS),
        default="float32",
        metavar="NAME",
        help=f"{', '.join(PRECISIONS)} (%(default)s)",
    )

    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="MODEL", help="write the model to this file (safetensors)")
    output.add_argument("--force", action="store_true", help="replace that file if it exists")
    output.add_argument("--json", action="store_true", help="print one JSON object in place of the summary")
    output.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)


def _add_name(group: Any, kind: Any, default: str | None, explanation: str = "") -> None:
    listed = ", ".join(names(kind))
    group.add_argument(
        f"--{kind}",
        type=name_of(kind, names(kind)),
        default=default,
        metavar="NAME",
        help=f"{listed} ({explanation or default})",
    )


def run(args: Namespace) -> None:
    """Train as the command line says; everything that can be wrong in it is found out before."""
    optimizer = _optimizer(args)
    if args.out is not None:
        check_destination(args.out, overwrite=args.force)
    elif args.force:
        raise InputError("--force says that --out may replace a file; give --out MODEL too")
    registry.choose(args.backend, args.device, args.precision)

    table = read_table(args.data, args.target)
    task, loss = _objective(args, table)
    train, validation, test = _rows(args, table, task)
    preparation = Preparation.fit(
        table.x[train], table.y[train], task, columns=table.columns, standardise_targets=loss != "poisson"
    )
    x, y = preparation.transform(table.x), preparation.transform_targets(table.y)
    _check_range(x, y, table, args.precision)
    outputs, y = _network_targets(preparation, loss, y)
    settings: dict[str, Any] = {
        "optimizer": optimizer,
        "loss": loss,
        "batch_size": args.batch_size or defaults.batch_size(len(train)),
        "schedule": args.schedule,
        "l2": _l2(args, len(train)),
        "clip_norm": args.clip_norm,
    }
    mlp = MLP(
        [x.shape[1], *args.hidden, outputs],
        activation=args.activation,
        output="softmax" if task == "classification" and loss not in _CLASS_LOSSES else "identity",
        seed=args.seed,
        backend=args.backend,
        device=args.device,
        precision=args.precision,
    )
    patience = args.patience if args.patience is not None else defaults.PATIENCE * bool(len(validation))
    began = time.perf_counter()
    history = mlp.fit(
        x[train],
        y[train],
        epochs=args.epochs,
        validation=(x[validation], y[validation]) if len(validation) else None,
        patience=patience or None,
        starts=args.starts,
        **settings,
    )
    seconds = time.perf_counter() - began
    if history.diverged:
        raise DivergenceError(
            f"training diverged in epoch {len(history.epochs) + 1}; lower --learning-rate (it was "
            f"{optimizer.learning_rate:g}), or limit the gradient with --clip-norm 1; nothing was written"
        )
    result = Result(
        table=table,
        preparation=preparation,
        mlp=mlp,
        history=history,
        settings=settings | {"epochs": args.epochs, "patience": patience, "seed": args.seed},
        rows={"train": len(train), "validation": len(validation), "test": len(test)},
        metrics=_figures(mlp, preparation, table, x[test], test) if len(test) else {},
        seconds=seconds,
    )
    if args.out is not None:
        mlp.extra = result.for_model()
        try:
            mlp.save(args.out, overwrite=args.force)
        except FileError:
            _show(result, args.json)  # what was learned is at least said
            raise
        result = replace(result, model=args.out)
    _show(result, args.json)


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


def _objective(args: Namespace, table: Table) -> tuple[str, str]:
    """Return the task and the loss; each follows from the other where only one is said."""
    task = args.task
    if task is None and args.loss in _CLASS_LOSSES:
        task = "classification"
    elif task is None:
        task = "regression" if args.loss == "poisson" else task_of(table.y)
    loss = args.loss or defaults.LOSSES[task]
    if (loss in _CLASS_LOSSES and task == "regression") or (loss == "poisson" and task == "classification"):
        raise InputError(f"--loss {loss} is not for {task}; leave out --task or --loss")
    if task == "classification":
        count = len(np.unique(labels_of(table.y)))
        if loss == "binary_cross_entropy" and count != 2:
            raise InputError(f"--loss binary_cross_entropy is for two classes; {table.target!r} has {count:,}")
        if count > len(table.y) // 3:
            raise InputError(
                f"{table.target!r} has {count:,} different values in {len(table.y):,} records: too many for classes; "
                "use --task regression"
            )
    if loss == "poisson" and table.y.min() < 0:
        raise InputError(f"--loss poisson is for counts; {table.target!r} has the value {table.y.min():g}")
    return task, loss


def _rows(args: Namespace, table: Table, task: str) -> tuple[Any, Any, Any]:
    """Return the rows for training, validation and test, drawn by the seed."""
    labels = labels_of(table.y) if task == "classification" else None
    rest, test = split(len(table.y), args.test, generator(args.seed, "test"), labels)
    rest_labels = labels[rest] if labels is not None else None
    train, validation = split(len(rest), args.validation, generator(args.seed, "validation"), rest_labels)
    return rest[train], rest[validation], test


def _check_range(x: npt.NDArray[Any], y: npt.NDArray[Any], table: Table, precision: str) -> None:
    """Refuse numbers that become infinite in the precision: rows kept from training may hold anything."""
    largest = np.finfo(storage_dtype(precision)).max
    targets = (y.reshape(len(y), -1), table.y.reshape(len(y), -1), (table.target,) * y[0].size)
    for values, raw, columns in ((x, table.x, table.columns), targets):
        wrong = ~(np.abs(values) < largest)
        if wrong.any():
            row, column = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            raise InputError(
                f"record {row + 1:,} of {table.source}, column {columns[column]!r}: {raw[row, column]:g} is too far "
                f"from the other values for {precision}; remove it"
            )


def _network_targets(preparation: Preparation, loss: str, y: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any]]:
    """Return the number of outputs, and the targets as the loss takes them."""
    if preparation.classes is None:
        return y.shape[1], y
    if loss == "binary_cross_entropy":
        return 1, y
    count = len(preparation.classes)
    return count, y if loss == "cross_entropy" else np.eye(count)[y]


def _figures(mlp: MLP, preparation: Preparation, table: Table, x: Any, rows: Any) -> dict[str, float]:
    """Return how good the predictions for `rows` are, in the target's own terms."""
    with np.errstate(over="ignore", invalid="ignore"):  # figures too large for a number come out as such
        if preparation.classes is None:
            prediction = preparation.restore(mlp.predict(x))
            return {name: metrics.METRICS[name](table.y[rows], prediction) for name in ("r2", "rmse", "mae")}
        truth = preparation.transform_targets(table.y[rows])
        # With a loss of numbers, the network puts out a softmax and predicts that.
        probability = mlp.predict_proba(x) if mlp.predict(x[:1]).ndim == 1 else mlp.predict(x)
        target = truth if probability.shape[1] == 1 else np.eye(len(preparation.classes))[truth]
        return {name: metrics.METRICS[name](target, probability) for name in ("accuracy", "log_loss")}
