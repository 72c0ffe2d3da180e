"""Plug-ins, found and chosen: what is broken, missing or named twice, and what is said about it."""

import logging
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from plugins import environment, working

from gdkernels.dispatch import choosing, registry
from gdkernels.errors import BackendError, InputError

NO_CARD = working(
    "card", priority=9, devices=["card:0"], unavailable="return 'no driver: install one'", expected="return True"
)

BROKEN = {
    "ImportError at load": ("import a_library_that_is_not_there", "a_library_that_is_not_there"),
    "no such attribute": ("Backed = None", "has no attribute 'Backend'"),
    "exception in unavailable": (working("odd", unavailable="raise OSError('boom')"), "OSError: boom"),
    "exception in devices": (working("odd").replace("return ['cpu']", "raise OSError('boom')"), "OSError: boom"),
    "no devices": (working("odd", devices=[]), "has no devices"),
    "not a Backend": ("class Backend: pass", "is not a gdkernels.backend.Backend"),
    "abstract": ("from gdkernels.backend import Backend", "abstract"),
    "another name": (working("even"), "registered as 'odd' and calls itself 'even'"),
    "a wrong priority": (working("odd", priority="'high'"), "priority is 'high'"),
    "a wrong precision": (working("odd", precisions=("float16",)), "precisions are ('float16',)"),
    "no precision": (working("odd", precisions=()), "precisions are ()"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_does_not_break_the_others(plugins, case, caplog):
    source, reason = BROKEN[case]
    plugins.add("odd", source, version="7.1")
    plugins.add("plain", working("plain", priority=-5))

    found = registry.find()
    assert set(found) == {"odd", "plain"}
    assert reason in found["odd"].problem
    assert found["odd"].source == "gdkernels-odd 7.1"
    assert found["plain"].problem is None
    assert registry.get("plain").name == "plain"
    with caplog.at_level(logging.INFO, "gdkernels"):
        assert choosing.choose().backend.name == "plain"
    assert "odd cannot run here" in caplog.text, "whoever looks for it is told"

    with pytest.raises(BackendError, match="'odd' cannot run here: its plug-in is broken") as error:
        registry.get("odd")
    assert reason in str(error.value)


def test_two_of_one_name_is_an_error_that_names_both(plugins):
    plugins.add("twin", distribution="left-twin", version="1.0")
    plugins.add("twin", distribution="right-twin", version="2.0")
    plugins.add("plain")
    for ask in (lambda: registry.get("twin"), registry.find, choosing.choose):
        with pytest.raises(BackendError, match=r"two backends are named 'twin'") as error:
            ask()
        assert "left-twin 1.0" in str(error.value)
        assert "right-twin 2.0" in str(error.value)
    assert registry.get("plain").name == "plain", "an unambiguous name stays usable"


def test_an_unknown_name_lists_the_choices(plugins, monkeypatch):
    plugins.add("plain")
    plugins.add("fancy")
    for ask in (registry.get, choosing.choose):
        with pytest.raises(InputError, match=r"unknown backend 'plian'. Did you mean 'plain'\? Choices: fancy, plain"):
            ask("plian")
    monkeypatch.setenv("GDKERNELS_BACKEND", "plian")
    with pytest.raises(InputError, match="set by GDKERNELS_BACKEND.*python -m gdkernels backends"):
        choosing.choose()


def test_an_unknown_precision_lists_the_choices(plugins):
    plugins.add("plain")
    with pytest.raises(InputError, match=r"unknown precision 'float23'. Did you mean 'float32'\?"):
        choosing.choose("plain", precision="float23")


def test_only_what_is_asked_for_is_loaded(plugins):
    plugins.add("plain")
    plugins.add("heavy", "raise AssertionError('loaded')")
    assert registry.get("plain").name == "plain"
    assert choosing.choose("plain").reason == "as asked for"
    assert "gdkernels_heavy_plugin" not in sys.modules


def test_find_is_sorted_by_priority_with_the_broken_last(plugins):
    plugins.add("b", working("b", priority=1))
    plugins.add("a", working("a", priority=1))
    plugins.add("top", working("top", priority=5, unavailable="return 'no'"))
    plugins.add("low", working("low", priority=-1))
    plugins.add("above", "import a_library_that_is_not_there")
    assert list(registry.find()) == ["top", "a", "b", "low", "above"]


def test_the_environment_is_read_when_it_is_used(plugins, monkeypatch):
    plugins.add("plain", working("plain", priority=5))
    plugins.add("fancy", working("fancy", devices=["fan:0", "fan:1"]))
    assert choosing.choose().backend.name == "plain"
    monkeypatch.setenv("GDKERNELS_BACKEND", "fancy")
    choice = choosing.choose()
    assert (choice.backend.name, choice.device, choice.reason) == ("fancy", "fan:0", "set by GDKERNELS_BACKEND")
    monkeypatch.setenv("GDKERNELS_DEVICE", "fan:1")
    choice = choosing.choose()
    assert (choice.device, choice.reason) == ("fan:1", "set by GDKERNELS_BACKEND and GDKERNELS_DEVICE")
    monkeypatch.delenv("GDKERNELS_BACKEND")
    assert choosing.choose().backend.name == "fancy", "the best that has this device"
    monkeypatch.delenv("GDKERNELS_DEVICE")
    assert choosing.choose().backend.name == "plain"
    monkeypatch.setenv("GDKERNELS_BACKEND", "auto")
    assert choosing.choose().backend.name == "plain"


def test_an_argument_wins_over_the_environment(plugins, monkeypatch):
    plugins.add("plain")
    plugins.add("fancy", working("fancy", devices=["fan:0", "fan:1"]))
    monkeypatch.setenv("GDKERNELS_BACKEND", "plain")
    monkeypatch.setenv("GDKERNELS_DEVICE", "fan:0")
    choice = choosing.choose("fancy", "fan:1")
    assert (choice.backend.name, choice.device, choice.reason) == ("fancy", "fan:1", "as asked for")


def test_what_was_asked_for_fails_loudly_with_the_reason(plugins, monkeypatch):
    plugins.add("card", NO_CARD)
    plugins.add("plain")
    with pytest.raises(BackendError, match="'card' cannot run here: no driver: install one"):
        choosing.choose("card")
    with pytest.raises(BackendError, match=r"'plain' has no device 'card:0'; it has cpu"):
        choosing.choose("plain", "card:0")
    with pytest.raises(BackendError, match=r"'plain' cannot do precision 'tf32'; it can do float64, float32"):
        choosing.choose("plain", precision="tf32")
    with pytest.raises(BackendError, match=r"no backend can do device 'card:0' and .* no driver: install one.*has cpu"):
        choosing.choose(device="card:0")
    monkeypatch.setenv("GDKERNELS_DEVICE", "card:0")
    with pytest.raises(BackendError, match=r"no device 'card:0' \(set by GDKERNELS_DEVICE\)"):
        choosing.choose("plain")
    monkeypatch.delenv("GDKERNELS_DEVICE")
    monkeypatch.setenv("GDKERNELS_BACKEND", "card")
    with pytest.raises(BackendError, match=r"\(set by GDKERNELS_BACKEND\) cannot run here: no driver"):
        choosing.choose()


def test_a_backend_that_is_passed_is_checked_too(plugins):
    plugins.add("card", NO_CARD)
    plugins.add("plain", working("plain", devices=["cpu", "cpu:1"]))
    plain, card = registry.find()["plain"].backend, registry.find()["card"].backend
    assert choosing.choose(plain, "cpu:1").backend is plain
    with pytest.raises(BackendError, match="'card' cannot run here: no driver"):
        choosing.choose(card)


def test_auto_falls_back_says_why_and_warns_once(plugins, caplog):
    plugins.add("card", NO_CARD)
    plugins.add("exact", working("exact", priority=4, precisions=("float64",)))
    plugins.add("plain")
    with caplog.at_level(logging.INFO, "gdkernels"):
        choice = choosing.choose()
        choosing.choose()
    assert (choice.backend.name, choice.device) == ("plain", "cpu")
    assert "no driver: install one" in choice.reason
    assert "exact cannot do precision 'float32'" in choice.reason
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO", "INFO"]
    assert "card" in caplog.records[0].getMessage()
    assert "install one" in caplog.records[0].getMessage()
    assert "running on plain (cpu)" in caplog.records[1].getMessage()


@pytest.mark.parametrize("expected", ["return False", "raise OSError('boom')"])
def test_without_its_hardware_a_fallback_is_no_warning(plugins, caplog, expected):
    plugins.add("card", working("card", priority=9, unavailable="return 'no driver'", expected=expected))
    plugins.add("plain")
    with caplog.at_level(logging.INFO, "gdkernels"):
        assert choosing.choose().backend.name == "plain"
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_a_device_that_was_asked_for_gives_no_warning_about_another(plugins, caplog):
    plugins.add("card", NO_CARD)
    plugins.add("plain")
    with caplog.at_level(logging.INFO, "gdkernels"):
        assert choosing.choose(device="cpu").backend.name == "plain"
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_nothing_installed_is_said(plugins):
    with pytest.raises(BackendError, match="no backend is installed: pip install"):
        choosing.choose()


def test_ours_are_registered_under_their_names_and_packaged():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    points = project["project"]["entry-points"][registry.GROUP]
    assert {"numpy", "cupy"} <= set(points)
    for name, value in points.items():
        assert EntryPoint(name, value, registry.GROUP).load()().name == name
        module = value.split(":")[0]
        assert f"backends/{module}" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert module in project["tool"]["mypy"]["packages"]
        assert module in project["tool"]["coverage"]["run"]["source"]


NOT_LOADED = ("gdkernels_numpy", "gdkernels_cupy", "cupy", "numba", "torch", "jax", "sklearn", "array_api_compat")


def python(code):
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_loads_no_plugin_and_nothing_heavy():
    imports = "import sys, gdkernels, gdkernels.dispatch.choosing"
    assert python(f"{imports}; print([name for name in {NOT_LOADED} if name in sys.modules])") == "[]"
