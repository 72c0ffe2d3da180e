"""A program traced and put in order, before any size is known."""

from __future__ import annotations

from dataclasses import dataclass

from gdkernels.backend.program import Program
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import REAL
from gdkernels.lowering.elementwise import Recipe, recipe_of
from gdkernels.lowering.schedule import PREDICTION, schedule
from gdkernels.lowering.steps import Loop, Schedule, value_of

__all__ = ["FUNCTIONS", "Task", "prediction_of", "training_of"]

# What CUDA computes besides arithmetic.
FUNCTIONS = frozenset({"exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "pow"})


@dataclass(frozen=True, eq=False)
class Task:
    """A step or a prediction in order.

    Attributes
    ----------
    recipes
        For the ``id`` of each loop of the schedule, what it computes.
    parameters
        The parameters and slots, by the names of their inputs.
    error, norm
        The numbers that a step is asked for.
    output
        What a prediction ends in.
    """

    schedule: Schedule
    batch: Dim
    widths: tuple[Dim, ...]
    recipes: dict[int, Recipe]
    parameters: dict[str, Node]
    error: Node | None = None
    norm: Node | None = None
    output: Node | None = None

    def sizes(self, widths: tuple[int, ...], batch: int) -> dict[str, int]:
        """Return the value of every dimension by its name."""
        return {str(d): n for d, n in zip(self.widths, widths, strict=True)} | {str(self.batch): batch}

    @property
    def loops(self) -> list[Loop]:
        return _loops(self.schedule)


def training_of(program: Program) -> Task:
    """Return the training step of `program`.

    Raises
    ------
    TraceError, ScheduleError
        Where it is not one that this engine runs.
    """
    traced = program.trace(l2_as_input=True)
    totals = [traced.error, *([] if traced.norm is None else [traced.norm])]
    result = schedule(traced.graph, traced.batch, traced.results, totals)
    inputs = {
        n.attribute: n
        for n in traced.graph.nodes
        if n.op == "input" and n.dtype == REAL and n.attribute in traced.results
    }
    norm = None if traced.norm is None else value_of(traced.norm)
    return Task(
        result,
        traced.batch,
        traced.widths,
        _recipes(result, traced.batch),
        inputs,
        error=value_of(traced.error),
        norm=norm,
    )


def prediction_of(program: Program) -> Task:
    """Return the forward pass of `program`; it raises what `training_of` raises."""
    traced = program.trace_forward()
    result = schedule(traced.graph, traced.batch, {PREDICTION: traced.output})
    inputs = {n.attribute: n for n in traced.graph.nodes if n.op == "input" and n.attribute != "x"}
    recipes = _recipes(result, traced.batch)
    return Task(result, traced.batch, traced.widths, recipes, inputs, output=value_of(traced.output))


def _loops(result: Schedule) -> list[Loop]:
    loops = [s for s in result.tile if isinstance(s, Loop)]
    loops += [loop for loop in result.numbers if loop is not None]
    return loops + [loop for phase in result.updates for loop in phase.values()]


def _recipes(result: Schedule, batch: Dim) -> dict[int, Recipe]:
    return {id(loop): recipe_of(result, loop, batch, FUNCTIONS) for loop in _loops(result)}
