"""The methods: each minimises the squared error of a problem for some CPU seconds, and tells its errors on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import gdkernels as gd
from benchmarks.least_squares.problems import Array, FitProblem, initial_layers, parameter_count

__all__ = ["MATLABS", "METHODS", "Path", "evidence_and_adam", "missing", "to_matlabs_goal"]

# The mean squared error after so many CPU seconds, as often as the method tells it.
Path = list[tuple[float, float]]

_RATES = (3e-3, 1e-2)  # of Adam, of which the better counts: that the others need none is not their merit alone


def _network(problem: FitProblem, seed: int, precision: str) -> gd.MLP:
    model = gd.MLP(list(problem.sizes), activation="tanh", seed=0, precision=precision, threads=1)
    model.set_parameters(initial_layers(problem.sizes, seed))
    return model


def by_solver(solver: gd.Solver, precision: str = "float64") -> Callable[[FitProblem, int, float], Path]:
    """Return the method of one of our solvers."""

    def run(problem: FitProblem, seed: int, seconds: float) -> Path:
        X, Y = problem.records()
        _network(problem, seed, precision).fit(X, Y, epochs=1, solver=solver, progress=False)  # loads what it needs
        path: Path = []
        began = time.process_time()

        def follow(epoch: Any) -> bool:
            path.append((time.process_time() - began, 2 * epoch.loss / Y.shape[1]))
            return path[-1][0] > seconds

        _network(problem, seed, precision).fit(X, Y, epochs=10**7, solver=solver, callbacks=[follow], progress=False)
        return path

    return run


def by_adam(problem: FitProblem, seed: int, seconds: float) -> Path:
    """Adam, compiled, in float32, at the better of two rates, which fall to 0 at the end of the time."""
    X, Y = (a.astype("float32") for a in problem.records())
    batch = 32 if len(X) < 1000 else 64
    run: dict[str, Any] = {"batch_size": batch, "progress": False}
    model = _network(problem, seed, "float32")
    model.fit(X, Y, epochs=20, **run)
    began = time.process_time()
    model.fit(X, Y, epochs=40, **run)
    epochs = max(20, min(int(seconds / (time.process_time() - began) * 40), 60_000))
    paths = []
    for rate in _RATES:
        path: Path = []
        model = _network(problem, seed, "float32")
        began = time.process_time()

        def follow(epoch: Any, path: Path = path, began: float = began) -> bool:
            if epoch.number % max(1, epochs // 60) == 0:
                path.append((time.process_time() - began, 2 * epoch.loss / Y.shape[1]))
            return time.process_time() - began > 1.1 * seconds

        model.fit(X, Y, epochs=epochs, optimizer=gd.Adam(rate), schedule="cosine", callbacks=[follow], **run)
        path.append((time.process_time() - began, float(np.mean((model.predict(X) - Y) ** 2))))
        paths.append(path)
    return min(paths, key=lambda path: path[-1][1])


def by_scipys_lbfgs(problem: FitProblem, seed: int, seconds: float) -> Path:
    """SciPy's L-BFGS-B on our compiled gradient, as the estimators have it."""
    from scipy.optimize import minimize

    from gdkernels.data.records import place_records
    from gdkernels.training.solvers import Gradient, ValueAndGradient

    X, Y = problem.records()
    network = _network(problem, seed, "float64").network
    objective = gd.Trainer(_network(problem, seed, "float64")).settings.objective
    network.train_for(objective)
    binding, program = network.bind(X), network.structure.program(objective, Gradient())
    records = place_records(binding, X, Y, None, spec=network.expects(objective))
    at = ValueAndGradient(program, binding, {})
    start = np.concatenate([np.asarray(network.parameters[name]).ravel() for name in program.trained])
    at(start, records)
    path: Path = []
    began = time.process_time()

    def value(vector: Array) -> tuple[float, Array]:
        error, gradient = at(vector, records)
        path.append((time.process_time() - began, 2 * error / Y.size))
        if path[-1][0] > seconds:
            raise TimeoutError
        return error / len(X), gradient

    try:
        while True:  # again from where it ends
            found = minimize(
                value, start, jac=True, method="L-BFGS-B", options={"maxiter": 10**7, "maxfun": 10**7, "gtol": 0}
            )
            if np.allclose(found.x, start, rtol=1e-10):
                break
            start = found.x
    except TimeoutError:
        pass
    return path


