"""Systems of equations by the LAPACK beneath NumPy, and by NumPy where that is not found."""

import numpy as np
import pytest

from gdkernels.system import lapack


@pytest.fixture(params=["lapack", "numpy"])
def way(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(lapack, "_lapack", lambda dtype: None)
    elif lapack._lapack("float64") is None or lapack._lapack("float32") is None:
        pytest.skip("this NumPy does not bring its LAPACK under the names of its wheels")


@pytest.mark.parametrize("count", [1, 2, 47, 48, 49, 130])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_lower_triangle_is_solved_with(way, count, dtype):
    draw = np.random.default_rng(count)
    J = draw.normal(size=(2 * count, count))
    A = (J.T @ J).astype(dtype)
    right, diagonal = draw.normal(size=count), np.diagonal(A) * 3.0 + 0.5
    matrix = np.tril(A) + np.triu(np.full_like(A, np.nan), 1)
    system, other = lapack.PositiveSystem(count), draw.normal(size=count)
    assert system.factorise(matrix, 3.0, diagonal)
    x = system.solve(right)
    expected = 3.0 * (np.tril(A) + np.tril(A, -1).T).astype(np.float64)
    np.fill_diagonal(expected, diagonal)
    np.testing.assert_allclose(expected @ x, right, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(expected @ system.solve(other), other, rtol=1e-9, atol=1e-10)
    assert system.factorise(matrix, 3.0, diagonal, "float32")
    x = system.solve(right)
    assert x.dtype == np.float64
    assert np.abs(expected @ x - right).max() <= 1e-5 * np.abs(expected).max() * np.abs(x).max()


def test_what_is_not_positive_definite_or_not_finite_has_no_solution(way):
    system, A, right = lapack.PositiveSystem(3), np.eye(3), np.ones(3)
    assert not system.factorise(A, 1.0, np.array([1.0, -1.0, 1.0]))
    nothing = np.array([1.0, np.nan, 1.0])
    assert not system.factorise(A, 1.0, nothing) or system.solve(right) is None
    assert system.factorise(A, 1.0, np.ones(3))
    assert system.solve(right * np.inf) is None
    assert not system.factorise(A, 1.0, np.ones(3) + 1e39, "float32")
    assert system.factorise(A, 1.0, np.ones(3) + 1e39)
    assert system.solve(right) is not None
