"""The normal equations: the error of all records, its gradient, and JᵀJ, added up over tiles of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend
from gdkernels.backend.least_squares.jacobian import jacobian_of
from gdkernels.backend.least_squares.output_loss import output_loss
from gdkernels.backend.program import Program
from gdkernels.definition.losses import Loss

__all__ = ["Normal", "NormalEquations", "Tiles"]

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]

# Inputs, targets and, where there are some, weights: some records at a time.
Part = tuple[Any, Any, Any]


@dataclass(frozen=True)
class Normal:
    """The error E of all records at a point, its gradient, and the second derivative of Gauss and Newton.

    The arrays are those of the equations that made it, and last until these are asked for another point.
    """

    error: float
    gradient: Vector
    hessian: Array


@dataclass(frozen=True)
class Tiles:
    """How many records a tile has.

    Attributes
    ----------
    bytes
        About those of a tile of the Jacobian: it is written and read again, and should stay in a cache.
    """

    bytes: int

    def rows(self, parameters: int, itemsize: int) -> int:
        """Return the records of a tile: more where the product, a matrix of its own, would cost more than they."""
        return max(64, self.bytes // (itemsize * max(1, parameters)), min(2 * parameters, _ENOUGH))


_ENOUGH = 2048  # records, beyond which a product gets no faster

# On the host, of the cache of a core; elsewhere, of memory.
HOST, DEVICE = Tiles(1 << 20), Tiles(1 << 28)


class NormalEquations:
    """Sums over all records of what a step of least squares needs.

    Parameters
    ----------
    backend, device
        Where the records are.
    program
        A network that predicts; its outputs are what the loss takes.
    loss
        Its second derivative at the outputs takes the place of the square's where it is another.
    """

    def __init__(self, backend: Backend, device: str, program: Program, loss: Loss) -> None:
        self._backend, self._device, self._program = backend, device, program
        self._jacobian = jacobian_of(program)
        self._loss = output_loss(loss, program.outputs)
        self._tiles = HOST if device == "cpu" else DEVICE
        self._room: dict[str, tuple[Array, Array, Array]] = {}
        factor = self._loss.factor
        # What takes a slope apart into those of the residuals, if the same does for all records.
        self._apart = None if factor is None or np.linalg.matrix_rank(factor) < len(factor) else np.linalg.inv(factor)

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return self._jacobian.parameters

    @property
    def takes_squares(self) -> bool:
        """Whether the loss is a sum of squares, so that its weight is one over the variance of a noise."""
        return self._apart is not None

    def named(self, vector: Vector, dtype: str) -> dict[str, Any]:
        """Return the parts of a vector by the names of the parameters, as arrays of the backend."""
        shapes, wide = self._program.shapes, vector.astype(dtype)
        return {
            name: self._backend.asarray(wide[place].reshape(shapes[name]), dtype=dtype, device=self._device)
            for name, place in self._jacobian.slices.items()
        }

    def error(self, vector: Vector, constants: Mapping[str, Any], tiles: Iterable[Part], dtype: str) -> float:
        """Return E at a point, of records as `tiles` puts them."""
        xp, total = self._backend.xp, 0.0
        arrays = self._arrays(vector, constants, dtype)
        with np.errstate(all="ignore"):
            for x, y, weights in tiles:
                value = self._loss.value(self._jacobian.predict(arrays, x, xp=xp), y, xp=xp)
                total += self._summed(value, weights)
        return total

    def at(self, vector: Vector, constants: Mapping[str, Any], tiles: Iterable[Part], dtype: str) -> Normal:
        """Return what a step needs at a point, computed in `dtype` and added up."""
        xp = self._backend.xp
        arrays = self._arrays(vector, constants, dtype)
        with np.errstate(all="ignore"):
            ways_back = self._jacobian.ways_back(arrays, self._backend.to_numpy, xp=xp)
            sums: _Sums = (_HostSums if _on_host(arrays) else _DeviceSums)(self, dtype, ways_back)
            error = 0.0
            for x, y, weights in tiles:
                prediction, rows = self._jacobian.at(arrays, x, xp=xp)
                value, slope = self._loss.value_and_slope(prediction, y, xp=xp)
                error += self._summed(value, weights)
                self._add(sums, rows, prediction, y, slope, weights)
            return Normal(error, *sums.total())

    def _add(self, sums: _Sums, rows: Any, prediction: Any, y: Any, slope: Any, weights: Any) -> None:
        """Add the rows of a tile, and its part of the gradient."""
        xp, outputs = self._backend.xp, self._program.outputs
        factor, apart = self._loss.factor, self._apart
        root = None if weights is None else xp.expand_dims(xp.sqrt(weights), axis=1)
        if factor is not None and apart is not None:
            for k in range(outputs):
                cotangent = self._repeated(factor[:, k], slope)
                residual = _weighted_sum(slope, apart[k], xp=xp)
                if root is not None:
                    cotangent, residual = cotangent * root, residual * root[:, 0]
                sums.add(rows(cotangent), residual)
            return
        roots = self._loss.factors(*(np.asarray(self._backend.to_numpy(a), np.float64) for a in (prediction, y)))
        for k in range(outputs):
            cotangent = self._placed(roots[:, :, k], slope)
            sums.add(rows(cotangent if root is None else cotangent * root), None)
        sums.add_sum(rows(slope if weights is None else slope * xp.expand_dims(weights, axis=1)))

    def _placed(self, a: Array, like: Any) -> Any:
        dtype = str(like.dtype).rsplit(".", 1)[-1]
        return self._backend.asarray(np.ascontiguousarray(a, dtype), dtype=dtype, device=self._device)

    def _repeated(self, shares: Array, like: Any) -> Any:
        """Return a matrix like another, each row of it these shares."""
        if isinstance(like, np.ndarray):
            return np.broadcast_to(shares.astype(like.dtype), like.shape)
        return self._backend.xp.zeros_like(like) + self._placed(shares, like)

    def _summed(self, value: Any, weights: Any) -> float:
        xp = self._backend.xp
        if isinstance(value, np.ndarray):
            return float(np.sum(value if weights is None else value * weights, dtype=np.float64))
        value = value if weights is None else value * weights
        return float(xp.sum(xp.astype(value, xp.float64) if "float64" in self._backend.precisions else value))

    def _arrays(self, vector: Vector, constants: Mapping[str, Any], dtype: str) -> dict[str, Any]:
        fixed = {n: self._backend.asarray(a, dtype=dtype, device=self._device) for n, a in constants.items()}
        return {**self.named(vector, dtype), **fixed}

    def tiles(self, parts: Iterable[Part], dtype: str) -> Iterator[Part]:
        """Yield the records of all parts, so many at a time, in `dtype`."""
        rows = self.rows(dtype)
        for part in parts:
            count = int(part[0].shape[0])
            pieces = -(-count // rows)
            for k in range(pieces):  # of about one size: none is left over that is small
                at = slice(count * k // pieces, count * (k + 1) // pieces)
                x, y, weights = (a if a is None or pieces == 1 else a[at, ...] for a in part)
                yield self._cast(x, dtype), self._cast(y, dtype), self._cast(weights, dtype)

    def rows(self, dtype: str) -> int:
        """Return the most records of a tile."""
        return self._tiles.rows(self.parameters, np.dtype(dtype).itemsize)

    def _cast(self, a: Any, dtype: str) -> Any:
        if a is None or (isinstance(a, np.ndarray) and a.dtype == dtype):
            return a
        return self._backend.asarray(a, dtype=dtype, device=self._device)

    def room(self, dtype: str) -> tuple[Array, Array, Array]:
        """Return memory that is kept: for a tile's rows on the host, for their product, and for the sum of these.

        There is a column more than parameters, for residuals, and some of zeros: BLAS likes multiples of eight.
        """
        if dtype not in self._room:
            self._room.clear()
            width = -(-(self.parameters + 1) // 8) * 8
            square = (width, width)
            rows = np.zeros((self.rows(dtype), width), dtype)
            self._room[dtype] = rows, np.empty(square, dtype), np.empty(square)
        return self._room[dtype]

    @property
    def backend(self) -> Backend:
        """Where it is computed."""
        return self._backend

    @property
    def device(self) -> str:
        """The device of the records."""
        return self._device


class _HostSums:
    """JᵀJ and Jᵀr of NumPy's arrays, in one product: the residuals stand beside J.

    BLAS computes half of a symmetric product, if NumPy sees that it is one.
    """

    def __init__(self, of: NormalEquations, dtype: str, ways_back: list[Array]) -> None:
        self._rows, self._product, self._total = of.room(dtype)
        self._count, self._ways_back = of.parameters, ways_back
        self._total[:] = 0.0

    def add(self, rows: Any, residual: Any) -> None:
        """Add some rows, and what they multiply in the gradient, if there is something."""
        J = self._rows[: rows.records]
        rows.write(J, self._ways_back)
        J[:, self._count] = 0.0 if residual is None else residual
        self._total += np.matmul(J.T, J, out=self._product)

    def add_sum(self, rows: Any) -> None:
        """Add the sum of some rows to the gradient."""
        J = self._rows[: rows.records]
        rows.write(J, self._ways_back)
        self._total[self._count, : self._count] += np.sum(J[:, : self._count], axis=0, dtype=np.float64)

    def total(self) -> tuple[Vector, Array]:
        """Return the gradient, and JᵀJ, of all rows, in the memory that the next sums will have."""
        return self._total[self._count, : self._count], self._total[: self._count, : self._count]


class _DeviceSums:
    """JᵀJ and Jᵀr on any namespace; they come to the host in the end."""

    def __init__(self, of: NormalEquations, dtype: str, ways_back: list[Array]) -> None:
        self._backend, self._count = of.backend, of.parameters
        self._ways_back = [of.backend.asarray(a.astype(dtype), dtype=dtype, device=of.device) for a in ways_back]
        self._total: Any = None
        self._gradient: Vector = np.zeros(self._count)

    def add(self, rows: Any, residual: Any) -> None:
        xp = self._backend.xp
        J = rows.joined(self._ways_back, xp=xp)
        product = xp.matmul(xp.matrix_transpose(J), J)
        self._total = product if self._total is None else self._total + product
        if residual is not None:
            self._gradient += self._host(xp.matmul(xp.matrix_transpose(J), residual))

    def add_sum(self, rows: Any) -> None:
        xp = self._backend.xp
        self._gradient += self._host(xp.sum(rows.joined(self._ways_back, xp=xp), axis=0))

    def total(self) -> tuple[Vector, Array]:
        return self._gradient, np.zeros((self._count,) * 2) if self._total is None else self._host(self._total)

    def _host(self, a: Any) -> Vector:
        return np.asarray(self._backend.to_numpy(a), np.float64)


_Sums = _HostSums | _DeviceSums


def _on_host(arrays: Mapping[str, Any]) -> bool:
    return all(isinstance(a, np.ndarray) for a in arrays.values())


def _weighted_sum(slope: Any, shares: Array, *, xp: Any) -> Any:
    """Return the sum over the outputs of a slope [records, outputs], each times its share."""
    total = None
    for k, share in enumerate(shares.tolist()):
        if share:
            part = slope[:, k] if share == 1.0 else slope[:, k] * share
            total = part if total is None else total + part
    return total
