"""The evidence beside early-stopped Adam on small, noisy tables: ``python -m benchmarks.least_squares.noisy``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import checkout
from benchmarks.least_squares.methods import evidence_and_adam
from benchmarks.least_squares.problems import Array
from gdkernels.bench.environment import environment

__all__ = ["NOISY", "table_of_noisy"]

_SAME = 0.02  # of R², within which two scores count as equal


def _standardised(A: Array) -> Array:
    A = A if A.ndim == 2 else A[:, None]
    return np.asarray((A - A.mean(0)) / A.std(0), np.float64)


def _builtin(name: str) -> Callable[[], tuple[Array, Array]]:
    def load() -> tuple[Array, Array]:
        from sklearn import datasets

        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        return X, y

    return load


def _friedman(number: int, records: int, noise: float) -> Callable[[], tuple[Array, Array]]:
    def draw() -> tuple[Array, Array]:
        from sklearn import datasets

        X, y = getattr(datasets, f"make_friedman{number}")(records, random_state=0)
        return X, y + noise * y.std() * np.random.default_rng(number).normal(size=records)

    return draw


def _column(name: str, target: int, records: int = 300) -> Callable[[], tuple[Array, Array]]:
    """Return a table of scikit-learn's with one of its inputs as the target."""

    def load() -> tuple[Array, Array]:
        X, _ = _builtin(name)()
        X = X[np.random.default_rng(0).permutation(len(X))[:records]]
        return np.delete(X, target, axis=1), X[:, target]

    return load


def _sine() -> tuple[Array, Array]:
    draw = np.random.default_rng(5)
    X = draw.uniform(-1, 1, (60, 1))
    return X, np.sin(2 * np.pi * X[:, 0]) + 0.3 * draw.normal(size=60)


def _linear() -> tuple[Array, Array]:
    draw = np.random.default_rng(6)
    X = draw.normal(size=(100, 8))
    return X, X @ draw.normal(size=8) + 2 * draw.normal(size=100)


def _nothing() -> tuple[Array, Array]:
    draw = np.random.default_rng(7)
    return draw.normal(size=(80, 10)), draw.normal(size=80)


NOISY: dict[str, Callable[[], tuple[Array, Array]]] = {
    "diabetes": _builtin("diabetes"),
    "Friedman 1": _friedman(1, 200, 0.2),
    "Friedman 2": _friedman(2, 150, 0.5),
    "Friedman 3": _friedman(3, 150, 0.5),
    "sine of 60 points": _sine,
    "linear": _linear,
    "noise alone": _nothing,
    "Linnerud": _builtin("linnerud"),
    "wine's alcohol": _column("wine", 0),
    "iris's sepal width": _column("iris", 1),
    "cells' smoothness": _column("breast_cancer", 4),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the study and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.least_squares.noisy", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="splits and initial weights (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {
        "command": checkout.command("least_squares.noisy", sys.argv[1:] if arguments is None else arguments),
        "environment": environment(),
        "noisy": {},
    }
    with threadpool_limits(1):
        for name, load in NOISY.items():
            X, Y = (_standardised(a) for a in load())
            found = [evidence_and_adam(X, Y, seed) for seed in range(options.seeds)]
            results["noisy"][name] = {
                "records": len(X),
                "inputs": X.shape[1],
                "outputs": Y.shape[1],
                "evidence": [one["lm with bayes"] for one in found],
                "adam": [one["adam, early stopping"] for one in found],
            }
            print(_row(name, results["noisy"][name]), flush=True)
    if options.json:
        checkout.write_json(options.json, results)
    return 0


def table_of_noisy(content: dict[str, Any]) -> str:
    """Return a line for each table of a file of results."""
    head = "| table | records, inputs, outputs | evidence, R² | Adam, R² | better by .02 | worse | at worst | seconds |"
    lines = [head, "|---" * 8 + "|", *(_row(name, told) for name, told in content["noisy"].items())]
    return "\n".join(lines) + "\n"


def _row(name: str, told: dict[str, Any]) -> str:
    ours, theirs = (np.array([r2 for r2, _ in told[which]]) for which in ("evidence", "adam"))
    seconds = [float(np.median([s for _, s in told[which]])) for which in ("evidence", "adam")]
    apart = ours - theirs
    sizes = f"{told['records']}, {told['inputs']}, {told['outputs']}"
    scores = [f"{np.mean(r2):.3f} ({np.median(r2):.3f})" for r2 in (ours, theirs)]
    counts = f"{np.sum(apart > _SAME)} | {np.sum(apart < -_SAME)} | {apart.min():+.3f}"
    return f"| {name} | {sizes} | {scores[0]} | {scores[1]} | {counts} | {seconds[0]:.3f}, {seconds[1]:.3f} |"


if __name__ == "__main__":
    sys.exit(main())
