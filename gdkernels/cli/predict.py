"""``gdkernels predict``: predictions for the records of a raw table, part by part, so that any size will do."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from gdkernels.cli.options import add_data, add_output, add_where
from gdkernels.errors import InputError
from gdkernels.system.atomic_files import check_destination, write_atomically
from gdkernels.system.progress import RecordCount
from gdkernels.tables import parts
from gdkernels.tables.table import Table, no_column
from gdkernels.tables.writing import Part, cells_of, check_format, write_csv, writer_for
from gdkernels.tabular.predictor import Predictor

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "predict",
        help="predict from a table with a trained model",
        description="Predict for each record of a table, which needs the columns that the model was trained on, in any "
        "order. The result is CSV on stdout, or the file --out.",
    )
    parser.add_argument("model", metavar="MODEL", help="what gdkernels train --out wrote")
    add_data(parser, "the table, as for gdkernels train")
    parser.add_argument("--out", metavar="FILE", help="write the predictions there: .csv, .tsv or .parquet")
    parser.add_argument("--force", action="store_true", help="replace that file if it exists")
    parser.add_argument(
        "--keep", action="append", default=[], metavar="COLUMN", help="put this column beside them; may be repeated"
    )
    add_where(parser, precision=False)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Predict and write."""
    if args.out is not None:
        check_format(args.out)
        check_destination(args.out, overwrite=args.force)
    elif args.force:
        raise InputError("--force says that --out may replace a file; give --out FILE too")
    predictor = Predictor.load(args.model, backend=args.backend, device=args.device)
    began = time.perf_counter()
    with RecordCount("predicting") as bar:
        stream = _predictions(predictor, args.data, args.keep, bar)
        if args.out is not None:
            write_atomically(args.out, writer_for(args.out, stream), overwrite=args.force)
        elif args.json:
            _print_json(stream)
            return
        else:
            write_csv(sys.stdout, stream)
            return
        records = bar.done
    seconds = time.perf_counter() - began
    if args.json:
        told = {"model": args.model, "records": records, "out": args.out, "seconds": seconds}
        print(json.dumps(told, indent=2))
    else:
        print(f"{records:,} predictions of {', '.join(predictor.preparation.targets)!r} in {seconds:.2f} s: {args.out}")


def _predictions(predictor: Predictor, data: list[str], keep: list[str], bar: RecordCount) -> Iterator[Part]:
    """Yield the names and the columns of the result, part by part."""
    for table in parts(data):
        for name in keep:
            if name not in table.columns:
                raise no_column(name, table.names, table.source)
        if len(table):
            yield _part(predictor, table, keep)
            bar.update(len(table))
    if not bar.done:
        raise InputError(f"{data[0]} has no records")


def _part(predictor: Predictor, table: Table, keep: list[str]) -> Part:
    prediction = predictor.predict(table)
    columns: dict[str, list[Any]] = {name: cells_of(table.columns[name]) for name in keep}
    targets = predictor.preparation.targets
    values = prediction.values.reshape(len(table), -1)
    for k, name in enumerate(targets):
        columns[f"predicted {name}"] = values[:, k].tolist()
    if prediction.probabilities is not None and predictor.preparation.classes is not None:
        for k, label in enumerate(predictor.preparation.classes.tolist()):
            columns[f"probability of {label}"] = prediction.probabilities[:, k].tolist()
    return list(columns), list(columns.values())


def _print_json(stream: Iterator[Part]) -> None:
    """Print one object with a list of all the predictions, without ever holding more than a part of them."""
    records = 0
    for names, columns in stream:
        for row in zip(*columns, strict=True):
            print('{"predictions": [' if records == 0 else ",")
            print(json.dumps(dict(zip(names, row, strict=True)), allow_nan=False), end="")
            records += 1
    print(f'\n], "records": {records}}}')
