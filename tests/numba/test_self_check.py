"""The self-check on the CPU: faults are planted in the engine, and each is noticed before its result is used."""

import itertools
import logging

import numpy as np
import pytest
from engine_runs import Data, varied
from gdkernels_numba import NumbaBackend, compilation
from gdkernels_numba.bytecode.bound_step import BoundStep
from gdkernels_numba.ir.functions import FUNCTIONS
from gdkernels_numba.kernels import elementwise

import gdkernels as gd
from gdkernels.backend import Plan, verification
from gdkernels.backend.gradient_accumulation import summing
from gdkernels.checking import ways
from gdkernels.checking.checked_executable import CheckedExecutable
from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.errors import BackendError
from gdkernels.graph.remembered import forget_traces
from gdkernels.system.cache_folder import cache_folder
from gdkernels.testing.cases import CASES, chained, data_of

WIDTHS, RECORDS, BATCH = (5, 9, 7, 3), 50, 16
LAYERS = (activations.tanh, activations.relu, activations.identity)
PROGRAM = chained(LAYERS, WIDTHS, objective=Objective(losses.sse), optimizer=Adam())


@pytest.fixture(autouse=True)
def checked(monkeypatch, tmp_path):
    """Check everything, and forget what was compiled before a fault was planted, or with it."""
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    ways._warn_once.cache_clear()
    forget_code()
    yield
    forget_code()


def forget_code():
    compilation.code_of_loops.cache_clear()
    forget_traces()


def compiled(program=PROGRAM, precision="float32", **choices):
    executable = NumbaBackend().compile(program, Plan("numba", "cpu", precision, choices))
    assert isinstance(executable, CheckedExecutable)
    return executable


def run(executable, program=PROGRAM, precision="float32", batch=BATCH):
    data = Data(program, WIDTHS, RECORDS)
    return data, *data.run(executable, batch, precision)


# ---- what is wrong is not used


def wrong_run(monkeypatch, change):
    """Let every run of compiled code be given, or give back, something else."""
    right = BoundStep.run

    def changed(self, arrays, order, records, times, scalars):
        given = {"arrays": arrays, "order": order, "records": records, "times": times, "scalars": scalars}
        return change(lambda **new: right(self, **given | new), given)

    monkeypatch.setattr(BoundStep, "run", changed)


def with_scalar(name, change):
    return lambda monkeypatch: wrong_run(
        monkeypatch,
        lambda run, given: run(scalars=given["scalars"] | {name: change(given["scalars"][name])}),
    )


def other_rows(monkeypatch):
    wrong_run(monkeypatch, lambda run, given: run(order=np.roll(given["order"], 1)))


def another_loss(monkeypatch):
    def change(run, given):
        return run() * [1.01, 1.0]  # E of each epoch, and the norm

    wrong_run(monkeypatch, change)


def one_element(monkeypatch):
    def change(run, given):
        found = run()
        if "W1" in given["arrays"]:
            given["arrays"]["W1"][0, 0] += 1.0
        return found

    wrong_run(monkeypatch, change)


def trembling(monkeypatch):
    runs = itertools.count()

    def change(run, given):
        found = run()
        W = given["arrays"]["W1"]
        W[...] *= 1 + next(runs) % 3 * np.finfo(W.dtype).eps
        return found

    wrong_run(monkeypatch, change)


def a_function(monkeypatch):
    right = FUNCTIONS["tanh"]
    monkeypatch.setitem(FUNCTIONS, "tanh", lambda v, a: v.multiply(right(v, a), v.constant(1.001)))


def sums_that_begin_with_something(monkeypatch):
    monkeypatch.setitem(elementwise._NEUTRAL, "sum", 0.01)


FAULTS = {
    "a function is a thousandth too large": (a_function, "is off by"),
    "sums begin with a hundredth": (sums_that_begin_with_something, "is off by"),
    "rows of other batches": (other_rows, "is off by"),
    "a rate that is a hundredth too large": (with_scalar("learning_rate", lambda a: 1.01 * a), "is off by"),
    "a step is counted twice": (with_scalar("t", lambda a: a + 1), "is off by"),
    "one element of a layer": (one_element, "is off by"),
    "the loss alone": (another_loss, "the loss is off by"),
    "the last bit differs from run to run": (trembling, "two runs from the same start differ in W1"),
}


@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_planted_fault_is_noticed(monkeypatch, caplog, what, precision):
    plant, said = FAULTS[what]
    plant(monkeypatch)
    executable = compiled(precision=precision)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        data, loss, state = run(executable, precision=precision)
    assert caplog.text.count("the engine of Numba is not used for 5-9-7-3") == 1
    assert said in caplog.text
    assert executable.origin == "definition"
    wanted_loss, wanted = data.run_on_numpy(BATCH)
    assert loss == pytest.approx(wanted_loss, rel=1e-4)
    for (name, mine), (_, theirs) in zip(
        verification.named_arrays(state), verification.named_arrays(wanted), strict=True
    ):
        assert verification.relative_error(mine, theirs) < 1e-3, name


