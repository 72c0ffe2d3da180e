"""The measure itself: what it calls equal, and what it catches."""

import math
from types import SimpleNamespace

import array_api_compat.numpy
import numpy as np
import pytest
from gdkernels_numpy import NumPyBackend

from gdkernels.backend.verification import (
    bound,
    continue_on_numpy,
    named_arrays,
    reference,
    relative_error,
    roundings,
    self_test,
    start,
)
from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.errors import BackendError
from gdkernels.testing.cases import chained


def test_relative_error():
    assert relative_error([3.0, 4.0], [3.0, 4.0]) == 0
    assert relative_error([3.0, 4.5], [3.0, 4.0]) == 0.1
    assert relative_error([0.0, 0.0], [0.0, 0.0]) == 0
    assert relative_error([3.0, 4.0], [0.0, 0.0]) == 5, "nothing to be relative to"
    assert math.isnan(relative_error([math.nan], [1.0]))
    assert math.isnan(relative_error([math.inf], [math.inf]))
    assert relative_error([[1.0]], [1.0]) == math.inf, "broadcasting would hide a wrong shape"
    assert relative_error(np.float32([1.1]), [1.1]) < 1e-7, "measured in float64, not in the array's own dtype"


def test_bound():
    assert bound(1e-7, "float32", 1) == 1e-5
    assert bound(1e-3, "float32", 1) == 2e-3
    assert bound(1e-3, "bfloat16", 100) == 3e-3
    assert bound(1e-3, "float64", 100) == 1e-10


@pytest.mark.parametrize(
    ("weights", "row", "target", "moved"),
    [([2.0], [3.0], 10.0, [2.24]), ([1.0, 2.0], [3.0, 4.0], 6.0, [0.7, 1.6])],
)
def test_reference_does_the_textbook_step(weights, row, target, moved):
    widths = (len(weights), 1)
    program = chained((activations.identity,), widths, bias=False, objective=Objective(losses.mse), optimizer=SGD(0.01))
    x, y = np.asarray([row]), np.asarray([[target]])
    W = np.asarray(weights)[:, None]
    loss, state = reference(program, {"W0": W}, x, y, np.asarray([0]), 1, np.asarray([0.01]))
    assert np.allclose(state.parameters["W0"][:, 0], moved, rtol=1e-15)
    assert math.isclose(loss, (target - np.dot(weights, row)) ** 2)
    assert state.step == 1
    assert W[:, 0].tolist() == weights


def test_reference_goes_through_the_batches_and_continues():
    settings = {"objective": Objective(losses.sse), "optimizer": Adam(), "gradient_norm": True}
    program = chained((activations.identity,), (2, 1), **settings)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(5, 2)), random.normal(size=(5, 1))
    parameters = {"W0": random.normal(size=(2, 1)), "b0": np.zeros(1)}
    order, rates = np.asarray([4, 0, 2, 1, 3]), np.asarray([0.1, 0.2, 0.3])
    loss, whole = reference(program, parameters, x, y, order, 2, rates)

    state = start(program, parameters, np.asarray)
    parts = [
        continue_on_numpy(program, state, x, y, order[:2], 2, rates[:1]),
        continue_on_numpy(program, state, x, y, order[2:], 2, rates[1:]),
    ]
    assert math.isclose(loss, parts[0][0] + parts[1][0], rel_tol=1e-15)
    assert parts[0][1] > 0, "the norm was asked for"
    assert state.step == whole.step == 3
    one, other = dict(named_arrays(state)), dict(named_arrays(whole))
    assert list(one) == ["W0", "W0.0", "W0.1", "b0", "b0.0", "b0.1"]
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("precision", "bits"),
    [("bfloat16", 8), ("tf32", 11), (roundings("tf32")[1], 11)],
)
def test_low_precisions_round_the_operands_of_products(precision, bits):
    # One input, one weight: the output is their product. Halfway cases go to the even neighbour.
    ulp = 2.0 ** -(bits - 1)
    program = chained((activations.identity,), (1, 1), bias=False, objective=Objective(losses.sse), optimizer=SGD())
    nearest = [(1 + ulp, 1 + ulp), (1 + ulp / 2, 1.0), (1 + 3 * ulp / 2, 1 + 2 * ulp), (-1 - 0.6 * ulp, -1 - ulp)]
    cut = [(1 + ulp, 1 + ulp), (1 + 1.9 * ulp, 1 + ulp), (-1 - 1.9 * ulp, -1 - ulp)]
    for weight, rounded in cut if precision == roundings("tf32")[1] else nearest:
        state = start(program, {"W0": np.float32([[weight]])}, np.asarray)
        loss, _ = continue_on_numpy(
            program, state, np.float32([[2.0]]), np.float32([[0.0]]), np.asarray([0]), 1, np.zeros(1), precision
        )
        assert loss == 0.5 * (2 * rounded) ** 2
        assert state.parameters["W0"][0, 0] == np.float32(weight), "masters keep their bits"


def with_namespace(**functions):
    class Changed(NumPyBackend):
        name = "changed"
        xp = SimpleNamespace(**{**vars(array_api_compat.numpy), **functions})

    return Changed()


def test_self_test_passes_on_numpy():
    assert 0 < self_test(NumPyBackend(), "cpu") < 1e-6


def test_self_test_names_the_array_that_is_off():
    backend = with_namespace(sqrt=lambda a: np.sqrt(a) * np.float32(1.001))  # only the update takes roots
    with pytest.raises(BackendError, match=r"on cpu is wrong: W0 is off by \d\.\de-\d\d in float32, at most 1.0e-05"):
        self_test(backend, "cpu")


def test_self_test_catches_what_is_not_a_number():
    backend = with_namespace(tanh=lambda a: np.tanh(a) * np.float32(np.nan))
    with pytest.raises(BackendError, match=r"the loss is off by nan"):
        self_test(backend, "cpu")


def test_self_test_reports_what_a_backend_raises():
    def broken(a):
        raise OSError("boom")

    with pytest.raises(BackendError, match=r"a training step on cpu fails: OSError: boom"):
        self_test(with_namespace(tanh=broken), "cpu")


def test_self_test_in_float64_is_strict():
    class Exact(NumPyBackend):
        precisions = ("float64",)

    assert self_test(Exact(), "cpu") < 1e-14
