"""Our estimators and scikit-learn's side by side: the same settings and seeds, scores and times, in turns."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import gdkernels as gd
from benchmarks import checkout
from gdkernels.bench.environment import environment

GRID = {
    "hidden_layer_sizes": [(50,), (100,)],
    "activation": ["relu", "tanh"],
    "alpha": [1e-4, 1e-2, 1.0],
    "learning_rate_init": [1e-3, 1e-2],
}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ScoredSplit:
    """A table cut in two by a seed: the rows to train on, and those to score."""

    x: Array
    y: Array
    test_x: Array
    test_y: Array
    classes: bool


@dataclass
class EstimatorScores:
    """One estimator on one table: a score and the seconds of a fit for each seed."""

    table: str
    estimator: str
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="splits and initial weights (5)")
    parser.add_argument("--ames", metavar="FILE", help="the Ames houses as a table, with the column SalePrice")
    parser.add_argument("--tables", metavar="NAMES", help="only these, with commas between them")
    parser.add_argument("--grid", action="store_true", help="also search a grid of 24 settings on digits")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # both warn, alike, that 200 epochs were not enough
    tables = dict(_tables(options.ames))
    rows: list[EstimatorScores] = []
    wanted = options.tables.split(",") if options.tables else [*tables]
    unknown = [name for name in wanted if name not in tables]
    if unknown:
        print(f"unknown tables {', '.join(unknown)}; choices: {', '.join(tables)}", file=sys.stderr)
        return 2
    for name, split in ((name, tables[name]) for name in wanted):
        found = _compare(name, split, options.seeds)
        rows += found
        for row in found:
            print(_line(row, found[0]), flush=True)
    grid = [_search(name) for name in ("scikit-learn", "gdkernels")] if options.grid else []
    for each in grid:
        told = f"{each['seconds']:6.1f} s, best {each['best']:.4f}"
        print(f"24 settings on digits, 3 folds: {each['estimator']:14} {told}")
    if options.json:
        content = {
            "command": checkout.command("estimators", arguments or sys.argv[1:]),
            "environment": environment(),
            "rows": [asdict(row) for row in rows],
            "grid": grid,
        }
        checkout.write_json(options.json, content)
    return 0


# ---- the tables


def _tables(ames: str | None) -> Iterator[tuple[str, Callable[[int], ScoredSplit]]]:
    from sklearn import datasets

    for name, load, classes in (
        ("digits", datasets.load_digits, True),
        ("breast cancer", datasets.load_breast_cancer, True),
        ("wine", datasets.load_wine, True),
        ("diabetes", datasets.load_diabetes, False),
    ):
        x, y = load(return_X_y=True)
        yield name, partial(_scaled, x, y, classes)
    if ames is not None:
        yield "Ames", partial(_prepared, gd.tables.read(ames))


def _scaled(x: Array, y: Array, classes: bool, seed: int) -> ScoredSplit:
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    train, test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=seed)
    scaler = StandardScaler().fit(train)
    if not classes:
        mean, deviation = y_train.mean(), y_train.std()
        y_train, y_test = (y_train - mean) / deviation, (y_test - mean) / deviation
    return ScoredSplit(scaler.transform(train), y_train, scaler.transform(test), y_test, classes)


def _prepared(table: Any, seed: int) -> ScoredSplit:
    order = np.random.default_rng(seed).permutation(len(table))
    rest, test = order[: round(0.8 * len(order))], order[round(0.8 * len(order)) :]
    preparation = gd.tables.Preparation.fit(
        table, "SalePrice", task="regression", rows=rest, ignore=("Order", "PID") if "PID" in table.columns else ()
    )
    x, y = preparation.transform(table), preparation.transform_targets(table)[:, 0]
    return ScoredSplit(x[rest], y[rest], x[test], y[test], classes=False)


# ---- what is measured


def _estimators(classes: bool, seed: int) -> dict[str, Any]:
    import sklearn.neural_network as theirs

    from gdkernels import estimators as ours

    name = "MLPClassifier" if classes else "MLPRegressor"
    their, our = getattr(theirs, name), getattr(ours, name)
    return {
        "scikit-learn": their(random_state=seed),
        "gdkernels": our(random_state=seed),
        "gdkernels float32": our(random_state=seed, precision="float32"),
    }


def _compare(table: str, split_of: Callable[[int], ScoredSplit], seeds: int) -> list[EstimatorScores]:
    """Train on `seeds` splits, in turns; the first fit of each estimator, which may compile, is not counted."""
    rows = {name: EstimatorScores(table, name) for name in _estimators(classes=True, seed=0)}
    for seed in (-1, *range(seeds)):
        split = split_of(max(seed, 0))
        for name, estimator in _estimators(split.classes, max(seed, 0)).items():
            if seed < 0:
                estimator.set_params(max_iter=2).fit(split.x, split.y)
                continue
            began = time.perf_counter()
            estimator.fit(split.x, split.y)
            rows[name].seconds.append(time.perf_counter() - began)
            rows[name].scores.append(float(estimator.score(split.test_x, split.test_y)))
            rows[name].epochs.append(int(estimator.n_iter_))
    return [*rows.values()]


def _search(name: str) -> dict[str, Any]:
    """Search the grid on digits with one process, and return its time and its result."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV

    x, y = load_digits(return_X_y=True)
    search = GridSearchCV(_estimators(classes=True, seed=0)[name], GRID, cv=3, refit=False)
    began = time.perf_counter()
    search.fit(x / 16.0, y)
    seconds = time.perf_counter() - began
    scores = [float(score) for score in search.cv_results_["mean_test_score"]]
    return {"estimator": name, "seconds": seconds, "best": max(scores), "scores": scores}


def _line(row: EstimatorScores, base: EstimatorScores) -> str:
    seconds = statistics.median(row.seconds)
    ratio = statistics.median(a / b for a, b in zip(base.seconds, row.seconds, strict=True))
    spread = statistics.stdev(row.scores) if len(row.scores) > 1 else 0.0
    score = f"{statistics.fmean(row.scores):.4f} ± {spread:.4f}"
    epochs = statistics.median(row.epochs)
    return f"{row.table:14} {row.estimator:18} {score}   {epochs:5.0f} epochs   {seconds:7.3f} s   {ratio:5.2f}×"


if __name__ == "__main__":
    sys.exit(main())
