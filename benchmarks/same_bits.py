"""Compare the bits that two checkouts train to: ``python -m benchmarks.same_bits BEFORE AFTER``.

BEFORE and AFTER are folders with a checkout each. Every one of `SETTINGS` is trained with both, in processes of their
own with the same interpreter and the same libraries, and the SHA-256 of what comes out are compared: parameters, the
figures of the history, predictions. A line for each setting says "same", or what differs and by how much, and the exit
code is 1 if anything does. Use it before and after a change that shall move code and not results.

    git worktree add ../before main
    python -m benchmarks.same_bits ../before .
    python -m benchmarks.same_bits ../before . --only numba --only lbfgs

It takes about two minutes on two cores. What runs inside a checkout uses public names alone, so that it works however
the modules are arranged. Equal bits need equal plans: a plan depends on the machine's free memory only where that is
scarce, and calibrations of this machine are not looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Found = dict[str, Array]

# ---- what is trained


@dataclass(frozen=True)
class Setting:
    """One training.

    Attributes
    ----------
    how
        The function of this module that does it, of `TRAININGS`.
    network, trainer, run
        The arguments of `gdkernels.MLP`, `gdkernels.Trainer` and its fit; or of an estimator, its fit and nothing.
        Values that JSON cannot hold have names: `objects_of` tells which.
    records
        How many there are.
    threads
        How many each library may use.
    """

    name: str
    how: str = "fit"
    network: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    records: int = 600
    threads: int = 1


def net(backend: str, *sizes: int, **more: Any) -> dict[str, Any]:
    return {"sizes": list(sizes), "backend": backend, "seed": 5, **more}


def both(name: str, *sizes: int, network: Mapping[str, Any] | None = None, **more: Any) -> Iterator[Setting]:
    """Yield a setting for each of the backends that run on a CPU."""
    for backend in ("numpy", "numba"):
        yield Setting(f"{backend}, {name}", network=net(backend, *sizes, **(network or {})), **more)


def sgd(**more: Any) -> dict[str, Any]:
    return {"class": "SGD", **more}


EPOCHS = {"epochs": 3}
STOPPING = {"epochs": 30, "validation": 0.2, "patience": 2, "metrics": ["r2"], "gradient_norm": True}

SETTINGS: tuple[Setting, ...] = (
    # Plain networks: each backend, each precision, batches that come out even and others.
    *both("relu, Adam, ragged", 8, 32, 32, 2, trainer={"batch_size": 64}, run=EPOCHS),
    *both("float64", 8, 24, 3, network={"precision": "float64", "activation": "tanh"}, run=EPOCHS),
    *both("batches of one", 4, 6, 1, trainer={"batch_size": 1, "optimizer": "sgd"}, run=EPOCHS, records=150),
    *both("width one", 1, 1, 1, 1, network={"activation": "gelu"}, trainer={"batch_size": 7}, run=EPOCHS),
    *both("no hidden layer, no bias", 5, 2, network={"bias": False}, trainer={"loss": "mse"}, run=EPOCHS),
    Setting("numba, bfloat16", network=net("numba", 32, 64, 64, 4, precision="bfloat16"), run=EPOCHS),
    Setting("numpy, tf32", network=net("numpy", 8, 16, 1, precision="tf32"), run=EPOCHS),
    # Optimizers.
    *both("momentum", 8, 16, 1, trainer={"optimizer": sgd(momentum=0.9)}, run=EPOCHS),
    *both("Nesterov", 8, 16, 1, trainer={"optimizer": sgd(momentum=0.8, nesterov=True)}, run=EPOCHS),
    *both("RMSprop", 8, 16, 1, trainer={"optimizer": "rmsprop", "l2": 0.01}, run=EPOCHS),
    *both("AdamW, cosine", 8, 16, 1, trainer={"optimizer": "adamw", "schedule": "cosine"}, run=EPOCHS),
    *both("an optimizer of one's own", 8, 16, 1, trainer={"optimizer": {"class": "Lion"}}, run=EPOCHS),
    # Activations and losses.
    *both(
        "an activation and a loss of one's own", 8, 20, 20, 2,
        network={"activation": {"function": "mish"}}, trainer={"loss": {"function": "cauchy"}}, run=EPOCHS,
    ),
    *both(
        "many activations", 8, 12, 12, 12, 12, 12, 1,
        network={"activation": ["silu", "elu", "softplus", "sigmoid", "leaky_relu"]},
        trainer={"loss": "huber", "clip_norm": 0.5}, run={"epochs": 3, "gradient_norm": True},
    ),
    *both(
        "cross-entropy, weights of records", 8, 24, 4,
        trainer={"loss": "cross_entropy", "batch_size": 50}, run={"epochs": 3, "sample_weight": True},
    ),
    *both("two classes", 8, 24, 1, trainer={"loss": "binary_cross_entropy"}, run=EPOCHS),
    *both("poisson, sums", 8, 12, 1,
          trainer={"loss": "poisson", "reduction": "sum", "optimizer": sgd(learning_rate=1e-4)}, run=EPOCHS),
    *both("softmax within", 8, 12, 3, network={"activation": "softmax", "output": "softmax"}, run=EPOCHS),
    # The course of a fit.
    *both("validation and patience", 8, 40, 1, run=STOPPING,
          trainer={"schedule": "reduce_on_plateau", "optimizer": {"class": "Adam", "learning_rate": 0.1}}),
    *both("the penalty in the loss", 8, 16, 1, trainer={"l2": 0.1, "l2_in_loss": True, "schedule": "step"}, run=EPOCHS),
    *both("divergence and retries", 8, 16, 1, trainer={"optimizer": sgd(learning_rate=9.0)},
          run={"epochs": 4, "retries": 12}),
    *both("several starts", 8, 6, 1, run={"epochs": 3, "starts": 2, "validation": 0.2}, how="starts"),
    *both("single epochs in an order of one's own", 8, 16, 1, trainer={"schedule": "exponential"}, how="epochs"),
    *both("batches as they come", 8, 16, 1, run={"epochs": 2}, how="batches"),
    *both("files, in windows", 8, 16, 1, trainer={"batch_size": 32}, run={"epochs": 2, "validation": 0.1}, how="stored",
          records=3000),
    *both("batches in parts", 8, 16, 1, trainer={"batch_size": 100, "clip_norm": 1.0}, how="parts"),
    *both("stopped and gone on", 8, 16, 1, trainer={"schedule": "inverse_scaling", "batch_size": 60}, how="resumed"),
    # What decides how the CPU engine cuts up a step; large products of BLAS.
    *both("wide", 300, 500, 300, trainer={"batch_size": 256}, run={"epochs": 2}, threads=2),
    *both("wide, few rows", 300, 700, 10, trainer={"batch_size": 24}, run={"epochs": 1}, records=240, threads=2),
    *both("narrow, many rows", 32, 64, 64, 1, trainer={"batch_size": 512}, run=EPOCHS, records=2500, threads=2),
    Setting("numba, narrow, many rows, one thread", network=net("numba", 32, 64, 64, 1),
            trainer={"batch_size": 2048}, run=EPOCHS, records=2500),
    Setting("numba, wide, one thread", network=net("numba", 200, 400, 200),
            trainer={"batch_size": 8}, run={"epochs": 1}),
    Setting("numba, float64, two threads", network=net("numba", 64, 128, 128, 10, precision="float64"),
            trainer={"batch_size": 500}, run=EPOCHS, records=1200, threads=2),
    Setting("numba, norms, two threads", network=net("numba", 64, 128, 10, activation="gelu"),
            trainer={"batch_size": 300, "clip_norm": 0.1}, run={"epochs": 2, "gradient_norm": True}, threads=2),
    Setting("numba, weights, two threads", network=net("numba", 64, 96, 96, 2, activation="tanh"),
            trainer={"batch_size": 200}, run={"epochs": 2, "sample_weight": True}, threads=2),
    # scikit-learn's interface.
    Setting("MLPRegressor, adam", "regressor", {"hidden_layer_sizes": [16], "backend": "numba", "max_iter": 5}),
    Setting("MLPRegressor, lbfgs", "regressor",
            {"hidden_layer_sizes": [8], "solver": "lbfgs", "backend": "numpy", "max_iter": 15, "activation": "tanh"}),
    Setting("MLPRegressor, lbfgs, numba", "regressor",
            {"hidden_layer_sizes": [8], "solver": "lbfgs", "backend": "numba", "max_iter": 15}),
    Setting("MLPRegressor, sgd, adaptive", "regressor",
            {"hidden_layer_sizes": [8, 8], "solver": "sgd", "learning_rate": "adaptive", "backend": "numpy",
             "max_iter": 10, "early_stopping": True}),
    Setting("MLPClassifier, adam", "classifier",
            {"hidden_layer_sizes": [16], "backend": "numpy", "max_iter": 5, "class_weight": "balanced"}),
    Setting("MLPClassifier, lbfgs", "classifier",
            {"hidden_layer_sizes": [8], "solver": "lbfgs", "backend": "numba",
             "max_iter": 15, "activation": "logistic"}),
    Setting("MLPClassifier, part after part", "partly",
            {"hidden_layer_sizes": [8], "solver": "sgd", "backend": "numba"}),
    # From a raw table, by the command line.
    Setting("a table, numbers", "table", {"backend": "numpy"}, run={"target": "price"}, records=200),
    Setting("a table, classes", "table", {"backend": "numba"}, run={"target": "kind"}, records=200),
    Setting("a table, in windows", "table", {"backend": "numpy"},
            run={"target": "price", "memory": "1MB"}, records=800),
)  # fmt: skip

# ---- what is not built in, by name


def mish(z: Any, *, xp: Any) -> Any:
    return z * xp.tanh(xp.logaddexp(z, 0.0))


def cauchy(prediction: Any, target: Any, *, xp: Any) -> Any:
    return xp.sum(xp.log1p((prediction - target) ** 2), axis=-1)


def objects_of(value: Any) -> Any:
    """Return a value of a setting with the objects in place of their names."""
    import gdkernels as gd

    if isinstance(value, Mapping) and "function" in value:
        return {"mish": mish, "cauchy": cauchy}[value["function"]]
    if isinstance(value, Mapping) and "class" in value:
        arguments = {k: v for k, v in value.items() if k != "class"}
        return lion() if value["class"] == "Lion" else getattr(gd, value["class"])(**arguments)
    return value


def lion() -> Any:
    """Return an optimizer as the documentation writes one."""
    import gdkernels as gd

    class Lion(gd.Optimizer):
        learning_rate = 1e-4
        slots = 1

        def rule(self, w: Any, g: Any, slots: Any, *, learning_rate: Any, t: Any, xp: Any) -> Any:
            step = xp.sign(0.9 * slots[0] + 0.1 * g)
            return w - learning_rate * step, (0.99 * slots[0] + 0.01 * g,)

    return Lion()


# ---- how it is trained: in a checkout, by public names alone


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


# ---- a process in a checkout


def work(folder: Path, checkout: Path, names: Sequence[str]) -> int:
    """Do the settings of these names, and leave what came of each in the folder."""
    import gdkernels as gd

    if not Path(str(gd.__file__)).is_relative_to(checkout):
        print(f"{gd.__file__} is not of {checkout}", file=sys.stderr)
        return 1
    warnings.simplefilter("ignore")  # few epochs are no convergence
    for setting in SETTINGS:
        if setting.name not in names:
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
            try:
                found = TRAININGS[setting.how](setting)
            except (gd.BackendError, ImportError) as error:  # such as bfloat16 on a processor that lacks it
                found = {"cannot": np.array(f"{type(error).__name__}: {error}")}
            except Exception as error:
                found = {"failed": np.array(f"{type(error).__name__}: {error}")}
        found["seconds"] = np.array(time.perf_counter() - began)
        np.savez(folder / f"{SETTINGS.index(setting)}.npz", allow_pickle=False, **found)
    return 0


def start(checkout: Path, folder: Path, threads: int, names: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that does settings with a checkout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GDKERNELS_")}
    counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment |= dict.fromkeys(counts, str(threads))
    environment["PYTHONPATH"] = os.pathsep.join((str(checkout), str(checkout / "backends")))
    environment["GDKERNELS_CACHE"] = str(folder / "cache")
    command = [sys.executable, str(Path(__file__).resolve()), "--work", str(folder), str(checkout), *names]
    return subprocess.Popen(command, cwd=folder, env=environment)


def results(checkout: Path, folder: Path, names: Sequence[str]) -> dict[str, Found]:
    """Return what each setting came to with a checkout."""
    for threads in sorted({setting.threads for setting in SETTINGS}):
        chosen = [s.name for s in SETTINGS if s.threads == threads and s.name in names]
        if chosen and start(checkout, folder, threads, chosen).wait():
            raise SystemExit(f"{checkout} cannot be tried")
    found = {}
    for number, setting in enumerate(SETTINGS):
        if setting.name in names:
            with np.load(folder / f"{number}.npz") as arrays:
                found[setting.name] = dict(arrays)
    return found


# ---- the comparison


def digest(a: Array) -> str:
    return hashlib.sha256(f"{a.dtype.str} {a.shape}".encode() + np.ascontiguousarray(a).tobytes()).hexdigest()


def difference(a: Array | None, b: Array | None) -> str:
    """Return in words by how much two arrays differ."""
    if a is None or b is None:
        return "missing" if b is None else "new"
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype}{list(a.shape)} became {b.dtype}{list(b.shape)}"
    if a.dtype.kind != "f":
        return f"{a.tolist()!s:.60} became {b.tolist()!s:.60}"
    with np.errstate(all="ignore"):
        return f"by {np.max(np.abs(a - b)) / np.max(np.abs(a)):.1e} of the largest"


def verdict(before: Found, after: Found) -> tuple[str, str]:
    """Return "same", "neither" or "DIFFERS", and what is to be said of it."""
    names = [name for name in dict.fromkeys([*before, *after]) if name != "seconds"]
    shown = digest(before["parameters"])[:12] if "parameters" in before else ""
    if "failed" in before or "failed" in after:
        return "DIFFERS", f"failed: {before.get('failed', 'not before')}; then: {after.get('failed', 'not after')}"
    if "cannot" in before and "cannot" in after:
        return "neither", str(before["cannot"])
    other = [n for n in names if n not in before or n not in after or digest(before[n]) != digest(after[n])]
    if other:
        return "DIFFERS", ", ".join(f"{n} {difference(before.get(n), after.get(n))}" for n in other)
    return "same", shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two checkouts, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_bits", description=str(__doc__).split("\n", maxsplit=1)[0]
    )
    parser.add_argument("before", metavar="BEFORE", type=Path, help="the folder of a checkout")
    parser.add_argument("after", metavar="AFTER", type=Path, help="the folder of another")
    parser.add_argument("--only", metavar="WORD", action="append", default=[], help="settings with this in their name")
    args = parser.parse_args(arguments)
    names = [s.name for s in SETTINGS if not args.only or any(word in s.name for word in args.only)]
    if not names:
        parser.error(f"no setting has {' or '.join(args.only)} in its name")
    sides = [folder.resolve() for folder in (args.before, args.after)]
    for side in sides:
        if not (side / "gdkernels" / "__init__.py").is_file():
            parser.error(f"{side} is no checkout: it has no gdkernels/__init__.py")
    found = []
    for side in sides:
        folder = Path(tempfile.mkdtemp())
        (folder / "cache").mkdir(mode=0o700)
        try:
            found.append(results(side, folder, names))
        finally:
            shutil.rmtree(folder)
    before, after = found
    verdicts = {name: verdict(before[name], after[name]) for name in names}
    for name, (word, text) in verdicts.items():
        seconds = " ".join(f"{float(side[name]['seconds']):5.1f} s" for side in found)
        print(f"{word:8}{name:58}{seconds}  {text}")
    counts = {word: sum(w == word for w, _ in verdicts.values()) for word in ("same", "neither", "DIFFERS")}
    print(f"{counts['same']} same, {counts['DIFFERS']} different, {counts['neither']} that neither can do here")
    return 1 if counts["DIFFERS"] else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        sys.exit(work(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
    sys.exit(main())
