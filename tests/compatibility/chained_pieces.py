"""A fit whose batches are cut into pieces, as it was when the sums of pieces were added one after the other.

    python tests/compatibility/chained_pieces.py FOLDER

ran with the last checkout of that kind, and wrote ``data/chained_pieces``: for each way to sum gradients a checkpoint
in the middle of an epoch, and the parameters of the same fit without an interruption. Never write them anew: they prove
that such fits go on with their sums.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

import gdkernels as gd

WAYS = {"by tile": {"depth_first": True}, "of the whole batch": {"depth_first": False, "by_units": False}}
RECORDS, BATCH, PIECES = 500, 120, 4


def fit(folder, way):
    """Fit from what is in the folder, and return the parameters and the choices of the plan."""
    k = np.arange(RECORDS)  # of whole numbers, so that no generator has to draw the same for ever
    X = (np.stack([k * 7919 % 1009, k * 104_729 % 997, k * 31 % 101], axis=1) / 512.0 - 1.0).astype(np.float32)
    mlp = gd.MLP([3, 17, 2], activation="relu", seed=5, backend="numba")
    told = {"threads": 2, "pieces": PIECES, "vector_width": 8, **WAYS[way]}
    with mock.patch("gdkernels.dispatch.binding.plan_choices", return_value=told):
        settings = {"epochs": 3, "optimizer": gd.SGD(0.1, momentum=0.9), "batch_size": BATCH, "progress": False}
        kept = {"checkpoint": folder, "every": "3 steps", "keep": 99, "resume": True}
        history = mlp.fit(X, X[:, :2] * X[:, 1:], **settings, **kept)
    layers = enumerate(mlp.parameters)
    parameters = {f"{name}{k}": a for k, layer in layers for name, a in zip("Wb", layer, strict=True)}
    return parameters, dict(history.plan.choices)


if __name__ == "__main__":
    for way in WAYS:
        to = Path(sys.argv[1]) / way.replace(" ", "_")
        to.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as made:
            parameters, choices = fit(made, way)
            assert "tree_sums" not in choices
            np.savez(to / "ended.npz", **parameters)
            shutil.copy(sorted(Path(made).glob("step-*"))[1], to)
