"""A program: the structure of a training or a prediction; sizes come with the data."""

import warnings
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gdkernels.definition import network
from gdkernels.definition.activations import Activation
from gdkernels.definition.network import Layer, Layers, map_layers
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Optimizer
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import SCALAR

__all__ = ["Program", "TracedForward", "TracedStep"]

# The attributes of the objective that a program of 0.1 had itself, with their values in a program that only predicts.
_OF_THE_OBJECTIVE = {"loss": None, "reduction": "mean", "l2_in_loss": False, "clip_norm": None}


@dataclass(frozen=True)
class TracedStep:
    """A training step as a graph.

    Attributes
    ----------
    graph
        The graph, with the inputs ``x``, ``y``, ``learning_rate``, ``t``, ``W0``, ``b0``, …, and for optimizer slot s
        ``W0.s``, ``b0.s``, …. A weighted program also has
        ``sample_weight``.
    batch, widths
        The size B of the batch, and n_0 … n_L of the layers.
    error, norm
        E before the step; the norm of the gradient, or None if the program does not ask for it.
    results
        For each parameter and slot, by the name of its input, the node of its new value.
    """

    graph: Graph
    batch: Dim
    widths: tuple[Dim, ...]
    error: Node
    norm: Node | None
    results: dict[str, Node]


@dataclass(frozen=True)
class TracedForward:
    """A forward pass as a graph, with the inputs ``x``, ``W0``, ``b0``, …."""

    graph: Graph
    batch: Dim
    widths: tuple[Dim, ...]
    output: Node


@dataclass(frozen=True)
class Program:
    """A network with what trains it; without an objective and an optimizer, it can only predict.

    Attributes
    ----------
    activations
        A function for each layer, the output's last. Where the loss takes logits, the output's is the identity.
    bias
        Whether the layers have biases.
    objective, optimizer
        The goal and the rule of the training.
    gradient_norm
        Whether the norm of the gradient is computed too.
    weighted
        Whether every record comes with the weight of its loss.
    """

    activations: tuple[Activation, ...]
    bias: bool = True
    objective: Objective | None = None
    optimizer: Optimizer | None = None
    gradient_norm: bool = False
    weighted: bool = False

    @property
    def l2(self) -> float:
        """λ of the penalty, 0 where there is none."""
        return 0.0 if self.objective is None else float(self.objective.l2)

    if not TYPE_CHECKING:  # so that a type checker still finds misspelt names

        def __getattr__(self, name: str) -> Any:
            if name not in _OF_THE_OBJECTIVE:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            message = f"Program.{name} is now Program.objective.{name}"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return _OF_THE_OBJECTIVE[name] if self.objective is None else getattr(self.objective, name)

    def forward(self, parameters: Layers, x: Any, *, xp: Any) -> Any:
        """Return the network's output for x, by the definition."""
        return network.forward(parameters, x, activations=self.activations, xp=xp)

    def train_step(
        self,
        parameters: Layers,
        slots: Layers,
        x: Any,
        y: Any,
        *,
        learning_rate: Any,
        t: Any,
        sample_weight: Any = None,
        l2: Any = None,
        xp: Any,
    ) -> tuple[Any, Any, tuple[Layer, ...], tuple[Layer, ...]]:
        """Return E, the norm or None, new parameters and new slots, by the definition.

        Parameters
        ----------
        l2
            The node that stands for the program's λ during recording, if it has one.
        """
        assert self.objective is not None, "a program that only predicts has no step"
        assert self.optimizer is not None, "a program that only predicts has no step"
        assert self.weighted == (sample_weight is not None), "weights come with the programs that ask for them"
        return network.train_step(
            parameters,
            slots,
            x,
            y,
            activations=self.activations,
            objective=self.objective if l2 is None else replace(self.objective, l2=l2),
            optimizer=self.optimizer,
            learning_rate=learning_rate,
            t=t,
            sample_weight=sample_weight,
            with_norm=self.gradient_norm,
            xp=xp,
        )

    def trace(self, *, l2_as_input: bool = False) -> TracedStep:
        """Record one training step.

        Parameters
        ----------
        l2_as_input
            Whether λ becomes the input ``l2``, a number like ``learning_rate``, rather than a constant: then what is
            compiled serves every λ.

        Raises
        ------
        TraceError
            If a function of the user cannot be recorded; the message names the operation and the line.
        """
        assert self.optimizer is not None
        graph, batch, widths, names, shapes, parameters = self._begin_trace()

        def slot_names(name: str) -> tuple[str, ...]:
            assert self.optimizer is not None
            return tuple(f"{name}.{s}" for s in range(self.optimizer.slots))

        slots = map_layers(lambda name, shape: tuple(graph.input(s, shape) for s in slot_names(name)), names, shapes)
        error, norm, new_parameters, new_slots = self.train_step(
            parameters,
            slots,
            graph.input("x", (batch, widths[0])),
            graph.input("y", (batch, widths[-1])),
            learning_rate=graph.input("learning_rate", dtype=SCALAR),
            t=graph.input("t", dtype=SCALAR),
            sample_weight=graph.input("sample_weight", (batch,)) if self.weighted else None,
            l2=graph.input("l2", dtype=SCALAR) if l2_as_input and self.l2 else None,
            xp=graph,
        )
        results: dict[str, Node] = {}

        def collect(name: str, parameter: Node, moved: tuple[Node, ...]) -> None:
            results[name] = parameter
            results.update(zip(slot_names(name), moved, strict=True))

        map_layers(collect, names, new_parameters, new_slots)
        return TracedStep(graph, batch, widths, error, norm, results)

    def trace_forward(self) -> TracedForward:
        """Record a forward pass.

        Raises
        ------
        TraceError
            As for `trace`.
        """
        graph, batch, widths, _, _, parameters = self._begin_trace()
        output = self.forward(parameters, graph.input("x", (batch, widths[0])), xp=graph)
        return TracedForward(graph, batch, widths, output)

    def _begin_trace(self) -> tuple[Graph, Dim, tuple[Dim, ...], list[Layer], list[Layer], tuple[Layer, ...]]:
        graph = Graph()
        batch = graph.dim("B")
        widths = tuple(graph.dim(f"n{k}") for k in range(len(self.activations) + 1))
        shapes = [Layer((m, n), (n,) if self.bias else None) for m, n in pairwise(widths)]
        names = [Layer(f"W{k}", f"b{k}" if self.bias else None) for k in range(len(shapes))]
        return graph, batch, widths, names, shapes, map_layers(graph.input, names, shapes)
