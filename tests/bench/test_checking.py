"""The check of results against the definition, and its bounds."""

import numpy as np
import pytest

from gdkernels.bench.checking import Checker, _computed, evaluate
from gdkernels.bench.participants.stages import STAGES, BackendStages, PlacedStage
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.definition.chain import layers_in
from gdkernels.graph import detach
from gdkernels.testing.cases import varied

TASK = TrainingTask((5, 8, 3), 8, 24)


def done(task, stage, precision="float32"):
    """Return what a stage starts with, and what comes of it on NumPy."""
    work = BackendStages(task, "numpy", precision=precision).stage(PlacedStage(stage))
    start = work.start()
    work.launch()
    return start, work.results()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_definition_passes_and_a_small_fault_in_any_array_does_not(stage, precision):
    start, results = done(TASK, stage, precision)
    checker = Checker(TASK)
    assert checker.check(stage, precision, start, results).holds
    for name, a in results.items():
        moved = a - start[name] if stage in ("update", "epoch") else a
        wrong = results | {name: a + moved * a.dtype.type(0.01)}
        check = checker.check(stage, precision, start, wrong)
        assert not check.holds
        assert check.array == name
        assert check.error == pytest.approx(0.01, rel=0.05)


def judged(task, stage, precision):
    """Return the check of what NumPy makes of a task in a precision, judged as of one whose slopes are right."""
    right = TrainingTask((32, 64, 64, 4), 64, 640, task.activation)
    start, _ = done(right, "epoch")
    start["order"] = np.arange(640)
    found = _computed(task, stage, precision, start)
    results = {n: a + start[n] if stage == "epoch" else a for n, a in found.items()}
    return Checker(right).check(stage, precision, start, results)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("stage", ["gradient", "epoch"])
def test_where_operands_are_rounded_a_slope_that_is_off_by_one_per_cent_is_found(precision, activation, stage):
    settings = {"sizes": (32, 64, 64, 4), "batch": 64, "records": 640, "activation": activation}
    assert judged(TrainingTask(**settings), stage, precision).holds
    assert not judged(Steep(**settings), stage, precision).holds


def test_the_distance_from_float64_alone_would_not_find_it():
    check = judged(Steep((32, 64, 64, 4), 64, 640, "relu"), "gradient", "bfloat16")
    assert check.error <= check.allowed
    assert "longer or shorter than by the definition with operands rounded alike, at most 0.6%" in str(check)


@pytest.mark.parametrize("width", [16, 64])
def test_who_does_not_round_operands_is_right_too(width):
    """In these networks, operands rounded to bfloat16 make a gradient longer by more than a wrong slope may."""
    task = TrainingTask((*(width,) * 7, 10), 64, 64, network="residual")
    start = task.parameters()
    exact = _computed(task, "gradient", "float64", start)
    rounded = _computed(task, "gradient", "bfloat16", start, "float64")
    assert any(abs(np.vdot(exact[n] - a, a)) > 0.006 * np.vdot(a, a) for n, a in rounded.items())
    assert Checker(task).check("gradient", "bfloat16", start, exact).holds


class Steep(TrainingTask):
    """The task with the slopes of its hidden units 1 % too large."""

    def program(self):
        program = super().program()
        *hidden, last = (layer.activation for layer in layers_in(program.block))
        return varied(program, activations=(*map(steeper, hidden), last))


def steeper(function):
    def steep(z, *, xp):
        a = function(z, xp=xp)
        return 1.01 * a - 0.01 * detach(a)

    return steep


def test_a_lower_precision_does_not_pass_for_a_higher_one():
    start, results = done(TASK, "gradient", "float32")
    assert not Checker(TASK).check("gradient", "float64", start, results).holds
    rounded = {name: a.view(np.uint32) & np.uint32(0xFFFFE000) for name, a in results.items()}  # as many bits as tf32
    tf32 = {name: a.view(np.float32) for name, a in rounded.items()}
    assert not Checker(TASK).check("gradient", "float32", start, tf32).holds
    assert Checker(TASK).check("gradient", "tf32", start, tf32).holds


def test_what_is_not_finite_or_of_another_shape_is_no_result():
    start, results = done(TASK, "forward")
    for wrong in (results["output"] * np.nan, results["output"][:1]):
        assert not Checker(TASK).check("forward", "float32", start, {"output": wrong}).holds


def test_a_unit_at_the_corner_of_relu_may_fall_on_either_side():
    """Biases that put some inputs of units within rounding of 0: backends may then differ by whole records."""
    task = TrainingTask((4, 64, 1), 32, 32)
    stages = BackendStages(task, "numpy")
    (W, b), last = task.layers()
    x, _ = task.data()
    b = np.where(np.arange(64) < 8, -(x[0] @ W) + np.float32(5e-7), b).astype(np.float32)
    stages.model.set_parameters([(W, b), last])
    work = stages.stage(PlacedStage("gradient"))
    start = work.start()
    work.launch()
    results = work.results()
    stages.model.set_parameters([(W, b - np.float32(1e-6)), last])
    work.launch()
    flipped = work.results()
    assert np.linalg.norm(flipped["W0"] - results["W0"]) > 1e-3 * np.linalg.norm(results["W0"])
    assert Checker(task).check("gradient", "float32", start, flipped).holds


def test_accuracy_and_loss_are_the_definitions():
    task = TrainingTask((2, 2), 4, 4)
    parameters = {"W0": np.eye(2, dtype=np.float32), "b0": np.zeros(2, np.float32)}
    x = np.array([[1, 0], [0, 1], [3, 2], [1, 4]], np.float32)
    y = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    assert evaluate("accuracy", task, parameters, x, y) == 0.75
    assert evaluate("loss", task, parameters, x, y) == pytest.approx(0.5 * (0 + 2 + 8 + 10) / 4)
