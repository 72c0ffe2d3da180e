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
    x = lapack.solve_positive(matrix, 3.0, diagonal, right, np.empty((count + 1, count + 1)))
    expected = 3.0 * (np.tril(A) + np.tril(A, -1).T).astype(np.float64)
    np.fill_diagonal(expected, diagonal)
    np.testing.assert_allclose(expected @ x, right, rtol=1e-9, atol=1e-10)
    x = lapack.solve_positive(matrix, 3.0, diagonal, right, np.empty((count + 1, count + 1)), "float32")
    assert x.dtype == np.float64
    assert np.abs(expected @ x - right).max() <= 1e-5 * np.abs(expected).max() * np.abs(x).max()


def test_what_is_not_positive_definite_or_not_finite_has_no_solution(way):
    A, right, work = np.eye(3), np.ones(3), np.empty((4, 4))
    assert lapack.solve_positive(A, 1.0, np.array([1.0, -1.0, 1.0]), right, work) is None
    assert lapack.solve_positive(A, 1.0, np.array([1.0, np.nan, 1.0]), right, work) is None
    assert lapack.solve_positive(A, 1.0, np.ones(3), right * np.inf, work) is None
    assert lapack.solve_positive(A, 1.0, np.ones(3) + 1e39, right, work, "float32") is None
    assert lapack.solve_positive(A, 1.0, np.ones(3) + 1e39, right, work) is not None
