"""Those who take part: each learns from some rows of a table, and predicts the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import checkout
from benchmarks.raw_tables.pipeline import pipeline, scaled
from benchmarks.table_scores.splits import SplitTable

__all__ = ["PARTICIPANTS", "Predictions", "ours"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Predictions:
    """The numbers that were predicted for the test's rows, or the probability of each class.

    Attributes
    ----------
    classes
        Their labels, in the order of the columns; None for numbers.
    seconds
        The CPU time of learning.
    """

    values: Array
    classes: tuple[str, ...] | None
    seconds: float


def ours(split: SplitTable, seed: int, keywords: dict[str, Any], root: Path = checkout.ROOT) -> Predictions:
    """Return the predictions of `TabularPredictor`, as a checkout has it, on the raw lines and one thread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split.lines.write(folder / "train.csv", split.train.tolist())
        split.lines.write(folder / "test.csv", split.test.tolist())
        fit = {"target": split.target, "test": 0, "seed": seed, "threads": 1, "progress": False}
        (folder / "fit.json").write_text(json.dumps(fit | keywords))
        path = {"PYTHONPATH": os.pathsep.join([str(root), str(root / "backends")])}
        script = str(Path(__file__).with_name("ours.py"))
        subprocess.run([sys.executable, script, name], check=True, env=os.environ | path)
        classes = json.loads((folder / "classes.json").read_text())
        seconds = json.loads((folder / "seconds.json").read_text())["cpu"]
        return Predictions(np.load(folder / "predictions.npy"), classes and tuple(classes), seconds)


def _linear(split: SplitTable, seed: int) -> Predictions:
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.pipeline import make_pipeline

    model = (
        RidgeCV(np.logspace(-3, 3, 13))
        if split.classes is None
        else LogisticRegressionCV(
            Cs=[0.01, 0.1, 1, 10], cv=3, scoring="neg_log_loss", max_iter=300, use_legacy_attributes=False
        )
    )
    return _predicted(make_pipeline(scaled(split.text), model), split)


def _boosted(split: SplitTable, seed: int) -> Predictions:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    columns, train = [], split.x[split.train]
    for k, text in enumerate(split.text):
        if text:  # a level that no training row has is a gap
            known = sorted({value for value in train[:, k] if isinstance(value, str)})
            levels = {value: float(number) for number, value in enumerate(known)}
            column = np.array(
                [levels.get(value, np.nan) if isinstance(value, str) else np.nan for value in split.x[:, k]]
            )
        else:
            column = split.x[:, k].astype(float)
        columns.append(column)
    x = np.column_stack(columns)
    few = [text and np.nanmax(x[:, k], initial=0.0) < 255 for k, text in enumerate(split.text)]
    kind = HistGradientBoostingRegressor if split.classes is None else HistGradientBoostingClassifier
    return _predicted(kind(random_state=seed, categorical_features=np.array(few, bool)), split, x)


def _mlp(split: SplitTable, seed: int) -> Predictions:
    numbers = split.classes is None
    y = split.y[split.train]
    bounds = (float(y.min()), float(y.max())) if numbers else (0.0, 0.0)
    model = pipeline(split.text, classes=not numbers, log=split.log, bounds=bounds, seed=seed, early_stopping=True)
    return _predicted(model, split)


def _pytabkit(kind: str) -> Callable[[SplitTable, int], Predictions]:
    def learned(split: SplitTable, seed: int) -> Predictions:
        pandas, pytabkit, torch = map(import_module, ("pandas", "pytabkit", "torch"))
        torch.set_num_threads(1)
        columns: dict[str, Any] = {}
        train = np.zeros(len(split.x), bool)
        train[split.train] = True
        for k, text in enumerate(split.text):
            if text:
                columns[f"x{k}"] = pandas.Categorical([v if isinstance(v, str) else "missing" for v in split.x[:, k]])
                continue
            column = split.x[:, k].astype(float)
            gaps = np.isnan(column)
            if gaps.any():
                column = np.where(gaps, np.nanmedian(column[train]), column)
                columns[f"x{k} missing"] = gaps.astype(float)
            columns[f"x{k}"] = column
        frame = pandas.DataFrame(columns)
        ending = "Regressor" if split.classes is None else "Classifier"
        model = getattr(pytabkit, f"{kind}_{ending}")(device="cpu", random_state=seed, n_threads=1, verbosity=0)
        began = time.process_time()
        model.fit(frame.iloc[split.train], split.y[split.train])
        seconds = time.process_time() - began
        if split.classes is None:
            return Predictions(np.asarray(model.predict(frame.iloc[split.test])).ravel(), None, seconds)
        classes = tuple(map(str, model.classes_.tolist()))
        return Predictions(np.asarray(model.predict_proba(frame.iloc[split.test])), classes, seconds)

    return learned


PARTICIPANTS: dict[str, Callable[[SplitTable, int], Predictions]] = {
    "linear": _linear,
    "sklearn MLP": _mlp,
    "HGB": _boosted,
    "RealMLP": _pytabkit("RealMLP_TD"),
    "TabM": _pytabkit("TabM_D"),
}


def _predicted(model: Any, split: SplitTable, x: Array | None = None) -> Predictions:
    from threadpoolctl import threadpool_limits

    inputs = split.x if x is None else x
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # that more iterations were not run
        began = time.process_time()
        model.fit(inputs[split.train], split.y[split.train])
        seconds = time.process_time() - began
        if split.classes is None:
            return Predictions(np.asarray(model.predict(inputs[split.test])), None, seconds)
        return Predictions(model.predict_proba(inputs[split.test]), tuple(map(str, model.classes_.tolist())), seconds)
