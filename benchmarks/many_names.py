"""Columns of many names: inputs of 0 and 1, means of the target, learned vectors; the same network behind each.

The tables are those of the package pydataset. Each network is the mean of three, and each of the three stops by another
fifth of the rows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

import gdkernels as gd
from benchmarks import checkout
from benchmarks.table_scores.scores import Score, difference
from benchmarks.table_scores.sources import of_pydataset
from gdkernels import blocks
from gdkernels.bench.environment import environment
from gdkernels.metrics import log_loss, r2
from gdkernels.tables import Preparation, Table, read
from gdkernels.tables.features.kinds import Choices, reread
from gdkernels.tables.preparation.cross_fit import CrossFit
from gdkernels.tables.preparation.target_columns import with_targets
from gdkernels.tables.table.checked import as_labels
from gdkernels.tabular.networks.encoding import encoding_of

__all__ = ["VARIANTS", "main", "table_of_names"]

Array = npt.NDArray[Any]

# By name: the dataset, the target, the columns of names, how many records are drawn.
TABLES: dict[str, tuple[str, str, tuple[str, ...], int | None]] = {
    "InstEval": ("lme4/InstEval", "y", ("s", "d"), 15_000),
    "nlschools": ("MASS/nlschools", "lang", ("class",), None),
    "Males": ("Ecdat/Males", "wage", ("nr",), None),
    "LaborSupply": ("Ecdat/LaborSupply", "lnhr", ("id",), None),
    "VietNamI": ("Ecdat/VietNamI", "lnhhexp", ("commune",), 12_000),
    "baseball": ("plyr/baseball", "hr", ("id", "team"), 12_000),
    "VerbAgg": ("lme4/VerbAgg", "resp", ("id", "item"), None),
}
# By name: the most inputs for the values of a column, whether there are means beside, and how wide vectors are: without
# means, these alone stand for the columns of names.
VARIANTS: dict[str, tuple[int, bool, int]] = {
    "100 inputs": (100, False, 0),
    "means, 100 inputs": (100, True, 0),
    "means, 1,000 inputs": (1000, True, 0),
    "inputs of all": (10**6, False, 0),
    "vectors of 8": (100, False, 8),
    "vectors of 32": (100, False, 32),
    "means, 100 inputs and vectors of 8": (100, True, 8),
}
_KEPT = "means, 1,000 inputs"  # the default
_NETWORKS, _UNITS, _EPOCHS, _PATIENCE, _BATCH = 3, 128, 60, 8, 128


def main() -> None:
    """Measure what the file does not hold yet, print a line for each, and in the end a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_names", description=__doc__)
    parser.add_argument("--json", metavar="FILE", required=True, help="the scores: kept there, and not measured again")
    parser.add_argument("--splits", type=int, default=3, metavar="N", help="splits of each table (3)")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), metavar="NAME")
    args = parser.parse_args()
    path = Path(args.json)
    rows = json.loads(path.read_text())["of_names"] if path.exists() else []
    scores = {score.key: score for score in (Score(**row) for row in rows)}
    here, tables = environment([1]), {name: _read(name) for name in args.tables}
    for seed in range(args.splits):  # first a split of each table
        for name, (table, classes) in tables.items():
            for variant in VARIANTS:
                if (name, seed, variant) not in scores:
                    score = _score(name, table, seed, variant, classes=classes)
                    scores[score.key] = score
            kept = [vars(one) for _, one in sorted(scores.items())]
            checkout.write_json(path, {"environment": here, "of_names": kept})
    print(table_of_names(json.loads(path.read_text())))


