"""Fits that ranks share, and what must be equal of them: for the tests of this folder."""

import hashlib

import numpy as np

import gdkernels as gd

STREAM = np.random.default_rng(0)
X = STREAM.standard_normal((203, 6)).astype(np.float32)  # the last batch is smaller, and some of its shards are
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2], X[:, 3]], axis=1)
CLASSES = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
WEIGHTS = STREAM.random(len(X))
SHARDS = 6

BACKENDS = ("numpy", "numba")


def digest(model):
    arrays = model.network.host_parameters().values()
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def trained(group, shards=SHARDS, backend="numpy", sizes=(6, 9, 3), data=(X, Y), **settings):
    network = {name: settings.pop(name) for name in ("dropout", "norm", "precision") if name in settings}
    model = gd.MLP(sizes, seed=0, backend=backend, **network)
    run = {"epochs": 4, "batch_size": 40, "optimizer": "adam"} | settings
    history = model.fit(*data, group=group, shards=shards, progress=False, **run)
    told = [(e.loss, e.validation_loss, e.gradient_norm, e.metrics) for e in history.epochs]
    return digest(model), told, history
