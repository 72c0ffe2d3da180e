"""`MLP`: a network that you can train, use and save."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from gdkernels.backend import Backend
from gdkernels.data.records import place_records
from gdkernels.definition import gradient
from gdkernels.definition.activations import Activation
from gdkernels.definition.losses import BinaryCrossEntropy, Loss
from gdkernels.definition.network import Layer
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError
from gdkernels.metrics import Metric
from gdkernels.models.restarts import best_of_starts
from gdkernels.network import BoundNetwork, DenseChain
from gdkernels.system.notebook import html_table
from gdkernels.training.fit import Callback
from gdkernels.training.history import History
from gdkernels.training.settings import Settings
from gdkernels.training.trainer import Trainer

__all__ = ["MLP", "load_mlp"]


class MLP:
    """A multilayer perceptron.

    Parameters
    ----------
    sizes
        The number of inputs, of the units of each hidden layer, and of outputs: [64, 128, 10].
    activation
        The activation of the hidden layers: a name, a function ``f(z, *, xp)``, or one of these for each hidden layer.
    output
        The activation of the last layer. A loss that takes logits sets it.
    bias
        Whether layers have biases.
    seed
        The seed of everything random: initial weights, validation split, the order of records. None draws one, which
        you can read.
    backend, device
        Where to compute: "auto", a name or a `Backend`; "cpu", "cuda:0". The automatic choice follows at the first
        training or prediction, when the work is known. Until then the parameters are NumPy arrays on the host.
    precision
        "float64", "float32", "tf32" or "bfloat16"; None follows the data: float64 for float64, else float32.

    Raises
    ------
    InputError
        For sizes, names or numbers that are not possible.
    BackendError
        For a backend or device that you name and that cannot run here.
    """

    _trainer: Trainer | None = None  # the one that the next fit goes on with

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
        bias: bool = True,
        seed: int | None = None,
        backend: str | Backend = "auto",
        device: str | None = None,
        precision: str | None = "float32",
    ) -> None:
        structure = DenseChain.checked(sizes, activation, output, bias)
        # For gdkernels' own rooms; its interface may change.
        self.network = BoundNetwork(structure, seed=seed, backend=backend, device=device, precision=precision)
        self.extra: dict[str, Any] = {}

    @classmethod
    def of(cls, network: BoundNetwork, extra: dict[str, Any]) -> Self:
        """Return the model that holds a network; for gdkernels itself."""
        mlp = cls.__new__(cls)
        mlp.network, mlp.extra = network, extra
        return mlp

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of inputs, of the units of each hidden layer, and of outputs."""
        return self.network.structure.sizes

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activation of each hidden layer."""
        return self.network.structure.activations

    @property
    def output(self) -> Activation:
        """The activation of the last layer; a loss that takes logits has set it to its link."""
        return self.network.structure.output

    @property
    def bias(self) -> bool:
        """Whether layers have biases."""
        return self.network.structure.bias

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.network.seed

    # ---- where it is

    @property
    def backend(self) -> str:
        """The name of the backend, "auto" until it is chosen."""
        return self.network.backend

    @property
    def device(self) -> str:
        """The device of the parameters; "cpu" until a backend is chosen."""
        return self.network.device

    @property
    def precision(self) -> str | None:
        """The precision, None until it follows from the data."""
        return self.network.precision

    def to(self, device: str | None = None, *, backend: str | Backend | None = None) -> Self:
        """Move to another device or backend, and return self.

        Raises
        ------
        BackendError
            If it cannot run here. Nothing has moved then.
        """
        self.network.to(device, backend)
        return self

    # ---- parameters

    @property
    def parameters(self) -> tuple[Layer, ...]:
        """A copy of the weights and biases: a `Layer` for each layer, arrays of the backend."""
        return self.network.copied_parameters()

    @property
    def parameter_count(self) -> int:
        """How many weights and biases there are."""
        return self.network.parameter_count

    def set_parameters(self, parameters: Sequence[Sequence[Any]]) -> None:
        """Set weights and biases: for each layer W [inputs, units] and b [units], or W alone without biases.

        Raises
        ------
        InputError
            For the wrong number of layers, wrong shapes, or values that are not finite.
        """
        self.network.set_parameters(parameters)

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
        """Train, and return the history. A second call with the same settings continues where the first ended.

        The settings are those of `Trainer`, and the other arguments those of `Trainer.fit`. If you change a setting, a
        new trainer starts from the present parameters.

        Parameters
        ----------
        starts
            How many initial weights to train from, the present ones first. The network keeps the parameters of the
            start with the lowest final loss (the validation loss if there is one), and ``history.starts`` describes
            all. Each start keeps its checkpoints in a folder of its own.
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
            same = last is not None and last.settings == Settings.checked(**settings, outputs=self.network.outputs)
            trainer = last if last is not None and same else Trainer(self, **settings)
            history = trainer.fit(X, Y, **run)
        self._trainer = trainer
        return history

    # ---- predictions

    def predict(self, X: Any) -> Any:
        """Return the outputs [records, outputs], or classes if the network was trained with a cross-entropy.

        Classes are whole numbers: [records], or [records, outputs] of 0 and 1 where each output is a class of its own.
        The result comes back as X's array type, on X's device; of a frame, as a NumPy array. A frame needs the columns
        that the network was trained on, in any order; others are left alone.
        """
        network = self.network

        def predicted(binding: Binding) -> Any:
            output, xp = network.place_and_predict(X), binding.xp
            if network.objective is not None and network.objective.classifies:
                if isinstance(network.objective.loss, BinaryCrossEntropy):
                    output = xp.astype(output > 0.5, xp.int64)
                    output = output[:, 0] if network.outputs == 1 else output
                else:
                    output = xp.argmax(output, axis=1)
            return binding.give_back(output, X)

        return network.computing(X, predicted)

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities [records, outputs] of the classes; with one output, that of class 1.

        Raises
        ------
        InputError
            If the network was not trained with a cross-entropy.
        """
        objective = self.network.objective
        if objective is None or not objective.classifies:
            raise InputError("predict_proba needs a network that was trained with loss='cross_entropy'")
        network = self.network
        return network.computing(X, lambda binding: binding.give_back(network.place_and_predict(X), X))

    def loss(self, X: Any, Y: Any, *, loss: str | Loss | None = None, reduction: str = "mean") -> float:
        """Return the loss: its mean per record, or with `reduction` "sum" E.

        Parameters
        ----------
        loss
            None is the one that the network was last trained with, or else "sse".
        """
        objective, network = self.network.objective_for(loss, reduction), self.network

        def measured(binding: Binding) -> float:
            records = place_records(binding, X, Y, None, spec=network.expects(objective))
            return network.error(records, objective) / (1 if objective.reduction == "sum" else len(records))

        return network.computing(X, measured)

    def gradient(self, X: Any, Y: Any, *, loss: str | Loss | None = None, reduction: str = "mean") -> tuple[Layer, ...]:
        """Return the gradient of what `loss` returns: a `Layer` for each layer, arrays of the backend."""
        objective, network = self.network.objective_for(loss, reduction), self.network

        def computed(binding: Binding) -> tuple[Layer, ...]:
            records = place_records(binding, X, Y, None, spec=network.expects(objective))
            return gradient(
                network.parameters,
                records.x,
                records.y,
                activations=network.structure.program(objective).activations,
                loss=objective.loss,
                reduction=objective.reduction,
                xp=binding.xp,
            )[1]

        with np.errstate(all="ignore"):
            return network.computing(X, computed)

    # ---- files

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write everything that `gdkernels.load` needs to a safetensors file, with ``extra`` as JSON.

        Raises
        ------
        FileError
            If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
        """
        from gdkernels.network.saving import write_network

        write_network(self.network, path, extra=self.extra, overwrite=overwrite)

    def export_onnx(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write an ONNX model that predicts what this network does, from the traced graph.

        Its input is ``x`` [records, inputs] in the network's precision, its output ``prediction`` [records, outputs],
        or of a classifier ``label`` [records] and ``probabilities`` [records, classes]. Labels are the numbers of the
        classes, or what ``extra["classes"]`` lists, as `gdkernels.from_sklearn` has it.

        Raises
        ------
        InputError
            If the package onnx is missing.
        TraceError
            If a function of the user's cannot be traced.
        FileError
            If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
        """
        from gdkernels.interchange.onnx import write_onnx

        classes = self.extra.get("classes")
        if not (isinstance(classes, list) and len(classes) in ({self.network.outputs} - {1} or {1, 2})):
            classes = None  # of the user's own, about something else
        write_onnx(self.network, path, classes=classes, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"MLP({self.network})"

    def _repr_html_(self) -> str:
        rows = self.network.structure.rows(self.network.parameters)
        return html_table(repr(self), ("layer", "inputs → units", "activation", "parameters"), rows)


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

    return MLP.of(*read_network(path, backend=backend, device=device, objects=objects))
