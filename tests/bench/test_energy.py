"""Energy: counters of a made-up sysfs and of a made-up driver, and what bench makes of them."""

import ctypes
import json
import os
from dataclasses import replace

import pytest
from made_results import repeat, results

from gdkernels.bench.measuring.throughput import _samples_of
from gdkernels.bench.participants.stages import PlacedStage
from gdkernels.bench.processes.client import CallSample, StageCheck
from gdkernels.bench.report.page import as_html
from gdkernels.bench.report.text import as_text
from gdkernels.bench.results import file, read
from gdkernels.bench.sampling import energy
from gdkernels.bench.sampling.energy import NoEnergyError, NvmlMeter, RaplMeter, energy_meter
from gdkernels.errors import FileError

RANGE = 262_143_328_850  # of a counter that was seen


@pytest.fixture
def zones(tmp_path):
    """Return what sets the counters of a machine with two packages, memory, and cores within a package."""
    names = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    (tmp_path / "intel-rapl").mkdir()
    for zone, name in names.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
        (tmp_path / zone / "energy_uj").write_text("7\n")

    def put(**counters):
        for key, value in counters.items():
            (tmp_path / names_of[key] / "energy_uj").write_text(f"{value}\n")

    names_of = {"first": "intel-rapl:0", "cores": "intel-rapl:0:0", "memory": "intel-rapl:0:1",
                "second": "intel-rapl:1", "system": "intel-rapl:2", "again": "intel-rapl-mmio:0"}  # fmt: skip
    put.folder = tmp_path
    return put


def test_packages_and_memory_count_once(zones):
    meter = RaplMeter(zones.folder)
    assert meter.joules() == 0
    zones(first=1_000_007, second=20_000_007, memory=300_000_007, cores=5 * 10**9, system=5 * 10**9, again=5 * 10**9)
    assert meter.joules() == pytest.approx(1 + 20 + 300)
    assert meter.joules() == 0


def test_a_counter_that_begins_again(zones):
    zones(first=RANGE - 2_000_000)
    meter = RaplMeter(zones.folder)
    zones(first=3_000_000)
    assert meter.joules() == pytest.approx(5.0)
    zones(first=3_500_000)
    assert meter.joules() == pytest.approx(0.5)


