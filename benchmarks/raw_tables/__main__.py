"""``gdkernels train`` by its defaults beside scikit-learn's MLP in a pipeline made by hand, on raw tables."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import checkout
from benchmarks.raw_tables.pipeline import PIPELINES, pipeline, plain
from benchmarks.raw_tables.sources import RawTable, raw_tables
from gdkernels import cli
from gdkernels.bench.environment import environment
from gdkernels.metrics import r2
from gdkernels.randomness import generator
from gdkernels.tables import Preparation, Text, read, split
from gdkernels.tables.preparation.outcomes import Numbers, labels
from gdkernels.tabular.settings import defaults

OURS = "gdkernels"


@dataclass
class TableScores:
    """One table: the score (accuracy or R²) and the seconds of each side for each seed."""

    table: str
    records: int = 0
    score: str = ""
    seeds: list[int] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in (OURS, *PIPELINES)})
    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in (OURS, *PIPELINES)})

    @property
    def best_other(self) -> str:
        return max(PIPELINES, key=lambda name: statistics.fmean(self.scores[name]))

    @property
    def lead(self) -> tuple[float, float]:
        """The mean by which ours is above the better of the others, split by split, and its standard error."""
        leads = np.subtract(self.scores[OURS], self.scores[self.best_other])
        return float(leads.mean()), float(leads.std(ddof=1) / math.sqrt(len(leads))) if len(leads) > 1 else math.inf


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.raw_tables", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="tables and splits of each (10)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (0)")
    parser.add_argument("--ames", metavar="FILE", help="the Ames houses as a table, with the column SalePrice")
    parser.add_argument("--tables", metavar="WORD", help="only those with this word in their name")
    parser.add_argument("--small", action="store_true", help="leave out those of 20,000 rows and more")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # that 1,000 epochs were not enough
    chosen = [
        raw
        for raw in raw_tables(options.ames)
        if not (raw.large and options.small) and (options.tables or "") in raw.name
    ]
    if not chosen:
        print(f"no table has {options.tables!r} in its name", file=sys.stderr)
        return 2
    rows = []
    for raw in chosen:
        rows.append(_compared(raw, range(options.first, options.first + options.seeds)))
        print(_line(rows[-1]), flush=True)
    if options.json:
        content = {
            "command": checkout.command("raw_tables", arguments or sys.argv[1:]),
            "environment": environment([1]),
            "rows": [asdict(r) for r in rows],
        }
        checkout.write_json(options.json, content)
    return 0


def _compared(raw: RawTable, seeds: Sequence[int]) -> TableScores:
    row = TableScores(raw.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        for seed in seeds:
            _write(path, raw.columns(seed))
            _ours(raw, path, seed, row)
            _theirs(raw, path, seed, row)
            row.seeds.append(seed)
    return row


def _write(path: Path, columns: Any) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _ours(raw: RawTable, path: Path, seed: int, row: TableScores) -> None:
    """Train as the command line does if you name nothing but the target."""
    out = io.StringIO()
    began = time.perf_counter()
    with contextlib.redirect_stdout(out):
        code = cli.main(["train", str(path), "--target", raw.target, "--seed", str(seed), "--json"])
    if code:
        raise RuntimeError(f"gdkernels train ended with {code} on {raw.name}, seed {seed}")
    row.seconds[OURS].append(time.perf_counter() - began)
    told = json.loads(out.getvalue())
    row.score = "R²" if told["task"] == "regression" else "accuracy"
    row.records = sum(told["rows"].values())
    row.scores[OURS].append(told["metrics"]["r2" if row.score == "R²" else "accuracy"])


def _theirs(raw: RawTable, path: Path, seed: int, row: TableScores) -> None:
    """Train scikit-learn's MLP on the rows that ours trained on, and test it on the others."""
    table = read(path)
    classes = row.score == "accuracy"
    truth = labels(table, raw.target).astype(str) if classes else np.asarray(table.columns[raw.target])
    groups = np.unique(truth, return_inverse=True)[1] if classes else None
    rest, test = split(len(table), defaults.TEST, generator(seed, "test"), groups)
    names = [name for name in table.names if name != raw.target and name not in raw.left_out]
    outcome = Preparation.fit(table, raw.target, rows=rest).outcome
    log = isinstance(outcome, Numbers) and outcome.logs[0]
    bounds = (0.0, 0.0) if classes else (truth[rest].min(), truth[rest].max())
    x, text = plain(table, names), [isinstance(table.columns[name], Text) for name in names]
    for name, settings in PIPELINES.items():
        began = time.perf_counter()
        mlp = pipeline(text, classes=classes, log=log, bounds=bounds, seed=seed, **settings)
        predicted = mlp.fit(x[rest], truth[rest]).predict(x[test])
        row.seconds[name].append(time.perf_counter() - began)
        row.scores[name].append(float(np.mean(predicted == truth[test])) if classes else r2(truth[test], predicted))


def _line(row: TableScores) -> str:
    told = [f"{name} {statistics.fmean(row.scores[name]):.4f}" for name in row.scores]
    lead, error = row.lead
    seconds = statistics.median(row.seconds[OURS])
    return (
        f"{row.table:22} {row.records:6,}  {row.score:8}  {', '.join(told)}; {lead:+.4f} ± {error:.4f}; {seconds:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
