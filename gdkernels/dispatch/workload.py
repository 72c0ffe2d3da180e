"""The size of a job, in the numbers that its time depends on, from its graph alone and before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from gdkernels.backend import storage_dtype
from gdkernels.backend.program import Program
from gdkernels.graph import remembered
from gdkernels.graph.cost import Cost, cost
from gdkernels.graph.nodes import Node
from gdkernels.system.cached_property import cached_property

__all__ = ["QUANTITIES", "Workload"]

# The estimated time of a job is a sum over these quantities, each with a price in seconds:
QUANTITIES = (
    "transfers",  # of the data, to a device that is not the host
    "transferred_bytes",
    "runs",  # calls of the executable, one an epoch
    "run_bytes",  # parameters and slots, which a run brings in and out again
    "steps",
    "operations",  # of the graph
    "product_flops",
    "batch_flops",  # elementwise, and reductions, of what has a row for each record
    "parameter_flops",  # of what has none: the update
    "batch_bytes",  # that these read and write if each operation does so
    "parameter_bytes",
)

_LINE = 64  # bytes of a cache line and of the widest vectors: what a row takes is a multiple of that

_Traced = tuple[list[Node], str, Mapping[str, int]]


@dataclass(frozen=True)
class Workload:
    """A job: training a network on records on the host, or predicting.

    Attributes
    ----------
    program
        One without an optimizer only predicts, all the records at once.
    batch_size
        Records a step.
    records, epochs
        The number of records and of epochs; each epoch is one call of the executable.
    """

    program: Program
    batch_size: int
    records: int
    epochs: int = 1

    @property
    def batch(self) -> int:
        """Records in a full batch, and no more than there are."""
        return min(self.batch_size, self.records)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of a record in each matrix on the way: inputs, the units of each layer, outputs."""
        return self.program.widths

    @property
    def steps(self) -> int:
        """Steps of the whole job."""
        return self.epochs * -(-self.records // self.batch)

    def __str__(self) -> str:
        what = f"{'-'.join(map(str, self.sizes))}, batches of {self.batch:,}"
        return f"{what}, {self.epochs:,} epochs of {self.records:,} records"

    def quantities(self, precision: str) -> dict[str, float]:
        """Return the amount of each of `QUANTITIES`.

        Raises
        ------
        TraceError
            If the program cannot be recorded.
        """
        itemsize = 8 if storage_dtype(precision) == "float64" else 4
        whole, still, state = self._costs(itemsize)
        columns = self.program.inputs + (self.program.outputs if self.program.optimizer else 0)
        steps = self.steps
        return {
            "transfers": 1.0,
            "transferred_bytes": float(self.records * columns * itemsize),
            "runs": float(self.epochs),
            "run_bytes": float(self.epochs * state),
            "steps": float(steps),
            "operations": float(steps * whole.operations),
            "product_flops": float(steps * whole.product_flops),
            "batch_flops": float(steps * (whole.other_flops - still.other_flops)),
            "parameter_flops": float(steps * still.other_flops),
            "batch_bytes": float(steps * (whole.bytes_unfused - still.bytes_unfused)),
            "parameter_bytes": float(steps * still.bytes_unfused),
        }

    @cached_property
    def step_flops(self) -> float:
        """FLOPs of the matrix products of a full step."""
        try:
            outputs, batch, sizes = self._traced
        except Exception:  # a function of the user may raise anything during recording, and may still run
            times = 2 if self.program.optimizer is None else 6  # forward, and the gradients by weights and inputs
            return float(times * self.batch * sum(m * n for m, n in pairwise(self.sizes)))
        return float(cost(outputs, {**sizes, batch: self.batch}, itemsize=1).product_flops)

    def kept(self, precision: str) -> tuple[int, int]:
        """Return the bytes that the definition of a step makes on its way once, and for each record.

        Raises
        ------
        TraceError
            If the program cannot be recorded.
        """
        whole, still, _ = self._costs(8 if storage_dtype(precision) == "float64" else 4)
        return still.bytes_kept, -(-(whole.bytes_kept - still.bytes_kept) // self.batch)

    @cached_property
    def _traced(self) -> _Traced:
        return _traced(self.program.without_numbers)

    def _costs(self, itemsize: int) -> tuple[Cost, Cost, int]:
        return _costs(self.program.without_numbers, self.batch, itemsize)


@remembered(16)
def _traced(program: Program) -> _Traced:
    """Return the graph of a step, the name of the batch, and the other sizes by name."""
    if program.optimizer is None:
        forward = program.trace_forward()
        return [forward.output], forward.batch.name, forward.sizes
    step = program.trace()
    return [step.error, *step.results.values()], step.batch.name, step.sizes


@remembered(64)
def _costs(program: Program, records: int, itemsize: int) -> tuple[Cost, Cost, int]:
    """Return the cost of a step, that without any records, and the bytes of parameters and slots."""
    outputs, batch, own = _traced(program)
    line = _LINE // itemsize
    sizes = {name: -(-n // line) * line for name, n in own.items()}
    whole = cost(outputs, sizes | {batch: records}, itemsize=itemsize)
    still = cost(outputs, sizes | {batch: 0}, itemsize=itemsize)
    return whole, still, still.bytes_least
