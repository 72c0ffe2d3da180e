"""``gdkernels evaluate``: how good a model's predictions are on a table with the truth in it."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.cli import pictures
from gdkernels.cli.options import add_data, add_output, add_plot, add_where
from gdkernels.errors import InputError
from gdkernels.randomness import generator
from gdkernels.system.progress import RecordCount
from gdkernels.tables import parts
from gdkernels.tables.preparation import checked_targets, complete
from gdkernels.tables.sample import Sample
from gdkernels.tabular.predictor import Judgement, Prediction, Predictor

__all__ = ["DRAWN", "add_to", "judge"]

DRAWN = 100_000


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a trained model on a table",
        description="Predict for each record of a table that has the target too, and say how good that is.",
    )
    parser.add_argument("model", metavar="MODEL", help="what gdkernels train --out wrote")
    add_data(parser, "the table, as for gdkernels train")
    parser.add_argument(
        "--drop-missing", action="store_true", help="leave out records without a target, in place of refusing them"
    )
    add_where(parser, precision=False)
    add_plot(parser, "predicted against true and the residuals, or the confusion matrix,")
    parser.add_argument("--force", action="store_true", help="replace that file if it exists")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Predict, compare, print and draw."""
    if args.plot is not None:
        pictures.check(args.plot, overwrite=args.force)
    elif args.force:
        raise InputError("--force says that --plot may replace a file; give --plot FILE too")
    predictor = Predictor.load(args.model, backend=args.backend, device=args.device)
    preparation = predictor.preparation
    classes = preparation.classes
    judgement, truth, prediction = judge(predictor, args.data, drop_missing=args.drop_missing)
    found, detail = judgement.figures(), judgement.by_class() or {}
    if args.plot is not None:
        panels = pictures.compared(preparation, judgement, truth, prediction)
        pictures.write(pictures.draw(panels), args.plot, overwrite=args.force)
    if args.json:
        finite = {name: value if math.isfinite(value) else None for name, value in found.items()}
        told = {"model": args.model, "records": judgement.records, "metrics": finite, **detail, "plot": args.plot}
        print(json.dumps(told, indent=2))
        return
    print(f"{', '.join(preparation.targets)!r} on {judgement.records:,} records")
    print(", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    if classes is not None:
        for told in detail["classes"]:
            shares = [
                f"{name} {'none' if told[name] is None else format(told[name], '.3f')}"
                for name in ("precision", "recall")
            ]
            print(f"  {told['label']}: {', '.join(shares)}, {told['records']:,} records")
        print("confusion matrix, a row for each true class, a column for each predicted:")
        print("\n".join("  " + " ".join(f"{n:>7,}" for n in row) for row in detail["confusion"]))
    if args.plot is not None:
        print(args.plot)


def judge(
    predictor: Predictor, data: list[str], *, drop_missing: bool = False
) -> tuple[Judgement, npt.NDArray[Any], Prediction]:
    """Predict a table part by part, and return how good that is, with truth and predictions of some of the records.

    Of more than `DRAWN` records, these are so many, drawn at random: of a regression, numbers in the target's own
    terms.

    Parameters
    ----------
    drop_missing
        Whether to leave out records without a target, in place of refusing them.

    Raises
    ------
    InputError
        Where the table has no records, or lacks what the model needs.
    """
    preparation = predictor.preparation
    judgement = Judgement(preparation)
    drawn: Sample[tuple[npt.NDArray[Any], ...]] = Sample(
        DRAWN, generator(0, "drawn"), lambda part, rows: tuple(a[rows] for a in part)
    )
    with RecordCount("evaluating") as bar:
        for part in parts(data):
            table = complete(part, preparation.targets) if drop_missing else part
            if len(table):
                checked_targets(table, preparation.targets, preparation.task)
                indices = preparation.classes is not None
                truth = preparation.transform_targets(table) if indices else preparation.target_values(table)
                prediction = predictor.predict(table)
                judgement.add(truth, prediction)
                drawn.add((truth, prediction.values), len(table))
                bar.update(len(table))
    if not judgement.records:
        raise InputError(f"{data[0]} has no records{' that have a target' if drop_missing else ''}")
    truth, values = (np.concatenate(arrays) for arrays in zip(*drawn.parts(), strict=True))
    return judgement, truth, Prediction(values)
