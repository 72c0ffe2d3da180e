"""``gdkernels evaluate``: how good the predictions of a model are on a table that holds the targets."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from typing import Any

from gdkernels.cli import pictures
from gdkernels.cli.options import add_data, add_output, add_plot, add_where
from gdkernels.cli.outputs import say_beside, write_or_beside
from gdkernels.errors import InputError
from gdkernels.tabular import Evaluation, TabularPredictor

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a trained model on a table",
        description="Predict the target of each record of a table, and compare the predictions with the targets in it.",
    )
    parser.add_argument("model", metavar="MODEL", help="what gdkernels train --out wrote")
    add_data(parser, "the table, as for gdkernels train")
    parser.add_argument(
        "--drop-missing", action="store_true", help="leave out records without a target instead of rejecting the table"
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
    predictor = TabularPredictor.load(args.model, backend=args.backend, device=args.device)
    predictor.set_params(header=args.header, skip_rows=args.skip_rows)
    if args.plot is not None:
        pictures.check_classes(predictor.preparation_)
    evaluation = predictor.evaluate(args.data, drop_missing=args.drop_missing)
    plot = None
    try:
        if args.plot is not None:
            panels = pictures.compared(predictor.preparation_, evaluation)
            picture = partial(pictures.write, pictures.draw(panels), overwrite=args.force)
            plot = write_or_beside(picture, args.plot)
    finally:
        # Even if the picture cannot be written: the figures are not lost then.
        if args.json:
            print(json.dumps({"model": args.model, **evaluation, "plot": plot}, indent=2))
        else:
            _print(predictor, evaluation, plot)
    say_beside({args.plot: plot})


def _print(predictor: TabularPredictor, evaluation: Evaluation, plot: str | None) -> None:
    print(f"{', '.join(predictor.preparation_.targets)!r} on {evaluation.records:,} records")
    print(", ".join(f"{name} {value:.4g}" for name, value in evaluation.metrics.items()))
    if evaluation.by_class is not None:
        for told in evaluation["classes"]:
            shares = [
                f"{name} {'none' if told[name] is None else format(told[name], '.3f')}"
                for name in ("precision", "recall")
            ]
            print(f"  {told['label']}: {', '.join(shares)}, {told['records']:,} records")
        _print_confusion(evaluation.by_class)
    if plot is not None:
        print(plot)


def _print_confusion(by_class: Mapping[str, Any]) -> None:
    if by_class["confusion"] is not None:
        print("confusion matrix, a row for each true class, a column for each predicted:")
        print("\n".join("  " + " ".join(f"{n:>7,}" for n in row) for row in by_class["confusion"]))
    else:
        print(f"confused most often, of {len(by_class['classes']):,} classes:")
        for told in by_class["confused"]:
            print(f"  {told['true']} taken for {told['predicted']}: {told['records']:,} records")
