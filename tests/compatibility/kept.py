"""The networks, the runs and the commands that made the files in ``data/``, by public names alone.

`make_data` writes the files and the tests read them, so both take everything that must agree from here. A change here
makes the files of an earlier version useless: add a network or a run, and leave those that are there as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import gdkernels as gd

DATA = Path(__file__).parent / "data"

Array = npt.NDArray[Any]

# ---- functions that are not built in: files keep their names, and `objects=` supplies them


def mish(z: Any, *, xp: Any) -> Any:
    return z * xp.tanh(xp.logaddexp(z, 0.0))


def cauchy(prediction: Any, target: Any, *, xp: Any) -> Any:
    return xp.sum(xp.log1p((prediction - target) ** 2), axis=-1)


@dataclass(frozen=True)
class Swish:
    beta: float = 1.0

    def __call__(self, z: Any, *, xp: Any) -> Any:
        return z / (1.0 + xp.exp(-self.beta * z))


OBJECTS: dict[str, Callable[..., Any]] = {"mish": mish, "cauchy": cauchy, "Swish": Swish(1.5)}

# ---- records


def records(folder: Path) -> tuple[Array, Array, Array]:
    """Return inputs, targets and weights as they were kept: no generator has to draw the same numbers for ever."""
    x, y, weights = (np.load(folder / f"{name}.npy") for name in ("X", "Y", "W"))
    return x, y, weights


def made_records() -> dict[str, Array]:
    """Return what is kept as records."""
    draw = np.random.default_rng(2026)
    x = draw.normal(size=(600, 5)).astype(np.float32)
    weights = draw.uniform(0.5, 2.0, size=600).astype(np.float32)
    return {"X": x, "Y": x[:, :1] ** 2 - x[:, 1:2], "W": weights}


def classes_of(x: Array) -> Array:
    """Return three classes."""
    return (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)


# ---- model files


def _classes(x: Array, y: Array) -> gd.MLP:
    functions: list[Any] = ["tanh", mish, gd.activations.LeakyReLU(0.2)]
    mlp = gd.MLP([5, 8, 7, 6, 3], activation=functions, seed=7, backend="numpy")
    mlp.fit(x, classes_of(x), epochs=5, loss="cross_entropy", optimizer=gd.Adam(1e-2), batch_size=32, l2=1e-3)
    mlp.extra = {"remark": "three classes", "numbers": [1, 2.5, None]}
    return mlp


def _plain(x: Array, y: Array) -> gd.MLP:
    mlp = gd.MLP([5, 16, 1], seed=1, backend="numpy", precision="float64")
    mlp.fit(x, y, epochs=5, optimizer=gd.SGD(0.01, momentum=0.9))
    return mlp


def _own(x: Array, y: Array) -> gd.MLP:
    mlp = gd.MLP([5, 9, 1], activation=Swish(1.5), bias=False, seed=2, backend="numpy")
    mlp.fit(x, y, epochs=3, loss=cauchy, optimizer="rmsprop")
    return mlp


def _yes_or_no(x: Array, y: Array) -> gd.MLP:
    mlp = gd.MLP([5, 6, 1], activation="softplus", seed=3, backend="numpy", precision=None)
    mlp.fit(x, y[:, 0] > 0, epochs=3, loss="cross_entropy", optimizer="adamw")
    return mlp


def _untrained(x: Array, y: Array) -> gd.MLP:
    return gd.MLP([5, 4, 2], activation="gelu", output="softmax", seed=4, backend="numpy")


MODELS: dict[str, Callable[[Array, Array], gd.MLP]] = {
    "classes": _classes,
    "plain": _plain,
    "own": _own,
    "yes_or_no": _yes_or_no,
    "untrained": _untrained,
}


def answers(mlp: gd.MLP, x: Array, y: Array) -> dict[str, Array]:
    """Return what a network says of the records: its predictions, its loss and its gradient."""
    target = {"classes": classes_of(x), "yes_or_no": y[:, 0] > 0, "two": np.hstack([y, y])}
    kind = "classes" if mlp.sizes[-1] == 3 else "two" if mlp.sizes[-1] == 2 else ""
    found = {"predict": np.asarray(mlp.predict(x))}
    try:
        found["predict_proba"] = np.asarray(mlp.predict_proba(x))
        kind = kind or "yes_or_no"
    except gd.InputError:  # no classifier
        pass
    truth = target.get(kind, y)
    found["loss"] = np.array(mlp.loss(x, truth))
    gradient = mlp.gradient(x, truth)
    return found | {f"gradient {k} {name}": a for k, name, a in _arrays(gradient)}


# ---- checkpoints

Fit = Callable[..., gd.History]


def _numpy(folder: Path) -> tuple[gd.Trainer, Fit, tuple[Any, ...], dict[str, Any]]:
    mlp = gd.MLP([5, 12, 1], activation=mish, seed=3, backend="numpy")
    made = gd.Trainer(mlp, optimizer="adam", batch_size=50, schedule="cosine", l2=1e-3, clip_norm=1.0)
    x, y, _ = records(folder)
    run = {"validation": 0.2, "patience": 4, "metrics": ["r2"], "gradient_norm": True, "retries": 1}
    return made, made.fit, (x, y), {"epochs": 6, "every": "7 steps"} | run


def _numba(folder: Path) -> tuple[gd.Trainer, Fit, tuple[Any, ...], dict[str, Any]]:
    mlp = gd.MLP([5, 8, 1], activation="tanh", seed=3, backend="numba")
    made = gd.Trainer(mlp, optimizer=gd.SGD(0.01, momentum=0.9, nesterov=True), batch_size=17)
    x, y, _ = records(folder)
    return made, made.fit, (x, y), {"epochs": 4, "every": "10 steps"}


def _numba_threads(folder: Path) -> tuple[gd.Trainer, Fit, tuple[Any, ...], dict[str, Any]]:
    mlp = gd.MLP([5, 48, 48, 1], seed=3, backend="numba")  # wide enough for a second thread
    made = gd.Trainer(mlp, optimizer="sgd", batch_size=200)
    x, y, _ = records(folder)
    return made, made.fit, (x, y), {"epochs": 6, "every": "2 steps", "validation": (x[:60], y[:60])}


def _stored(folder: Path) -> tuple[gd.Trainer, Fit, tuple[Any, ...], dict[str, Any]]:
    mlp = gd.MLP([5, 10, 1], seed=3, backend="numpy")
    made = gd.Trainer(mlp, optimizer=gd.AdamW(1e-2), batch_size=20, schedule="reduce_on_plateau", reduction="sum")
    # So little memory that records come in several windows.
    data = gd.Stored(folder / "X.npy", folder / "Y.npy", folder / "W.npy", memory=10_000)
    return made, made.fit, (data,), {"epochs": 4, "every": "7 steps", "validation": 0.1}


CHECKPOINTS: dict[str, Callable[[Path], tuple[gd.Trainer, Fit, tuple[Any, ...], dict[str, Any]]]] = {
    "numpy": _numpy,
    "numba": _numba,
    "numba_threads": _numba_threads,
    "stored": _stored,
}


def run(name: str, folder: Path, checkpoints: Path | None = None) -> dict[str, Array]:
    """Do one of `CHECKPOINTS` on the records in `folder`, and return what it ends with.

    Parameters
    ----------
    checkpoints
        Where its checkpoints are kept, all of them, and from where it goes on; None keeps none.
    """
    made, fit, data, settings = CHECKPOINTS[name](folder)
    if checkpoints is None:
        del settings["every"]
        history = fit(*data, **settings)
    else:
        history = fit(*data, **settings, checkpoint=checkpoints, resume=True, keep=1000)
    found = {f"parameter {k} {kind}": a for k, kind, a in _arrays(made.mlp.parameters)}
    found["loss"] = np.array(history.loss)
    if history.validation_loss[0] is not None:
        found["validation_loss"] = np.array(history.validation_loss, np.float64)
    found["plan"] = np.array(json.dumps(history.plan.as_dict(), sort_keys=True))
    return found


def _arrays(layers: Sequence[gd.Layer]) -> Iterator[tuple[int, str, Array]]:
    for k, layer in enumerate(layers):
        for kind, a in zip("Wb", layer, strict=True):
            if a is not None:
                yield k, kind, np.asarray(a)


# ---- tables

TABLE = "houses.csv"


def write_table(path: Path) -> None:
    """Write a table with numbers, categories, dates, gaps, and a target of either kind."""
    draw = np.random.default_rng(7)
    rows = 150
    area = draw.uniform(50, 250, rows).round(1)
    town = draw.choice(["Ames", "Nevada", "Boone", "Huxley"], rows, p=[0.5, 0.3, 0.18, 0.02])
    days = draw.integers(0, 1500, rows)
    sold = np.datetime64("2021-03-01") + days
    income = draw.lognormal(3, 1, rows).round(2)
    price = (1000 * area + 20000 * (town == "Ames") + 10 * days + draw.normal(0, 5000, rows)).round()
    kind = np.where(price > 190000, "dear", np.where(price > 130000, "fair", "cheap"))
    lines = ["area,town,sold,income,price,kind"]
    for k in range(rows):
        gap = draw.random(3) < (0.1, 0.05, 0.05)
        cells = ["" if hidden else str(a) for hidden, a in zip(gap, (area[k], town[k], sold[k]), strict=True)]
        lines.append(",".join([*cells, f"{income[k]:,.2f}".replace(",", ""), f"{price[k]:.0f}", kind[k]]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


SHORT = ("--epochs", "40", "--seed", "5")
TABLE_MODELS: dict[str, tuple[str, ...]] = {
    "price": ("train", TABLE, "--target", "price", "--ignore", "kind", *SHORT),
    "kind": ("train", TABLE, "--target", "kind", "--ignore", "price", *SHORT),
}

# Two networks, stopped while the second was trained: its folder is one of folders.
CHECKPOINTED = (
    *("train", TABLE, "--target", "price", "--ignore", "kind", "--hidden", "4", "--average", "2", "--seed", "5"),
    *("--epochs", "6", "--l2", "0.01", "--checkpoint", "run", "--every", "2 epochs", "--resume"),
)

# ---- what the commands print as JSON: for each, in a folder that has the table and the models

ONE = ("--hidden", "4", "--epochs", "3")
JSON_COMMANDS: dict[str, tuple[str, ...]] = {
    "train, numbers": TABLE_MODELS["price"],
    "train, classes": ("train", TABLE, "--target", "kind", "--ignore", "price", *ONE),
    "train, everything": (
        *("train", TABLE, "--target", "kind", "--out", "made.safetensors", "--starts", "2", "--epochs", "3"),
        *("--explain", "--profile", "--class-weight", "balanced"),
    ),
    "train, in windows": ("train", TABLE, "--target", "price", "--memory", "1MB", *ONE),
    "evaluate, numbers": ("evaluate", "price.safetensors", TABLE),
    "evaluate, classes": ("evaluate", "kind.safetensors", TABLE),
    "inspect, numbers": ("inspect", "price.safetensors"),
    "inspect, classes": ("inspect", "kind.safetensors"),
    "describe": ("describe", TABLE),
    "describe, numbers": ("describe", TABLE, "--target", "price"),
    "describe, classes": ("describe", TABLE, "--target", "kind"),
    "predict, numbers": ("predict", "price.safetensors", TABLE, "--keep", "area"),
    "predict, classes": ("predict", "kind.safetensors", TABLE),
    "predict, to a file": ("predict", "price.safetensors", TABLE, "--out", "predicted.csv"),
    "export": ("export", "price.safetensors", "price.onnx"),
    "backends": ("backends",),
    "backends, explained": ("backends", "--explain", "--sizes", "8-16-1"),
    "doctor": ("doctor",),
    "compare": ("compare", "bench.json", "bench.json"),
}
BENCH = ("bench", "--sizes", "3-2", "--batch", "4", "--backends", "numpy", "--threads", "1", "--width", "100")
KEPT_BENCH = (*BENCH, "--run", "forward,epoch", "--repeats", "5", "--time-limit", "20", "--to-loss", "1e6")
CALIBRATE = ("calibrate", "--seconds", "0.05", "--force")
EXPLAIN = ("backends", "--explain", "--sizes", "16-64-64-1", "--batch", "256")
SLOW_JSON_COMMANDS: dict[str, tuple[str, ...]] = {
    "bench": (*BENCH, "--run", "forward", "--time-limit", "60", "--to-loss", "1e6", "--seeds", "1"),
    "calibrate": CALIBRATE,
}


# Below these, keys are names of what the machine has.
_OF_THE_MACHINE = ("environment.versions", "environment.variables", "environment.blas", "environment.thread_settings")


def key_paths(value: Any, path: str = "") -> set[str]:
    """Return the keys of an object as ``columns[].name``: those of a list are those that any of its elements has."""
    if path in _OF_THE_MACHINE:
        return set()
    if isinstance(value, Mapping):
        found = {f"{path}.{key}".lstrip(".") for key in value}
        return found.union(*(key_paths(v, f"{path}.{key}".lstrip(".")) for key, v in value.items()))
    if isinstance(value, list):
        return set().union(*(key_paths(v, f"{path}[]") for v in value))
    return set()


# ---- the machine: a calibration is found by it, and bits may depend on it


def machine() -> dict[str, str | int]:
    """Return what a calibration says of the machine that it was made on."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", maxsplit=1)[0]
    except OSError:
        first = ""
    pairs = (line.partition(":") for line in first.splitlines())
    known = {name.strip(): value.strip() for name, _, value in pairs}
    flags = " ".join(sorted((known.get("flags") or known.get("Features") or platform.machine()).split()))
    features = hashlib.sha256(flags.encode()).hexdigest()[:12]
    processor = known.get("model name") or platform.processor() or platform.machine()
    return {"processor": processor, "features": features, "cores": os.cpu_count() or 1}


def calibration_name(of: Mapping[str, str | int], precision: str) -> str:
    """Return the name of the file that keeps the calibration of a machine."""
    kind = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:12]
    return f"calibration-{kind}-{precision}.json"


def versions() -> dict[str, str]:
    """Return the versions that must be the same for a calibration to hold."""
    found = {}
    for name in ("gdkernels", "numpy", "numba", "llvmlite", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    points = sorted(entry_points(group="gdkernels.backends"), key=lambda point: point.name)
    return found | {f"backend {p.name}": f"{p.dist.name} {p.dist.version}" for p in points if p.dist is not None}
