"""Slopes where functions have corners, poles and ties: on the definition and the engine, beside PyTorch's."""

from dataclasses import dataclass

import numpy as np
import pytest
from gdkernels_numba import NumbaBackend

from gdkernels.backend import Plan, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import Block, Parameter
from gdkernels.definition.network import gradient
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.graph import Graph, interpret

NORMS = (0.5, 1, 1.5, 2, 3, np.inf)


def norm(order):
    return lambda a, xp: xp.linalg.vector_norm(a, axis=1, keepdims=True, ord=order)


def std(a, xp):
    return xp.std(a, axis=1, keepdims=True)


# Of a row: a function, and the numbers that it is taken at.
AS_TORCH = {
    "std of equal numbers": (std, (2.0, 2.0, 2.0)),
    "std, corrected": (lambda a, xp: xp.std(a, axis=1, correction=1, keepdims=True), (2.0, 2.0)),
    "standardised": (lambda a, xp: (a - xp.mean(a, axis=1, keepdims=True)) / (std(a, xp) + 1e-5), (2.0, 2.0, 2.0)),
    **{f"norm {order} of nothing": (norm(order), (0.0, 0.0)) for order in NORMS},
    **{f"norm {order}": (norm(order), (3.0, 0.0, -4.0, 4.0)) for order in NORMS},
    "abs and sign": (lambda a, xp: xp.abs(a) + a * xp.sign(a), (0.0, -0.0, -2.0)),
    "asinh": (lambda a, xp: xp.asinh(a), (0.0, -0.0, 1e-9, -3.0, 1e30)),
    "acosh": (lambda a, xp: xp.acosh(a), (1.5, 1e30)),
    "powers": (lambda a, xp: a**2 + a**3 + a**1.5, (0.0, 2.0)),
    "power of arrays": (lambda a, xp: a[:, :4] ** a[:, 4:], (0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 1.0)),
    "ties": (lambda a, xp: xp.maximum(a[:, :2], a[:, 2:]) - xp.minimum(a[:, :2], 1.0), (1.0, 2.0, 1.0, 1.0)),
    "largest": (lambda a, xp: xp.max(a, axis=1, keepdims=True) - xp.min(a, axis=1, keepdims=True), (2.0, 2.0, 0.0)),
    "product with 0": (lambda a, xp: xp.prod(a, axis=1, keepdims=True), (0.0, 2.0, 3.0)),
    "products with two": (lambda a, xp: xp.cumulative_prod(a, axis=1), (2.0, 0.0, 3.0, 0.0)),
    "logaddexp": (lambda a, xp: xp.logaddexp(a[:, :2], a[:, 2:]), (1.0, 1e3, 1.0, -1e3)),
}
# PyTorch has NaN here, or decides otherwise: what is chosen.
CHOSEN = {
    "hypot": (lambda a, xp: xp.hypot(a[:, :2], a[:, 2:]), (0.0, 3.0, 0.0, 4.0), (0.0, 0.6, 0.0, 0.8)),
    "clip": (lambda a, xp: xp.clip(a, -1.0, 1.0), (-1.0, 1.0, 2.0, 0.0), (0.5, 0.5, 0.0, 1.0)),
    "a guarded log": (lambda a, xp: xp.where(a > 0, a * xp.log(a), 0.0), (0.0, -1.0, 1.0), (0.0, 0.0, 1.0)),
    "a guarded root": (lambda a, xp: xp.where(a <= 0, 0.0, xp.sqrt(a)), (0.0, -1.0, 4.0), (0.0, 0.0, 0.25)),
    "a guarded quotient": (
        lambda a, xp: xp.where(a[:, 2:] != 0, a[:, :2] / a[:, 2:], 0.0),
        (1.0, 1.0, 0.0, 2.0),
        (0.0, 0.5, 0.0, -0.25),
    ),
    "a guarded exp": (lambda a, xp: xp.where(a > 0, a, xp.expm1(a)), (0.0, 1e3), (1.0, 1.0)),
}
ALL = [*AS_TORCH.values(), *(case[:2] for case in CHOSEN.values())]


@dataclass(frozen=True)
class Corners(Block):
    """All of the functions side by side, of a row that is moved by a parameter."""

    def parameters(self, inputs):
        return {"moved": Parameter((inputs,), 0.0)}

    def outputs(self, inputs):
        return side_by_side(np.ones((1, inputs)), np).shape[1]

    def __call__(self, p, a, *, xp, random=None):
        return side_by_side(a + p["moved"], xp)


def side_by_side(a, xp):
    found, at = [], 0
    for f, row in ALL:
        found.append(f(a[:, at : at + len(row)], xp))
        at += len(row)
    return xp.concat(found, axis=1)


@pytest.fixture(scope="module")
def slopes():
    """Return the slopes of the sum of all, on the definition and on the engine."""
    x = np.array([[number for _, row in ALL for number in row]])
    program = Program(Corners(), x.shape[1], Objective(losses.sse, reduction="sum"), SGD())
    start = {"moved": np.zeros(x.shape[1])}
    with np.errstate(all="ignore"):  # a function is also computed where a selection leaves it out
        y = side_by_side(x, np) - 1.0
        _, defined = gradient(
            program.block, start, x, y, trained=program.trained, loss=losses.sse, reduction="sum", xp=np
        )
    executable = bind(NumbaBackend(), program, Plan("numba", "cpu", "float64", {"threads": 1}))
    assert executable.origin == "compiled"
    state = verification.start(program, start, np.array)
    executable.run(state, x, y, np.arange(1), 1, np.ones(1))
    return {"definition": defined["moved"], "numba": -dict(verification.named_arrays(state))["moved"]}


@pytest.mark.parametrize("backend", ["definition", "numba"])
def test_slopes_at_corners(slopes, backend):
    torch, xp = pytest.importorskip("torch"), pytest.importorskip("array_api_compat.torch")
    at = 0
    for name, (f, row) in AS_TORCH.items():
        a = torch.tensor([row], dtype=torch.float64, requires_grad=True)
        f(a, xp).sum().backward()
        np.testing.assert_allclose(slopes[backend][at : at + len(row)], a.grad[0], 1e-12, 1e-12, err_msg=name)
        at += len(row)


@pytest.mark.parametrize("backend", ["definition", "numba"])
def test_slopes_that_are_chosen(slopes, backend):
    chosen = [number for _, _, numbers in CHOSEN.values() for number in numbers]
    np.testing.assert_allclose(slopes[backend][-len(chosen) :], chosen, 1e-12, 1e-12)


def test_a_norm_or_deviation_of_nan_is_nan():

    for f in (norm(2), norm(0.5), std):
        graph = Graph()
        a = graph.input("a", (graph.dim("B"), graph.dim("n", 2)))
        assert np.isnan(interpret([f(a, graph)], {"a": np.array([[1.0, np.nan]])}, xp=np)[0]).all()
