"""A program that is traced and put in order, with the recipes of its loops, before any size is known."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import partial

from gdkernels.backend.least_squares.products import SUM_OF_PRODUCTS, traced_products, traced_sums
from gdkernels.backend.program import Program
from gdkernels.errors import ScheduleError
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import REAL
from gdkernels.lowering.cut import Cut, cut
from gdkernels.lowering.elementwise import Recipe, recipe_of
from gdkernels.lowering.schedule import PREDICTION, schedule
from gdkernels.lowering.steps import COLUMN, RowProduct, StepSchedule, kind_of, value_of
from gdkernels.lowering.value_steps import ValueSteps
from gdkernels.lowering.values import Values

__all__ = ["DATA", "ScheduledTask", "schedule_prediction", "schedule_products", "schedule_sums", "schedule_training"]

DATA = ("x", "y", "sample_weight", "row_keys")  # the inputs that come with the records


@dataclass(frozen=True, eq=False)
class ScheduledTask:
    """A training step or a prediction in order.

    Attributes
    ----------
    batch
        The size of a batch.
    sizes
        The other sizes, by name.
    inputs
        The number of columns of x.
    recipes
        The recipe of each loop of the schedule, by the loop's ``id``.
    parameters
        The parameters and slots, by the names of their inputs.
    error, norm
        The numbers that a step has to return: E, and the norm of the gradient if the program asks for it.
    output
        The matrix that a prediction returns; None for a step.
    values
        What is computed of parameters alone, and gradients that are pulled back to these; None for most networks.
    """

    schedule: StepSchedule
    batch: Dim
    sizes: Mapping[str, int]
    inputs: int
    recipes: dict[int, Recipe]
    parameters: dict[str, Node]
    error: Node | None = None
    norm: Node | None = None
    output: Node | None = None
    values: ValueSteps | None = None

    @property
    def computed(self) -> frozenset[str]:
        """The names of the parameters that stand for what `values` computes: no array of the caller's."""
        return frozenset() if self.values is None else frozenset(self.values.outputs)

    def refuse_values(self, engine: str) -> None:
        """Raise `ScheduleError` if something is computed of parameters alone; for engines that do not do that."""
        if self.values is not None:
            raise ScheduleError(f"{engine} takes parameters as weights, and none that are computed of them")

    def refuse_moves(self, engine: str) -> None:
        """Raise `ScheduleError` if columns are copied or rows looked up; for engines that do not do that."""
        if self.schedule.moves:
            raise ScheduleError(f"{engine} does not look up rows by code, or put columns side by side")

    def refuse_row_products(self, engine: str) -> None:
        """Raise `ScheduleError` if records are multiplied by matrices of their own; for engines that do not do that."""
        if any(isinstance(step, RowProduct) for step in self.schedule.moves):
            raise ScheduleError(f"{engine} does not multiply many groups of a record by a matrix of its own")

    def sizes_with(self, batch: int) -> dict[str, int]:
        """Return the value of every size by its name."""
        return {**self.sizes, str(self.batch): batch}


def schedule_training(program: Program, functions: Set[str], *, entries: bool = False) -> ScheduledTask:
    """Return the training step of `program`.

    Parameters
    ----------
    functions
        The functions of the backend besides arithmetic.
    entries
        Whether x comes as its entries that are not 0.

    Raises
    ------
    TraceError, ScheduleError
        If a function of the program cannot be traced, or its step cannot be compiled.
    """
    traced = program.trace(numbers_as_inputs=True)
    totals = [traced.error, *([] if traced.norm is None else [traced.norm])]
    parts = cut(traced.graph, traced.batch, traced.results, totals, traced.gradients)
    sums = [made for _, made in parts.sums]
    result = schedule(traced.graph, traced.batch, parts.outputs, parts.totals, "x" if entries else None, sums)
    values = _values(parts, functions)
    return ScheduledTask(
        result,
        traced.batch,
        traced.sizes,
        program.inputs,
        _recipes(result, traced.batch, functions, values),
        _parameters(traced.graph),
        error=value_of(parts.totals[0]),
        norm=None if traced.norm is None else value_of(parts.totals[1]),
        values=values,
    )


def schedule_prediction(program: Program, functions: Set[str], *, entries: bool = False) -> ScheduledTask:
    """Return the forward pass of `program`; arguments and errors are those of `schedule_training`."""
    traced = program.trace_forward()
    graph, output = traced.graph, traced.output
    if kind_of(value_of(output), traced.batch) == COLUMN:  # such as a sum over the units: a matrix of one
        output = graph.broadcast_to(output, (traced.batch, graph.widths[1]))
    parts = cut(graph, traced.batch, {PREDICTION: output})
    output, values = parts.outputs[PREDICTION], _values(parts, functions)
    result = schedule(graph, traced.batch, {PREDICTION: output}, entries="x" if entries else None)
    recipes, inputs = _recipes(result, traced.batch, functions, values), _parameters(graph)
    return ScheduledTask(
        result, traced.batch, traced.sizes, program.inputs, recipes, inputs, output=value_of(output), values=values
    )


def schedule_products(program: Program, functions: Set[str]) -> ScheduledTask:
    """Return what adds JᵀJ of a batch to its sum, as `traced_products` records it: its lower triangle, in blocks.

    Raises
    ------
    TraceError, ScheduleError
        As for `schedule_training`.
    """
    traced = traced_products(program)
    parts = cut(traced.graph, traced.batch, {SUM_OF_PRODUCTS: traced.result})
    result, values = schedule(traced.graph, traced.batch, parts.outputs), _values(parts, functions)
    result.symmetric = frozenset({SUM_OF_PRODUCTS})
    recipes, inputs = _recipes(result, traced.batch, functions, values), _parameters(traced.graph)
    return ScheduledTask(result, traced.batch, traced.sizes, program.inputs, recipes, inputs, values=values)


def schedule_sums(program: Program, functions: Set[str]) -> ScheduledTask:
    """Return what adds the gradient of the outputs of a batch to its sums, as `traced_sums` records it.

    Raises
    ------
    TraceError, ScheduleError
        As for `schedule_training`.
    """
    traced = traced_sums(program)
    parts = cut(traced.graph, traced.batch, traced.results)
    result, values = schedule(traced.graph, traced.batch, parts.outputs), _values(parts, functions)
    recipes, inputs = _recipes(result, traced.batch, functions, values), _parameters(traced.graph)
    return ScheduledTask(result, traced.batch, traced.sizes, program.inputs, recipes, inputs, values=values)


def _parameters(graph: Graph) -> dict[str, Node]:
    inputs = [n for n in graph.nodes if n.op == "input" and n.dtype == REAL]
    return {n.attribute: n for n in inputs if n.attribute not in DATA}


def _values(parts: Cut, functions: Set[str]) -> ValueSteps | None:
    return Values(parts, functions).steps if parts.before or parts.after else None


def _recipes(result: StepSchedule, batch: Dim, functions: Set[str], values: ValueSteps | None) -> dict[int, Recipe]:
    kind = partial(kind_of, batch=batch)
    recipes = {id(loop): recipe_of(result, loop, kind, functions) for loop in result.loops}
    return recipes | {id(step): step.recipe for step in (values.passes if values is not None else ())}
