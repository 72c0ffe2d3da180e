"""The arguments of an executable: their names, and the checks that every executable makes before it runs.

Compiled code checks nothing itself: a row number too large would read memory that belongs to somebody else.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program, slot_names
from gdkernels.backend.values import State
from gdkernels.definition.network import Arrays, Slots
from gdkernels.errors import InputError
from gdkernels.randomness import KeyedOrder, SeededOrders, row_keys

__all__ = ["arrays_by_name", "check_epochs", "check_prediction", "check_run", "keys_of_run", "within"]


def arrays_by_name(parameters: Arrays, slots: Slots | None = None) -> dict[str, Any]:
    """Return the arrays by the names that `Program.trace` gives them: ``W0``, ``W0.0`` (a slot), ``b0``, …."""
    if not slots:
        return dict(parameters)
    named: dict[str, Any] = {}
    for name, array in parameters.items():
        mine = slots.get(name, ())
        named[name] = array
        if mine:
            named |= zip(slot_names(name, len(mine)), mine, strict=True)
    return named


def keys_of_run(
    program: Program, state: State, records: int, batch_size: int, epochs: int = 1
) -> npt.NDArray[np.int32] | None:
    """Return the keys of the random numbers of a run, for each record in the order of the run; None if none are drawn.

    Parameters
    ----------
    state
        Before the run.
    records
        The number of records of each epoch.
    """
    if not program.draws:
        return None
    batch = records if program.part_of_batch else batch_size
    steps = -(-records // batch)
    of_epochs = [row_keys(state.seed, state.step + k * steps, records, batch, state.first) for k in range(epochs)]
    return np.concatenate(of_epochs)


def check_run(
    program: Program,
    parameters: Arrays,
    x: Any,
    y: Any,
    order: npt.NDArray[np.int64] | KeyedOrder,
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
    _check_arguments(program, parameters, x, y, len(order), batch_size, learning_rates, sample_weight)
    _check_rows(order, x.shape[0])


def _check_arguments(
    program: Program,
    parameters: Arrays,
    x: Any,
    y: Any,
    used: int,
    batch_size: int,
    learning_rates: npt.NDArray[np.float64],
    sample_weight: Any,
) -> None:
    """Refuse arguments of a run of so many records; which these are is another question."""
    if program.objective is None or program.optimizer is None:
        raise InputError("this program only predicts: it has no loss and no optimizer to train with")
    _check_parameters(program, parameters)
    shapes, records = [tuple(a.shape) for a in (x, y)], x.shape[0]
    if shapes != [(records, program.inputs), (records, program.outputs)]:
        raise InputError(
            f"x {shapes[0]} and y {shapes[1]} do not fit a network of {program.inputs} to {program.outputs} units"
        )
    given = None if sample_weight is None else list(sample_weight.shape)
    if given != ([records] if program.weighted else None):
        wanted = f"takes sample_weight [{records}]" if program.weighted else "takes no sample_weight"
        raise InputError(f"this program {wanted}, got {given}")
    if used == 0:
        raise InputError("there are no records to train on")
    if batch_size < 1:
        raise InputError(f"a batch has at least one record, got batch_size {batch_size}")
    steps = -(-used // batch_size)
    if len(learning_rates) != steps:
        raise InputError(
            f"{used} records in batches of {batch_size} take {steps} steps, got {len(learning_rates)} learning rates"
        )


def check_epochs(
    program: Program,
    parameters: Arrays,
    x: Any,
    y: Any,
    orders: npt.NDArray[np.int64] | SeededOrders,
    batch_size: int,
    learning_rates: npt.NDArray[np.float64],
    sample_weight: Any = None,
) -> None:
    """Refuse arguments of `Executable.run_epochs` that do not fit the program, the network or each other.

    Raises
    ------
    InputError
        As for `check_run`; and if there are no epochs, or not as many orders as rates.
    """
    if np.ndim(orders) != 2 or np.ndim(learning_rates) != 2 or not 0 < len(orders) == len(learning_rates):
        shapes = f"{list(np.shape(orders))} and {list(np.shape(learning_rates))}"
        raise InputError(f"orders and learning rates must be [epochs, …], for as many epochs, got {shapes}")
    used = np.shape(orders)[1]
    _check_arguments(program, parameters, x, y, used, batch_size, learning_rates[0], sample_weight)
    _check_rows(orders, x.shape[0])


def check_prediction(program: Program, parameters: Arrays, x: Any) -> None:
    """Refuse arguments that `Executable.predict` cannot take.

    Raises
    ------
    InputError
        For another number of columns than the network has inputs, and for parameters of another network.
    """
    _check_parameters(program, parameters)
    inputs = program.inputs
    if len(x.shape) != 2:
        raise InputError(f"x {tuple(x.shape)} must be [records, {inputs}]")
    if x.shape[1] != inputs:
        raise InputError(f"x has {x.shape[1]} columns, the network {inputs} inputs")


def _check_rows(order: npt.NDArray[np.int64] | KeyedOrder | SeededOrders, records: int) -> None:
    if isinstance(order, KeyedOrder | SeededOrders):
        if order.records > records:
            raise InputError(f"the order names row 0 to {order.records - 1} of {records} rows")
        return
    order = np.asarray(order, np.int64)
    if not within(order, records):
        raise InputError(f"the order names row {order.min()} to {order.max()} of {records} rows")


def within(rows: npt.NDArray[np.int64], records: int) -> bool:
    """Return whether all rows are among so many records."""
    return bool(rows.view(np.uint64).max() < records)  # what is below 0 is very large there


def _check_parameters(program: Program, parameters: Arrays) -> None:
    if {name: a.shape for name, a in parameters.items()} == program.shapes:
        return  # at once, because it is asked before each prediction
    if parameters.keys() != program.parameters.keys():
        raise InputError(
            f"the parameters {', '.join(parameters)} are not those of the program: {', '.join(program.parameters)}"
        )
    for name, told in program.shapes.items():
        shape = tuple(parameters[name].shape)
        if shape != told:
            raise InputError(f"{name} {shape} does not fit the program, where it is {told}")
