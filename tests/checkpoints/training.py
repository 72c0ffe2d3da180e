"""A fit that the tests of checkpoints stop and go on with, in this process or as one of its own."""

import sys

import numpy as np

import gdkernels as gd


def data(seed=0, records=203):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(records, 5)).astype(np.float32)
    return x, x[:, :1] ** 2 - x[:, 1:2]


def trainer(backend="numpy", **settings):
    seed, precision = settings.pop("seed", 3), settings.pop("precision", "float32")
    network = {name: settings.pop(name) for name in ("activation", "dropout") if name in settings}
    mlp = gd.MLP([5, 12, 1], seed=seed, backend=backend, precision=precision, **network)
    return gd.Trainer(mlp, **{"optimizer": "adam", "batch_size": 10, "schedule": "cosine"} | settings)


def fit(made, folder=None, **run):
    x, y = run.pop("data", None) or data()
    settings = {"epochs": 5, "validation": 0.2, "patience": 4, "gradient_norm": True}
    kept = {} if folder is None else {"checkpoint": folder, "every": "7 steps", "keep": 1000, "resume": True}
    return made.fit(x, y, **settings | kept | run)


def told(made, history):
    """Return what must be the same to the bit, as text that shows every bit."""
    figures = [
        (e.number, e.loss.hex(), float(e.validation_loss).hex(), float(e.gradient_norm).hex(), e.learning_rate.hex())
        for e in history.epochs
    ]
    parameters = [np.asarray(a).tobytes().hex() for layer in made.mlp.parameters for a in layer]
    return repr((figures, history.best_epoch, history.stopped, parameters))


if __name__ == "__main__":
    folder, backend, *cadence = sys.argv[1:]
    made = trainer(backend)
    history = fit(made, folder, epochs=40, patience=None, keep=3, **({"every": cadence[0]} if cadence else {}))
    print(told(made, history))
