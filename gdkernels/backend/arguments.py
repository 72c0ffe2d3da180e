"""The arguments of an executable: their names and widths, and the checks that every executable makes before it runs.

Compiled code checks nothing itself: a row number too large would read memory that belongs to somebody else.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program
from gdkernels.definition.network import Layers
from gdkernels.errors import InputError

__all__ = ["arrays_by_name", "check_prediction", "check_run", "widths_of"]


def widths_of(parameters: Layers) -> tuple[int, ...]:
    """Return the number of inputs and the units of each layer."""
    return (int(parameters[0].W.shape[0]), *(int(layer.W.shape[1]) for layer in parameters))


def arrays_by_name(parameters: Layers, slots: Layers = ()) -> dict[str, Any]:
    """Return the arrays by the names that `Program.trace` gives them: ``W0``, ``W0.0`` (a slot), ``b0``, …."""
    named: dict[str, Any] = {}
    for k, layer in enumerate(parameters):
        moved = slots[k] if slots else (None,) * len(layer)
        for kind, array, its_slots in zip(layer._fields, layer, moved, strict=True):
            if array is not None:
                named[f"{kind}{k}"] = array
                named.update({f"{kind}{k}.{s}": slot for s, slot in enumerate(its_slots or ())})
    return named


def check_run(
    program: Program,
    parameters: Layers,
    x: Any,
    y: Any,
    order: npt.NDArray[np.int64],
    batch_size: int,
    learning_rates: npt.NDArray[np.float64],
    sample_weight: Any = None,
) -> None:
    """Refuse arguments of `Executable.run` that do not fit the program, the network or each other.

    Raises
    ------
    InputError
        It names the argument and the sizes that do not fit.
    """
    if program.objective is None or program.optimizer is None:
        raise InputError("this program only predicts: it has no loss and no optimizer to train with")
    widths, shapes, records = widths_of(parameters), [tuple(a.shape) for a in (x, y)], x.shape[0]
    if shapes != [(records, widths[0]), (records, widths[-1])]:
        raise InputError(f"x {shapes[0]} and y {shapes[1]} do not fit a network of {widths[0]} to {widths[-1]} units")
    given = None if sample_weight is None else list(sample_weight.shape)
    if given != ([records] if program.weighted else None):
        wanted = f"takes sample_weight [{records}]" if program.weighted else "takes no sample_weight"
        raise InputError(f"this program {wanted}, got {given}")
    order = np.asarray(order)
    if order.size == 0:
        raise InputError("there are no records to train on")
    if order.min() < 0 or order.max() >= records:
        raise InputError(f"the order names row {order.min()} to {order.max()} of {records} rows")
    if batch_size < 1:
        raise InputError(f"a batch has at least one record, got batch_size {batch_size}")
    steps = -(-len(order) // batch_size)
    if len(learning_rates) != steps:
        raise InputError(
            f"{len(order)} records in batches of {batch_size} take {steps} steps, got {len(learning_rates)} "
            "learning rates"
        )


def check_prediction(parameters: Layers, x: Any) -> None:
    """Refuse an x that `Executable.predict` cannot take.

    Raises
    ------
    InputError
        For another number of columns than the network has inputs.
    """
    inputs = widths_of(parameters)[0]
    if len(x.shape) != 2:
        raise InputError(f"x {tuple(x.shape)} must be [records, {inputs}]")
    if x.shape[1] != inputs:
        raise InputError(f"x has {x.shape[1]} columns, the network {inputs} inputs")
