"""A program: a network with what trains it, as a backend gets it."""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gdkernels.backend.block_facts import BlockFacts, facts_of
from gdkernels.definition import network
from gdkernels.definition.blocks.block import Block, Parameter
from gdkernels.definition.network import Arrays, Slots
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizer_numbers import numbers_of, with_numbers
from gdkernels.definition.optimizers import Optimizer
from gdkernels.errors import InputError, TraceError
from gdkernels.graph import cost, remembered, topological
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import INT, MOVES, SCALAR
from gdkernels.graph.text import nodes_text
from gdkernels.randomness import RandomNumbers
from gdkernels.system.cached_property import cached_property, fields_of, hashed_once

__all__ = ["Program", "TracedForward", "TracedStep", "slot_names"]

# The attributes of the objective that a program of 0.1 had itself, with their values in a program that only predicts.
_OF_THE_OBJECTIVE = {"loss": None, "reduction": "mean", "l2_in_loss": False, "clip_norm": None}

_OF_A_STEP = frozenset({"x", "y", "t", "learning_rate", "sample_weight", "row_keys"})  # the other inputs of a trace
_OPTIMIZER = "optimizer."  # begins the names of the inputs that are numbers of the optimizer; no parameter's has a dot


@lru_cache(maxsize=4096)
def slot_names(name: str, count: int) -> tuple[str, ...]:
    """Return the names of the optimizer's slots of a parameter: ``W0.0``, ``W0.1``, …."""
    return tuple(f"{name}.{s}" for s in range(count))


@dataclass(frozen=True)
class TracedStep:
    """A training step as a graph.

    Attributes
    ----------
    graph
        The graph, with the inputs ``x``, ``y``, ``learning_rate``, ``t``, each parameter by its name, and for optimizer
        slot s of ``W0`` the input ``W0.s``. A weighted program also has ``sample_weight``, and one that draws
        ``row_keys``, which are integers.
    batch
        The size B of the batch.
    sizes
        The other sizes, by name, those of values on the way included. Equal numbers are one size.
    error, norm
        E before the step; the norm of the gradient, or None if the program neither asks for it nor clips by it.
    results
        For each parameter that is trained and each slot, by the name of its input, the node of its new value.
    gradients
        For each parameter that is trained the node of its gradient, before penalties and clipping.
    """

    graph: Graph
    batch: Dim
    sizes: Mapping[str, int]
    error: Node
    norm: Node | None
    results: dict[str, Node]
    gradients: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class TracedForward:
    """A forward pass as a graph, with the inputs ``x`` and each parameter by its name."""

    graph: Graph
    batch: Dim
    sizes: Mapping[str, int]
    output: Node


