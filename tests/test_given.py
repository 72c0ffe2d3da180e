"""Odd values for every keyword that takes a name, a number, a switch or a path: each is taken, or refused in one line.

The message names the keyword; whatever else would be raised, such as NumPy's "truth value is ambiguous", is a fault.
"""

import inspect
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import gdkernels as gd
from gdkernels import groups, plots, tables
from gdkernels.tabular.settings import TabularSettings

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2)
Y = X[:, :1]
ODD = {
    "an array": lambda: np.array([1.0, 2.0]),
    "an array of one": lambda: np.array([1]),
    "a number as an array": lambda: np.array(1.5),
    "an array of text": lambda: np.array(["a", "b"]),
    "a list": lambda: [1, "x"],
    "a dict": lambda: {"a": 1},
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "a number beyond floats": lambda: 10**400,
    "no text": lambda: "",
    "text": lambda: "nonsense",
    "text with NUL": lambda: "a\0b",
    "bytes": lambda: b"x",
    "a path": lambda: Path("nowhere/x"),
    "a NumPy number": lambda: np.float32(1.5),
    "a NumPy boolean": lambda: np.bool_(True),
    "a class": lambda: dict,
    "a generator": lambda: (k for k in [1, 2]),
    "a function": lambda: lambda: None,
    "a complex number": lambda: 1j,
}
# Beyond floats, these are a matter of time; data have messages of their own.
PATIENT = {"epochs", "starts", "size", "batch_size", "retries", "patience", "stop_gradient_norm", "seed", "inputs"}
DATA = {"X", "Y", "sample_weight", "validation", "test_file", "block", "sizes", "models", "mlp", "extra", "data", "ax"}


def mlp(**how):
    return gd.MLP(**{"sizes": [2, 2, 1], "seed": 0, "backend": "numpy"} | how)


@cache
def one():
    """Return a model that nothing trains."""
    return mlp()


TABULAR = gd.TabularPredictor("y").get_params()


class NothingTrainedError(Exception):
    """Training would begin now."""


@pytest.fixture
def trains(monkeypatch):
    """Let no fit and no picture begin: what is wrong is to be found before."""

    def begin(*_, **__):
        raise NothingTrainedError

    monkeypatch.setattr("gdkernels.training.trainer.Placement", begin)
    monkeypatch.setattr("gdkernels.plots.style.axes_or_new", begin)
    monkeypatch.setattr("gdkernels.plots.style.require", begin)


@cache
def land():
    """Return the error of that model over its parameters."""
    return plots.Landscape(one(), X, Y)


WEIGHTS = "W0[0,0]", "b0[0]"


CALLS = {
    "MLP": (gd.MLP, mlp, {}),
    "Network": (gd.Network, gd.Network, {"block": gd.blocks.Dense(1), "inputs": 2, "backend": "numpy"}),
    "fit": (gd.MLP.fit, lambda **k: one().fit(**k), {"X": X, "Y": Y, "epochs": 1}),
    "Trainer": (gd.Trainer, lambda **k: gd.Trainer(one(), **k), {}),
    "loss": (gd.MLP.loss, lambda **k: one().loss(X, Y, **k), {}),
    "save": (gd.MLP.save, lambda **k: one().save(**k), {"path": "m", "overwrite": True}),
    "load": (gd.load, gd.load, {"path": "there", "backend": "numpy"}),
    "selected": (gd.Ensemble.selected, lambda **k: gd.Ensemble.selected([one()], X, Y, **k), {"size": 1}),
    "TabularPredictor": (
        gd.TabularPredictor,
        lambda **k: TabularSettings.checked(TABULAR | k).check_place(),
        {"backend": "numpy"},
    ),
    "Dense": (gd.blocks.Dense, gd.blocks.Dense, {"units": 1}),
    "LayerNorm": (gd.blocks.LayerNorm, gd.blocks.LayerNorm, {}),
    "Adam": (gd.Adam, gd.Adam, {}),
    "LevenbergMarquardt": (gd.LevenbergMarquardt, gd.LevenbergMarquardt, {}),
    "Cosine": (gd.schedules.Cosine, gd.schedules.Cosine, {}),
    "Huber": (gd.losses.Huber, gd.losses.Huber, {}),
    "error_over_weight": (
        plots.error_over_weight,
        lambda **k: plots.error_over_weight(**{"landscape": land()} | k),
        {"parameter": WEIGHTS[0], "points": 2},
    ),
    "several_starts": (
        plots.several_starts,
        lambda **k: plots.several_starts(**{"landscape": land(), "paths": plots.Path(one())} | k),
        {"parameter": WEIGHTS[0], "points": 2},
    ),
    "error_surface": (
        plots.error_surface,
        lambda **k: plots.error_surface(**{"landscape": land()} | k),
        {"parameters": WEIGHTS, "points": 2},
    ),
    "fitted_curve": (plots.fitted_curve, plots.fitted_curve, {"predict": np.square, "X": Y, "Y": Y}),
    "residuals": (plots.residuals, plots.residuals, {"true": Y, "predicted": Y}),
    "confusion_matrix": (plots.confusion_matrix, plots.confusion_matrix, {"counts": [[1]], "labels": ["a"]}),
    "loss_curves": (plots.loss_curves, plots.loss_curves, {}),
    "throughput": (plots.throughput, plots.throughput, {"samples_per_second": {"numpy": {1: 2.0}}}),
    "panels": (plots.panels, plots.panels, {"rows": 1, "columns": 1}),
    "TreeSum": (
        groups.TreeSum,
        groups.TreeSum,
        {"group": groups.SerialGroup(), "shards": 2, "length": 3, "dtype": "f8", "totals": 1},
    ),
    "rows_of_shard": (groups.rows_of_shard, groups.rows_of_shard, {"shard": 0, "shards": 2, "rows": 6}),
    "shards_of_rank": (groups.shards_of_rank, groups.shards_of_rank, {"rank": 0, "ranks": 2, "shards": 6}),
    "parts": (tables.parts, lambda **k: list(tables.parts(**k)), {"data": {"a": [1.0]}}),
    "task_of": (tables.task_of, tables.task_of, {"table": tables.Table.of({"a": [1.0]}), "targets": ("a",)}),
    "Table.of": (tables.Table.of, tables.Table.of, {"columns": {"a": [1.0]}}),
    "folds": (tables.folds, tables.folds, {"n": 5, "count": 2, "generator": np.random.default_rng(0)}),
}
CALLED = {"selected", "fitted_curve"}  # what is given there may be a function of the user's


@pytest.mark.parametrize("call", CALLS)
def test_odd_values_are_refused_in_one_line_that_names_the_keyword(call, tmp_path, monkeypatch, trains):
    monkeypatch.chdir(tmp_path)
    mlp().save("there")
    of, make, usual = CALLS[call]
    refused = 0
    callables = {"a class", "a function"} if call in CALLED else set()  # told apart by calling them
    for keyword in sorted(inspect.signature(of).parameters.keys() - DATA - {"self", "target"}):
        for odd in sorted(ODD.keys() - callables):
            value = ODD[odd]()
            if keyword in PATIENT and odd in ("a number beyond floats", "inf"):
                continue
            try:
                make(**usual | {keyword: value})
            except gd.InputError as error:
                told = str(error)
                assert "\n" not in told, (keyword, odd, told)
                assert len(told) < 500, (keyword, odd, told)
                named = keyword.rstrip("s") in told or "the name of the" in told
                assert named or (keyword == "path" and str(value) in told), (keyword, odd, told)
                refused += 1
            except (gd.BackendError, NothingTrainedError):
                pass
    assert refused > 10