def by_scipys_least_squares(method: str) -> Callable[[FitProblem, int, float], Path]:
    """Return SciPy's least_squares with an analytic Jacobian: "trf", or MINPACK's "lm"."""

    def run(problem: FitProblem, seed: int, seconds: float) -> Path:
        from scipy.optimize import least_squares

        X, Y = problem.records()
        layers = initial_layers(problem.sizes, seed)
        if method == "lm" and Y.size < parameter_count(problem.sizes):
            return []  # MINPACK refuses that
        shapes = [a.shape for layer in layers for a in layer]
        ends = np.cumsum([int(np.prod(s)) for s in shapes])[:-1]

        def forward(vector: Array) -> tuple[list[Array], list[Array]]:
            parts = [p.reshape(s) for p, s in zip(np.split(vector, ends), shapes, strict=True)]
            found = [X]
            for k in range(0, len(parts), 2):
                z = found[-1] @ parts[k] + parts[k + 1]
                found.append(np.tanh(z) if k < len(parts) - 2 else z)
            return parts, found

        def residuals(vector: Array) -> Array:
            r = (forward(vector)[1][-1] - Y).ravel()
            path.append((time.process_time() - began, float(r @ r) / Y.size))
            if path[-1][0] > seconds:
                raise TimeoutError
            return r

        def jacobian(vector: Array) -> Array:
            parts, found = forward(vector)
            outputs, J = Y.shape[1], np.empty((Y.size, len(vector)))
            for o in range(outputs):
                d = np.zeros_like(found[-1])
                d[:, o] = 1.0
                columns: list[Array] = []
                for k in range(len(layers) - 1, -1, -1):
                    outer = (found[k][:, :, None] * d[:, None, :]).reshape(len(X), -1)
                    columns = [outer, d, *columns]
                    d = (d @ parts[2 * k].T) * (1 - found[k] ** 2)
                J[o::outputs] = np.concatenate(columns, axis=1)
            return J

        path: Path = []
        start = np.concatenate([a.ravel() for layer in layers for a in layer])
        began = time.process_time()
        try:
            tolerances = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15)
            with threadpool_limits(1):  # SciPy has a BLAS of its own, which is there only now
                least_squares(residuals, start, jacobian, method=method, max_nfev=10**7, **tolerances)
        except TimeoutError:
            pass
        return path

    return run


def by_torch(problem: FitProblem, seed: int, seconds: float) -> Path:
    """torch-levenberg-marquardt, in float64."""
    import torch
    import torch_levenberg_marquardt as tlm  # type: ignore[import-not-found]

    logging.getLogger("torch_levenberg_marquardt").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    X, Y = (torch.from_numpy(a) for a in problem.records())
    modules: list[Any] = []
    for W, b in initial_layers(problem.sizes, seed):
        linear = torch.nn.Linear(*W.shape).double()
        linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b.copy())
        modules += [linear, torch.nn.Tanh()]
    module = tlm.training.LevenbergMarquardtModule(
        model=torch.nn.Sequential(*modules[:-1]),
        loss_fn=tlm.loss.MSELoss(),
        learning_rate=1.0,
        attempts_per_step=10,
        solve_method="cholesky",
    )
    path: Path = []
    began = time.process_time()
    while time.process_time() - began < seconds:
        _, loss, stop, _ = module.training_step(X, Y)
        path.append((time.process_time() - began, float(loss)))
        if stop:
            break
    return path


