"""Adding up JᵀJ and the gradient, tile by tile: on the host, on any namespace, by what a backend has compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend
from gdkernels.backend.least_squares.jacobian import Jacobian
from gdkernels.backend.least_squares.products import Products, TracedProducts

__all__ = ["CompiledSums", "DeviceSums", "HostSums", "TileSums"]

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]


class TileSums(Protocol):
    """The sums at a point, one tile after the other."""

    def begin(self, x: Any, prediction: Any) -> Any:
        """Go to a tile, and return the network's outputs there; `prediction` are these where they are known."""

    def add(self, cotangent: Any, residual: Any) -> None:
        """Add the tile's rows, whose outputs a cotangent weights, and what they multiply in the gradient, or None."""

    def add_sum(self, cotangent: Any) -> None:
        """Add the sum of the tile's rows to the gradient."""

    def total(self) -> tuple[Vector, Array]:
        """Return the gradient, and JᵀJ, of all tiles, in the memory that the next sums will have."""


class HostSums:
    """The sums of NumPy's arrays in one product: the residuals stand beside J.

    BLAS computes half of a symmetric product, if NumPy sees that it is one.
    """

    def __init__(
        self, jacobian: Jacobian, arrays: Mapping[str, Any], ways_back: list[Array], room: tuple[Array, ...]
    ) -> None:
        self._jacobian, self._arrays, self._ways_back = jacobian, arrays, ways_back
        self._room, self._product, self._total = room
        self._count = jacobian.parameters
        self._total[:] = 0.0
        self._rows: Any = None

    @staticmethod
    def room(parameters: int, rows: int, dtype: str) -> tuple[Array, ...]:
        """Return memory for a tile's rows, for their product, and for the sum of these.

        There is a column more than parameters, for residuals, and some of zeros: BLAS likes multiples of eight.
        """
        width = -(-(parameters + 1) // 8) * 8
        square = (width, width)
        return np.zeros((rows, width), dtype), np.empty(square, dtype), np.empty(square)

    def begin(self, x: Any, prediction: Any) -> Any:
        prediction, self._rows = self._jacobian.at(self._arrays, x, xp=np)
        return prediction

    def add(self, cotangent: Any, residual: Any) -> None:
        rows = self._rows(cotangent)
        J = self._room[: rows.records]
        rows.write(J, self._ways_back)
        J[:, self._count] = 0.0 if residual is None else residual
        self._total += np.matmul(J.T, J, out=self._product)

    def add_sum(self, cotangent: Any) -> None:
        rows = self._rows(cotangent)
        J = self._room[: rows.records]
        rows.write(J, self._ways_back)
        self._total[self._count, : self._count] += np.sum(J[:, : self._count], axis=0, dtype=np.float64)

    def total(self) -> tuple[Vector, Array]:
        return self._total[self._count, : self._count], self._total[: self._count, : self._count]


class DeviceSums:
    """The sums on any namespace; they come to the host in the end."""

    def __init__(
        self,
        jacobian: Jacobian,
        arrays: Mapping[str, Any],
        ways_back: list[Array],
        backend: Backend,
        device: str,
        dtype: str,
    ) -> None:
        self._jacobian, self._arrays, self._backend = jacobian, arrays, backend
        self._count = jacobian.parameters
        self._ways_back = [backend.asarray(a.astype(dtype), dtype=dtype, device=device) for a in ways_back]
        self._total: Any = None
        self._gradient: Vector = np.zeros(self._count)
        self._rows: Any = None

    def begin(self, x: Any, prediction: Any) -> Any:
        prediction, self._rows = self._jacobian.at(self._arrays, x, xp=self._backend.xp)
        return prediction

    def add(self, cotangent: Any, residual: Any) -> None:
        xp = self._backend.xp
        J = self._rows(cotangent).joined(self._ways_back, xp=xp)
        product = xp.matmul(xp.matrix_transpose(J), J)
        self._total = product if self._total is None else self._total + product
        if residual is not None:
            self._gradient += self._host(xp.matmul(xp.matrix_transpose(J), residual))

    def add_sum(self, cotangent: Any) -> None:
        xp = self._backend.xp
        self._gradient += self._host(xp.sum(self._rows(cotangent).joined(self._ways_back, xp=xp), axis=0))

    def total(self) -> tuple[Vector, Array]:
        return self._gradient, np.zeros((self._count,) * 2) if self._total is None else self._host(self._total)

    def _host(self, a: Any) -> Vector:
        return np.asarray(self._backend.to_numpy(a), np.float64)


Place = tuple[Backend, str]  # and its device


class CompiledSums:
    """The sums by what a backend has compiled, which adds the records of a tile in their own precision.

    They stay where they are made, and come to the host in the end.
    """

    def __init__(
        self,
        products: Products,
        traced: TracedProducts,
        jacobian: Jacobian,
        arrays: Mapping[str, Any],
        ways_back: list[Array],
        room: tuple[Any, ...],
        place: Place,
    ) -> None:
        self._products, self._traced, self._jacobian = products, traced, jacobian
        self._arrays, self._ways_back = arrays, ways_back
        self._backend, _ = place
        self._sum, self._total = room
        self._sum[:] = 0.0
        self._added = False  # whether `_total` has something
        self._gradient: Vector | None = None
        self._x: Any = self._sum
        self._tiles = 0

    @staticmethod
    def room(width: int, dtype: str, place: Place) -> tuple[Any, ...]:
        """Return memory for the sum of a tile, and for the sum of these."""
        backend, device = place
        kinds = (dtype,) if dtype == "float64" else (dtype, "float64")
        squares = [backend.asarray(np.empty((width, width), kind), dtype=kind, device=device) for kind in kinds]
        return squares[0], squares[-1]

    def begin(self, x: Any, prediction: Any) -> Any:
        if self._tiles and self._sum is not self._total:
            if self._added:
                self._total += self._sum
            else:
                self._total[:] = self._sum
            self._sum[:] = 0.0
            self._added = True
        self._tiles += 1
        self._x = x
        return self._products.predict(self._arrays, self._x) if prediction is None else prediction

    def add(self, cotangent: Any, residual: Any) -> None:
        r = self._backend.xp.zeros_like(self._x[:, 0]) if residual is None else residual
        self._products.add(self._arrays, self._x, cotangent, r, self._sum)

    def add_sum(self, cotangent: Any) -> None:
        backend = self._backend
        found = self._jacobian.gradient(self._arrays, self._x, cotangent, backend.to_numpy, xp=backend.xp)
        self._gradient = found + (0.0 if self._gradient is None else self._gradient)

    def total(self) -> tuple[Vector, Array]:
        if self._added:
            self._total += self._sum
        found = self._backend.to_numpy(self._total if self._added else self._sum)
        count, places = self._jacobian.parameters, self._traced.places
        gradient, hessian = found[-1, :-1], found[:-1, :-1]
        if sum(size for place, size in places if place is not None) != count or len(gradient) != count:
            whole = np.tril(found).astype(np.float64)
            whole += np.tril(found, -1).T
            back = self._back()
            gradient, hessian = whole[-1, :-1] @ back, back.T @ whole[:-1, :-1] @ back
        return np.asarray(gradient if self._gradient is None else self._gradient, np.float64), hessian

    def _back(self) -> Array:
        """Return the derivative of what the columns belong to by the parameters: ones, and what is computed of them."""
        back = np.zeros((self._traced.width - 1, self._jacobian.parameters))
        at, ways_back = 0, iter(self._ways_back)
        for place, size in self._traced.places:
            if place is None:
                back[at : at + size] = next(ways_back)
            else:
                np.fill_diagonal(back[at : at + size, place], 1.0)
            at += size
        return back
