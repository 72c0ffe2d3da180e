"""L-BFGS as a trainer's solver: SciPy's minimum, one iteration after the other."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.definition.solvers import LBFGS
from gdkernels.training.history import StopReason
from gdkernels.training.solvers.lbfgs import Evaluated, lbfgs_iteration


def minimum(value_and_gradient, start, iterations=200):
    solver = LBFGS(gradient_tolerance=1e-9)

    def evaluate(vector):
        value, gradient = value_and_gradient(vector)
        return Evaluated(vector, value, gradient, value)

    here, memory, outcome = evaluate(np.asarray(start, float)), {}, None
    for k in range(iterations):
        outcome, here = lbfgs_iteration(solver, evaluate, here, memory)
        memory = outcome.memory
        if outcome.stop is not None:
            return here, k, outcome.stop.sentence
    return here, iterations, ""


def rosenbrock(w):
    from scipy.optimize import rosen, rosen_der

    return float(rosen(w)), rosen_der(w)


@pytest.mark.parametrize("count", [2, 10])
def test_rosenbrocks_valley(count):
    here, iterations, stopped = minimum(rosenbrock, [-1.2, 1.0] * (count // 2))
    np.testing.assert_allclose(here.vector, np.ones(count), atol=1e-6)
    assert iterations < 100
    assert stopped.startswith("converged: no entry of the gradient")


def test_a_step_to_where_nothing_is_finite_is_shortened():
    def barrier(w):
        with np.errstate(all="ignore"):
            return float(w[0] - np.log(w[0])), 1.0 - 1.0 / w

    here, _, _ = minimum(barrier, [1e-3])
    assert here.vector[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_penalised_minimum_is_that_of_scipy_and_of_the_normal_equations(backend):
    from gdkernels.estimators import MLPRegressor

    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(60, 3)), draw.normal(size=60)
    settings = {"alpha": 2.0, "tol": 1e-10, "max_iter": 500, "random_state": 0, "backend": backend}
    theirs = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", **settings).fit(X, y)
    model = gd.MLP([3, 1], precision="float64", seed=0, backend=backend)
    history = model.fit(
        X, y[:, None], epochs=500, solver=gd.LBFGS(gradient_tolerance=1e-9), l2=2.0, l2_in_loss=True, progress=False
    )
    assert history.ended_by(StopReason.CONVERGED)
    assert history.loss[-1] == pytest.approx(theirs.loss_, rel=1e-9)
    centred = X - X.mean(axis=0)  # the bias has no penalty
    exact = np.linalg.solve(centred.T @ centred + 2.0 * np.eye(3), centred.T @ (y - y.mean()))
    np.testing.assert_allclose(model.parameters[0].W[:, 0], exact, rtol=1e-6)
    assert history.origin == ("compiled" if backend == "numba" else "definition")


def test_sparse_rows_and_weights(monkeypatch):
    from scipy.sparse import csr_array

    from gdkernels.estimators import MLPRegressor

    monkeypatch.setattr("gdkernels.estimators.inputs._SMALL", 0)  # smaller ones are made dense
    draw = np.random.default_rng(0)
    X = draw.normal(size=(50, 6)) * (draw.random((50, 6)) < 0.4)
    y, weights = X[:, 0] - X[:, 1], draw.uniform(0, 2, 50)
    solver = gd.LBFGS(gradient_tolerance=1e-4)
    made = [
        MLPRegressor(hidden_layer_sizes=(), solver=solver, random_state=0).fit(given, y, weights).score(X, y)
        for given in (X, csr_array(X))
    ]
    assert made[0] == pytest.approx(made[1], rel=1e-3)
    assert made[0] > 0.99
