"""``gdkernels backends`` tells of every backend, and fails where a device computes something else."""

from dataclasses import replace

import pytest

from gdkernels.diagnostics import inventory


def test_a_line_for_each_backend(command):
    outcome = command("backends")
    assert (outcome.code, outcome.err) == (0, "")
    (numpy,) = [line for line in outcome.out.splitlines() if line.startswith("numpy ")]
    assert "PASS" in numpy
    assert "default" in numpy
    assert any(line.startswith("cupy ") for line in outcome.out.splitlines())


def test_json_is_one_object(command):
    result = command("backends", "--json").json
    assert list(result) == ["backends"]
    records = {record["name"]: record for record in result["backends"]}
    assert {"numpy", "cupy"} <= set(records)
    (cpu,) = records["numpy"]["devices"]
    assert (cpu["name"], cpu["problem"], cpu["default"]) == ("cpu", None, True)
    assert records["numpy"]["problem"] is None


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_device_that_fails_is_1(command, monkeypatch, arguments):
    real = inventory.report()
    failed = [
        replace(r, devices=tuple(replace(d, error=None, problem="tanh is wrong") for d in r.devices)) for r in real
    ]
    monkeypatch.setattr(inventory, "report", lambda: failed)
    outcome = command("backends", *arguments)
    assert outcome.code == 1
    assert "tanh is wrong" in outcome.out
    assert outcome.err.startswith("gdkernels: ")
    assert "numpy on cpu: not what the definition computes" in outcome.err
    assert outcome.err.count("\n") == 1
