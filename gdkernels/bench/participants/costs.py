"""The cost of a stage of training, counted on its graph: FLOPs, and the bytes that must be moved."""

from dataclasses import replace
from math import prod
from typing import Any

from gdkernels.backend import storage_dtype
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.definition.optimizers import Optimizer
from gdkernels.graph.cost import Cost, cost

__all__ = ["cost_of"]


class _GradientOnly(Optimizer):
    """A rule whose new parameters are the gradients: a step with it computes these and nothing else."""

    learning_rate = 1.0

    def rule(self, w: Any, g: Any, slots: Any, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Any]:
        return g, ()


def cost_of(task: TrainingTask, stage: str, precision: str) -> Cost:
    """Return the cost of a call: one batch, or for an epoch all of its steps.

    A gradient counts as in a step, with what blocks draw there.
    """
    program = task.program()
    itemsize = 8 if storage_dtype(precision) == "float64" else 4
    batch = min(task.batch, task.records)

    traced = program.trace_forward()

    def sizes(rows: int) -> dict[str, int]:
        return {**traced.sizes, "B": rows}

    if stage == "forward":
        return cost([traced.output], sizes(batch), itemsize=itemsize)
    step, slope = program.trace(), replace(program, optimizer=_GradientOnly()).trace()
    if stage == "gradient":
        return cost([slope.error, *slope.results.values()], sizes(batch), itemsize=itemsize)
    outputs = [step.error, *step.results.values()]
    if stage == "epoch":
        whole, rest = divmod(task.records, batch)
        one = cost(outputs, sizes(batch), itemsize=itemsize)
        last = cost(outputs, sizes(rest), itemsize=itemsize) if rest else Cost(0, 0, 0, 0, 0, 0)
        return Cost(*(whole * m + n for m, n in zip(vars(one).values(), vars(last).values(), strict=True)))
    # An update is a step without its gradient; it reads weights and gradients, and writes weights.
    before = cost(slope.results.values(), sizes(batch), itemsize=itemsize)
    both = cost(step.results.values(), sizes(batch), itemsize=itemsize)
    moved = 3 * itemsize * sum(prod(program.shapes[name]) for name in program.trained)
    return replace(both, product_flops=0, other_flops=both.flops - before.flops, bytes_least=moved)
