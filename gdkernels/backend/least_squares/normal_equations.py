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
from gdkernels.backend.least_squares.products import Products, traced_products
from gdkernels.backend.least_squares.sums import CompiledSums, DeviceSums, HostSums, TileSums
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

    Of the last, only the lower triangle counts. The arrays are those of the equations that made it, and last until
    these are asked for another point.
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


@dataclass(frozen=True)
class _Predicted:
    """The network's outputs at a point, for tiles that are kept, and the error there."""

    vector: Vector
    tiles: list[Part]
    predictions: list[Any]
    error: float

    def is_of(self, vector: Vector, tiles: Any) -> bool:
        """Return whether it is that of a point, on the same records."""
        return tiles is self.tiles and (vector is self.vector or bool((self.vector == vector).all()))


class NormalEquations:
    """TileSums over all records of what a step of least squares needs.

    Parameters
    ----------
    backend, device
        Where the records are.
    program
        A network that predicts; its outputs are what the loss takes.
    loss
        Its second derivative at the outputs takes the place of the square's where it is another.
    products
        What the backend has compiled; without it, the definition runs on its namespace.
    """

    def __init__(
        self, backend: Backend, device: str, program: Program, loss: Loss, products: Products | None = None
    ) -> None:
        self._backend, self._device, self._program = backend, device, program
        self._jacobian, self._products = jacobian_of(program), products
        self._loss = output_loss(loss, program.outputs)
        self._tiles = HOST if device == "cpu" else DEVICE
        self._room: dict[str, tuple[Any, ...]] = {}
        self._here: _Predicted | None = None  # where J was wanted last
        self._there: _Predicted | None = None  # where the error was
        self._point: tuple[str, Array, dict[str, Array]] | None = None
        self._cotangents: dict[tuple[int, int, str], Any] = {}
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
        xp, whole = self._backend.xp, self._backend.asarray(vector.astype(dtype), dtype=dtype, device=self._device)
        shapes = self._program.shapes
        return {name: xp.reshape(whole[place], shapes[name]) for name, place in self._jacobian.slices.items()}

    def error(self, vector: Vector, constants: Mapping[str, Any], tiles: Iterable[Part], dtype: str) -> float:
        """Return E at a point, of records as `tiles` puts them."""
        xp, total = self._backend.xp, 0.0
        arrays = self._arrays(vector, constants, dtype)
        predictions = []
        with np.errstate(all="ignore"):
            for x, y, weights in tiles:
                prediction = self._predict(arrays, x)
                total += self._summed(self._loss.value(prediction, y, xp=xp), weights)
                if isinstance(tiles, list):
                    predictions.append(prediction)
        self._there = _Predicted(vector, tiles, predictions, total) if isinstance(tiles, list) else None
        return total

    def _predict(self, arrays: Mapping[str, Any], x: Any) -> Any:
        if self._products is not None:
            return self._products.predict(arrays, x)
        return self._jacobian.predict(arrays, x, xp=self._backend.xp)

    def at(self, vector: Vector, constants: Mapping[str, Any], tiles: Iterable[Part], dtype: str) -> Normal:
        """Return what a step needs at a point, computed in `dtype` and added up."""
        xp, there = self._backend.xp, self._there
        arrays = self._arrays(vector, constants, dtype)
        known = there if there is not None and there.is_of(vector, tiles) else None
        error, predictions = 0.0 if known is None else known.error, []
        with np.errstate(all="ignore"):
            sums = self._sums(arrays, dtype)
            for k, (x, y, weights) in enumerate(tiles):
                prediction = sums.begin(x, None if known is None else known.predictions[k])
                if known is None:
                    value, slope = self._loss.value_and_slope(prediction, y, xp=xp)
                    error += self._summed(value, weights)
                else:
                    slope = self._loss.slope(prediction, y, xp=xp)
                if isinstance(tiles, list):
                    predictions.append(prediction)
                self._add(sums, prediction, y, slope, weights)
            self._here = _Predicted(vector, tiles, predictions, error) if isinstance(tiles, list) else None
            return Normal(error, *sums.total())

    def bend(
        self, vector: Vector, step: Vector, constants: Mapping[str, Any], tiles: Iterable[Part], dtype: str
    ) -> Vector:
        """Return Jᵀ of how the slopes of the loss change along a step, beyond what the first derivative says.

        The second derivative along the step is that of three points on it: at its beginning, in its middle, at its end.
        """
        xp, found = self._backend.xp, np.zeros(self.parameters)
        points = vector + step, vector + 0.5 * step, vector  # the last is where compiled code then finds the parameters
        known = [next((p for p in (self._there, self._here) if p and p.is_of(w, tiles)), None) for w in points]
        with np.errstate(all="ignore"):
            for k, (x, y, weights) in enumerate(tiles):
                slopes = []
                for point, there in zip(points, known, strict=True):
                    arrays = self._arrays(point, constants, dtype)
                    prediction = self._predict(arrays, x) if there is None else there.predictions[k]
                    slopes.append(self._loss.slope(prediction, y, xp=xp))
                curve = 4.0 * (slopes[0] - 2.0 * slopes[1] + slopes[2])
                curve = curve if weights is None else curve * xp.expand_dims(weights, axis=1)
                found += self._gradient(arrays, x, curve)
        return found

    def _gradient(self, arrays: Mapping[str, Any], x: Any, cotangent: Any) -> Vector:
        """Return the sum of the rows of J of a tile, whose outputs a cotangent weights."""
        found = None if self._products is None else self._products.gradient(arrays, x, cotangent)
        if found is None:
            backend = self._backend
            found = self._jacobian.gradient(arrays, x, cotangent, backend.to_numpy, xp=backend.xp)
        return found

    def _sums(self, arrays: Mapping[str, Any], dtype: str) -> TileSums:
        ways_back = self._jacobian.ways_back(arrays, self._backend.to_numpy, xp=self._backend.xp)
        if self._products is not None:
            traced = traced_products(self._program)
            place = self._backend, self._device
            return CompiledSums(self._products, traced, self._jacobian, arrays, ways_back, self.room(dtype), place)
        if all(isinstance(a, np.ndarray) for a in arrays.values()):
            return HostSums(self._jacobian, arrays, ways_back, self.room(dtype))
        return DeviceSums(self._jacobian, arrays, ways_back, self._backend, self._device, dtype)

    def _add(self, sums: TileSums, prediction: Any, y: Any, slope: Any, weights: Any) -> None:
        """Add the rows of a tile, and its part of the gradient."""
        xp, outputs = self._backend.xp, self._program.outputs
        factor, apart = self._loss.factor, self._apart
        root = None if weights is None else xp.expand_dims(xp.sqrt(weights), axis=1)
        if factor is not None and apart is not None:
            for k in range(outputs):
                cotangent = self._cotangent(k, factor[:, k], slope)
                residual = _weighted_sum(slope, apart[k], xp=xp)
                if root is not None:
                    cotangent, residual = cotangent * root, residual * root[:, 0]
                sums.add(cotangent, residual)
            return
        roots = self._loss.factors(*(np.asarray(self._backend.to_numpy(a), np.float64) for a in (prediction, y)))
        for k in range(outputs):
            cotangent = self._placed(roots[:, :, k], slope)
            sums.add(cotangent if root is None else cotangent * root, None)
        sums.add_sum(slope if weights is None else slope * xp.expand_dims(weights, axis=1))

    def _placed(self, a: Array, like: Any) -> Any:
        dtype = str(like.dtype).rsplit(".", 1)[-1]
        return self._backend.asarray(np.ascontiguousarray(a, dtype), dtype=dtype, device=self._device)

    def _cotangent(self, k: int, shares: Array, like: Any) -> Any:
        """Return what weights the outputs of each record alike; compiled code has it in memory that is kept."""
        if self._products is None:
            return self._repeated(shares, like)
        key = k, len(like), str(like.dtype)
        if key not in self._cotangents:
            repeated = self._repeated(shares, like)
            # Compiled code of the host knows it by its address.
            self._cotangents[key] = np.ascontiguousarray(repeated) if isinstance(repeated, np.ndarray) else repeated
        return self._cotangents[key]

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
        if self._products is not None and self._device == "cpu":
            return self._in_place(vector, constants, dtype)
        fixed = {n: self._backend.asarray(a, dtype=dtype, device=self._device) for n, a in constants.items()}
        return {**self.named(vector, dtype), **fixed}

    def _in_place(self, vector: Vector, constants: Mapping[str, Any], dtype: str) -> dict[str, Any]:
        """Return the parameters as the same arrays each time, whose addresses compiled code knows."""
        if self._point is None or self._point[0] != dtype:
            whole, shapes = np.empty(len(vector), dtype), self._program.shapes
            views = {name: whole[place].reshape(shapes[name]) for name, place in self._jacobian.slices.items()}
            self._point, self._cotangents = (dtype, whole, views), {}
        _, whole, views = self._point
        whole[:] = vector
        return {**views, **{n: np.ascontiguousarray(a, dtype) for n, a in constants.items()}} if constants else views

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
        if self._products is not None:  # which makes tiles of its own
            return self._products.rows(dtype)
        return self._tiles.rows(self.parameters, np.dtype(dtype).itemsize)

    def _cast(self, a: Any, dtype: str) -> Any:
        if a is None or (isinstance(a, np.ndarray) and a.dtype == dtype):
            return a
        return self._backend.asarray(a, dtype=dtype, device=self._device)

    def room(self, dtype: str) -> tuple[Any, ...]:
        """Return memory that is kept for the sums of a precision."""
        if dtype not in self._room:
            self._room.clear()
            if self._products is not None:
                width, place = traced_products(self._program).width, (self._backend, self._device)
                self._room[dtype] = CompiledSums.room(width, dtype, place)
            else:
                self._room[dtype] = HostSums.room(self.parameters, self.rows(dtype), dtype)
        return self._room[dtype]

    def rest(self) -> None:
        """Let others have the memory that the next point can fill anew."""
        self._here = self._there = None
        self._room.clear()
        if self._products is not None:
            self._products.rest()

    @property
    def workspace(self) -> int:
        """About the bytes of a tile of the Jacobian, and of what belongs to it."""
        if self._products is not None:
            return self._products.workspace("float64")
        return 8 * self.rows("float64") * self.parameters

    @property
    def products(self) -> Products | None:
        """What the backend has compiled."""
        return self._products


def _weighted_sum(slope: Any, shares: Array, *, xp: Any) -> Any:
    """Return the sum over the outputs of a slope [records, outputs], each times its share."""
    total = None
    for k, share in enumerate(shares.tolist()):
        if share:
            part = slope[:, k] if share == 1.0 else slope[:, k] * share
            total = part if total is None else total + part
    return total
