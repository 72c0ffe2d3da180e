"""A fit that goes on repeats the place and the plan of its checkpoint where it can, and says where it cannot."""

import shutil

import numpy as np
import pytest
from stopped_fits import rewrite, stopped, told_in
from training import fit, told, trainer

import gdkernels as gd
from gdkernels.backend import Plan
from gdkernels.dispatch import choosing


def test_on_another_backend(tmp_path, caplog):
    stopped(tmp_path / "c", "numpy")
    made, expected = trainer("numba"), trainer("numpy")
    fit(made, tmp_path / "c", epochs=4)
    fit(expected, epochs=4)
    assert "another plan or other versions (numpy on cpu)" in caplog.text
    assert "to rounding, not to the bit" in caplog.text
    for layer, other in zip(made.mlp.parameters, expected.mlp.parameters, strict=True):
        for a, b in zip(layer, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_where_nobody_names_a_place_that_of_the_checkpoint_is_taken(tmp_path, monkeypatch, caplog, backend):
    monkeypatch.delenv("GDKERNELS_BACKEND", raising=False)
    expected = told(made := trainer(backend), fit(made, tmp_path / "whole", epochs=4))
    stopped(tmp_path / "c", backend)
    other = "numba" if backend == "numpy" else "numpy"
    real = choosing.decide

    def decide(name="auto", *more):
        return real(other if name == "auto" else name, *more)

    monkeypatch.setattr(choosing, "decide", decide)
    assert fit(trainer("auto"), epochs=1).backend == other
    history = fit(made := trainer("auto"), tmp_path / "c", epochs=4)
    assert (history.backend, history.reason) == (backend, "where the checkpoint was written")
    assert told(made, history) == expected
    assert "to rounding" not in caplog.text


def test_what_is_named_goes_before_the_checkpoint(tmp_path, monkeypatch, caplog):
    stopped(tmp_path / "c", "numba")
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    assert fit(trainer("auto"), tmp_path / "c", epochs=4).backend == "numpy"
    assert "another plan or other versions (numba on cpu)" in caplog.text


def test_a_backend_that_is_not_there_is_replaced(tmp_path, monkeypatch, caplog):
    stopped(tmp_path / "c", "numpy")
    rewrite(tmp_path / "c", plan={"backend": "cupy", "device": "cuda:7", "precision": "float32", "choices": {}})
    monkeypatch.delenv("GDKERNELS_BACKEND", raising=False)
    assert fit(trainer("auto"), tmp_path / "c", epochs=4).backend in {"numpy", "numba"}
    assert "another plan or other versions (cupy on cuda:7)" in caplog.text


def test_a_plan_is_repeated_with_its_choices(tmp_path, monkeypatch, caplog):
    """The bits are those of the plan that was begun with, whatever this machine would choose now."""
    pytest.importorskip("llvmlite")

    def calibrated(threads):
        monkeypatch.setattr(
            "gdkernels.dispatch.binding.plan_choices", lambda *_: {"threads": threads, "pieces": threads}
        )

    monkeypatch.setattr("gdkernels_numba.cpu.features.cores", lambda: 3)
    calibrated(3)
    expected = told(made := trainer("numba"), whole := fit(made, tmp_path / "whole", epochs=4))
    assert whole.plan.choices["threads"] == 3
    assert {"tile_rows", "vector_width"} <= whole.plan.choices.keys()
    stopped(tmp_path / "c", "numba")
    assert told_in(tmp_path / "c")["plan"]["choices"] == dict(whole.plan.choices)
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    calibrated(1)
    history = fit(made := trainer("numba"), tmp_path / "c", epochs=4)
    assert told(made, history) == expected
    assert "to rounding" not in caplog.text
    for name in ("gdkernels_numba.cpu.features.cores", "gdkernels.dispatch.binding.cores"):
        monkeypatch.setattr(name, lambda: 2)  # fewer than the plan has threads
    history = fit(made := trainer("numba"), tmp_path / "d", epochs=4)
    assert (history.plan.choices["threads"], history.plan.choices["pieces"]) == (2, 3)
    assert told(made, history) == expected
    assert "to rounding" not in caplog.text


def test_threads_change_bits_only_where_a_plan_has_no_pieces():
    def plan(**choices):
        return Plan("numba", "cpu", "float32", choices)

    assert plan(threads=3, tile_rows=8).unlike(plan(threads=2, tile_rows=8, pieces=2)) == ["threads 3"]
    assert plan(threads=3, pieces=3).unlike(plan(threads=2, pieces=3)) == []
    assert plan(threads=2, pieces=3).unlike(plan(threads=2, pieces=2)) == ["pieces 3"]


def test_other_versions_are_said(tmp_path, caplog):
    stopped(tmp_path / "c", "numpy")
    versions = told_in(tmp_path / "c")["versions"]
    assert {"gdkernels", "numpy"} <= versions.keys()
    rewrite(tmp_path / "c", versions=versions | {"numpy": "1.0"})
    fit(trainer(), tmp_path / "c", epochs=4)
    assert "other versions (numpy 1.0): what follows agrees with it to rounding" in caplog.text


@pytest.mark.parametrize("plan", [None, {}, {"backend": "numpy", "device": "cpu", "precision": "float32"}])
def test_a_plan_that_is_none(tmp_path, plan):
    stopped(tmp_path / "c", "numpy")
    rewrite(tmp_path / "c", plan=plan)
    with pytest.raises(gd.FileError, match="its content is not that of a checkpoint"):
        fit(trainer(), tmp_path / "c", epochs=4)


@pytest.mark.parametrize("rows", ["many", 0, None])
def test_rows_at_a_time_that_cannot_be(tmp_path, rows, caplog):
    stopped(tmp_path / "c", "numpy")
    plan = told_in(tmp_path / "c")["plan"]
    rewrite(tmp_path / "c", plan=plan | {"choices": {"rows_at_a_time": rows}})
    fit(trainer(), tmp_path / "c", epochs=4)
    assert f"another plan or other versions (rows_at_a_time {rows})" in caplog.text


def test_another_number_of_threads_of_blas(tmp_path, caplog):
    stopped(tmp_path / "c", "numpy")
    plan = told_in(tmp_path / "c")["plan"]
    rewrite(tmp_path / "c", plan=plan | {"choices": {"blas_threads": 77}})
    fit(trainer(), tmp_path / "c", epochs=4)
    assert "another plan or other versions (blas_threads 77)" in caplog.text


def test_choices_that_no_plan_can_have(tmp_path):
    pytest.importorskip("llvmlite")
    stopped(tmp_path / "c", "numba")
    plan = told_in(tmp_path / "c")["plan"]
    rewrite(tmp_path / "c", plan=plan | {"choices": plan["choices"] | {"product_depth": 3}})
    with pytest.raises(gd.InputError, match="a plan of the numba backend cannot have product_depth=3"):
        fit(trainer("numba"), tmp_path / "c", epochs=4)
