"""Names that the reference of 0.1 had, and that moved since, work for one more version and warn."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import gdkernels as gd
from gdkernels.backend import Program
from gdkernels.definition.blocks import Dense
from gdkernels.definition.objective import Objective

MOVED = {
    "gdkernels.history": ("gdkernels.training.history", ("Epoch", "History", "Start")),
    "gdkernels.program": ("gdkernels.backend.program", ("Program", "TracedForward", "TracedStep")),
}


@pytest.mark.parametrize("old", MOVED)
def test_a_module_that_moved_gives_the_same_objects_and_warns(old: str) -> None:
    new, names = MOVED[old]
    module = importlib.import_module(old)
    assert getattr(gd, old.rpartition(".")[2]) is module
    for name in names:
        with pytest.warns(DeprecationWarning, match=rf"{old}\.{name} is now {new}\.{name}") as caught:
            value = getattr(module, name)
        assert value is getattr(importlib.import_module(new), name)
        assert caught[0].filename == __file__  # the line of the user, who can mend it
    with pytest.raises(AttributeError, match=f"no attribute 'Perceptron'; it moved to '{new}'"):
        _ = module.Perceptron


def test_a_name_that_is_another_now() -> None:
    with pytest.warns(DeprecationWarning, match=r"predictor\.Predictor is now .*\.prediction\.PreparedNetwork"):
        from gdkernels.predictor import Predictor
    from gdkernels.tabular.model.prediction import PreparedNetwork

    assert Predictor is PreparedNetwork


def test_an_import_from_a_module_that_moved_warns_at_the_import() -> None:
    code = "from gdkernels.program import Program; from gdkernels.backend import Program as now; assert Program is now"
    run = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert "<string>:1: DeprecationWarning: gdkernels.program.Program is now" in run.stderr


def test_what_a_program_had_itself_is_read_from_its_objective() -> None:
    block = Dense(3, "tanh")
    objective = Objective(gd.losses.mse, l2_in_loss=True, clip_norm=2.0, reduction="sum")
    for program, values in {
        Program(block, 2, objective=objective): (gd.losses.mse, True, 2.0, "sum"),
        Program(block, 2): (None, False, None, "mean"),
    }.items():
        for name, value in zip(("loss", "l2_in_loss", "clip_norm", "reduction"), values, strict=True):
            with pytest.warns(DeprecationWarning, match=rf"Program\.objective\.{name}"):
                assert getattr(program, name) == value
        with pytest.raises(AttributeError, match="no attribute 'losses'"):
            _ = program.losses  # type: ignore[attr-defined]
