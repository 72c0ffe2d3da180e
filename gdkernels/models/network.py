"""`Network`: a network of any shape that you can train, use and save."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from gdkernels.backend import Backend
from gdkernels.definition.activations import Activation
from gdkernels.definition.blocks import Block
from gdkernels.definition.blocks.checks import check_block
from gdkernels.definition.blocks.columns import named
from gdkernels.definition.losses import Loss
from gdkernels.errors import InputError
from gdkernels.models.predicting import predicted, probabilities
from gdkernels.network import BoundNetwork, Structure
from gdkernels.system.notebook import html_table

if TYPE_CHECKING:
    from gdkernels.definition.optimizers import Optimizer
    from gdkernels.definition.schedules import ScheduleFunction
    from gdkernels.definition.solvers import Solver
    from gdkernels.groups import Group
    from gdkernels.metrics import Metric
    from gdkernels.models.continuation import Continuation
    from gdkernels.training.history import History
    from gdkernels.training.looks import Callback
    from gdkernels.training.trainer import Trainer

__all__ = ["Network"]


class Network:
    """A network made of a block.

    Parameters
    ----------
    block
        What it computes: ``Sequential(Dense(64, "relu"), Residual(LayerNorm(), Dense(64, "relu")), Dense(10))``, of
        `gdkernels.blocks` and your own.
    inputs
        The number of inputs; None is that of the columns that the first fit or prediction is given.
    output
        The activation of the outputs. A loss that takes logits sets it.
    seed
        The seed of everything random: initial weights, validation split, the order of records. None draws one, which
        you can read.
    backend, device
        Where to compute: "auto", a name or a `Backend`; "cpu", "cuda:0". gdkernels chooses at the first training or
        prediction, when it knows the work. Until then the parameters are NumPy arrays on the host.
    precision
        "float64", "float32", "tf32" or "bfloat16"; None follows the data: float64 for float64, else float32.
    threads
        The most threads to compute on. None takes the cores that this process may use, or fewer if GDKERNELS_THREADS or
        a container's quota says so. A small step runs on one thread in any case.

    Raises
    ------
    InputError
        For blocks that do not fit each other, and for names or numbers that are not possible.
    BackendError
        For a backend or device that you name and that cannot run here.
    """

    _continuation: Continuation | None = None
    _network: BoundNetwork | None = None
    _made: Callable[[int, Sequence[str] | None], BoundNetwork] | None = None  # until the number of inputs is known

    def __init__(
        self,
        block: Block,
        inputs: int | None = None,
        *,
        output: str | Activation = "identity",
        seed: int | None = None,
        backend: str | Backend = "auto",
        device: str | None = None,
        precision: str | None = "float32",
        threads: int | None = None,
    ) -> None:
        check_block("a network", block)

        how = {"seed": seed, "backend": backend, "device": device, "precision": precision, "threads": threads}
        made = partial(_bound_network, block, output, how)
        self.extra: dict[str, Any] = {}
        if inputs is None:
            self._made = made
        else:
            self._network = made(inputs)

    @classmethod
    def of(cls, network: BoundNetwork, extra: dict[str, Any]) -> Self:
        """Return the model that holds a network; for gdkernels itself."""
        model = cls.__new__(cls)
        vars(model).update(_network=network, extra=extra)
        return model

    @property
    def network(self) -> BoundNetwork:
        """The network itself, for gdkernels' own rooms; its interface may change.

        Raises
        ------
        InputError
            Where nobody has said how many inputs it has, and it has seen no data.
        """
        if self._network is None:
            raise InputError("the network learns its number of inputs at the first fit; pass inputs= to set it before")
        return self._network

    def _known(self, X: Any) -> BoundNetwork:
        """Return the network, and make it for the columns of X first if there is none."""
        if self._network is None and self._made is not None:
            from gdkernels.models.columns_of_data import columns_of  # most say how many inputs they have

            inputs, names = columns_of(X)
            if inputs is None:
                raise InputError("X must be [records, inputs], so that the network knows its inputs; or pass inputs=")
            self._network = self._made(inputs, names)
        return self.network

    @property
    def block(self) -> Block:
        """The network's computation, without the activation of the outputs."""
        return self.network.structure.block

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return self.network.inputs

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of a record on the way: inputs, the units of each layer in turn, outputs."""
        return self.network.structure.sizes

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activation of each hidden layer."""
        return self.network.structure.activations

    @property
    def output(self) -> Activation:
        """The activation of the outputs; a loss that takes logits has set it to its link."""
        return self.network.structure.output

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
    def parameters(self) -> Any:
        """A copy of the parameters by name, arrays of the backend."""
        return self.network.copied_parameters()

    @property
    def parameter_count(self) -> int:
        """The number of values that training changes."""
        return self.network.parameter_count

    def set_parameters(self, parameters: Mapping[str, Any] | Sequence[Sequence[Any]]) -> None:
        """Set the parameters, by name; of a chain of dense layers also layer by layer.

        Raises
        ------
        InputError
            For wrong names, wrong shapes, or values that are not finite.
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
        solver: str | Solver | None = None,
        sample_weight: Any = None,
        validation: float | tuple[Any, ...] | None = None,
        patience: int | None = None,
        starts: int = 1,
        group: str | Group | None = None,
        shards: int | None = None,
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
            all. Without validation rows, ``bayes=True`` keeps the start with the greatest evidence. Small networks are
            trained as many at a time as there are threads, each to the bits of its own fit; one by one with callbacks,
            `checkpoint` or `retries`. Each start keeps its checkpoints in a folder of its own.

        Raises
        ------
        InputError, BackendError, FileError, Interrupted
            As from `Trainer` and `Trainer.fit`; nothing is trained where settings or data do not fit.
        """
        self._known(X)
        settings: dict[str, Any] = {
            "optimizer": optimizer,
            "loss": loss,
            "batch_size": batch_size,
            "schedule": schedule,
            "l2": l2,
            "l2_in_loss": l2_in_loss,
            "clip_norm": clip_norm,
            "reduction": reduction,
            "group": group,
            "shards": shards,
            "solver": solver,
        }
        run: dict[str, Any] = {
            "epochs": epochs,
            "sample_weight": sample_weight,
            "validation": validation,
            "patience": patience,
            "callbacks": callbacks,
            "metrics": metrics,
            "stop_gradient_norm": stop_gradient_norm,
            "gradient_norm": gradient_norm,
            "retries": retries,
            "checkpoint": checkpoint,
            "every": every,
            "keep": keep,
            "resume": resume,
            "progress": progress,
        }
        return self._fits.fit(X, Y, settings, run, starts)

    def trainer(self, **settings: Any) -> Trainer:
        """Return the trainer that goes on where a fit with these settings ended; a new one if the last had others.

        Parameters
        ----------
        settings
            Those of `Trainer`.
        """
        return self._fits.go_on_with(settings)

    @property
    def _fits(self) -> Continuation:
        if self._continuation is None:
            from gdkernels.models.continuation import Continuation  # a model that only predicts never loads training

            self._continuation = Continuation(self)
        return self._continuation

    # ---- predictions

    def predict(self, X: Any) -> Any:
        """Return the outputs [records, outputs], or classes if the network was trained with a cross-entropy.

        Classes are whole numbers: [records], or [records, outputs] of 0 and 1 where each output is a class of its own.
        The result comes back as X's array type, on X's device; of a frame, as a NumPy array. A frame needs the columns
        that the network was trained on, in any order; others are left alone.

        Raises
        ------
        InputError
            For data that does not fit the network.
        """
        return predicted(self._known(X), X)

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities [records, outputs] of the classes; with one output, that of class 1.

        Raises
        ------
        InputError
            If the network was not trained with a cross-entropy.
        """
        return probabilities(self.network, X)

    def loss(self, X: Any, Y: Any, *, loss: str | Loss | None = None, reduction: str = "mean") -> float:
        """Return the loss: its mean per record, or with `reduction` "sum" E.

        Parameters
        ----------
        X, Y
            [records, inputs] and [records, outputs], as for `fit`.
        loss
            None is the one that the network was last trained with, or else "sse".

        Raises
        ------
        InputError
            For data that does not fit the network.
        """
        from gdkernels.models.measuring import loss_on

        return loss_on(self._known(X), X, Y, loss, reduction)

    def gradient(self, X: Any, Y: Any, *, loss: str | Loss | None = None, reduction: str = "mean") -> Any:
        """Return the gradient of what `loss` returns, by the names of the parameters; arrays of the backend.

        The arguments and errors are those of `loss`.
        """
        from gdkernels.models.measuring import gradient_on

        return gradient_on(self._known(X), X, Y, loss, reduction)

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

    def summary(self) -> str:
        """Return a table of the blocks: outputs, parameters that are trained, and multiply-adds for each record.

        Multiply-adds are those of products in a forward pass; a step of training takes about three times as many.
        """
        from gdkernels.models.summary import summary_of  # asked for by people, not by training

        return summary_of(self.network.structure)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'inputs not known yet' if self._network is None else self._network})"

    def _repr_html_(self) -> str:
        if self._network is None:
            return html_table(repr(self), (), ())
        structure = self.network.structure
        heads = ("layer", "inputs → units", "activation") if structure.layers is not None else ("name", "shape", "kind")
        return html_table(repr(self), (*heads, "parameters"), structure.rows())


def _bound_network(
    block: Block,
    output: str | Activation,
    how: Mapping[str, Any],
    inputs: int,
    names: Sequence[str] | None = None,
) -> BoundNetwork:
    own = block if names is None else named(block, names)
    return BoundNetwork(Structure.checked(own, inputs, output), **how)