def table_of_names(content: dict[str, Any]) -> str:
    """Return the means over splits: a line for each table, with the standard error against means and 1,000 inputs."""
    scores = [Score(**row) for row in content["of_names"]]
    lines = [f"| table | figure | {' | '.join(VARIANTS)} |", "|---" * (len(VARIANTS) + 2) + "|"]
    for name in dict.fromkeys(score.table for score in scores):
        own = [score for score in scores if score.table == name]
        cells = []
        for variant in VARIANTS:
            mean, error, _ = difference(own, _KEPT, variant)
            value = float(np.mean([score.value for score in own if score.participant == variant]))
            cells.append(f"{value:.3f}" + ("" if variant == _KEPT else f" ({mean:+.3f} ± {error:.3f})"))
        lines.append(f"| {name} | {own[0].figure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _read(name: str) -> tuple[Table, bool]:
    dataset, target, names, records = TABLES[name]
    with tempfile.TemporaryDirectory() as folder:
        lines = of_pydataset(dataset, records)
        lines.write(Path(folder) / "table.csv", range(len(lines.records)))
        table = reread(read(Path(folder) / "table.csv"), Choices(categorical=names))
    return with_targets(table, (target,)), name == "VerbAgg"


def _score(name: str, table: Table, seed: int, variant: str, *, classes: bool) -> Score:
    _, target, names, _ = TABLES[name]
    most, means, width = VARIANTS[variant]
    order = np.random.default_rng(seed).permutation(len(table))
    test, learn = np.sort(order[: len(table) // 5]), np.sort(order[len(table) // 5 :])
    choices = Choices(ignore=names) if width and not means else Choices(categorical=names)
    with ExitStack() as stack:
        for limit, most_of in (("MOST_LEVELS", 100 if means else most), ("MOST_WITH_MEANS", most)):
            stack.enter_context(mock.patch(f"gdkernels.tables.features.categories.{limit}", most_of))
        if not means:
            stack.enter_context(mock.patch("gdkernels.tables.features.categories.differ", return_value=False))
        task = "classification" if classes else "regression"
        preparation = Preparation.by_choices(table, (target,), choices, task=task, rows=learn)
        x, y = preparation.transform(table), preparation.transform_targets(table)
        own = table.take(learn)
        if (cross_fit := CrossFit.of(preparation, own, learn)) is not None:
            x[learn] = cross_fit.transform(own, learn)
    x = np.asarray(x, np.float32)
    encoding = encoding_of("auto", x[learn])
    columns: list[Any] = list(encoding.blocks) if encoding else [(range(x.shape[1]), "passthrough")]
    if width:
        for column in names:
            codes, count = _codes(as_labels(table.columns[column]).codes, learn)
            columns.append(((x.shape[1],), blocks.Embedding(count, width)))
            x = np.column_stack([x, codes]).astype(np.float32)
    began = time.process_time()
    outputs = len(preparation.classes) if preparation.classes is not None else 1
    targets = (np.eye(outputs)[y] if classes else y).astype(np.float32)
    found = sum(_predicted(columns, x, targets, learn, test, 100 * seed + k, k, classes) for k in range(_NETWORKS))
    seconds = round(time.process_time() - began, 2)
    told = np.asarray(found) / _NETWORKS
    value = float(log_loss(targets[test], told)) if classes else float(r2(y[test], told))
    print(f"{name} {seed} {variant}: {value:.4f} with {x.shape[1]:,} inputs in {seconds} CPU s", flush=True)
    return Score(name, seed, variant, "log loss" if classes else "R²", value, None, seconds)


def _codes(codes: Array, learn: Array) -> tuple[Array, int]:
    """Return a code for each value that two rows have, 0 for others, and how many codes there are."""
    counts = np.bincount(codes[learn][codes[learn] >= 0], minlength=int(codes.max()) + 1)
    known = np.flatnonzero(counts >= 2)
    places = np.zeros(len(counts) + 1, np.int64)
    places[known] = np.arange(1, len(known) + 1)
    return places[codes], len(known) + 1


def _predicted(
    columns: list[Any], x: Array, y: Array, learn: Array, test: Array, draw: int, seed: int, classes: bool
) -> Array:
    order = np.random.default_rng(draw).permutation(len(learn))
    held_out, train = learn[order[: len(learn) // 5]], learn[order[len(learn) // 5 :]]
    layers = blocks.Dense(_UNITS, "relu"), blocks.Dense(_UNITS, "relu"), blocks.Dense(y.shape[1])
    whole = blocks.Sequential(blocks.Columns(columns), *layers)
    net = gd.Network(whole, x.shape[1], output="softmax" if classes else "identity", seed=seed, threads=1)
    net.fit(
        x[train],
        y[train],
        epochs=_EPOCHS,
        optimizer=gd.Adam(1e-3),
        batch_size=_BATCH,
        l2=1 / len(train),
        loss="cross_entropy" if classes else "sse",
        validation=(x[held_out], y[held_out]),
        patience=_PATIENCE,
        progress=False,
    )
    predict: Callable[[Array], Any] = net.predict_proba if classes else net.predict
    return np.asarray(predict(x[test]))


if __name__ == "__main__":
    main()
