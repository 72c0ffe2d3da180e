"""The script for machines with a GPU: its command, its processes, and what is left when one of them is ended."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest
from gdkernels_cupy import CuPyBackend, choice
from gdkernels_cupy.persistent import proof
from gdkernels_cupy.persistent.launch_device import DeviceProperties
from persistent_twin import TwinDevice

from benchmarks import checkout
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import (
    conformance,
    first,
    float32,
)
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.item_process import ItemError, ItemProcess
from benchmarks.gpu.parts import FIRST, PARTS, SHORT, GPUItem
from benchmarks.gpu.results import GPUResults
from gdkernels.checking.check import SelfCheck
from gdkernels.errors import FileError

# ---- the command


def test_without_a_gpu_it_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(CuPyBackend, "unavailable", lambda self: "there is no NVIDIA driver")
    monkeypatch.chdir(tmp_path)
    assert main(["--part", "1"]) == 2
    assert "there is nothing to measure: there is no NVIDIA driver" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_it_lists_its_parts(capsys):
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("items") == len(PARTS) == 15
    assert all(sum(item.seconds for item in part.values()) <= 480 for part in PARTS.values())
    assert all(int(minutes) <= 8 for minutes in re.findall(r"at most (\d+) minutes", listed))


@pytest.fixture
def small(monkeypatch):
    """Parts of a GPU that there is not."""
    calls = []

    def fail():
        calls.append("fails")
        raise RuntimeError("as planted")

    parts = {
        "one": {"works": GPUItem(lambda: calls.append("works") or 7, 1), "fails": GPUItem(fail, 1)},
        "two": {"works": GPUItem(lambda: 8, 100), "works too": GPUItem(lambda: 9, 381)},
    }
    monkeypatch.setattr(command, "PARTS", parts)
    monkeypatch.setattr(command, "describe", lambda: {"device": "made up"})
    monkeypatch.setattr(command, "ItemProcess", Here)
    monkeypatch.setattr(CuPyBackend, "unavailable", lambda self: None)
    return calls


class Here:
    """Does items in this process."""

    def value(self, part, item, seconds):
        try:
            return {**command.SHORT, **command.PARTS}[part][item].measure()
        except Exception as error:
            raise ItemError(f"{type(error).__name__}: {error}") from error

    def close(self):
        pass


def test_it_goes_on_where_it_stopped(small, tmp_path, capsys):
    out = tmp_path / "gpu.json"
    assert main(["--out", str(out)]) == 1
    assert main(["--out", str(out)]) == 1
    assert small == ["works", "fails", "fails"], "what failed is tried again, what worked is not"
    parts = json.loads(out.read_text())["parts"]
    assert parts["one"]["works"]["value"] == 7
    assert parts["one"]["fails"]["failed"] == "RuntimeError: as planted"
    assert parts["two"]["works"]["value"] == 8


def test_what_is_interrupted_is_named_and_comes_after_what_has_never_run(small, tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    out = tmp_path / "gpu.json"
    parts = {"one": {"hangs": GPUItem(interrupt, 1), "works": GPUItem(lambda: small.append("works") or 7, 1)}}
    monkeypatch.setattr(command, "PARTS", parts)
    with pytest.raises(KeyboardInterrupt):
        main(["--out", str(out)])
    found = json.loads(out.read_text())["parts"]["one"]
    assert found == {"hangs": {"failed": "the script ended before it did"}}
    with pytest.raises(KeyboardInterrupt):
        main(["--out", str(out)])
    assert json.loads(out.read_text())["parts"]["one"]["works"]["value"] == 7


def test_it_stops_in_time_and_says_what_is_left(small, tmp_path, capsys):
    command = ["--out", str(tmp_path / "gpu.json"), "--part", "2"]
    assert main([*command, "--seconds", "380"]) == 3, "what could last longer is not begun"
    assert "1 items are left" in capsys.readouterr().err
    assert main([*command, "--seconds", "380"]) == 0, "but is, where nothing else is left"


def test_float32_is_proven_by_all_of_the_first_part_alone(small, host, monkeypatch, tmp_path, capsys):
    works, fails = GPUItem(lambda: 1, 1), GPUItem(lambda: 1 / 0, 1)
    for parts, proven in (
        ({FIRST: {"works": works, "fails": fails}}, False),
        ({"another part": {"works": works}}, False),
        ({FIRST: {"works": works, "fails": works}}, True),
    ):
        monkeypatch.setattr(command, "PARTS", parts)
        main(["--out", str(tmp_path / "gpu.json")])
        assert (proof.unproven("float32", 0) is None) == proven
        assert ("in float32 from now on" in capsys.readouterr().out) == proven


def test_results_of_another_machine_are_not_mixed(tmp_path):
    path = tmp_path / "gpu.json"
    GPUResults(path, {"device": "one", "driver": 1}).run("part", "item", lambda: 1)
    with pytest.raises(FileError, match=r"another machine \(driver differ\)"):
        GPUResults(path, {"device": "one", "driver": 2})
    assert GPUResults(path, {"device": "one", "driver": 1}).done("part", "item")
    path.write_text("[]")
    with pytest.raises(FileError, match="does not hold results of a GPU"):
        GPUResults(path, {})


def test_an_item_that_goes_badly_wrong_ends_no_other(tmp_path, monkeypatch):
    """By a process of its own: numbers that JSON has not, a device that has failed, a crash, and no end."""
    path = tmp_path / "gpu.json"
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with closing(ItemProcess("item_worker")) as process:
        results = GPUResults(path, {})
        for item in ("works", "fails", "works again", "breaks the device", "dies", "works at last", "hangs"):
            results.run("part", item, partial(process.value, "part", item, 0.6 if item == "hangs" else 600.0))
    found = json.loads(path.read_text())["parts"]["part"]
    first, *others = (found[item]["value"][0] for item in ("works", "works again", "works at last"))
    assert others[0] == first, "one that only fails leaves the process"
    assert others[1] != first
    assert found["works"]["value"][1:] == ["nan", {"all": ["inf", 1.5], "kinds": {"1": 3, "2": str(print)}}]
    assert found["fails"]["failed"] == "RuntimeError: as planted"
    assert found["breaks the device"]["failed"] == "OSError: an illegal address"
    assert found["dies"]["failed"] == "its process ended with exit code 3: last words"
    assert found["hangs"]["failed"] == "its process did not answer within 1 s"


def test_where_gdkernels_is_not_installed_its_plug_ins_are_found_all_the_same(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    here = {(p.group, p.name, p.value) for p in metadata.distribution("gdkernels").entry_points}
    assert checkout._plugins.__wrapped__() == []
    monkeypatch.setattr(checkout.metadata, "distribution", missing)
    (found,) = metadata.distributions(path=checkout._plugins.__wrapped__())
    assert found.name == "gdkernels"
    assert {(p.group, p.name, p.value) for p in found.entry_points} >= {p for p in here if p[0].startswith("gdkernels")}


def test_its_process_ends_with_the_script():
    code = """if True:
        from benchmarks.gpu.item_process import ItemProcess
        process = ItemProcess("item_worker")
        print(process.value("part", "works", 600.0)[0], flush=True)
        process.value("part", "hangs", 600.0)
    """
    path = os.pathsep.join([str(Path(__file__).parent), checkout.environment()["PYTHONPATH"]])
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}) as script:
        stat = Path(f"/proc/{int(script.stdout.readline())}/stat")
        script.kill()
    while stat.exists() and stat.read_text().rpartition(") ")[2][0] not in "ZX":  # nobody may wait for an orphan
        time.sleep(0.01)


def test_tests_that_are_not_done_in_time_say_how_far_they_came(monkeypatch, tmp_path):
    (tmp_path / "test_long.py").write_text("import time\ndef test_a(): pass\ndef test_b(): time.sleep(600)\n")
    monkeypatch.setattr(conformance, "_SECONDS", 0.6)
    with pytest.raises(AssertionError, match=r"not done in 1 s: \d passed, 0 failed; the last line is '.*'$"):
        conformance._pytest("-v", f"{tmp_path / 'test_long.py'}::test_b")
    said = b"a.py::test_a PASSED [ 25%]\na.py::test_b[1 x] FAILED [ 50%]\na.py::test_c "
    assert conformance._so_far(said) == "1 passed, 1 failed; a.py::test_b[1 x]; the last line is 'a.py::test_c'"


@pytest.mark.slow
def test_the_first_part_runs_to_its_end_and_proves_float32(host, made, monkeypatch, tmp_path, capsys):
    for module in (first, float32):
        monkeypatch.setattr(module, "_TIMES", 2)
    monkeypatch.setattr(float32, "_RECORDS", 300)
    monkeypatch.setattr(float32, "_BATCH", 200)
    monkeypatch.setattr(float32, "_device", lambda: TwinDevice(made))
    monkeypatch.setattr(choice, "CudaLaunchDevice", lambda number: TwinDevice(made))
    monkeypatch.setattr(choice, "properties_of", lambda number: DeviceProperties(90, 232448))
    monkeypatch.setattr(SelfCheck, "problem", lambda *given: None)  # which asks CuPy's own definition
    monkeypatch.setattr(command, "describe", lambda: {"device": "the host"})
    monkeypatch.setattr(command, "ItemProcess", Here)
    assert main(["--part", "1", "--out", str(tmp_path / "gpu.json"), "--seconds", "9000"]) == 0, capsys.readouterr().out
    assert proof.unproven("float32", 0) is None


def test_the_short_way_decides_in_a_quarter_of_an_hour(small, monkeypatch, tmp_path):
    needed = [sum(item.seconds for item in part.values()) for part in SHORT.values()]
    assert sum(needed[:5]) <= 540, "each engine in the first of two runs"
    assert SHORT[FIRST] is PARTS[FIRST]
    assert all(SHORT[part].items() <= PARTS[part].items() for part in SHORT)
    monkeypatch.setattr(command, "SHORT", {"three": {"works": GPUItem(lambda: 3, 700)}})
    assert main(["--short", "--out", str(tmp_path / "gpu.json")]) == 0
    assert list(json.loads((tmp_path / "gpu.json").read_text())["parts"]) == ["three"]
