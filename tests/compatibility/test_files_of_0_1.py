"""Files that version 0.1 wrote are read by this one, and mean the same.

`make_data` wrote them. Only public names and the command line are used here: modules may move, files stay readable.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kept
import numpy as np
import pytest

import gdkernels as gd
from gdkernels.cli import main

DATA = kept.DATA / "0_1"
MADE_ON = json.loads((DATA / "made_on.json").read_text(encoding="utf-8"))
KEYS = json.loads((DATA / "json_keys.json").read_text(encoding="utf-8"))

# Another processor, another BLAS or another version sums in another order: float32 then agrees to some 1e-6.
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
# The same after a hundred steps.
TRAINED: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-5}

Command = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return what runs the command line on NumPy."""
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    monkeypatch.delenv("GDKERNELS_DEVICE", raising=False)

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the files, and go there."""
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "data"


def is_same_machine() -> bool:
    """Return whether this processor has the features of the one that the files were made on."""
    return bool(kept.machine()["features"] == MADE_ON["machine"]["features"])


def is_repeated(before: Any, now: Any) -> bool:
    """Return whether a run has the plan that it was begun with, and the versions: its bits are then the same.

    Choices and libraries that have come since do not count.
    """
    old, new = json.loads(str(before)), json.loads(str(now))
    installed = kept.versions()
    return (
        (old["backend"], old["device"]) == (new["backend"], new["device"])
        and all(new["choices"].get(k) == v for k, v in old["choices"].items())
        and all(installed.get(k) == v for k, v in MADE_ON["versions"].items())
    )


def expected(file: str, name: str) -> dict[str, Any]:
    with np.load(DATA / file) as arrays:
        return {k.removeprefix(f"{name}: "): arrays[k] for k in arrays.files if k.startswith(f"{name}: ")}


# ---- networks


@pytest.mark.parametrize("name", kept.MODELS)
def test_a_network_predicts_what_it_did(name: str, tmp_path: Path) -> None:
    mlp = gd.load(DATA / f"{name}.safetensors", backend="numpy", objects=kept.OBJECTS)
    x, y, _ = kept.records(DATA)
    mlp.save(tmp_path / "again.safetensors")
    again = gd.load(tmp_path / "again.safetensors", backend="numpy", objects=kept.OBJECTS)
    for network in (mlp, again):
        found, before = kept.answers(network, x, y), expected("answers.npz", name)
        assert found.keys() == before.keys()
        for what, a in before.items():
            assert found[what].dtype == a.dtype, what
            np.testing.assert_allclose(found[what], a, **CLOSE, err_msg=what)


def test_what_a_network_is() -> None:
    mlp = gd.load(DATA / "classes.safetensors", backend="numpy", objects=kept.OBJECTS)
    assert mlp.sizes == (5, 8, 7, 6, 3)
    assert mlp.activations == (gd.activations.tanh, kept.mish, gd.activations.LeakyReLU(0.2))
    assert mlp.output is gd.activations.softmax
    assert (mlp.bias, mlp.seed, mlp.precision) == (True, 7, "float32")
    assert mlp.extra == {"remark": "three classes", "numbers": [1, 2.5, None]}
    assert gd.load(DATA / "plain.safetensors", backend="numpy").precision == "float64"
    assert not gd.load(DATA / "own.safetensors", backend="numpy", objects=kept.OBJECTS).bias


def test_functions_that_are_not_built_in_are_asked_for() -> None:
    with pytest.raises(gd.InputError, match="'mish' is not built in"):
        gd.load(DATA / "classes.safetensors")


def test_a_network_can_be_trained_on() -> None:
    mlp = gd.load(DATA / "classes.safetensors", backend="numpy", objects=kept.OBJECTS)
    x, _, _ = kept.records(DATA)
    before = mlp.loss(x, kept.classes_of(x))
    assert mlp.fit(x, kept.classes_of(x), epochs=2, loss="cross_entropy").loss[-1] < before


# ---- networks with the preparation of a table


@pytest.mark.parametrize("name", kept.TABLE_MODELS)
@pytest.mark.usefixtures("folder")
def test_a_model_of_a_table_predicts_what_it_did(name: str, command: Command) -> None:
    outcome = command("predict", f"{name}.safetensors", kept.TABLE, "--out", "found.csv")
    assert outcome.code == 0, outcome.err
    texts = (path.read_text(encoding="utf-8") for path in (Path("found.csv"), DATA / f"{name}_predicted.csv"))
    found, before = ([*csv.reader(text.splitlines())] for text in texts)
    assert found[0] == before[0]
    assert len(found) == len(before) == 151
    first = 1 if name == "kind" else 0  # before it comes the class
    assert [row[:first] for row in found] == [row[:first] for row in before]
    numbers, others = (np.array([row[first:] for row in rows[1:]], np.float64) for rows in (found, before))
    np.testing.assert_allclose(numbers, others, **CLOSE)


@pytest.mark.parametrize("name", kept.TABLE_MODELS)
@pytest.mark.usefixtures("folder")
def test_a_model_of_a_table_is_as_good_as_it_was(name: str, command: Command) -> None:
    found = command("evaluate", f"{name}.safetensors", kept.TABLE, "--json").json
    before = json.loads((DATA / f"{name}_evaluated.json").read_text(encoding="utf-8"))
    figures = before.pop("metrics")
    assert {figure: found["metrics"][figure] for figure in figures} == pytest.approx(figures, rel=1e-4)
    assert {key: found[key] for key in before} == before


@pytest.mark.parametrize("name", kept.TABLE_MODELS)
@pytest.mark.usefixtures("folder")
def test_a_model_of_a_table_is_the_average_of_several_networks(name: str, command: Command) -> None:
    told = command("inspect", f"{name}.safetensors", "--json").json
    assert told["sizes"] == [12, 5 * 256, 1 if name == "price" else 3]
    assert len(told["history"]) == 5
    assert {c["kind"] for c in told["columns"]} == {"number", "category", "date", "dropped"}
    assert gd.load(f"{name}.safetensors", backend="numpy").network.predict(np.zeros((2, 12))).shape[0] == 2


# ---- checkpoints


@pytest.mark.parametrize("name", kept.CHECKPOINTS)
def test_a_run_goes_on_from_its_checkpoint(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """To the bit where plan, versions and processor are those that it was begun with; else to rounding, and it says so.

    The number of threads of BLAS is the process's and a part of the plan, and so is that of a compiled engine, which
    does not repeat a plan that asks for more threads than there are cores.
    """
    if name.startswith("numba"):
        pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    caplog.set_level(logging.INFO, "gdkernels")
    shutil.copytree(DATA / "checkpoints" / name, tmp_path / "c")
    found, before = kept.run(name, DATA, tmp_path / "c"), expected("ends.npz", name)
    messages = [record.getMessage() for record in caplog.records]
    assert any(m.startswith("going on from") and " steps" in m for m in messages), messages  # and within an epoch

    same = is_repeated(before.pop("plan"), found.pop("plan"))
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert any("to rounding, not to the bit" in m for m in warned) == (not same), warned
    assert found.keys() == before.keys()
    for what, a in before.items():
        np.testing.assert_allclose(found[what], a, **TRAINED, err_msg=what)
        if same and is_same_machine():
            assert found[what].tobytes() == a.tobytes(), what


@pytest.mark.parametrize("name", kept.CHECKPOINTS)
def test_a_run_is_what_it_was(name: str, tmp_path: Path) -> None:
    """A run that nobody stopped comes to the same, with checkpoints and without."""
    if name.startswith("numba"):
        pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    before = expected("ends.npz", name)
    whole, without = kept.run(name, DATA, tmp_path / "c"), kept.run(name, DATA)
    same = is_repeated(before.pop("plan"), whole["plan"])
    for what, a in before.items():
        np.testing.assert_allclose(whole[what], a, **TRAINED, err_msg=what)
        if same and is_same_machine():
            assert whole[what].tobytes() == a.tobytes(), what
        if what.startswith("parameter"):
            assert whole[what].tobytes() == without[what].tobytes(), what


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    shutil.copytree(DATA / "checkpoints" / "numpy", tmp_path / "c")
    made = gd.Trainer(gd.MLP([5, 12, 1], activation=kept.mish, seed=3, backend="numpy"), batch_size=49)
    x, y, _ = kept.records(DATA)
    with pytest.raises(gd.FileError, match="cannot go on from"):
        made.fit(x, y, epochs=6, checkpoint=tmp_path / "c", resume=True)


@pytest.mark.usefixtures("folder")
def test_a_run_on_a_table_goes_on(command: Command, caplog: pytest.LogCaptureFixture) -> None:
    outcome = command(*kept.CHECKPOINTED, "--json")
    assert outcome.code == 0, outcome.err
    messages = [record.getMessage() for record in caplog.records]
    assert sum(m.startswith("going on from") for m in messages) == 2, messages  # each of two networks from its own
    before = json.loads((DATA / "run_ended.json").read_text(encoding="utf-8"))
    assert outcome.json["metrics"] == pytest.approx(before, rel=1e-4)


# ---- measurements


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "SAME"), (2.0, "SLOWER"), (0.5, "FASTER")])
def test_results_of_a_benchmark_are_compared(factor: float, verdict: str, command: Command) -> None:
    outcome = command("compare", "bench.json", "bench.json", "--json")
    assert outcome.code == 0, outcome.err
    assert [(row["piece"], row["contender"]["name"]) for row in outcome.json["rows"]] == [
        ("forward", "numpy"),
        ("epoch", "numpy"),
    ]
    content = json.loads(Path("bench.json").read_text(encoding="utf-8"))
    for name, times in {"before.json": 1.0, "after.json": factor}.items():
        for row in content["rows"]:
            for repeat in row["repeats"]:
                samples = len(repeat["seconds"])
                repeat["seconds"] = [1e-3 * times] * samples
                for beside in ("clock_seconds", "product_seconds"):  # as if nobody else had been on the machine
                    repeat[beside] = [1e-3] * samples
        Path(name).write_text(json.dumps(content), encoding="utf-8")
    outcome = command("compare", "before.json", "after.json", "--json")
    assert {row["verdict"] for row in outcome.json["rows"]} == {verdict}
    assert outcome.code == (verdict == "SLOWER")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder that holds the calibration as if it had been made here, by these versions."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    content = json.loads((DATA / "calibration.json").read_text(encoding="utf-8"))
    text = json.dumps(content | {"machine": kept.machine(), "versions": kept.versions()})
    (folder / kept.calibration_name(kept.machine(), content["precision"])).write_text(text, encoding="utf-8")
    monkeypatch.setenv("GDKERNELS_CACHE", str(folder))
    return folder


def test_a_calibration_is_used(cache: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def explained() -> dict[tuple[str, int | None], Any]:
        outcome = command(*kept.EXPLAIN, "--json", "--backend", "auto")
        assert outcome.code == 0, outcome.err
        return {(e["backend"], e["threads"]): e for e in outcome.json["estimates"]}

    monkeypatch.setenv("GDKERNELS_BACKEND", "")
    content = json.loads((DATA / "explained.json").read_text(encoding="utf-8"))
    before = {(e["backend"], e["threads"]): e for e in content["estimates"]}
    found = explained()
    known = [key for key in found.keys() & before.keys() if before[key]["seconds"] is not None]
    assert ("numpy", None) in known
    for key in known:
        assert found[key]["source"] == before[key]["source"] == "by the calibration of this machine"
        assert found[key]["seconds"] == pytest.approx(before[key]["seconds"], rel=1e-9)
    for file in cache.glob("calibration-*"):
        file.unlink()
    assert explained()["numpy", None]["source"] == "by the shipped table"


# ---- what the commands print


def lacking(name: str, value: Any) -> set[str]:
    """Return the keys that an object had and has no more."""
    return set(KEYS[name]) - kept.key_paths(value)


@pytest.mark.parametrize("name", kept.JSON_COMMANDS)
@pytest.mark.usefixtures("folder")
def test_json_has_the_keys_that_it_had(name: str, command: Command) -> None:
    if name == "export":
        pytest.importorskip("onnx", reason="onnx is not installed")
    outcome = command(*kept.JSON_COMMANDS[name], "--json")
    assert outcome.code == 0 or name == "doctor", outcome.err
    assert not lacking(name, outcome.json)


@pytest.mark.slow
@pytest.mark.parametrize("name", kept.SLOW_JSON_COMMANDS)
@pytest.mark.usefixtures("folder", "cache")
def test_json_of_measurements_has_the_keys_that_it_had(name: str, command: Command) -> None:
    outcome = command(*kept.SLOW_JSON_COMMANDS[name], "--json")
    assert outcome.code == 0, outcome.err
    assert not lacking(name, outcome.json)


@pytest.mark.usefixtures("folder")
def test_lines_of_the_log_have_the_keys_that_they_had(command: Command) -> None:
    outcome = command("train", kept.TABLE, "--target", "price", *kept.ONE, "--log-json", "run.log")
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in Path("run.log").read_text(encoding="utf-8").splitlines()]
    for name in (name for name in KEYS if name.startswith("log, ")):
        of_a_kind = [line for line in lines if line.get("event", "message") == name.removeprefix("log, ")]
        assert of_a_kind, name
        assert not lacking(name, of_a_kind) - {key for line in of_a_kind for key in line}


# ---- the files themselves


def test_files_are_small_and_name_no_folder_of_the_machine() -> None:
    files = [path for path in DATA.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 600_000
    for path in files:
        content = path.read_bytes()
        assert not [p for p in (b"/tmp", b"/root", b"/home", os.fsencode(kept.DATA)) if p in content], path
