"""The doctor finds what is planted, says how to mend it, and is content with a sound installation."""

import importlib.metadata
import json
import os

import pytest
from plugins import working

from gdkernels.cli import main
from gdkernels.diagnostics import doctor


@pytest.fixture(autouse=True)
def sound(plugins, monkeypatch, tmp_path):
    """Return to a sound installation: one backend, a cache, enough cores."""
    plugins.add("good", working("good"))
    for name in (*doctor._VARIABLES, "GDKERNELS_BACKEND", "GDKERNELS_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [{"internal_api": "openblas", "num_threads": 1}])
    monkeypatch.setattr(doctor, "cpu_quota", lambda: None)


def problems():
    return {f.subject: f.text for f in doctor.examine() if f.level == "problem"}


def found_version(monkeypatch, **versions):
    real = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions.get(name.replace("-", "_")) or real(name))


def test_a_sound_installation():
    findings = {f.subject: f for f in doctor.examine()}
    assert not problems()
    assert "good on cpu" in findings["default"].text
    assert "a training step is right" in findings["good cpu"].text
    assert f"numpy {importlib.metadata.version('numpy')}" in findings["packages"].text


def test_an_old_package(monkeypatch):
    found_version(monkeypatch, numpy="1.26.4")
    assert problems()["numpy"] == "1.26.4 is too old: pip install --upgrade 'numpy>=2.0'"


def test_a_prerelease_is_older_than_its_release(monkeypatch):
    found_version(monkeypatch, numpy="2.0.0rc1")
    assert problems()["numpy"] == "2.0.0rc1 is too old: pip install --upgrade 'numpy>=2.0'"


def test_a_version_that_is_none_is_no_problem(monkeypatch):
    found_version(monkeypatch, numpy="of the night")
    assert "numpy" not in problems()


def test_what_another_python_needs_is_not_asked_for(monkeypatch):
    wishes = ["numpy>=99; python_version < '3'", "tqdm>=99; python_version < '3' and extra == 'test'", "numpy<99"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wishes)
    assert {"numpy", "tqdm"}.isdisjoint(problems())


def test_a_package_that_is_missing(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "tqdm":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert problems()["tqdm"].startswith("is not installed: pip install 'tqdm>=")


def test_a_broken_release_and_rivals(monkeypatch):
    found_version(monkeypatch, cupy_cuda12x="14.1.0", cupy_cuda13x="14.2.0")
    found = [f.text for f in doctor.examine() if f.level == "problem" and f.subject == "cupy-cuda12x"]
    assert found == [
        "14.1.0 is too old: pip install --upgrade 'cupy-cuda12x>=14.2'",
        "cupy-cuda12x and cupy-cuda13x bring the same package: pip uninstall all but one",
    ]


def test_a_backend_that_computes_something_else(plugins):
    plugins.add(
        "wrong",
        working("wrong")
        + """
    def to_numpy(self, x):
        return super().to_numpy(x) * 1.5
""",
    )
    assert "is wrong: " in problems()["wrong cpu"]
    assert "update gdkernels-wrong 1.0, or use another --backend" in problems()["wrong cpu"]


def test_hardware_that_cannot_be_used(plugins):
    plugins.add(
        "gpu", working("gpu", priority=9, unavailable="return 'no driver: install one'", expected="return True")
    )
    assert "no driver: install one" in problems()["default"]


def test_an_environment_that_names_what_is_not_there(monkeypatch):
    monkeypatch.setenv("GDKERNELS_BACKEND", "godo")
    assert "unknown backend 'godo'. Did you mean 'good'?" in problems()["default"]


def test_a_cache_that_others_can_write(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    assert "can be written by others (chmod 700 it)" in problems()["cache"]


def test_oversubscribed_threads(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [{"internal_api": "mkl", "num_threads": cores + 1}])
    assert f"mkl starts {cores + 1} threads on {cores} cores" in problems()["threads"]
    assert f"export OMP_NUM_THREADS={cores}" in problems()["threads"]


@pytest.mark.parametrize("value", ["0", "-1", "many", ""])
def test_a_number_of_threads_that_is_none(monkeypatch, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert f"OMP_NUM_THREADS={value!r} is no number of threads" in problems()["threads"]


@pytest.mark.parametrize(("quota", "said"), [(0.5, True), (None, False), (1e6, False)])
def test_a_container_with_less_time_than_cores(monkeypatch, quota, said):
    monkeypatch.setattr(doctor, "cpu_quota", lambda: quota)
    notes = [f.text for f in doctor.examine() if (f.subject, f.level) == ("threads", "note")]
    assert any("gets 0.5 cores' time" in text and "OMP_NUM_THREADS=1" in text for text in notes) is said


def test_the_number_of_threads_and_why(monkeypatch):
    monkeypatch.setenv("GDKERNELS_THREADS", "1")
    assert "1 thread (GDKERNELS_THREADS=1) at most" in next(f.text for f in doctor.examine() if f.subject == "threads")
    monkeypatch.setenv("GDKERNELS_THREADS", "few")
    assert "GDKERNELS_THREADS='few' is no number of threads" in problems()["threads"]


# ---- the command


def test_the_command(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "PROBLEM" not in out
    assert out.count("\n") >= 7


def test_problems_end_with_1(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert main(["doctor", "--json"]) == 1
    out, err = capsys.readouterr()
    assert {"ok", "problem"} <= {f["level"] for f in json.loads(out)["findings"]}
    assert err == "gdkernels: 1 to mend: threads\n"
