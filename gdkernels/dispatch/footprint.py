"""The host's memory that training needs: estimated and logged before it starts, or an error if there is less."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gdkernels.backend.program import Program
from gdkernels.definition.chain import chain, layers_in
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import InputError, TraceError
from gdkernels.system import memory
from gdkernels.system.memory import gigabytes

__all__ = [
    "Footprint",
    "check_initial",
    "check_state",
    "footprint",
    "prediction_bytes",
    "rows_that_fit",
]

# Below this, do not even ask how much memory there is.
_SMALL = 1 << 26
# The most intermediate numbers that an activation makes for each unit, and a loss for each output.
_MADE, _OUTPUTS = 20, 6
_PREDICTED = 1 << 19
# Freed memory that the system's allocator keeps, and the libraries' own.
_SLACK = 1 << 25

BytesOfStep = Callable[[int], int]  # of the number of records that it computes at a time


@dataclass(frozen=True)
class Footprint:
    """Bytes of memory, by what they are for.

    Attributes
    ----------
    now
        The memory of the process before it trains, with all records in memory and the compiled code.
    records
        Windows of records that are in files.
    state
        Parameters and optimizer slots, in all copies that exist at a time.
    step
        The values that are computed for a batch.
    predictions
        The predictions that evaluate training.
    """

    now: int
    records: int
    state: int
    step: int
    predictions: int

    @property
    def total(self) -> int:
        """The most memory that the process will have."""
        return self.now + self.records + self.state + self.step + self.predictions + _SLACK

    def as_dict(self) -> dict[str, int]:
        """Return the bytes by name, and their sum."""
        return {**vars(self), "total": self.total}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in vars(self).items() if size >= 1e6)
        return f"at most {gigabytes(self.total)}: {parts}"


def footprint(
    work: Workload,
    precision: str,
    *,
    compiled: bool,
    rows: int | None,
    records: int,
    evaluated: int,
    workspace: BytesOfStep | None = None,
) -> Footprint:
    """Return the memory that a job will need.

    Parameters
    ----------
    compiled
        Whether its steps are compiled: then only values for the backward pass are kept for each record.
    rows
        The number of records of a batch that are computed at a time; None is all of them.
    records
        Bytes of the windows of records, where they are read from files.
    evaluated
        The number of records that are predicted at a time.
    workspace
        As for `rows_that_fit`.
    """
    rows = work.batch if rows is None else min(work.batch, rows)
    step = _step(work, precision, compiled, rows, workspace)
    # Predictions take so many records at a time that their widest layer has no more numbers than this.
    made = 0 if compiled else _MADE * min(evaluated * max(work.sizes), _PREDICTED)
    evaluation = _itemsize(precision) * (made + _OUTPUTS * evaluated * work.sizes[-1])
    return Footprint(memory.used(), records, _state_bytes(work.program, precision), step(rows), evaluation)


def rows_that_fit(work: Workload, precision: str, *, compiled: bool, workspace: BytesOfStep | None = None) -> int:
    """Return how many records of a batch fit into memory at a time: mostly all.

    Parameters
    ----------
    workspace
        Returns the bytes that a compiled step has for a batch of so many records, or 0 if it cannot tell.

    Raises
    ------
    InputError
        If not even one does.
    """
    step = _step(work, precision, compiled, work.batch, workspace)
    if step(work.batch) <= _SMALL or (room := memory.room()) is None:
        return work.batch
    if (least := step(1)) > room.bytes - _SLACK:
        raise InputError(
            f"a step of {_shape(work.sizes)} needs {gigabytes(least)} for a single record, but only "
            f"{room} is available: make the network narrower"
        )
    return bisect_right(range(1, work.batch + 1), room.bytes - _SLACK, key=step)


def check_initial(program: Program) -> None:
    """Reject a network whose initial parameters do not fit into memory.

    Raises
    ------
    InputError
        Then; it says how much is needed, and which widths of a chain would do.
    """

    def needed(program: Program) -> int:
        largest = max((math.prod(p.shape) for p in program.parameters.values()), default=0)
        return 8 * (program.count + largest)  # float64, one drawn twice

    _check(program, needed, "to be drawn")


def check_state(work: Workload, precision: str) -> None:
    """Reject training whose parameters, gradient and optimizer alone do not fit into memory.

    Raises
    ------
    InputError
        Then; it says how much is needed, and which widths of a chain would do.
    """
    optimizer = type(work.program.optimizer).__name__
    _check(work.program, lambda program: _state_bytes(program, precision), f"to be trained with {optimizer}")


def prediction_bytes(widest: int, outputs: int, precision: str) -> int:
    """Return the bytes of a record's prediction, with all intermediate values of it and of its loss."""
    return _itemsize(precision) * (_MADE * widest + _OUTPUTS * outputs)


def _check(program: Program, needed: Callable[[Program], int], what: str) -> None:
    need = needed(program)
    if need <= _SMALL or (room := memory.room()) is None or need <= room.bytes:
        return
    raise InputError(
        f"a network of {_shape(program.widths)} has {program.count:,} parameters and needs {gigabytes(need)} "
        f"{what}, but only {room} is available; {_largest(program, needed, room.bytes)}"
    )


def _largest(program: Program, needed: Callable[[Program], int], room: int) -> str:
    """Return the largest chain with hidden layers in the same proportions that would fit."""
    layers = layers_in(program.block)
    if layers is None:
        return "give its blocks fewer units"

    widest = max((layer.units for layer in layers[:-1]), default=0)

    def scaled(width: int) -> Program:
        units = [max(1, layer.units * width // widest) for layer in layers[:-1]]
        functions = [layer.activation for layer in layers]
        return replace(program, block=chain((*units, layers[-1].units), functions, bias=layers[0].bias))

    # A layer of more units than there are bytes does not fit, and ranges have an end.
    fitting = bisect_right(range(1, min(widest, room)), room, key=lambda width: needed(scaled(width)))
    if not fitting:
        return "its inputs and outputs alone are too many"
    return f"{_shape(scaled(fitting).widths)} would fit"


def _shape(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def _itemsize(precision: str) -> int:
    return 8 if precision == "float64" else 4


def _state_bytes(program: Program, precision: str) -> int:
    """Return the bytes of parameters and slots besides those that exist already.

    These are the slots, a second copy of both while an epoch changes them, the gradient, the intermediate values of the
    update, and the copy that a checkpoint is written from.
    """
    slots = program.slots
    copies = slots + (1 + slots) + 3 + 2 * (1 + slots)
    return copies * program.count * _itemsize(precision)


def _step(work: Workload, precision: str, compiled: bool, rows: int, workspace: BytesOfStep | None) -> BytesOfStep:
    """Return the function that returns the bytes of a step; it is meant for up to `rows` records at a time."""
    # A block does not tell what it computes on its way, but its compiled step does.
    if compiled and workspace is not None and not work.program.is_chain and workspace(rows):
        return workspace
    item, (inputs, *_, outputs) = _itemsize(precision), work.sizes
    # Compiled steps keep what the backward pass needs of each layer, twice while in use, in slightly wider panels.
    packed = item * (3 * sum(-(-n // 16) * 16 for n in work.sizes) + inputs + outputs)
    each = packed if compiled else _MADE * item * sum(work.sizes)
    if compiled or each * rows <= _SMALL:
        return lambda n: each * n
    try:
        once, kept = work.kept(precision)
    except TraceError:  # it runs as a definition, and its intermediate values are unknown
        return lambda n: each * n
    each = kept + item * (inputs + outputs)
    return lambda n: once + each * n
