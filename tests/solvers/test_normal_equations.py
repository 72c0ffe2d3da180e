"""The error, the gradient and JᵀJ of all records against finite differences, for every loss and on other namespaces."""

import numpy as np
import pytest
from strict_backend import StrictBackend

import gdkernels as gd
from gdkernels.backend import Backend
from gdkernels.backend.least_squares import NormalEquations, Tiles, normal_equations
from gdkernels.definition.objective import Objective
from gdkernels.dispatch import registry

RECORDS = 23
RNG = np.random.default_rng(0)
X = RNG.normal(size=(RECORDS, 3))
WEIGHTS = RNG.uniform(0.0, 2.0, RECORDS)
WEIGHTS[3] = 0.0


def quartic(prediction, target, *, xp):
    """A loss of the user's, whose second derivative mixes outputs and is nowhere constant."""
    error = prediction - target
    return xp.sum(error * error, axis=-1) ** 2.0


# For each loss the outputs; numbers, classes, yes or no, counts.
LOSSES = {
    "sse": (2, RNG.normal(size=(RECORDS, 2))),
    "mse": (3, RNG.normal(size=(RECORDS, 3))),
    "huber": (2, 2.0 * RNG.normal(size=(RECORDS, 2))),
    "poisson": (2, RNG.integers(0, 4, (RECORDS, 2)).astype(float)),
    "cross_entropy": (3, np.eye(3)[RNG.integers(0, 3, RECORDS)]),
    "binary_cross_entropy": (2, RNG.integers(0, 2, (RECORDS, 2)).astype(float)),
    quartic: (2, RNG.normal(size=(RECORDS, 2))),
}


def equations(loss, backend="numpy", device="cpu", outputs=2):
    network = gd.MLP([3, 4, outputs], activation="tanh", seed=1, precision="float64").network
    objective = Objective.checked(loss, outputs=outputs)
    network.train_for(objective)
    program = network.structure.program(objective)
    found = NormalEquations(
        registry.get(backend) if isinstance(backend, str) else backend, device, program, objective.loss
    )
    vector = np.concatenate([network.parameters[name].ravel() for name in program.trained])
    return found, vector, program, objective.loss


def outputs_at(program, found, vector):
    return program.forward(found.named(vector, "float64"), X, xp=np)


