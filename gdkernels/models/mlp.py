"""MLP: a network that can be trained, asked, and kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gdkernels.backend import Backend
from gdkernels.data.validation import is_classifier, place_inputs, place_targets
from gdkernels.definition import gradient
from gdkernels.definition.losses import BinaryCrossEntropy, Loss
from gdkernels.definition.naming import resolve
from gdkernels.definition.network import Layer
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.errors import InputError
from gdkernels.metrics import Metric
from gdkernels.models.restarts import best_of_starts
from gdkernels.network.network import Model
from gdkernels.training.fitting import Callback
from gdkernels.training.history import History
from gdkernels.training.settings import Settings, checked_reduction
from gdkernels.training.trainer import Trainer

__all__ = ["MLP", "load_mlp"]


class MLP(Model):
    """A multilayer perceptron.

    Parameters
    ----------
    sizes
        The number of inputs, of the units of each hidden layer, and of outputs: [64, 128, 10].
    activation
        Of the hidden layers: a name, a function ``f(z, *, xp)``, or one of these for each hidden layer.
    output
        That of the last layer. A loss that takes logits sets it.
    bias
        Whether layers have biases.
    seed
        Of everything random: initial weights, validation split, the order of records. None draws one; it can be read.
    backend, device
        Where to compute: "auto", a name or a `Backend`; "cpu", "cuda:0". Automatic choice is made when the work is
        known: at the first training or prediction. Until then the parameters are NumPy arrays on the host.
    precision
        "float64", "float32", "tf32" or "bfloat16"; None follows the data: float64 for float64, else float32.

    Raises
    ------
    InputError
        For sizes, names or numbers that cannot be.
    BackendError
        For a backend or device that was named and cannot run here.
    """

    _trainer: Trainer | None = None

    # ---- training

    def fit(
        self,
        X: Any,
        Y: Any = None,
        *,
        epochs: int,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "sse",
        batch_size: int = 64,
        schedule: str | ScheduleFunction = "constant",
        l2: float = 0.0,
        l2_in_loss: bool = False,
        clip_norm: float | None = None,
        reduction: str = "mean",
        sample_weight: Any = None,
        validation: float | tuple[Any, ...] | None = None,
        patience: int | None = None,
        starts: int = 1,
        callbacks: Iterable[Callback] = (),
        metrics: Iterable[str | Metric] = (),
        stop_gradient_norm: float | None = None,
        gradient_norm: bool = False,
        retries: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        every: str = "5min",
        keep: int = 3,
        resume: bool = False,
        progress: bool | None = None,
    ) -> History:
        """Train, and return the history; a second call with the same settings goes on where the first ended.

        Settings are those of `Trainer`, the rest is that of `Trainer.fit`. Other settings start from the present
        parameters with a new trainer.

        Parameters
        ----------
        starts
            From how many initial weights to train, the present ones first; the parameters are those of the start with
            the lowest loss in the end (the validation loss if there is one), and ``history.starts`` tells of all. Each
            keeps its checkpoints in a folder of its own.
        """
        settings: dict[str, Any] = {
            "optimizer": optimizer,
            "loss": loss,
            "batch_size": batch_size,
            "schedule": schedule,
            "l2": l2,
            "l2_in_loss": l2_in_loss,
            "clip_norm": clip_norm,
            "reduction": reduction,
        }
        run: dict[str, Any] = {
            "epochs": epochs,
            "sample_weight": sample_weight,
            "validation": validation,
            "patience": patience,
            "callbacks": tuple(callbacks),
            "metrics": tuple(metrics) if not isinstance(metrics, str) else metrics,
            "stop_gradient_norm": stop_gradient_norm,
            "gradient_norm": gradient_norm,
            "retries": retries,
            "checkpoint": checkpoint,
            "every": every,
            "keep": keep,
            "resume": resume,
            "progress": progress,
        }
        if isinstance(starts, bool) or not isinstance(starts, (int, np.integer)) or starts < 1:
            raise InputError(f"starts must be a whole number of at least 1, got {starts!r}")
        if starts > 1:
            trainer, history = best_of_starts(self, X, Y, settings, run, int(starts))
        else:
            last = self._trainer
            same = last is not None and last.settings == Settings.checked(**settings, outputs=self.sizes[-1])
            trainer = last if last is not None and same else Trainer(self, **settings)
            history = trainer.fit(X, Y, **run)
        self._trainer = trainer
        return history

    # ---- questions

    def predict(self, X: Any) -> Any:
        """Return the outputs [records, outputs], or classes if the network was trained with a cross-entropy.

        Classes are whole numbers: [records], or [records, outputs] of 0 and 1 where each output is a class of its own.
        The result is an array of the kind of X, and on its device.
        """
        with self._bound(X) as binding:
            output, xp = self._outputs(X), binding.xp
            if is_classifier(self._loss):
                if isinstance(self._loss, BinaryCrossEntropy):
                    output = xp.astype(output > 0.5, xp.int64)
                    output = output[:, 0] if self.sizes[-1] == 1 else output
                else:
                    output = xp.argmax(output, axis=1)
            return binding.give_back(output, X)

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities [records, outputs] of the classes; with one output, that of class 1.

        Raises
        ------
        InputError
            If the network was not trained with a cross-entropy.
        """
        if not is_classifier(self._loss):
            raise InputError("predict_proba needs a network that was trained with loss='cross_entropy'")
        with self._bound(X) as binding:
            return binding.give_back(self._outputs(X), X)

    def loss(self, X: Any, Y: Any, *, loss: str | Loss | None = None, reduction: str = "mean") -> float:
        """Return the loss: its mean per record, or with `reduction` "sum" E.

        Parameters
        ----------
        loss
            None is the one that the network was last trained with, or else "sse".
        """
        by_sum = checked_reduction(reduction) == "sum"
        with self._bound(X):
            function, x, y = self._judged(X, Y, loss)
            return self._error(x, y, function) / (1 if by_sum else x.shape[0])

    def gradient(self, X: Any, Y: Any, *, loss: str | Loss | None = None, reduction: str = "mean") -> tuple[Layer, ...]:
        """Return the gradient of what `loss` returns: a `Layer` for each layer, arrays of the backend."""
        checked_reduction(reduction)
        with self._bound(X) as binding, np.errstate(all="ignore"):
            function, x, y = self._judged(X, Y, loss)
            return gradient(
                self._parameters,
                x,
                y,
                activations=self._raw_activations(function),
                loss=function,
                reduction=reduction,
                xp=binding.xp,
            )[1]

    def _judged(self, X: Any, Y: Any, loss: str | Loss | None) -> tuple[Loss, Any, Any]:
        outputs = self.sizes[-1]
        function: Loss = self._loss or resolve("loss", "sse")
        if loss is not None:
            function = Settings.checked(loss=loss, outputs=outputs).loss
        binding = self._bind(X)
        x = place_inputs(binding, X, self.sizes[0])
        return function, x, place_targets(binding, Y, x.shape[0], outputs, function)

    # ---- files

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write everything that `gdkernels.load` needs to a safetensors file; ``extra`` goes along as JSON.

        Raises
        ------
        FileError
            If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
        """
        from gdkernels.network.saving import write_network

        write_network(self, path, overwrite=overwrite)

    def export_onnx(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write an ONNX model that predicts what this network does, from the traced graph.

        Its input is ``x`` [records, inputs] in the network's precision, its output ``prediction`` [records, outputs],
        or of a classifier ``label`` [records] and ``probabilities`` [records, classes].

        Raises
        ------
        InputError
            Where the package onnx is missing.
        TraceError
            Where a function of the user's cannot be traced.
        FileError
            If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
        """
        from gdkernels.interchange.onnx import write_onnx

        write_onnx(self, path, overwrite=overwrite)


def load_mlp(
    path: str | os.PathLike[str],
    *,
    backend: str | Backend = "auto",
    device: str | None = None,
    objects: Mapping[str, Callable[..., Any]] | None = None,
) -> MLP:
    """Return the network that `MLP.save` wrote, whatever else the file keeps; see `gdkernels.load`.

    Parameters
    ----------
    objects
        By name, the functions that are not built in; files keep no code.

    Raises
    ------
    FileError
        If the file is missing, damaged, of another format or of a newer version.
    InputError
        If a function that is not built in is missing from `objects`.
    """
    from gdkernels.network.saving import read_network

    return read_network(MLP, path, backend=backend, device=device, objects=objects)
