"""``gdkernels predict``: predictions for the records of a raw table, part by part, so that any size will do."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from gdkernels.cli.options import add_data, add_output, add_where
from gdkernels.cli.outputs import say_beside
from gdkernels.cli.streams import data_stream, say
from gdkernels.errors import InputError
from gdkernels.system.atomic_files import check_destination, write_atomically
from gdkernels.system.printable import one_line
from gdkernels.tables import Preparation
from gdkernels.tables.formats.writing import Part, cells_of, check_format, write_csv, writer_for
from gdkernels.tables.table.table import Table, no_column
from gdkernels.tables.table.unread import refuse_unread
from gdkernels.tabular import Prediction, TabularPredictor
from gdkernels.tabular.model.drift import Drift

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "predict",
        help="predict from a table with a trained model",
        description="Predict the target of each record of a table. The table needs the columns that the model was "
        "trained on, in any order. The predictions go to stdout as CSV, or to the file --out.",
    )
    parser.add_argument("model", metavar="MODEL", help="what gdkernels train --out wrote")
    add_data(parser, "the table, as for gdkernels train")
    parser.add_argument("--out", metavar="FILE", help="write the predictions to this file: .csv, .tsv or .parquet")
    parser.add_argument("--force", action="store_true", help="replace that file if it exists")
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="COLUMN",
        help="copy this column beside the predictions; may be repeated",
    )
    add_where(parser, precision=False)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Predict and write."""
    if args.out is not None:
        check_format(args.out)
        check_destination(args.out, overwrite=args.force)
    elif args.stdout_is_closed:
        raise InputError("stdout is closed, and predictions go there; give --out FILE")
    elif args.force:
        raise InputError("--force says that --out may replace a file; give --out FILE too")
    predictor = TabularPredictor.load(args.model, backend=args.backend, device=args.device, threads=args.threads)
    predictor.set_params(header=args.header, skip_rows=args.skip_rows)
    began = time.perf_counter()
    typed = args.out is not None and args.out.lower().endswith(".parquet")
    drift = predictor.drift_in_parts()
    stream = _predictions(predictor, args.data, args.keep, drift, typed=typed)
    if args.out is not None:
        out = str(write_atomically(args.out, writer_for(args.out, stream), overwrite=args.force, or_beside=True))
    elif args.json:
        _print_json(stream, drift)
        return
    else:
        write_csv(data_stream(), stream)
        _say_drift(drift)
        return
    records, seconds = drift.records, time.perf_counter() - began
    if args.json:
        told = {"model": args.model, "records": records, "out": out, "seconds": seconds}
        told["columns"] = drift.as_dicts()
        say(json.dumps(told, indent=2))
    else:
        say(f"{records:,} predictions of {', '.join(predictor.preparation_.targets)!r} in {seconds:.2f} s: {out}")
        _say_drift(drift)
    say_beside({args.out: out})


def _predictions(
    predictor: TabularPredictor, data: list[str], keep: list[str], drift: Drift, *, typed: bool
) -> Iterator[Part]:
    """Yield the names and the columns of the result, part by part; add the records to `drift`."""
    for table, prediction in predictor.predict_parts(data):
        for name in keep:
            if name not in table.columns:
                raise no_column(name, table.names, table.source)
        refuse_unread(table, keep, "it cannot be copied beside the predictions")
        yield _part(predictor.preparation_, table, prediction, keep, typed=typed)
        drift.add(table)


def _part(preparation: Preparation, table: Table, prediction: Prediction, keep: list[str], *, typed: bool) -> Part:
    columns: dict[str, list[Any]] = {name: cells_of(table.columns[name], typed=typed) for name in keep}
    values = prediction.values.reshape(len(table), -1)
    for k, name in enumerate(preparation.targets):
        columns[f"predicted {name}"] = values[:, k].tolist()
    if prediction.probabilities is not None and preparation.classes is not None:
        for k, label in enumerate(preparation.classes.tolist()):
            columns[f"probability of {label}"] = prediction.probabilities[:, k].tolist()
    return list(columns), list(columns.values())


def _say_drift(drift: Drift) -> None:
    """Say on stderr what the records have that training had not: beside the predictions, never among them."""
    for line in drift.lines():
        print(f"gdkernels: {one_line(line)}", file=sys.stderr)


def _print_json(stream: Iterator[Part], drift: Drift) -> None:
    """Print one object with a list of all the predictions, without ever holding more than a part of them."""
    records = 0
    for names, columns in stream:
        for row in zip(*columns, strict=True):
            print('{"predictions": [' if records == 0 else ",")
            print(json.dumps(dict(zip(names, row, strict=True)), allow_nan=False), end="")
            records += 1
    print(f'\n], "records": {records}, "columns": {json.dumps(drift.as_dicts(), allow_nan=False)}}}')
