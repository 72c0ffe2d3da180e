"""The report on what is installed and whether it works."""

import json
import logging

import pytest
from plugins import working

from gdkernels.diagnostics import inventory

# Says that tanh is a little more than it is.
WRONG = (
    working("wrong", priority=2)
    + """
    @property
    def xp(self):
        from types import SimpleNamespace
        import numpy
        import array_api_compat.numpy as xp
        return SimpleNamespace(**{**vars(xp), "tanh": lambda a: numpy.tanh(a) * numpy.float32(1.01)})
"""
)


@pytest.fixture(autouse=True)
def installed(plugins):
    plugins.add("good", working("good", priority=3, devices=["one", "two"]), version="2.5")
    plugins.add("wrong", WRONG)
    plugins.add(
        "absent", working("absent", priority=9, unavailable="return 'no driver: install one'", expected="return True")
    )
    plugins.add("broken", "import a_library_that_is_not_there")


def test_report():
    records = {record.name: record for record in inventory.report()}
    assert list(records) == ["absent", "good", "wrong", "broken"]

    good = records["good"]
    assert (good.source, good.priority, good.problem) == ("gdkernels-good 2.5", 3, None)
    assert good.precisions == ("float64", "float32")
    assert [(d.name, d.problem, d.default) for d in good.devices] == [("one", None, True), ("two", None, False)]
    assert all(0 < d.error < 1e-5 for d in good.devices)

    (device,) = records["wrong"].devices
    assert device.error is None
    assert "is wrong: the loss is off by" in device.problem
    assert not device.default

    assert records["absent"].problem == "no driver: install one"
    assert records["absent"].devices == ()
    assert "a_library_that_is_not_there" in records["broken"].problem
    assert records["broken"].priority is None


def test_lines():
    lines = inventory.lines(inventory.report())
    assert len(lines) == 5
    assert lines[0] == "absent  -    no driver: install one  [gdkernels-absent 1.0]"
    assert lines[1].startswith("good    one  PASS (error ")
    assert lines[1].endswith("), default  [gdkernels-good 2.5]")
    assert lines[2].startswith("good    two  PASS (error ")
    assert "default" not in lines[2]
    assert lines[3].startswith("wrong   cpu  FAIL: a training step on cpu is wrong: the loss is off by")
    assert lines[4].startswith("broken  -    its plug-in is broken (ModuleNotFoundError")
    assert inventory.lines([]) == []


def test_the_default_is_what_would_be_chosen(monkeypatch):
    def defaults():
        return [(r.name, d.name) for r in inventory.report() for d in r.devices if d.default]

    assert defaults() == [("good", "one")]
    monkeypatch.setenv("GDKERNELS_DEVICE", "two")
    assert defaults() == [("good", "two")]
    monkeypatch.setenv("GDKERNELS_DEVICE", "three")
    assert defaults() == []
    monkeypatch.delenv("GDKERNELS_DEVICE")
    monkeypatch.setenv("GDKERNELS_BACKEND", "absent")
    assert defaults() == []


def test_it_survives_json():
    records = inventory.as_dicts(inventory.report())
    assert json.loads(json.dumps(records, allow_nan=False))[1]["devices"][0]["name"] == "one"


def test_reporting_does_not_warn(caplog):
    with caplog.at_level(logging.INFO, "gdkernels"):
        inventory.report()
    assert caplog.records == [], "the reason stands in the report already"
