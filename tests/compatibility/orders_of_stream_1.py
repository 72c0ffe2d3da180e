"""A fit of so many records that their order is keyed now, as it was when all orders were NumPy's.

    python tests/compatibility/orders_of_stream_1.py FOLDER

ran with the last checkout of that kind, and wrote ``data/orders_of_stream_1``: a checkpoint in the middle of an epoch,
and the parameters of the same fit without an interruption. Never write them anew: they prove that such fits go on.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import gdkernels as gd

RECORDS = 66_000


def fit(folder):
    """Fit from what is in the folder, and return the parameters."""
    k = np.arange(RECORDS)  # of whole numbers, so that no generator has to draw the same for ever
    X = np.stack([k * 7919 % 1009, k * 104_729 % 997], axis=1) / 512.0 - 1.0
    mlp = gd.MLP([2, 3, 1], activation="tanh", seed=5, backend="numpy", precision="float64")
    settings = {"epochs": 3, "optimizer": "sgd", "batch_size": 5000}
    mlp.fit(X, X[:, :1] * X[:, 1:], **settings, checkpoint=folder, every="3 steps", keep=99, resume=True)
    return {f"{name}{k}": a for k, layer in enumerate(mlp.parameters) for name, a in zip("Wb", layer, strict=True)}


if __name__ == "__main__":
    to = Path(sys.argv[1])
    to.mkdir()
    with tempfile.TemporaryDirectory() as made:
        np.savez(to / "ended.npz", **fit(made))
        files = sorted(Path(made).glob("step-*"))
        shutil.copy(files[5], to)
