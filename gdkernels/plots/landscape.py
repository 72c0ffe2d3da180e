"""The error of a network as a landscape over its parameters, and the path that training takes through it.

Nothing here draws. Errors and slopes are those of the definition, in float64.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import lt
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.records import place_records
from gdkernels.definition import gradient
from gdkernels.definition.chain import Layers, by_layer, by_name
from gdkernels.definition.losses import Loss
from gdkernels.definition.network import Arrays, forward
from gdkernels.errors import InputError, shown
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork
from gdkernels.training.history import Epoch

__all__ = ["Landscape", "Path", "Point", "SingleParameter", "checked_network"]

Floats = npt.NDArray[np.float64]

# The parameters of a network: layer by layer of a chain of dense layers, else by name.
Point = Layers | Arrays

_SPELLING = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_/]*)\[(?P<index>\d+(?:, ?\d+)?)\]")


@dataclass(frozen=True)
class SingleParameter:
    """One number among the parameters of a network, by the names of the model file: "W0[1,2]", "scale1/0[2]".

    Attributes
    ----------
    name
        The name of the array.
    index
        Of a weight: its input and its unit; of a bias and its like: its unit.
    """

    name: str
    index: tuple[int, ...]

    @classmethod
    def of(cls, spelling: str) -> SingleParameter:
        """Return the parameter that is spelled so.

        Raises
        ------
        InputError
            If it is no name with one or two indices.
        """
        found = _SPELLING.fullmatch(spelling) if isinstance(spelling, str) else None
        if found is None:
            raise InputError(
                f"{shown(spelling)} is no parameter; a weight of the first layer is 'W0[input,unit]', a bias 'b0[unit]'"
            )
        return cls(found["name"], tuple(int(k) for k in found["index"].split(",")))

    def __str__(self) -> str:
        return f"{self.name}[{','.join(map(str, self.index))}]"

    def read(self, point: Point) -> float:
        """Return its value at `point`, or its slope where that holds gradients.

        Raises
        ------
        InputError
            If the network has no such parameter.
        """
        arrays = named(point)
        array = arrays.get(self.name)
        if array is None or array.ndim != len(self.index) or not all(map(lt, self.index, array.shape)):
            shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items())
            raise InputError(f"the network has no parameter {self}; it has {shapes}")
        return float(array[self.index])


def checked_network(mlp: Any) -> Network:
    """Return a network, with `InputError` for anything else."""
    if not isinstance(mlp, Network):
        raise InputError(
            f"mlp must be a network, such as gdkernels.MLP, or the network of a TabularPredictor, got {shown(mlp)}"
        )
    return mlp


class Path:
    """The parameters of a network before training and after each epoch: a callback of `gdkernels.MLP.fit`.

    With a batch as large as the data, an epoch is a step of the descent.

    Attributes
    ----------
    points
        For each epoch all the parameters, NumPy arrays in float64; the first are those before training. Each is a
        `gdkernels.Layer` for each layer, and of what is no chain of dense layers a dictionary by name.

    Examples
    --------
    >>> path = Path(mlp)  # doctest: +SKIP
    >>> mlp.fit(X, Y, epochs=30, batch_size=len(X), callbacks=[path])  # doctest: +SKIP
    """

    def __init__(self, mlp: Network) -> None:
        self._mlp = checked_network(mlp)
        self.points: list[Any] = []
        self._keep()

    def __call__(self, epoch: Epoch) -> None:
        self._keep()

    def __len__(self) -> int:
        return len(self.points)

    def along(self, *parameters: SingleParameter) -> Floats:
        """Return the values of some parameters [points, parameters]."""
        return np.array([[p.read(point) for p in parameters] for point in self.points])

    def _keep(self) -> None:
        network = self._mlp.network
        self.points.append(_shown(network, _doubles(network.host_parameters())))


class Landscape:
    """The mean error of a network on some records, as a function of its parameters; without any penalty on weights.

    It is the error of predictions: dropout has no part in it.

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
        The parameters of the network, NumPy arrays in float64: a `gdkernels.Layer` for each layer, and of what is no
        chain of dense layers a dictionary by name.

    Raises
    ------
    InputError
        For records that do not fit the network.
    """

    def __init__(self, mlp: Network, X: Any, Y: Any, *, loss: str | Loss | None = None) -> None:
        self._here = _doubles(checked_network(mlp).network.host_parameters())
        self.here = _shown(mlp.network, self._here)
        network = mlp.network
        objective = network.objective_for(loss)
        double = BoundNetwork(network.structure, seed=network.seed, backend="numpy", precision="float64")
        records = place_records(double.bind(X), X, Y, None, spec=network.expects(objective))
        self._loss, self._x, self._y = objective.loss, records.x, records.y
        self._program, self._network = network.structure.program(objective), double

    def error(self, layers: Point) -> float:
        """Return the mean of the loss over the records where the network has these parameters, as `here` has them."""
        with np.errstate(all="ignore"):
            raw = forward(self._program.block, named(layers), self._x, xp=np)
            return float(np.mean(self._loss(raw, self._y, xp=np)))

    def gradient(self, layers: Point) -> Any:
        """Return the gradient of `error`, as `here` is."""
        return _shown(self._network, self._gradient(named(layers)))

    def named_gradient(self) -> dict[str, Any]:
        """Return the gradient of the mean error at the network's parameters, by their names."""
        return self._gradient(self._here)

    def _gradient(self, arrays: Arrays) -> dict[str, Any]:
        program = self._program
        settings: dict[str, Any] = {"trained": program.trained, "loss": self._loss, "xp": np}
        with np.errstate(all="ignore"):
            return gradient(program.block, arrays, self._x, self._y, **settings)[1]

    def errors(self, parameters: Sequence[SingleParameter], values: Floats, *, at: Point | None = None) -> Floats:
        """Return the errors [...] where `parameters` have the `values` [..., parameters].

        Parameters
        ----------
        at
            The values of all other parameters; None means `here`.
        """
        found = [self.error(moved) for moved in self._moved(parameters, values, at)]
        return np.array(found).reshape(values.shape[:-1])

    def slopes(self, parameters: Sequence[SingleParameter], values: Floats, *, at: Point | None = None) -> Floats:
        """Return the slopes ∂E/∂parameter [..., parameters] where `parameters` have the `values` [..., parameters]."""
        gradients = [self._gradient(moved) for moved in self._moved(parameters, values, at)]
        return np.array([[p.read(g) for p in parameters] for g in gradients]).reshape(values.shape)

    def _moved(self, parameters: Sequence[SingleParameter], values: Floats, at: Point | None) -> Iterator[Arrays]:
        """Yield the parameters of the network at each of the `values`; each is valid until the next."""
        arrays = _doubles(self._here if at is None else named(at))
        for parameter in parameters:
            parameter.read(arrays)
        for point in values.reshape(-1, len(parameters)):
            for parameter, value in zip(parameters, point, strict=True):
                arrays[parameter.name][parameter.index] = value
            yield arrays


def named(point: Point) -> Arrays:
    """Return parameters by name."""
    return point if isinstance(point, Mapping) else by_name(point)


def _doubles(arrays: Arrays) -> dict[str, Any]:
    return {name: np.array(a, dtype=np.float64) for name, a in arrays.items()}


def _shown(network: BoundNetwork, arrays: dict[str, Any]) -> Any:
    return arrays if network.structure.layers is None else by_layer(arrays)
