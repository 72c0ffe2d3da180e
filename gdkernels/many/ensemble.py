"""An ensemble: models whose predictions are averaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend
from gdkernels.definition.activations import identity
from gdkernels.definition.blocks import Activated, Mean
from gdkernels.definition.blocks.names import inside, names_inside
from gdkernels.definition.losses import BinaryCrossEntropy, Loss
from gdkernels.definition.naming import describe, restore
from gdkernels.definition.objective import Objective
from gdkernels.errors import FileError, InputError, shown
from gdkernels.metrics import log_loss, rmse
from gdkernels.models.mlp import load_network, model_of
from gdkernels.models.network import Network
from gdkernels.system.given import items_of

__all__ = ["Ensemble", "selected_greedily"]

Array = npt.NDArray[Any]

_KEY = "ensemble"  # among the other contents of a model file


class Ensemble:
    """Models that predict together: the mean of their outputs, or of their probabilities.

    Parameters
    ----------
    models
        Trained networks of any shapes, with the same numbers of inputs and outputs. One that you pass several times
        counts as often.

    Raises
    ------
    InputError
        For models that do not fit each other.
    """

    def __init__(self, models: Iterable[Network]) -> None:
        given = items_of(models)
        if given is None:
            told = type(models).__name__
            raise InputError(f"an Ensemble takes a list of models, got {told}; a single one is [model]")
        self.models = given
        if not self.models or not all(isinstance(model, Network) for model in self.models):
            raise InputError(f"models: an Ensemble is made of at least one Network or MLP, got {shown(models)}")
        shapes = {(model.inputs, model.network.outputs) for model in self.models}
        if len(shapes) > 1:
            told = ", ".join(f"{inputs} → {outputs}" for inputs, outputs in sorted(shapes))
            raise InputError(f"the models of an Ensemble must have the same numbers of inputs and outputs, got {told}")
        if len({self._classifies(model) for model in self.models}) > 1:
            raise InputError("the models of an Ensemble must all be classifiers, or none of them")

    def __repr__(self) -> str:
        return f"Ensemble({len(self.models):,} of {self.models[0]!r})"

    @staticmethod
    def _classifies(model: Network) -> bool:
        objective = model.network.objective
        return objective is not None and objective.classifies

    def predict(self, X: Any) -> Array:
        """Return the mean of the outputs [records, outputs], or the classes that are most probable on average.

        The result is a NumPy array.
        """
        mean = self._mean(X)
        objective = self.models[0].network.objective
        if objective is None or not objective.classifies:
            return mean
        if isinstance(objective.loss, BinaryCrossEntropy):
            classes = (mean > 0.5).astype(np.int64)
            return classes[:, 0] if mean.shape[1] == 1 else classes
        return np.asarray(mean.argmax(axis=1))

    def predict_proba(self, X: Any) -> Array:
        """Return the mean of the probabilities [records, outputs].

        Raises
        ------
        InputError
            If the models were not trained with a cross-entropy.
        """
        if not self._classifies(self.models[0]):
            raise InputError("predict_proba needs models that were trained with a cross-entropy")
        return self._mean(X)

    def _mean(self, X: Any) -> Array:
        found = [_outputs(model, X) for model in self._once()]
        counts = [sum(model is one for one in self.models) for model in self._once()]
        total: Array = np.zeros_like(found[0], dtype=np.float64)
        for count, output in zip(counts, found, strict=True):
            total += count * output
        return (total / len(self.models)).astype(found[0].dtype)

    def _once(self) -> list[Network]:
        return list({id(model): model for model in self.models}.values())

    def network(self) -> Network:
        """Return one network with these outputs, to be saved, exported, or trained on: the mean of blocks side by side.

        Its outputs are means of probabilities if the models are classifiers. A model that comes several times has its
        block several times.
        """
        first = self.models[0].network
        blocks = [model.network.structure.whole for model in self.models]
        exact = any(model.network.precision == "float64" for model in self.models)
        made = Network(Mean(*blocks), first.inputs, seed=first.seed, precision="float64" if exact else "float32")
        among = {
            inside(name, k): array
            for k, model in enumerate(self.models)
            for name, array in model.network.host_parameters().items()
        }
        made.set_parameters(among)
        return made

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the ensemble to one file, in which `gdkernels.load` finds `network`, and `load` all its models.

        Raises
        ------
        FileError
            If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
        """
        once = self._once()
        members = [next(k for k, one in enumerate(once) if one is model) for model in self.models]
        loss = None if (loss := self._loss()) is None else describe(loss)
        network = self.network()
        network.extra[_KEY] = {"members": members, "loss": loss}
        network.save(path, overwrite=overwrite)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        backend: str | Backend = "auto",
        device: str | None = None,
        threads: int | None = None,
        objects: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Ensemble:
        """Return the ensemble that `save` wrote.

        Parameters
        ----------
        backend, device, threads, objects
            As for `gdkernels.load`.

        Raises
        ------
        FileError
            If the file is missing, damaged, or holds no ensemble.
        InputError
            If a function that is not built in is missing from `objects`.
        """
        whole = load_network(path, backend=backend, device=device, threads=threads, objects=objects)
        told, block = whole.extra.get(_KEY), whole.network.structure.whole
        numbers = told.get("members") if isinstance(told, dict) else None
        if not (
            isinstance(told, dict)
            and isinstance(numbers, list)
            and isinstance(block, Mean)
            and len(numbers) == len(block.blocks)
            and all(type(number) is int for number in numbers)
        ):
            raise FileError(f"{os.fspath(path)} holds no ensemble; gdkernels.load returns what it holds")
        loss = None if told.get("loss") is None else restore("loss", told["loss"], objects)
        arrays, made = whole.network.host_parameters(), dict[int, Network]()
        for k, number in enumerate(numbers):
            if number not in made:
                given: Any = block.blocks[k]
                activated = isinstance(given, Activated)
                one = Network(
                    given.block if activated else given,
                    whole.inputs,
                    output=given.activation if activated else identity,
                    seed=whole.network.seed + k,
                    backend=backend,
                    device=device,
                    precision=whole.network.precision,
                    threads=threads,
                )
                one.set_parameters({name: arrays[full] for name, full in names_inside(tuple(arrays), k)})
                if loss is not None:
                    one.network.train_for(Objective(loss))
                made[number] = model_of(one.network)
        return cls([made[number] for number in numbers])

    def export_onnx(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write an ONNX model that predicts what the ensemble does; see `Network.export_onnx`.

        Models of one shape stand side by side in it: their weights are stacked, so that it has as many operations as
        one of them. A model that comes several times is computed once.

        Raises
        ------
        InputError, TraceError, FileError
            As for `Network.export_onnx`.
        """
        from gdkernels.interchange.onnx import write_onnx

        write_onnx(self.network().network, path, loss=self._loss(), overwrite=overwrite)

    def _loss(self) -> Loss | None:
        objective = self.models[0].network.objective
        return None if objective is None else objective.loss

    @classmethod
    def selected(
        cls,
        models: Sequence[Network],
        X: Any,
        Y: Any,
        *,
        size: int = 20,
        loss: Callable[[Array, Array], float] | None = None,
    ) -> Ensemble:
        """Return the ensemble that a greedy search finds on data that no model has seen (Caruana et al. 2004).

        It begins with the best model, and then takes, again and again, the one that lowers the loss of the mean most; a
        model may be taken several times. The best of the ensembles on the way is returned.

        Parameters
        ----------
        X, Y
            The data: [records, inputs], and targets as for `Network.fit`.
        size
            The most models.
        loss
            A function (targets, mean outputs) of NumPy arrays; None is the RMSE, and of classes the log loss.

        Raises
        ------
        InputError
            If no model has a finite loss there.
        """
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise InputError(f"size must be a whole number of at least 1, got {shown(size)}")
        if loss is not None and not callable(loss):
            raise InputError(f"loss must be a function of targets and mean outputs, or None, got {shown(loss)}")
        whole = cls(models)
        outputs = [np.asarray(_outputs(model, X), np.float64) for model in whole.models]
        measure = (_log_loss if cls._classifies(whole.models[0]) else rmse) if loss is None else loss
        targets = _targets(Y, len(outputs[0]))
        taken = selected_greedily(outputs, lambda mean: measure(targets, mean), size)
        return cls([whole.models[k] for k in taken])


def _targets(Y: Any, records: int) -> Array:
    """Return the targets of so many records as numbers."""
    try:
        targets = np.asarray(Y)
        fits = targets.ndim > 0 and len(targets) == records and targets.dtype.kind in "biuf"
    except ValueError:  # lists of different lengths
        fits = False
    if not fits:
        raise InputError(f"Y must hold the targets of {records} records as numbers, got {shown(Y)}")
    return targets


def selected_greedily(outputs: Sequence[Array], measure: Callable[[Array], float], size: int) -> list[int]:
    """Return the places of the outputs whose mean a greedy search finds best; one may come several times.

    Parameters
    ----------
    measure
        The loss of a mean.
    size
        The most outputs.

    Raises
    ------
    InputError
        If none has a finite loss.
    """
    total = np.zeros_like(outputs[0])
    taken: list[int] = []
    best: tuple[float, list[int]] = (np.inf, [])
    for _ in range(size):
        losses = [measure((total + one) / (len(taken) + 1)) for one in outputs]
        finite = [k for k, value in enumerate(losses) if np.isfinite(value)]
        if not finite:
            raise InputError("no model has a finite loss on these data")
        chosen = min(finite, key=losses.__getitem__)
        taken = [*taken, chosen]
        total = total + outputs[chosen]
        if losses[chosen] < best[0]:
            best = losses[chosen], taken
    return best[1]


def _outputs(model: Network, X: Any) -> Array:
    """Return the outputs of a model, which are probabilities where it tells classes."""
    network = model.network
    return network.computing(X, lambda binding: binding.to_numpy(network.place_and_predict(X)))


def _log_loss(targets: Array, mean: Array) -> float:
    """Return the log loss of classes, which may come by their numbers."""
    numbers = mean.shape[1] > 1 and targets.size == len(mean)
    return log_loss(np.eye(mean.shape[1])[targets.ravel().astype(np.int64)] if numbers else targets, mean)
