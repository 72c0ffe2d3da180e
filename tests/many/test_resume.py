"""`gd.fit_many` with checkpoints: what was stopped goes on to the bit, and what was done is not done again."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.errors import FileError, InputError, Interrupted
from gdkernels.training.checkpointing import StopSignals
from gdkernels.training.epoch_runner import EpochRunner

RANDOM = np.random.default_rng(4)
X = RANDOM.standard_normal((150, 5)).astype(np.float32)
Y = np.sin(X[:, :2])
SETTINGS = [{"optimizer": gd.Adam(0.002 * (k + 1)), "l2": 0.01 * k, "batch_size": 32} for k in range(5)]


def made():
    return [gd.MLP([5, 8, 2], seed=k, backend="numba") for k in range(5)]


def fit(models, folder=None, **keywords):
    keywords = {"epochs": 6, "validation": 0.2, "patience": 3} | keywords
    checkpoint = {} if folder is None else {"checkpoint": folder}
    return gd.fit_many(models, X, Y, settings=SETTINGS, progress=False, **checkpoint, **keywords)


def bits(models):
    return [{n: np.asarray(a, np.float32).tobytes() for n, a in m.network.host_parameters().items()} for m in models]


def stopping(monkeypatch, after, stop):
    """Call `stop` after so many epochs of all models together."""
    run, done, numbers = EpochRunner.run, [], itertools.count(1)

    def counted(self, *args, **keywords):
        found = run(self, *args, **keywords)
        done.append(self.network.seed)
        if next(numbers) == after:  # of one thread alone
            stop()
        return found

    monkeypatch.setattr(EpochRunner, "run", counted)
    return done


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("after", [8, 20])
def test_after_a_signal_it_goes_on_to_the_bit(tmp_path, monkeypatch, threads, after):
    wanted, found, long = made(), made(), {"epochs": 60, "patience": None} if threads == 2 else {}
    told = fit(wanted, threads=threads, **long)
    heard, note = threading.Event(), StopSignals._note

    def noted(self, number, frame):
        note(self, number, frame)
        heard.set()

    def stop():
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard.wait(60)  # by the main thread, which the system may keep waiting while others do all the work

    with monkeypatch.context() as patch:
        patch.setattr(StopSignals, "_note", noted)
        stopping(patch, after, stop)
        with pytest.raises(Interrupted, match="SIGTERM ended training"):
            fit(found, tmp_path, threads=threads, every="1 epochs", **long)
    with monkeypatch.context() as patch:
        done = stopping(patch, 10**6, None)
        histories = fit(again := made(), tmp_path, threads=threads, resume=True, **long)
    left = sum(len(h.epochs) for h in told) - after
    assert len(done) == left if threads == 1 else 0 < len(done) <= left, "what was done is not done again"
    assert bits(again) == bits(wanted)
    assert [h.validation_loss for h in histories] == [h.validation_loss for h in told]
    assert [(h.best_epoch, h.stop) for h in histories] == [(h.best_epoch, h.stop) for h in told]


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_resume import fit, made
fit(made(), {folder!r}, threads=2, every="1 epochs", epochs=100, patience=None)
"""


def test_after_a_kill_it_goes_on_to_the_bit(tmp_path):
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "kept"))
    process = subprocess.Popen([sys.executable, "-c", script])
    while process.poll() is None and not [*tmp_path.glob("kept/model-0002/step-*")]:
        time.sleep(0.01)
    process.kill()
    process.wait()
    found, wanted = made(), made()
    fit(found, tmp_path / "kept", threads=2, epochs=100, patience=None, resume=True)
    fit(wanted, epochs=100, patience=None)
    assert bits(found) == bits(wanted)


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    wanted = made()
    told = fit(wanted, tmp_path)
    done = stopping(monkeypatch, 10**6, None)
    histories = fit(found := made(), tmp_path, resume=True)
    assert done == []
    assert bits(found) == bits(wanted)
    assert [h.loss for h in histories] == [h.loss for h in told]
    fit(found, tmp_path / "second", epochs=2)  # and the next call goes on from there, as without a break
    fit(wanted, epochs=2)
    assert bits(found) == bits(wanted)


def test_what_cannot_be_resumed_is_refused(tmp_path):
    with pytest.raises(InputError, match="resume=True goes on from checkpoints"):
        fit(made(), resume=True)
    with pytest.raises(InputError, match="how often to write"):
        fit(made(), tmp_path, every="often")
    fit(made(), tmp_path, epochs=1)
    with pytest.raises(FileError, match="has checkpoints already"):
        fit(made(), tmp_path, epochs=1)
    with pytest.raises(FileError, match="cannot go on from .*model-000"):
        fit(made(), tmp_path, epochs=2, resume=True)
