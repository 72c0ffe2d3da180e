"""Products of the Jacobian's rows, compared with the definition the first time that they are added up."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend
from gdkernels.backend.least_squares.jacobian import jacobian_of
from gdkernels.backend.least_squares.products import Products
from gdkernels.backend.program import Program

__all__ = ["CheckedProducts"]

_log = logging.getLogger("gdkernels")

_ROWS = 64  # that are compared
# The largest difference, as a share of the largest product: what rounding leaves of sums of so many is far below.
_ALLOWED = {"float32": 1e-4, "float64": 1e-10}


class CheckedProducts(Products):
    """Adds up by compiled code if that does what the definition does on your rows, and by the definition if not.

    Parameters
    ----------
    compiled
        What is compiled for this program.
    backend
        Whose arrays they are.
    name
        Its name in warnings.
    """

    def __init__(self, program: Program, compiled: Products, backend: Backend, name: str) -> None:
        self._compiled, self._backend, self._name = compiled, backend, name
        self._jacobian = jacobian_of(program)
        self._found: dict[str, str | None] = {}  # by precision, what is wrong

    @property
    def choices(self) -> Mapping[str, Any]:
        return self._compiled.choices

    @property
    def problem(self) -> str | None:
        return next((found for found in self._found.values() if found is not None), None)

    def rows(self, dtype: str) -> int:
        return self._compiled.rows(dtype)

    def add(self, arrays: Mapping[str, Any], x: Any, y: Any, r: Any, total: Any) -> None:
        dtype = str(total.dtype)
        if dtype not in self._found:
            first = slice(min(_ROWS, x.shape[0]))
            self._found[dtype] = self._problem_of(arrays, x[first, ...], y[first, ...], r[first], total)
        if self._found[dtype] is None:
            self._compiled.add(arrays, x, y, r, total)
        else:
            total += self._backend.xp.astype(self._expected(arrays, x, y, r), total.dtype)

    def predict(self, arrays: Mapping[str, Any], x: Any) -> Any:
        if self.problem is None:
            return self._compiled.predict(arrays, x)
        return self._jacobian.predict(arrays, x, xp=self._backend.xp)

    def rest(self) -> None:
        self._compiled.rest()

    def workspace(self, dtype: str) -> int:
        return self._compiled.workspace(dtype)

    def _problem_of(self, arrays: Mapping[str, Any], x: Any, y: Any, r: Any, total: Any) -> str | None:
        xp, found = self._backend.xp, self._backend.xp.zeros_like(total)
        self._compiled.add(arrays, x, y, r, found)
        predicted = self._compiled.predict(arrays, x)
        expected = self._host(self._expected(arrays, x, y, r))
        outputs = self._host(self._jacobian.predict(self._wide(arrays), xp.astype(x, xp.float64), xp=xp))
        pairs = ((np.tril(self._host(found)), np.tril(expected)), (self._host(predicted), outputs))
        allowed = _ALLOWED[str(total.dtype)]
        with np.errstate(all="ignore"):
            errors = [float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-300)) for a, b in pairs]
        # Where it is not finite, there is nothing to compare with.
        if all(error <= allowed for error in errors) or not np.isfinite(expected).all():
            return None
        problem = (
            f"{self._name} computes other least squares here than the definition (error {errors[0]:.0e} in JᵀJ, "
            f"{errors[1]:.0e} in the outputs; {allowed:.0e} is allowed)"
        )
        _log.warning("%s: the definition runs instead; please report it with the output of `gdkernels doctor`", problem)
        return problem

    def _expected(self, arrays: Mapping[str, Any], x: Any, y: Any, r: Any) -> Any:
        """Return the sum as the definition has it, in float64."""
        xp = self._backend.xp
        _, rows = self._jacobian.at(self._wide(arrays), xp.astype(x, xp.float64), xp=xp)
        J = rows(xp.astype(y, xp.float64)).beside(xp.astype(r, xp.float64), xp=xp)
        return xp.matmul(J.T, J)

    def _wide(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        xp = self._backend.xp
        return {name: xp.astype(a, xp.float64) for name, a in arrays.items()}

    def _host(self, a: Any) -> npt.NDArray[Any]:
        return np.asarray(self._backend.to_numpy(a))