def test_counters_that_are_not_there(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(NoEnergyError, match="shows no package: this machine has no RAPL, or keeps it from its"):
            RaplMeter(folder)


def test_counters_that_cannot_be_read(zones, monkeypatch):
    (zones.folder / "intel-rapl:1" / "energy_uj").write_text("plenty")
    with pytest.raises(NoEnergyError, match="intel-rapl:1/energy_uj holds no number"):
        RaplMeter(zones.folder)
    (zones.folder / "intel-rapl:1" / "energy_uj").unlink()
    with pytest.raises(NoEnergyError, match=r"intel-rapl:1/energy_uj cannot be read \(.*No such file"):
        RaplMeter(zones.folder)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(NoEnergyError, match="can be read by root alone"):
        RaplMeter(zones.folder)


# ---- NVML


class Driver:
    """NVML with some GPUs; each has counted a thousand joules times its number, and a joule more with each question."""

    def __init__(self, count=1, **errors):
        self._count, self._errors, self._asked = count, errors, 0

    def __getattr__(self, name):
        if self._errors.get(name) == "missing":
            raise AttributeError(name)
        return lambda *arguments: self._errors.get(name, 0) or self._answers[name](*arguments)

    @property
    def _answers(self):
        return {
            "nvmlInit_v2": lambda: 0,
            "nvmlDeviceGetCount_v2": lambda to: self._put(to, self._count),
            "nvmlDeviceGetHandleByIndex_v2": lambda k, to: self._put(to, k.value + 1),
            "nvmlDeviceGetTotalEnergyConsumption": self._energy,
        }

    def _energy(self, handle, to):
        self._asked += 1
        return self._put(to, 10**6 * handle.value * self._asked)

    @staticmethod
    def _put(to, value):
        to._obj.value = value
        return 0


def test_a_gpu():
    meter = NvmlMeter("cuda:0", Driver())
    assert [meter.joules(), meter.joules()] == [1000.0, 1000.0]


@pytest.mark.parametrize(("visible", "expected"), [(None, 2000.0), ("3,1", 2000.0), ("0,2", 3000.0)])
def test_one_of_several_gpus(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert NvmlMeter("cuda:1", Driver(4)).joules() == expected


@pytest.mark.parametrize(
    ("driver", "variables", "why"),
    [
        (Driver(nvmlInit_v2=9), {}, "answers nvmlInit_v2 with error 9"),
        (Driver(nvmlDeviceGetTotalEnergyConsumption=3), {}, "GetTotalEnergyConsumption with error 3"),
        (Driver(nvmlDeviceGetTotalEnergyConsumption="missing"), {}, "is too old"),
        (Driver(2), {}, "CUDA_DEVICE_ORDER=PCI_BUS_ID is needed"),
        (
            Driver(2),
            {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "GPU-1f"},
            "names no number for cuda:0",
        ),
    ],
)
def test_a_gpu_that_does_not_tell(monkeypatch, driver, variables, why):
    for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoEnergyError, match=why):
        NvmlMeter("cuda:0", driver)


def test_no_driver(monkeypatch):
    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(NoEnergyError, match=r"libnvidia-ml.so.1, .*, cannot be loaded"):
        energy_meter("cuda:0")


# ---- results


def with_energy(**changes):
    ours, theirs, *others = results().rows
    first = replace(repeat(0.1, 0.2), calls=(3, 1), **changes)
    return results(rows=(replace(ours, repeats=(first,)), theirs, *others))


def test_the_energy_of_a_call_is_the_mean_over_all(tmp_path):
    found = with_energy(joules=(2.0, 6.0))
    assert found.rows[0].joules == pytest.approx(3.0)
    text = as_text(found)
    assert "an epoch" in text
    assert "  3 J  " in text
    assert "energy that could not" not in text
    assert ">3 J<" in as_html(found)
    file.write(found, tmp_path / "r.json", overwrite=False)
    assert read(tmp_path / "r.json") == found
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["summary"]["joules"] == 3.0


def test_a_reason_stands_where_nobody_can_tell(tmp_path):
    found = with_energy(no_energy="the counter is locked")
    assert found.rows[0].joules is None
    assert "energy that could not be measured\n  cpu: the counter is locked" in as_text(found)
    page = as_html(found)
    assert "no energy" in page
    assert "the counter is locked" in page
    file.write(found, tmp_path / "r.json", overwrite=False)
    assert read(tmp_path / "r.json") == found


@pytest.mark.parametrize(("joules", "why"), [((1.0,), "as many samples"), ((1.0, -1.0), "at least 0")])
def test_energies_that_cannot_be(tmp_path, joules, why):
    wrong = with_energy(joules=(1.0, 1.0))
    text = file.as_json(wrong)
    content = json.loads(text)
    content["rows"][0]["repeats"][0]["joules"] = list(joules)
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(FileError, match=why):
        read(tmp_path / "r.json")


def test_samples_without_a_reading_are_none():
    check = StageCheck(repeat(1.0).before, 1.0, 0.0, None, None)
    samples = [CallSample(1.0, 1.0, 1, joules=1.0), CallSample(1.0, 1.0, 1, no_energy="it is gone")]
    kept = _samples_of(samples, check, check)
    assert (kept.joules, kept.no_energy) == ((), "it is gone")
    assert _samples_of(samples[:1], check, check).joules == (1.0,)


def test_a_process_reads_the_counters_beside_its_samples(zones, monkeypatch):
    from gdkernels.bench.participants.adapters.choose import adapter_of
    from gdkernels.bench.participants.participant import Participant
    from gdkernels.bench.participants.task import TrainingTask
    from gdkernels.bench.processes.server import Server

    monkeypatch.setattr(energy.RaplMeter.__init__, "__defaults__", (zones.folder,))
    server = Server(adapter_of(Participant("numpy", False)), 0.0)
    server.answer({"load": TrainingTask((4, 3, 1), 8, 16).as_dict()})
    question = {"time": 0.01, "stage": "epoch", "placement": "resident"}
    server.answer(question)  # the first one warms up

    stage = server._stages[PlacedStage("epoch", "resident")]
    launch, counted = stage.launch, [0]

    def counting():
        counted[0] += 2_000_000
        zones(first=counted[0] + 7)
        launch()

    monkeypatch.setattr(stage, "launch", counting)
    answer = server.answer(question)
    assert answer["joules"] == pytest.approx(2.0)
    assert answer["no_energy"] is None
    (zones.folder / "intel-rapl:0" / "energy_uj").unlink()
    monkeypatch.setattr(stage, "launch", launch)
    answer = server.answer(question)
    assert answer["joules"] is None
    assert os.path.join("intel-rapl:0", "energy_uj") in answer["no_energy"]
