"""Training a setting inside a checkout, by public names alone."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.same_bits.own_functions import objects_of
from benchmarks.same_bits.settings import Setting

__all__ = ["TRAININGS", "Array", "Found"]

Array = npt.NDArray[Any]
Found = dict[str, Array]


def data(setting: Setting) -> tuple[Array, Array, Array]:
    """Return inputs, targets for the loss of a setting, and weights of the records."""
    sizes = setting.network.get("sizes", [6, 1])
    draw = np.random.default_rng(11)
    x = draw.standard_normal((setting.records, sizes[0])).astype(np.float32)
    hidden = np.tanh(x @ draw.standard_normal((sizes[0], sizes[-1])).astype(np.float32))
    y = {  # type: ignore[no-untyped-call]
        "cross_entropy": lambda: np.argmax(hidden, axis=1),
        "binary_cross_entropy": lambda: hidden[:, 0] > 0,
        "poisson": lambda: np.floor(np.exp(1.5 * hidden)),
    }.get(str(setting.trainer.get("loss")), lambda: hidden)()
    return x, y, draw.uniform(0.5, 2.0, setting.records).astype(np.float32)


def made(setting: Setting, **more: Any) -> Any:
    """Return a trainer."""
    import gdkernels as gd

    network, trainer = ({k: objects_of(v) for k, v in d.items()} for d in (setting.network, setting.trainer))
    return gd.Trainer(gd.MLP(**network), **trainer, **more)


def state_of(mlp: Any, x: Array) -> Found:
    """Return parameters and predictions."""
    layers = [np.asarray(a).ravel() for layer in mlp.parameters for a in layer if a is not None]
    return {"parameters": np.concatenate(layers), "predictions": np.asarray(mlp.predict(x))}


def figures_of(history: Any) -> Found:
    """Return the figures of a history, in which times have no part, and by what way it came to them."""
    rows = []
    for e in history.epochs:
        known = (v for v in (e.loss, e.learning_rate, e.validation_loss, e.gradient_norm) if v is not None)
        rows.append([*known, *e.metrics.values()])
    ways = [history.backend, history.device, history.precision, history.origin, str(history.best_epoch)]
    rows_at_a_time = history.plan.choices.get("rows_at_a_time", "all")
    ways += [f"diverged: {history.diverged}", f"rows at a time: {rows_at_a_time}"]
    return {"history": np.array(rows, np.float64), "way": np.array(ways)}


def fit(setting: Setting, **more: Any) -> Found:
    x, y, weights = data(setting)
    run = dict(setting.run) | more
    if run.pop("sample_weight", False):
        run["sample_weight"] = weights
    trainer = made(setting)
    history = trainer.fit(x, y, **run)
    return state_of(trainer.mlp, x) | figures_of(history)


def starts(setting: Setting) -> Found:
    x, y, _ = data(setting)
    mlp = made(setting).mlp
    history = mlp.fit(x, y, **setting.run)
    return state_of(mlp, x) | figures_of(history) | {"starts": np.array([s.loss for s in history.starts])}


def epochs(setting: Setting) -> Found:
    x, y, weights = data(setting)
    trainer = made(setting, order=lambda epoch, records: np.roll(np.arange(records), epoch + 1))
    sums = [trainer.epoch(x, y, sample_weight=weights) for _ in range(3)]
    gradient = trainer.mlp.gradient(x, y)
    return state_of(trainer.mlp, x) | {
        "history": np.array([*sums, trainer.mlp.loss(x, y)]),
        "gradient": np.concatenate([np.asarray(a).ravel() for layer in gradient for a in layer]),
    }


def batches(setting: Setting) -> Found:
    x, y, _ = data(setting)
    trainer = made(setting)
    bounds = [0, 50, 90, 91, 200, len(x)]

    def loader() -> Iterator[tuple[Array, Array]]:
        return ((x[a:b], y[a:b]) for a, b in pairwise(bounds))

    history = trainer.fit(loader, validation=(x[:40], y[:40]), **setting.run)
    return state_of(trainer.mlp, x) | figures_of(history)


def stored(setting: Setting) -> Found:
    import gdkernels as gd

    x, y, weights = data(setting)
    for name, array in {"X": x, "Y": y, "W": weights}.items():
        np.save(f"{name}.npy", array)
    trainer = made(setting)
    history = trainer.fit(gd.Stored("X.npy", "Y.npy", "W.npy", memory=40_000), **setting.run)
    return state_of(trainer.mlp, x) | figures_of(history)


def parts(setting: Setting) -> Found:
    """Go on from a checkpoint whose plan says that 30 records are computed at a time.

    Otherwise batches are only split where memory is scarce, and how much there is, is never the same.
    """
    first = {"epochs": 3, "checkpoint": "run", "every": "1 epochs", "keep": 9}
    fit(setting, **first)
    files = sorted(Path("run").glob("step-*"))
    for path in files[1:]:
        path.unlink()
    change_plan(files[0], rows_at_a_time=30)
    found = fit(setting, **first, resume=True)
    if "rows at a time: 30" not in found["way"]:
        raise RuntimeError("the checkpoint's plan was not repeated")
    return found


def resumed(setting: Setting) -> Found:
    """Stop within an epoch and go on."""
    run = {"epochs": 4, "checkpoint": "run", "every": "4 steps", "keep": 99, "validation": 0.1, "patience": 3}
    whole = fit(setting, **run)
    for path in sorted(Path("run").glob("step-*"))[5:]:
        path.unlink()
    gone_on = fit(setting, **run, resume=True)
    return whole | {f"{name}, gone on": a for name, a in gone_on.items()}


def change_plan(path: Path, **choices: Any) -> None:
    """Have a checkpoint say that it was written with other choices."""
    file = path.read_bytes()
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:start])
    content = json.loads(header["__metadata__"]["gdkernels"])
    content["metadata"]["plan"]["choices"] |= choices
    shapes = {name: [told["dtype"], told["shape"]] for name, told in header.items() if name != "__metadata__"}
    text = json.dumps([shapes, content["metadata"]], sort_keys=True)
    content["description_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    header["__metadata__"]["gdkernels"] = json.dumps(content)
    changed = json.dumps(header).encode()
    changed += b" " * (-len(changed) % 8)
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + file[start:])


def estimate(kind: str, setting: Setting) -> tuple[Any, Array, Array]:
    from gdkernels import estimators

    x, y, _ = data(setting)
    target = y[:, 0] if kind == "MLPRegressor" else np.digitize(y[:, 0], [-0.5, 0.5])
    return getattr(estimators, kind)(**setting.network, random_state=3), x, target


def learned(estimator: Any, x: Array) -> Found:
    arrays = [np.asarray(a).ravel() for a in (*estimator.coefs_, *estimator.intercepts_)]
    figures = [*getattr(estimator, "loss_curve_", ()), estimator.loss_, estimator.n_iter_]
    found = {"parameters": np.concatenate(arrays), "history": np.array(figures, np.float64)}
    predict = getattr(estimator, "predict_proba", estimator.predict)
    return found | {"predictions": np.asarray(predict(x))}


def regressor(setting: Setting) -> Found:
    estimator, x, y = estimate("MLPRegressor", setting)
    return learned(estimator.fit(x, y), x)


def classifier(setting: Setting) -> Found:
    estimator, x, y = estimate("MLPClassifier", setting)
    return learned(estimator.fit(x, y), x)


def partly(setting: Setting) -> Found:
    estimator, x, y = estimate("MLPClassifier", setting)
    for a in (0, 200, 400):
        estimator.partial_fit(x[a : a + 200], y[a : a + 200], classes=[0, 1, 2])
    return learned(estimator, x)


def table(setting: Setting) -> Found:
    """Train on a raw table with gaps, and predict it, by the command line."""
    from safetensors.numpy import load_file

    write_table(Path("houses.csv"), setting.records)
    run = dict(setting.run)
    more = [*("--target", run["target"], "--ignore", "kind" if run["target"] == "price" else "price")]
    more += ["--memory", run["memory"]] if "memory" in run else []
    where = ("--backend", setting.network["backend"])
    printed = command("train", "houses.csv", *more, *where, "--epochs", "15", "--out", "model.safetensors", "--json")
    command("predict", "model.safetensors", "houses.csv", *where, "--out", "predicted.csv")
    told = json.loads(printed)
    tensors = load_file("model.safetensors")
    cells = [cell for row in csv.reader(Path("predicted.csv").read_text("utf-8").splitlines()) for cell in row]
    return {
        "parameters": np.concatenate([tensors[name].ravel() for name in sorted(tensors)]),
        "predictions": np.array(cells),
        "history": np.array([*told["metrics"].values(), told["settings"]["l2"], told["epochs"]], np.float64),
    }


def command(*arguments: str) -> str:
    from gdkernels.cli import main as command_line

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = command_line(list(arguments))
    if code:
        raise RuntimeError(f"gdkernels {' '.join(arguments)} ended with {code}")
    return printed.getvalue()


def write_table(path: Path, rows: int) -> None:
    draw = np.random.default_rng(4)
    area = draw.uniform(50, 250, rows).round(1)
    town = draw.choice(["Ames", "Nevada", "Boone", ""], rows, p=[0.5, 0.3, 0.1, 0.1])
    sold = np.datetime64("2021-03-01") + draw.integers(0, 1500, rows)
    price = 1000 * area + 20000 * (town == "Ames") + draw.normal(0, 5000, rows).round()
    kind = np.where(price > 160000, "dear", "cheap")
    shown = [str(a) if draw.random() > 0.1 else "" for a in area]
    lines = [",".join(map(str, row)) for row in zip(shown, town, sold, price, kind, strict=True)]
    path.write_text("\n".join(["area,town,sold,price,kind", *lines, ""]), encoding="utf-8")


TRAININGS: dict[str, Callable[[Setting], Found]] = {
    f.__name__: f for f in (fit, starts, epochs, batches, stored, parts, resumed, regressor, classifier, partly, table)
}