def second_derivatives(loss, z, y):
    """Return those of the loss by the outputs [records, outputs, outputs], by differences of differences."""
    step, count = 1e-4, z.shape[1]
    result = np.empty((len(z), count, count))
    for i, a in enumerate(np.eye(count) * step):
        for j, b in enumerate(np.eye(count) * step):
            at = [loss(z + s * a + t * b, y, xp=np) for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
            result[:, i, j] = (at[0] - at[1] - at[2] + at[3]) / (4 * step * step)
    return result


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: getattr(loss, "__name__", loss))
def test_against_finite_differences(loss, weights, monkeypatch):
    monkeypatch.setattr(normal_equations, "HOST", Tiles(64 * 8 * 30))  # several tiles
    monkeypatch.setattr(Tiles, "rows", lambda self, parameters, itemsize: 7)
    outputs, Y = LOSSES[loss]
    found, vector, program, function = equations(loss, outputs=outputs)
    parts = [(X, Y, weights)]
    tiles = list(found.tiles(parts, "float64"))
    assert [len(x) for x, _, _ in tiles] == [5, 6, 6, 6]
    at = found.at(vector, {}, tiles, "float64")
    share = np.ones(RECORDS) if weights is None else weights
    z = outputs_at(program, found, vector)
    error = float(np.sum(share * function(z, Y, xp=np)))
    assert at.error == pytest.approx(error, rel=1e-13)
    assert found.error(vector, {}, tiles, "float64") == pytest.approx(error, rel=1e-13)
    units = np.eye(len(vector)) * 1e-6
    slopes = [
        found.error(vector + u, {}, tiles, "float64") - found.error(vector - u, {}, tiles, "float64") for u in units
    ]
    np.testing.assert_allclose(at.gradient, np.array(slopes) / 2e-6, rtol=1e-5, atol=1e-7)
    J = np.stack(
        [(outputs_at(program, found, vector + u) - outputs_at(program, found, vector - u)) / 2e-6 for u in units], -1
    )
    curvature = second_derivatives(function, z, Y)
    expected = np.einsum("b,bki,bkl,blj->ij", share, J, curvature, J)
    np.testing.assert_allclose(at.hessian, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(at.hessian, at.hessian.T)
    step = 0.02 * np.random.default_rng(1).normal(size=len(vector))
    points = [outputs_at(program, found, vector + t * step) for t in (0.25, 0.5, 0.75)]
    slopes = [
        np.stack([(function(p + u, Y, xp=np) - function(p - u, Y, xp=np)) / 2e-5 for u in np.eye(outputs) * 1e-5], -1)
        for p in points
    ]
    curve = 16.0 * (slopes[0] - 2.0 * slopes[1] + slopes[2])
    bent = np.einsum("b,bk,bki->i", share, curve, J)
    np.testing.assert_allclose(
        found.bend(vector, step, {}, tiles, "float64"), bent, atol=2e-2 * np.abs(bent).max() + 1e-7
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", ["sse", "cross_entropy"])
def test_other_namespaces_and_precisions(loss, dtype):
    outputs, Y = LOSSES[loss]
    on_numpy, vector, _, _ = equations(loss, outputs=outputs)
    strict = StrictBackend()
    elsewhere, _, _, _ = equations(loss, strict, "device1", outputs=outputs)
    expected = on_numpy.at(vector, {}, [(X, Y, WEIGHTS)], "float64")
    placed = tuple(strict.asarray(a, dtype="float64", device="device1") for a in (X, Y, WEIGHTS))
    found = elsewhere.at(vector, {}, elsewhere.tiles([placed], dtype), dtype)
    tolerance = {"float64": 1e-12, "float32": 2e-6}[dtype]
    assert found.error == pytest.approx(expected.error, rel=tolerance)
    np.testing.assert_allclose(found.gradient, expected.gradient, atol=tolerance * 10)
    np.testing.assert_allclose(found.hessian, expected.hessian, atol=tolerance * 10)
    if dtype == "float32":
        narrow = on_numpy.at(vector, {}, on_numpy.tiles([(X, Y, WEIGHTS)], "float32"), "float32")
        assert not np.array_equal(narrow.hessian, expected.hessian)
        np.testing.assert_allclose(narrow.hessian, expected.hessian, atol=2e-5)


class Elsewhere(Backend):
    """The arrays of a namespace, as a backend."""

    name = "elsewhere"

    def __init__(self, namespace):
        self.namespace = namespace

    @property
    def xp(self):
        return self.namespace.xp

    def unavailable(self):
        return None

    def devices(self):
        return ["there"]

    def asarray(self, x, *, dtype, device):
        return self.namespace.array(x if isinstance(x, np.ndarray) else self.to_numpy(x), dtype)

    def to_numpy(self, x):
        return self.namespace.numpy(x)


def test_each_namespace_computes_what_numpy_does(namespace):
    loss = "mse"
    outputs, Y = LOSSES[loss]
    on_numpy, vector, _, _ = equations(loss, outputs=outputs)
    expected = on_numpy.at(vector, {}, [(X, Y, WEIGHTS)], "float64")
    elsewhere, _, _, _ = equations(loss, Elsewhere(namespace), "there", outputs=outputs)
    placed = tuple(namespace.array(a, "float64") for a in (X, Y, WEIGHTS))
    found = elsewhere.at(vector, {}, elsewhere.tiles([placed], "float64"), "float64")
    assert found.error == pytest.approx(expected.error, rel=1e-12)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(found.hessian, expected.hessian, rtol=1e-10, atol=1e-11)


def test_a_network_is_fitted_where_the_host_cannot_read():
    model = gd.MLP([3, 4, 1], activation="tanh", seed=0, precision="float64", backend=StrictBackend(), device="device1")
    other = gd.MLP([3, 4, 1], activation="tanh", seed=0, precision="float64", backend="numpy")
    Y = np.sin(X[:, :1])
    for solver in ("lm", "lbfgs"):
        history, expected = (m.fit(X, Y, epochs=4, solver=solver, progress=False) for m in (model, other))
        np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-6)


def test_a_constant_second_derivative_is_found_by_the_trace():
    assert equations("sse")[0].takes_squares
    assert equations("mse")[0].takes_squares
    for loss in ("huber", "poisson", quartic):
        assert not equations(loss)[0].takes_squares


def test_the_tiles_of_a_few_parameters_and_of_many():
    tiles = Tiles(1 << 20)
    assert tiles.rows(31, 8) == (1 << 20) // (8 * 31)
    assert tiles.rows(841, 4) == 1682  # or adding up the products of tiles would cost more than these
    assert tiles.rows(3000, 4) == 2048