@hashed_once
@dataclass(frozen=True)
class Program:
    """A network with what trains it; without an objective and an optimizer, it can only predict.

    Attributes
    ----------
    block
        The network. Where the loss takes logits, its outputs are logits.
    inputs
        The number of its inputs.
    objective, optimizer
        The goal and the rule of the training.
    gradient_norm
        Whether the norm of the gradient is computed too.
    weighted
        Whether every record comes with the weight of its loss.
    part_of_batch
        Whether the records of a run are all of one batch, whose gradients are summed.
    """

    block: Block
    inputs: int
    objective: Objective | None = None
    optimizer: Optimizer | None = None
    gradient_norm: bool = False
    weighted: bool = False
    part_of_batch: bool = False

    def __getstate__(self) -> dict[str, Any]:
        return fields_of(self)

    @cached_property
    def _facts(self) -> BlockFacts:
        return facts_of(self.block, self.inputs)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The declarations of the block's parameters and constants, by name."""
        return self._facts.parameters

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the parameters and constants, by name."""
        return self._facts.shapes

    @cached_property
    def count(self) -> int:
        """How many numbers the parameters and constants have."""
        return self._facts.count

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that training changes."""
        return self._facts.trained

    @cached_property
    def decaying(self) -> frozenset[str]:
        """The names of those that penalties and the decay of weights touch."""
        return self._facts.decaying

    @cached_property
    def outputs(self) -> int:
        """The number of outputs."""
        return self._facts.outputs

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """The numbers of a record in each matrix on the way, from the inputs to the outputs."""
        return self._facts.widths

    @cached_property
    def is_chain(self) -> bool:
        """Whether the block is a chain of dense layers."""
        return self._facts.is_chain

    @cached_property
    def codes(self) -> Mapping[int, int]:
        """For the inputs that are codes of categories, by their number, how many categories there are.

        Raises
        ------
        InputError
            If rows of a table are looked up by anything else: nobody could check it before it is used.
        """
        if self.is_chain:
            return {}
        try:
            traced = self.trace_forward()
        except TraceError:  # it only predicts, as a definition
            return {}
        found: dict[int, int] = {}
        for node in topological(traced.output):
            if node.op == "take":
                table, numbers = node.args
                source = numbers.args[0] if numbers.op == "to_int" else numbers
                if source.op != "column" or source.args[0].attribute != "x":
                    raise InputError(
                        "a network can look up rows by the columns of X alone, whose codes are checked before they are "
                        f"used; {type(self.block).__name__} looks some up by numbers that it computes. "
                        "Multiply columns of 1 and 0 by the table instead, of which each is made by "
                        "xp.where(numbers == k, 1.0, 0.0)"
                    )
                rows, k = traced.sizes[str(table.shape[0])], int(source.attribute)
                found[k] = min(rows, found.get(k, rows))
        return found

    @cached_property
    def multiply_adds(self) -> int:
        """The multiply-adds in the products of a record's forward pass; those of parameters alone are no record's."""
        found = self._flops_of_products(records=1)
        if found is None:
            return sum(math.prod(p.shape) for p in self.parameters.values() if len(p.shape) == 2)
        return (found - self.flops_before_records) // 2

    @cached_property
    def flops_before_records(self) -> int:
        """The FLOPs of products that a forward pass makes of parameters alone, before it looks at any record."""
        return self._flops_of_products(records=0) or 0

    def _flops_of_products(self, records: int) -> int | None:
        """Return what products of a forward pass take; None for layers, which are plain, and where it is unknown."""
        if self.is_chain:
            return None
        try:
            traced = self.trace_forward()
        except TraceError:  # it only predicts, as a definition
            return None
        return cost([traced.output], {**traced.sizes, str(traced.batch): records}, itemsize=1).product_flops

    @cached_property
    def draws(self) -> bool:
        """Whether blocks compute something else in training than in prediction: with random numbers."""
        return self.optimizer is not None and not self.is_chain and _draws(self.block, self.inputs)

    @cached_property
    def moves(self) -> bool:
        """Whether blocks pick columns, join them, look up rows of tables, or multiply matrices of each record."""
        if self.is_chain:
            return False
        try:
            return any(
                node.op in MOVES or node.op == "row_product" for node in topological(self.trace_forward().output)
            )
        except TraceError:  # raised again by a backend that traces it
            return False

    @cached_property
    def slots(self) -> int:
        """The number of arrays that the optimizer carries for each parameter."""
        return 0 if self.optimizer is None else self.optimizer.slots

    @cached_property
    def numbers(self) -> Mapping[str, float]:
        """The numbers of a training that compiled steps take as inputs, by the names of the inputs."""
        objective, found = self.objective, {}
        if objective is not None and objective.l2:
            found["l2"] = float(objective.l2)
        if objective is not None and objective.clip_norm is not None:
            found["clip_norm"] = float(objective.clip_norm)
        own = self._of_optimizer
        return found | {f"{_OPTIMIZER}{name}": value for name, value in own.items() if name != "learning_rate"}

    @cached_property
    def _of_optimizer(self) -> dict[str, float]:
        return {} if self.optimizer is None else numbers_of(self.optimizer)

    @cached_property
    def without_numbers(self) -> "Program":
        """The program with other numbers in place of these and of the rate: one for all that share their code."""
        objective, optimizer = self.objective, self.optimizer
        if objective is not None and (objective.l2 or objective.clip_norm is not None):
            fixed: dict[str, Any] = {n: 0.5 for n, v in (("l2", objective.l2), ("clip_norm", objective.clip_norm)) if v}
            objective = replace(objective, **fixed)
        if optimizer is not None and (own := self._of_optimizer):
            optimizer = with_numbers(optimizer, dict.fromkeys(own, 0.5))
        if objective is self.objective and optimizer is self.optimizer:
            return self
        others = self.gradient_norm, self.weighted, self.part_of_batch
        return Program(self.block, self.inputs, objective, optimizer, *others)  # asked for each of many models

    def _with(self, numbers: Mapping[str, Any]) -> "Program":
        """Return the program with other values of `numbers`, which may be nodes."""
        of_optimizer = {n.removeprefix(_OPTIMIZER): v for n, v in numbers.items() if n.startswith(_OPTIMIZER)}
        of_objective = {n: v for n, v in numbers.items() if not n.startswith(_OPTIMIZER)}
        return replace(
            self,
            objective=replace(self.objective, **of_objective) if of_objective and self.objective else self.objective,
            optimizer=with_numbers(self.optimizer, of_optimizer) if of_optimizer and self.optimizer else self.optimizer,
        )

    if not TYPE_CHECKING:  # so that a type checker still finds misspelt names

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property that failed: it fails again, with its own reason
                return object.__getattribute__(self, name)
            if name not in _OF_THE_OBJECTIVE:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            message = f"Program.{name} is now Program.objective.{name}"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return _OF_THE_OBJECTIVE[name] if self.objective is None else getattr(self.objective, name)

    def forward(self, parameters: Arrays, x: Any, *, xp: Any) -> Any:
        """Return the network's output for x, by the definition."""
        return network.forward(self.block, parameters, x, xp=xp)

    def train_step(
        self,
        parameters: Arrays,
        slots: Slots,
        x: Any,
        y: Any,
        *,
        learning_rate: Any,
        t: Any,
        sample_weight: Any = None,
        row_keys: Any = None,
        seen: dict[str, Any] | None = None,
        xp: Any,
    ) -> tuple[Any, Any, dict[str, Any], dict[str, tuple[Any, ...]]]:
        """Return E, the norm or None, new parameters and new slots, by the definition; `seen` takes the gradient."""
        assert self.objective is not None, "a program that only predicts has no step"
        assert self.optimizer is not None, "a program that only predicts has no step"
        assert self.weighted == (sample_weight is not None), "weights come with the programs that ask for them"
        assert self.draws == (row_keys is not None), "keys come with the programs that draw"
        return network.train_step(
            self.block,
            parameters,
            slots,
            x,
            y,
            trained=self.trained,
            decaying=self.decaying,
            objective=self.objective,
            optimizer=self.optimizer,
            learning_rate=learning_rate,
            t=t,
            sample_weight=sample_weight,
            row_keys=row_keys,
            with_norm=self.gradient_norm,
            seen=seen,
            xp=xp,
        )

    def trace(self, *, numbers_as_inputs: bool = False) -> TracedStep:
        """Record one training step.

        Parameters
        ----------
        numbers_as_inputs
            Whether `numbers` become inputs like ``learning_rate``, rather than constants: then what is compiled serves
            all their values.

        Raises
        ------
        TraceError
            If a function of the user cannot be recorded; the message names the operation and the line.
        """
        assert self.optimizer is not None
        graph, batch, dims, parameters = self._begin_trace({*_OF_A_STEP, *self.numbers})
        names = {name: slot_names(name, self.slots) for name in self.trained}
        slots = {
            name: tuple(graph.input(slot, parameters[name].shape) for slot in mine) for name, mine in names.items()
        }
        inputs = {name: graph.input(name, dtype=SCALAR) for name in self.numbers if numbers_as_inputs}
        gradients: dict[str, Node] = {}
        error, norm, new_parameters, new_slots = self._with(inputs).train_step(
            parameters,
            slots,
            graph.input("x", (batch, dims[self.inputs])),
            graph.input("y", (batch, dims[self.outputs])),
            learning_rate=graph.input("learning_rate", dtype=SCALAR),
            t=graph.input("t", dtype=SCALAR),
            sample_weight=graph.input("sample_weight", (batch,)) if self.weighted else None,
            row_keys=graph.input("row_keys", (batch,), INT) if self.draws else None,
            seen=gradients,
            xp=graph,
        )
        results: dict[str, Node] = {}
        for name, mine in names.items():
            results |= {name: new_parameters[name], **dict(zip(mine, new_slots[name], strict=True))}
        return TracedStep(graph, batch, _sizes(graph), error, norm, results, gradients)

    def trace_forward(self) -> TracedForward:
        """Record a forward pass.

        Raises
        ------
        TraceError
            As for `trace`.
        """
        graph, batch, dims, parameters = self._begin_trace({"x"})
        output = self.forward(parameters, graph.input("x", (batch, dims[self.inputs])), xp=graph)
        return TracedForward(graph, batch, _sizes(graph), output)

    def trace_drawing(self) -> TracedForward:
        """Record a forward pass as training has it, with the input ``row_keys``.

        Raises
        ------
        TraceError
            As for `trace`.
        """
        graph, batch, dims, parameters = self._begin_trace({"x", "row_keys"})
        random = RandomNumbers(graph.input("row_keys", (batch,), INT))
        x = graph.input("x", (batch, dims[self.inputs]))
        output = network.forward(self.block, parameters, x, random=random, xp=graph)
        return TracedForward(graph, batch, _sizes(graph), output)

    def _begin_trace(self, others: Iterable[str]) -> tuple[Graph, Dim, dict[int, Dim], dict[str, Node]]:
        graph = Graph()
        batch = graph.dim("B")
        shapes = self.shapes
        if taken := sorted(shapes.keys() & set(others)):
            raise TraceError(
                f"{type(self.block).__name__} calls a parameter {taken[0]}, as another input of the step is called; "
                "put it into blocks.Sequential, or give the parameter another name"
            )
        numbers = dict.fromkeys(n for shape in ((self.inputs,), *shapes.values(), (self.outputs,)) for n in shape)
        dims = {n: graph.dim(f"n{n}", n) for n in numbers}
        inputs = {name: graph.input(name, tuple(dims[n] for n in shape)) for name, shape in shapes.items()}
        return graph, batch, dims, inputs


@remembered(64)
def _draws(block: Block, inputs: int) -> bool:
    program = Program(block, inputs)
    try:
        drawing = nodes_text([program.trace_drawing().output])
    except TraceError:  # raised again by whoever runs what it is to draw
        return True
    return drawing != nodes_text([program.trace_forward().output])


def _sizes(graph: Graph) -> dict[str, int]:
    return {dim.name: n for n, dim in graph.widths.items()}
