"""What a backend compiles of JᵀJ beside the definition in float64: the error, its gradient and the products."""

import numpy as np
import pytest

from gdkernels.backend.least_squares import NormalEquations
from gdkernels.definition.objective import Objective
from gdkernels.dispatch import registry

__all__ = ["compare_with_definition", "drawn"]

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def drawn(program, records, loss="sse"):
    """Return the vector of parameters, the constants, and records whose first column holds codes."""
    draw = np.random.default_rng(0)
    arrays = {n: told.drawn(draw) + 0.1 for n, told in program.parameters.items()}
    x, y = draw.normal(size=(records, program.inputs)), draw.normal(size=(records, program.outputs))
    x[:, 0] = draw.integers(0, 3, records)
    if loss in ("cross_entropy", "binary_cross_entropy"):
        codes = draw.integers(0, max(2, program.outputs), records)
        y = np.eye(program.outputs)[codes] if program.outputs > 1 else codes[:, None].astype(float)
    vector = np.concatenate([arrays[n].ravel() for n in program.trained])
    return vector, {n: a for n, a in arrays.items() if n not in program.trained}, x, np.abs(y.round()) if (
        loss == "poisson"
    ) else y  # fmt: skip


def compare_with_definition(compiled, program, dtype, records, loss="sse", weights=None, put=lambda a: a):
    """Compare at a point, and again where the error is known; `compiled` makes the equations for a loss."""
    vector, constants, x, y = drawn(program, records, loss)
    function = Objective.checked(loss, outputs=program.outputs).loss
    numpy, parts = registry.get("numpy"), [(x, y, weights)]
    definition = NormalEquations(numpy, "cpu", program, function)
    expected = definition.at(vector, constants, definition.tiles(parts, "float64"), "float64")
    equations = compiled(function)
    tiles = list(equations.tiles([tuple(None if a is None else put(a) for a in parts[0])], dtype))
    found = equations.at(vector, constants, tiles, dtype)
    assert found.error == pytest.approx(expected.error, rel=TOLERANCE[dtype])
    for mine, theirs in ((found.gradient, expected.gradient), (np.tril(found.hessian), np.tril(expected.hessian))):
        assert np.abs(mine - theirs).max() <= TOLERANCE[dtype] * np.abs(theirs).max()
    kept = found.gradient.copy(), np.tril(found.hessian)
    assert equations.error(vector, constants, tiles, dtype) == found.error
    again = equations.at(vector, constants, tiles, dtype)  # now with the predictions that the error was made of
    np.testing.assert_array_equal(again.gradient, kept[0])
    np.testing.assert_array_equal(np.tril(again.hessian), kept[1])
    step = 0.1 * np.random.default_rng(2).normal(size=len(vector))
    bent = equations.bend(vector, step, constants, tiles, dtype)
    curved = definition.bend(vector, step, constants, list(definition.tiles(parts, "float64")), "float64")
    # A second difference is small beside what it is the difference of.
    rounded = np.sqrt(np.diagonal(expected.hessian).max() * max(1.0, 2.0 * abs(expected.error)))
    assert np.abs(bent - curved).max() <= 20 * TOLERANCE[dtype] * (rounded + np.abs(curved).max())
    equations.error(vector + step, constants, tiles, dtype)  # as a solver does, whose points are known then
    np.testing.assert_allclose(equations.bend(vector, step, constants, tiles, dtype), bent, atol=1e-12 * rounded)