def test_without_a_fault_the_engine_runs_with_the_same_bits_as_unchecked(monkeypatch, caplog):
    executable = compiled()
    _, loss, state = run(executable)
    monkeypatch.delenv("GDKERNELS_CHECK")
    unchecked = NumbaBackend().compile(PROGRAM, Plan("numba", "cpu", "float32"))
    assert not isinstance(unchecked, CheckedExecutable), "on a CPU nobody pays for it unasked"
    _, expected, other = run(unchecked)
    assert loss == expected
    assert state.step == other.step
    for (name, mine), (_, theirs) in zip(
        verification.named_arrays(state), verification.named_arrays(other), strict=True
    ):
        assert np.array_equal(mine, theirs), name
    assert (executable.origin, executable.plan) == ("compiled", unchecked.plan)
    assert caplog.text == ""
    assert not list(cache_folder().glob("check-*.json")), "always is always: nothing is kept"


def test_a_wrong_prediction_is_not_given(monkeypatch, caplog):
    a_function(monkeypatch)
    executable, data = compiled(), Data(PROGRAM, WIDTHS, RECORDS)
    found = executable.predict(data.parameters, data.x)
    assert "its predictions are off by" in caplog.text
    wanted = verification.predict_on_numpy(PROGRAM, data.parameters, data.x)
    assert verification.relative_error(found, wanted) < 1e-5


def test_a_fault_that_comes_with_many_threads_or_large_batches_alone_is_noticed(monkeypatch, caplog):
    """As it is the plan of the user's batch that is checked, and not a small one."""
    one_element(monkeypatch)
    for choices, batch in (({"threads": 2}, 48), ({"by_units": True}, 8), ({"threads": 1}, 1)):
        executable = compiled(**choices)
        run(executable, batch=batch)
        assert executable.origin == "definition", choices


def test_in_bfloat16_nothing_is_left(monkeypatch):
    if "bfloat16" not in NumbaBackend().precisions:
        pytest.skip("this processor has no bfloat16")
    one_element(monkeypatch)
    with pytest.raises(BackendError, match="nothing computes this network rightly in bfloat16 on cpu"):
        run(compiled(precision="bfloat16"), precision="bfloat16")


def test_training_goes_on_with_the_definition_and_says_so(monkeypatch, caplog):
    one_element(monkeypatch)
    X = np.linspace(-1, 1, 80, dtype=np.float32)[:, None]
    found, wanted = (gd.MLP([1, 8, 1], seed=0, backend=name) for name in ("numba", "numpy"))
    history = found.fit(X, np.sin(3 * X), epochs=3, batch_size=16)
    wanted.fit(X, np.sin(3 * X), epochs=3, batch_size=16)
    assert (history.backend, history.origin) == ("numba", "definition")
    assert "the engine of Numba is not used for 1-8-1" in caplog.text
    np.testing.assert_allclose(found.parameters[0].W, wanted.parameters[0].W, rtol=1e-4)


# ---- what is right is believed: the conformance suite, in test_conformance.py, is checked throughout


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", ["a last batch of one", "everything", "softmax-cross_entropy", "weighted everything"])
def test_what_is_right_is_used_and_nothing_is_said(name, precision, caplog):
    backend = NumbaBackend()
    if precision not in backend.precisions:
        pytest.skip(f"this processor has no {precision}")
    case, data = CASES[name], data_of(CASES[name])
    executable = compiled(case.program, precision)
    dtype = "float64" if precision == "float64" else "float32"
    state = verification.start(case.program, data.parameters, lambda a: np.asarray(a, dtype))
    x, y = data.x.astype(dtype), data.y.astype(dtype)
    weights = () if data.sample_weight is None else (data.sample_weight.astype(dtype),)
    order = np.arange(len(x))[::-1]
    rates = np.linspace(0.01, 0.005, -(-len(order) // case.batch_size))
    executable.run(state, x, y, order, case.batch_size, rates, *weights)
    executable.predict(state.parameters, x)
    assert caplog.text == ""
    assert (executable.origin, executable.ways.passed_over) == ("compiled", {})


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_numbers_that_are_flushed_to_zero_are_no_fault(precision, caplog):
    """Denormal ones are 0 inside the engine; the definition keeps them."""
    program = chained((activations.identity,), (2, 2), objective=Objective(losses.sse), optimizer=SGD(1e-2))
    dtype = "float64" if precision == "float64" else "float32"
    small = np.finfo(dtype).tiny / 64
    parameters = {"W0": np.full((2, 2), small, dtype), "b0": np.zeros(2, dtype)}
    executable = compiled(program, precision)
    found = executable.predict(parameters, np.ones((6, 2), dtype))
    assert not found.any()
    assert (executable.ways.passed_over, caplog.text) == ({}, "")


def test_the_gradient_alone_is_checked_too(caplog):
    """What lbfgs and parts of batches use moves no parameter."""
    program = summing(varied(PROGRAM))
    executable = compiled(program)
    data = Data(program, WIDTHS, RECORDS)
    executable.run(data.start("float32"), data.x, data.y, data.order, BATCH, np.zeros(4))
    assert (executable.origin, caplog.text) == ("compiled", "")