METHODS: dict[str, Callable[[FitProblem, int, float], Path]] = {
    "lm": by_solver(gd.LevenbergMarquardt()),
    "adam": by_adam,
    "lbfgs": by_solver(gd.LBFGS()),
    "scipy-lbfgs": by_scipys_lbfgs,
    "scipy-trf": by_scipys_least_squares("trf"),
    "minpack": by_scipys_least_squares("lm"),
    "torch-lm": by_torch,
}


def missing(name: str) -> str | None:
    """Return the package that a method needs and that is not here, or None."""
    from importlib.util import find_spec

    needs = {"torch-lm": "torch_levenberg_marquardt", "scipy-trf": "scipy", "minpack": "scipy", "scipy-lbfgs": "scipy"}
    package = needs.get(name)
    return package if package is not None and find_spec(package) is None else None


def _period() -> tuple[Array, Array]:
    x = np.linspace(-1, 1, 41)[:, None]
    return x, np.asarray(np.sin(np.pi * x), np.float64)


def _parity() -> tuple[Array, Array]:
    bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
    signs = np.where(bits, 1.0, -1.0)
    return signs, np.prod(signs, axis=1, keepdims=True)


# The two problems of MATLAB's comparison that have no data of their own: sizes, what its outputs are, and its goal.
MATLABS: dict[str, tuple[Callable[[], tuple[Array, Array]], list[int], str, float]] = {
    "sine": (_period, [1, 5, 1], "identity", 0.002),
    "parity": (_parity, [3, 10, 10, 1], "tanh", 0.001),
}


def to_matlabs_goal(problem: str, solver: gd.Solver, trials: int = 30) -> tuple[float, int]:
    """Return the mean CPU seconds to a goal of MATLAB's, over the trials that reach it, and how many do."""
    records, sizes, output, goal = MATLABS[problem]
    X, Y = records()
    times = []
    for seed in range(-1, trials):  # the first loads what is needed
        model = gd.MLP(sizes, activation="tanh", output=output, seed=seed + 1, precision="float64", threads=1)
        began = time.process_time()
        history = model.fit(X, Y, epochs=2000, solver=solver, callbacks=[lambda e: 2 * e.loss <= goal], progress=False)
        if seed >= 0 and 2 * history.loss[-1] <= goal:
            times.append(time.process_time() - began)
    return float(np.mean(times)), len(times)


def evidence_and_adam(X: Array, Y: Array, seed: int) -> dict[str, tuple[float, float]]:
    """Return R² on a fifth of the records, and CPU seconds, of the evidence, and of Adam stopped by validation rows."""
    rows = np.random.default_rng(seed).permutation(len(X))
    train, test = rows[: int(0.8 * len(X))], rows[int(0.8 * len(X)) :]
    held_out, rest = train[: len(train) // 8], train[len(train) // 8 :]
    sizes = [X.shape[1], 10, Y.shape[1]]

    def judged(model: gd.MLP, began: float) -> tuple[float, float]:
        seconds = time.process_time() - began
        errors = np.sum((np.asarray(model.predict(X[test])) - Y[test]) ** 2)
        return float(1 - errors / np.sum((Y[test] - Y[test].mean(0)) ** 2)), seconds

    found = {}
    for warm in (True, False):
        model = gd.MLP(sizes, activation="tanh", seed=seed, precision="float64", threads=1)
        began = time.process_time()
        solver = gd.LevenbergMarquardt(bayes=True)
        model.fit(X[train], Y[train], epochs=2 if warm else 200, solver=solver, progress=False)
        found["lm with bayes"] = judged(model, began)
        model = gd.MLP(sizes, activation="tanh", seed=seed, threads=1)
        began = time.process_time()
        model.fit(
            X[rest], Y[rest], epochs=2 if warm else 1000, batch_size=32, l2=4 / len(rest), patience=30,
            validation=(X[held_out], Y[held_out]), progress=False,
        )  # fmt: skip
        found["adam, early stopping"] = judged(model, began)
    return found
