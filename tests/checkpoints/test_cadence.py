"""The cadence of checkpoints, the number that is kept, and a history of any length in them."""

import math

import numpy as np
import pytest
from training import fit, trainer

import gdkernels as gd
from gdkernels.backend import Plan, State
from gdkernels.files import read_model, write_model
from gdkernels.training.checkpointing import Run
from gdkernels.training.checkpointing.checkpointer import Checkpointer
from gdkernels.training.checkpointing.snapshot import progress_of, put_progress, tensors_of
from gdkernels.training.history import Epoch, History


@pytest.mark.parametrize(
    ("every", "expected"), [("2 epochs", [34, 68, 85]), ("20 steps", [17, 34, 51, 68, 85]), ("1h", [85])]
)
def test_how_often(tmp_path, every, expected):
    """Of 5 epochs of 17 steps, a part ends at the latest with its epoch."""
    fit(trainer(), tmp_path / "c", every=every)
    found = [int(p.stem.split("-")[1]) for p in sorted((tmp_path / "c").glob("step-*"))]
    if every == "20 steps":  # at the first place where it can stop after 20 steps
        assert found == [34, 68, 85]
    else:
        assert found == expected


def test_the_newest_are_kept(tmp_path):
    fit(trainer(), tmp_path / "c", keep=2)
    assert len(list((tmp_path / "c").glob("step-*"))) == 2


def test_large_steps_are_stopped_between(tmp_path, monkeypatch):
    """By their FLOPs, not by the cadence: what takes long must be possible to interrupt."""
    monkeypatch.setattr("gdkernels.training.checkpointing.checkpointer._SEGMENT_FLOPS", 1)
    seen = []
    between = Checkpointer.between_steps
    monkeypatch.setattr(
        Checkpointer, "between_steps", lambda self, *rest: (seen.append(rest[1].middle), between(self, *rest))
    )
    fit(trainer(), tmp_path / "c", every="1h")
    assert len(seen) == 5 * 17 - 1  # the last epoch's end is not between steps


def test_a_history_of_any_length(tmp_path, monkeypatch):
    """So many epochs that a header could not tell of them: half a million, or here fewer, in a smaller one."""
    monkeypatch.setattr("gdkernels.files.model_file._LARGEST_HEADER", 2_000_000)
    epoch = {"validation_loss": math.nan, "learning_rate": 0.1, "seconds": 1e-3, "samples_per_second": 2e5}
    epochs = [
        Epoch(number=k + 4, loss=1 / (k + 1), gradient_norm=None, metrics={"r2": -math.inf}, **epoch)
        for k in range(10_000)
    ]
    mlp = gd.MLP([2, 1], seed=0, backend="numpy")
    arrays = mlp.network.parameters
    state = State(arrays, {name: (w, w) for name, w in arrays.items()}, 7)
    run = Run(History(Plan("numpy", "cpu", "float32", {}), "definition", ""), began=3)
    run.history.epochs = epochs
    write_model(tmp_path / "c", tensors_of(state, run, np.asarray), progress_of(state, run, 10_003))
    assert len(repr(epochs)) > 2_000_000
    tensors, metadata = read_model(tmp_path / "c")
    again = Run(History(run.history.plan, "definition", ""), began=0)
    put_progress(again, metadata, tensors, arrays, tuple(arrays), 2)
    assert repr(again.history.epochs[::100]) == repr(epochs[::100])  # NaN is not equal to itself
    assert len(again.history.epochs) == len(epochs)
