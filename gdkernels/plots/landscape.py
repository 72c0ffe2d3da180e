"""The error of a network as a landscape over its parameters, and the path that training takes through it.

Nothing here draws. Errors and slopes are those of the definition, in float64.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.records import place_records
from gdkernels.definition import gradient
from gdkernels.definition.chain import Layer, Layers, by_layer, by_name
from gdkernels.definition.losses import Loss
from gdkernels.definition.network import forward
from gdkernels.errors import InputError
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork
from gdkernels.training.history import Epoch

__all__ = ["Landscape", "Path", "SingleParameter"]

Floats = npt.NDArray[np.float64]

_SPELLING = re.compile(r"(?:W(?P<W>\d+)\[(?P<i>\d+), ?(?P<j>\d+)\]|b(?P<b>\d+)\[(?P<k>\d+)\])")


@dataclass(frozen=True)
class SingleParameter:
    """One weight or bias of a network, by the names of the model file: "W0[1,2]", "b0[2]".

    Attributes
    ----------
    layer
        The number of the layer, from 0.
    index
        Of a weight: its input and its unit; of a bias: its unit.
    """

    layer: int
    index: tuple[int, ...]

    @classmethod
    def of(cls, spelling: str) -> SingleParameter:
        """Return the parameter that is spelled so.

        Raises
        ------
        InputError
            If it is neither a weight nor a bias.
        """
        found = _SPELLING.fullmatch(spelling)
        if found is None:
            raise InputError(
                f"{spelling!r} is no parameter; a weight of the first layer is 'W0[input,unit]', a bias 'b0[unit]'"
            )
        if found["W"] is not None:
            return cls(int(found["W"]), (int(found["i"]), int(found["j"])))
        return cls(int(found["b"]), (int(found["k"]),))

    def __str__(self) -> str:
        return f"{'W' if self.is_weight else 'b'}{self.layer}[{','.join(map(str, self.index))}]"

    @property
    def is_weight(self) -> bool:
        return len(self.index) == 2

    def read(self, layers: Layers) -> float:
        """Return its value in `layers`, or its slope where these are gradients.

        Raises
        ------
        InputError
            If the network has no such parameter.
        """
        array = self._array(layers)
        if array is None or any(k >= n for k, n in zip(self.index, array.shape, strict=True)):
            shapes = ", ".join(
                f"{kind}{k} {list(a.shape)}"
                for k, layer in enumerate(layers)
                for kind, a in zip("Wb", layer, strict=True)
                if a is not None
            )
            raise InputError(f"the network has no parameter {self}; it has {shapes}")
        return float(array[self.index])

    def write(self, layers: Layers, value: float) -> None:
        """Set its value in `layers`, in place."""
        self._array(layers)[self.index] = value

    def _array(self, layers: Layers) -> Any:
        return layers[self.layer][0 if self.is_weight else 1] if self.layer < len(layers) else None


class Path:
    """The parameters of a network before training and after each epoch: a callback of `gdkernels.MLP.fit`.

    With a batch as large as the data, an epoch is a step of the descent.

    Attributes
    ----------
    points
        For each epoch all the parameters, NumPy arrays in float64; the first are those before training.

    Examples
    --------
    >>> path = Path(mlp)  # doctest: +SKIP
    >>> mlp.fit(X, Y, epochs=30, batch_size=len(X), callbacks=[path])  # doctest: +SKIP
    """

    def __init__(self, mlp: Network) -> None:
        self._mlp = mlp
        self.points: list[tuple[Layer, ...]] = []
        self._keep()

    def __call__(self, epoch: Epoch) -> None:
        self._keep()

    def __len__(self) -> int:
        return len(self.points)

    def along(self, *parameters: SingleParameter) -> Floats:
        """Return the values of some parameters [points, parameters]."""
        return np.array([[p.read(point) for p in parameters] for point in self.points])

    def _keep(self) -> None:
        self.points.append(_doubles(by_layer(self._mlp.network.host_parameters())))


class Landscape:
    """The mean error of a network on some records, as a function of its parameters; without any penalty on weights.

    Parameters
    ----------
    mlp
        The network, of which the landscape keeps a copy.
    X, Y
        The records, as for `gdkernels.MLP.loss`, on the host.
    loss
        None is the one that the network was last trained with, or else "sse".

    Attributes
    ----------
    here
        The parameters of the network, NumPy arrays in float64.

    Raises
    ------
    InputError
        For records that do not fit the network.
    """

    def __init__(self, mlp: Network, X: Any, Y: Any, *, loss: str | Loss | None = None) -> None:
        self._here = {n: np.array(a, dtype=np.float64) for n, a in mlp.network.host_parameters().items()}
        self.here = by_layer(self._here)
        network = mlp.network
        objective = network.objective_for(loss)
        double = BoundNetwork(network.structure, seed=network.seed, backend="numpy", precision="float64")
        records = place_records(double.bind(X), X, Y, None, spec=network.expects(objective))
        self._loss, self._x, self._y = objective.loss, records.x, records.y
        self._program = network.structure.program(objective)

    def error(self, layers: Layers) -> float:
        """Return the mean of the loss over the records where the network has these parameters."""
        with np.errstate(all="ignore"):
            raw = forward(self._program.block, by_name(layers), self._x, xp=np)
            return float(np.mean(self._loss(raw, self._y, xp=np)))

    def gradient(self, layers: Layers) -> tuple[Layer, ...]:
        """Return the gradient of `error`: a `gdkernels.Layer` for each layer."""
        return by_layer(self._gradient(by_name(layers)))

    def named_gradient(self) -> dict[str, Any]:
        """Return the gradient of the mean error at the network's parameters, by their names."""
        return self._gradient(self._here)

    def _gradient(self, arrays: dict[str, Any]) -> dict[str, Any]:
        program = self._program
        settings: dict[str, Any] = {"trained": program.trained, "loss": self._loss, "xp": np}
        with np.errstate(all="ignore"):
            return gradient(program.block, arrays, self._x, self._y, **settings)[1]

    def errors(self, parameters: Sequence[SingleParameter], values: Floats, *, at: Layers | None = None) -> Floats:
        """Return the errors [...] where `parameters` have the `values` [..., parameters].

        Parameters
        ----------
        at
            The values of all other parameters; None means `here`.
        """
        found = [self.error(moved) for moved in self._moved(parameters, values, at)]
        return np.array(found).reshape(values.shape[:-1])

    def slopes(self, parameters: Sequence[SingleParameter], values: Floats, *, at: Layers | None = None) -> Floats:
        """Return the slopes ∂E/∂parameter [..., parameters] where `parameters` have the `values` [..., parameters]."""
        gradients = [self.gradient(moved) for moved in self._moved(parameters, values, at)]
        return np.array([[p.read(g) for p in parameters] for g in gradients]).reshape(values.shape)

    def _moved(self, parameters: Sequence[SingleParameter], values: Floats, at: Layers | None) -> Any:
        """Yield the parameters of the network at each of the `values`; each is valid until the next."""
        layers = _doubles(self.here if at is None else at)
        for parameter in parameters:
            parameter.read(layers)
        for point in values.reshape(-1, len(parameters)):
            for parameter, value in zip(parameters, point, strict=True):
                parameter.write(layers, value)
            yield layers


def _doubles(layers: Layers) -> tuple[Layer, ...]:
    return tuple(Layer(*(None if a is None else np.array(a, dtype=np.float64) for a in layer)) for layer in layers)
