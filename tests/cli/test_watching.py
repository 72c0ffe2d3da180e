"""``gdkernels train`` says what it does while it does it: memory, a log as JSON, time and memory by phase."""

import json
import logging
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.cli import watching
from gdkernels.logs import JsonLines
from gdkernels.system import profiling

QUICK = ("--epochs", "3", "--hidden", "8", "--average", "2")
WINDOWS = ("--memory", "4.5kB", "--average", "1", "--batch-size", "32")


def lines(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("more", [(), ("--hidden", "1500,1500", "--epochs", "1"), WINDOWS])
def test_memory_is_said_before_training(command, numbers, tmp_path, more):
    """On stderr where it is worth it, and always in the log, which has the order in which things were said."""
    outcome = command("train", numbers, "--target", "y", *QUICK, *more, "--log-json", tmp_path / "log", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("gdkernels: memory: at most") == outcome.err.count("\n") == bool(more)
    told = lines(tmp_path / "log")
    events = [line.get("event") for line in told]
    assert events.index("memory") < events.index("epoch")
    memory = told[events.index("memory")]
    assert memory["total"] == outcome.json["memory"] > memory["now"] > 1e6
    assert (memory["records"] > 0) == (more == WINDOWS)


def test_the_log(command, numbers, tmp_path):
    kept = ("--checkpoint", tmp_path / "c", "--every", "1 epochs")
    assert command("train", numbers, "--target", "y", *QUICK, *kept, "--log-json", tmp_path / "log").code == 0
    told = lines(tmp_path / "log")
    assert all(datetime.fromisoformat(line["time"]).tzinfo and line["message"] for line in told)
    epochs = [line for line in told if line.get("event") == "epoch"]
    assert [line["number"] for line in epochs] == 2 * [1, 2, 3]
    assert epochs[0]["level"] == "debug"
    assert epochs[0].keys() >= {"loss", "validation_loss", "learning_rate", "samples_per_second", "metrics"}
    folders = [line["file"].split("/")[-2] for line in told if line.get("event") == "checkpoint"]
    assert set(folders) == {"network-1", "network-2"}
    before = len(told)
    outcome = command("train", numbers, "--target", "y", *QUICK, *kept, "--log-json", tmp_path / "log")
    assert outcome.code == 2
    told = lines(tmp_path / "log")
    assert len(told) > before  # a log is gone on with, never replaced
    assert told[-1].items() >= {"level": "error", "event": "end", "error": "FileError"}.items()
    assert f"gdkernels: {told[-1]['message']}" in outcome.err


def test_a_log_that_cannot_be_written(command, numbers, tmp_path, refused, monkeypatch):
    refused("cannot write .*: no such file or directory", "train", numbers, "--target", "y", "--log-json", "/none/log")

    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            pass

        close = flush

    file = watching._file

    def full(path):
        log = file(path)
        log.setStream(Full()).close()
        return log

    monkeypatch.setattr(watching, "_file", full)
    outcome = command("train", numbers, "--target", "y", *QUICK, "--log-json", tmp_path / "log")
    assert outcome.code == 0
    assert outcome.err.count("log cannot be written any more; training goes on without") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which is always full")
def test_a_log_on_a_full_disk_costs_nothing(command, numbers, tmp_path):
    """What is left in its buffer cannot be written when it is closed either."""
    outcome = command("train", numbers, "--target", "y", *QUICK, "--log-json", "/dev/full", "--out", tmp_path / "m")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("full cannot be written any more; training goes on without") == 1
    assert (tmp_path / "m").exists()


def test_a_log_whose_disk_is_full_at_the_end_is_said_to_lack_something(command, numbers, tmp_path, monkeypatch):
    close = logging.FileHandler.close

    def full(handler):
        close(handler)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logging.FileHandler, "close", full)
    outcome = command("train", numbers, "--target", "y", *QUICK, "--log-json", tmp_path / "log")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("log cannot be written any more; this log is not complete") == 1


def test_logging_is_left_as_it_was(command, numbers, tmp_path):
    logger = logging.getLogger("gdkernels")
    before = logger.level, list(logger.handlers)
    command("train", numbers, "--target", "y", *QUICK, "--log-json", tmp_path / "log")
    assert (logger.level, logger.handlers) == before


def test_what_is_not_finite_is_null():
    record = logging.makeLogRecord({"msg": "x", "told": {"loss": float("nan"), "metrics": {"r2": -float("inf")}}})
    assert json.loads(JsonLines().format(record)).items() >= {"loss": None, "metrics": {"r2": None}}.items()


def test_an_epoch_is_told_to_whoever_listens(caplog):
    x = np.ones((8, 2), np.float32)
    with caplog.at_level(logging.DEBUG, "gdkernels"):
        history = gd.MLP([2, 1], seed=0, backend="numpy").fit(x, x[:, :1], epochs=2)
    told = [record.told for record in caplog.records if hasattr(record, "told")]
    assert [t["event"] for t in told] == ["memory", "epoch", "epoch"]
    assert told[-1] == {"event": "epoch", **vars(history.epochs[-1])}


@pytest.mark.parametrize("more", [(), WINDOWS])
def test_the_profile(command, numbers, tmp_path, more):
    arguments = ("train", numbers, "--target", "y", *QUICK, *more)
    told = command(*arguments, "--profile", "--json", "--out", tmp_path / "m").json
    profile = told["profile"]
    own = {"surveying", "waiting for records"} if more else set()
    assert {"reading", "preparing", "training", "validating", "judging", "writing", "else"} | own <= profile.keys()
    assert sum(p["seconds"] for p in profile.values()) > told["seconds"] > profile["training"]["seconds"] > 0
    assert all(0 < p["memory"] <= p["peak"] <= profile["else"]["peak"] for p in profile.values())
    text = command(*arguments, "--profile").out
    assert f"\n{'phase':<20}  seconds   share    memory      peak\nreading " in text
    assert "phase" not in command(*arguments).out


def test_a_phase_within_another_is_counted_once(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: next(clock))
    with profiling.profiled() as profile:  # 0
        with profiling.phase("outer"), profiling.phase("inner"):  # 10, 20
            pass  # 30, 40
        with profiling.phase("outer"):  # 50
            pass  # 60
    assert {name: p["seconds"] for name, p in profile.as_dict().items()} == {"outer": 30, "inner": 10, "else": 30}
    with profiling.phase("outer"):
        pass
    assert profile.phases["outer"].seconds == 30
