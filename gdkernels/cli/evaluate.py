"""``gdkernels evaluate``: how good the predictions of a model are on a table that holds the targets."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from gdkernels.cli import pictures
from gdkernels.cli.options import add_data, add_output, add_plot, add_where
from gdkernels.cli.outputs import say_beside, write_or_beside
from gdkernels.cli.streams import say
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
    parser.add_argument(
        "--importance",
        action="store_true",
        help="show by how much the figure gets worse when the cells of a column are shuffled among the records",
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
    predictor = TabularPredictor.load(args.model, backend=args.backend, device=args.device, threads=args.threads)
    predictor.set_params(header=args.header, skip_rows=args.skip_rows)
    if args.plot is not None:
        pictures.check_classes(predictor.preparation_)
    evaluation = predictor.evaluate(args.data, drop_missing=args.drop_missing, importance=args.importance)
    plot = None
    try:
        if args.plot is not None:
            panels = pictures.compared(predictor.preparation_, evaluation)
            picture = partial(pictures.write, pictures.draw(panels), overwrite=args.force)
            plot = write_or_beside(picture, args.plot)
    finally:
        # Even if the picture cannot be written: the figures are not lost then.
        told = {"model": args.model, **evaluation, "plot": plot}
        say(json.dumps(told, indent=2) if args.json else "\n".join(_lines(predictor, evaluation, plot)))
    say_beside({args.plot: plot})


def _lines(predictor: TabularPredictor, evaluation: Evaluation, plot: str | None) -> Iterator[str]:
    many = "record" if evaluation.records == 1 else "records"
    yield f"{', '.join(predictor.preparation_.targets)!r} on {evaluation.records:,} {many}"
    yield ", ".join(f"{name} {value:.4g}" for name, value in evaluation.metrics.items())
    yield from (f"{name:<9}{text}" for name, text in evaluation.lines().items())
    if evaluation.by_class is not None:
        for told in evaluation["classes"]:
            shares = [
                f"{name} {'none' if told[name] is None else format(told[name], '.3f')}"
                for name in ("precision", "recall")
            ]
            yield f"  {told['label']}: {', '.join(shares)}, {told['records']:,} records"
        yield from _confusion(evaluation.by_class)
    if evaluation.importance is not None:
        yield from _importance(evaluation.importance)
    if plot is not None:
        yield plot


def _importance(found: Mapping[str, Any]) -> Iterator[str]:
    how = "drop of r2" if found["figure"] == "r2" else f"rise of {found['figure']}"
    yield f"importance: {how} when a column is shuffled among {found['records']:,} records, ± standard error:"
    width = min(30, max(len(told["column"]) for told in found["columns"]))
    form = ".4g" if found["figure"] == "mse" else ".4f"  # the square of the target's unit may be of any size
    for told in found["columns"]:
        yield f"  {told['column']:<{width}}  {told['importance']:>8{form}} ± {told['standard_error']:{form}}"


def _confusion(by_class: Mapping[str, Any]) -> Iterator[str]:
    if by_class["confusion"] is not None:
        yield "confusion matrix, a row for each true class, a column for each predicted:"
        yield from ("  " + " ".join(f"{n:>7,}" for n in row) for row in by_class["confusion"])
    else:
        yield f"confused most often, of {len(by_class['classes']):,} classes:"
        for told in by_class["confused"]:
            yield f"  {told['true']} taken for {told['predicted']}: {told['records']:,} records"
