"""Checks of inputs and targets: values that the loss can take, in the shape of the network's output."""

from collections.abc import Mapping, Sequence
from typing import Any

from gdkernels.data.frames import Frame, numbers_of
from gdkernels.data.sparse import SparseRows
from gdkernels.definition.losses import BinaryCrossEntropy, CrossEntropy, Loss, Poisson
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError

__all__ = ["place_inputs", "place_targets", "place_weights"]


def place_inputs(
    binding: Binding,
    value: Any,
    inputs: int,
    name: str = "X",
    columns: Sequence[str] | None = None,
    codes: Mapping[int, int] | None = None,
) -> Any:
    """Return `value` on the device as [records, inputs]; sparse rows stay as they are.

    Parameters
    ----------
    columns
        Those of a frame that are the inputs, in this order; None is all of them.
    codes
        As in `RecordSpec`.

    Raises
    ------
    InputError
        For a column that is missing, the wrong number of columns or axes, no rows, values that are not finite, or that
        are no code where codes are expected.
    """
    if isinstance(value, SparseRows):
        return value.checked(inputs, name)
    value, columns = numbers_of(value, columns, binding.dtype, name)
    x = binding.place(value, name)
    if x.ndim == 1 and inputs == 1:
        x = binding.xp.reshape(x, (-1, 1))
    if x.ndim != 2 or x.shape[1] != inputs:
        raise InputError(
            f"{name} has the shape {tuple(x.shape)}; the network has {inputs} inputs, so it must be [records, {inputs}]"
        )
    if x.shape[0] == 0:
        raise InputError(f"{name} has no rows")
    binding.check_finite(x, name, columns, value)
    for k, categories in (codes or {}).items():
        _check_codes(binding, x[:, k], categories, name, k, columns)
    return x


def place_targets(
    binding: Binding,
    value: Any,
    records: int,
    outputs: int,
    loss: Loss,
    name: str = "Y",
    inputs_name: str = "X",
    columns: Sequence[str] | None = None,
) -> Any:
    """Return `value` on the device as [records, outputs], classes as one column each.

    A single axis means one output, or class indices from 0 if the loss is a cross-entropy. Nothing is ever broadcast.

    Parameters
    ----------
    columns
        Those of a frame of several that are the outputs, in this order; None is all of them.

    Raises
    ------
    InputError
        For a column that is missing, a shape that does not fit, values that are not finite, or values that the loss
        cannot take.
    """
    if columns is not None and (frame := Frame.of(value, name)) is not None and len(frame.names) == 1:
        columns = None  # one column of classes, whatever it is called
    value, columns = numbers_of(value, columns, binding.dtype, name)
    y = binding.place(value, name)
    if y.shape[:1] != (records,):
        raise InputError(f"{name} has the shape {tuple(y.shape)}, but {inputs_name} has {records} rows")
    classes = isinstance(loss, CrossEntropy) and outputs > 1
    column = y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)
    if column and (outputs == 1 or classes):
        y = binding.xp.reshape(y, (-1, 1))
    if y.ndim != 2 or (y.shape[1] != outputs and not (classes and y.shape[1] == 1)):
        wanted = f"[{records}, {outputs}]" + (f", or {records} class indices" if classes else "")
        raise InputError(
            f"{name} has the shape {tuple(y.shape)}; the network has {outputs} outputs, so it must be {wanted}"
        )
    binding.check_finite(y, name, columns, value)
    if classes and y.shape[1] == 1:
        return _one_hot(binding, y, outputs, name)
    _check_range(binding, y, loss, name)
    return y


def place_weights(binding: Binding, value: Any, records: int, name: str, inputs_name: str) -> Any:
    """Return `value`, the weights of records, on the device as [records].

    Raises
    ------
    InputError
        For a shape that does not fit, and for weights that are not finite or negative.
    """
    w, xp = binding.place(numbers_of(value, None, binding.dtype, name)[0], name), binding.xp
    if w.shape != (records,):
        raise InputError(
            f"{name} has the shape {tuple(w.shape)}; {inputs_name} has {records} rows, so it must be [{records}]"
        )
    wrong = xp.logical_not(xp.isfinite(w) & (w >= 0))
    if bool(xp.any(wrong)):
        row = int(xp.argmax(xp.astype(wrong, w.dtype)))
        raise InputError(f"{name} holds {float(w[row]):g} in row {row}; weights are finite numbers of at least 0")
    return w


def _check_codes(
    binding: Binding, column: Any, categories: int, name: str, number: int, columns: Sequence[str] | None
) -> None:
    xp = binding.xp
    wrong = xp.logical_not((column >= 0) & (column <= categories - 1) & (column == xp.floor(column)))
    if bool(xp.any(wrong)):
        row = int(xp.argmax(xp.astype(wrong, column.dtype)))
        where = f"row {row}, column {number}" if columns is None else f"record {row + 1:,}, column {columns[number]!r}"
        raise InputError(
            f"{name} holds {float(column[row]):g} in {where}; the network looks up a category there, by a whole number "
            f"from 0 to {categories - 1}"
        )


def _one_hot(binding: Binding, y: Any, classes: int, name: str) -> Any:
    xp = binding.xp
    indices = xp.arange(classes, dtype=y.dtype, device=y.device)
    hot = xp.astype(y == xp.reshape(indices, (1, -1)), y.dtype)
    missing = xp.sum(hot, axis=1) != 1
    if bool(xp.any(missing)):
        row = int(xp.argmax(xp.astype(missing, y.dtype)))
        raise InputError(
            f"{name} holds {float(y[row, 0]):g} in row {row}; with {classes} outputs, classes are the whole numbers "
            f"from 0 to {classes - 1}"
        )
    return hot


def _check_range(binding: Binding, y: Any, loss: Loss, name: str) -> None:
    xp = binding.xp
    if isinstance(loss, Poisson) and float(xp.min(y)) < 0:
        raise InputError(f"{name} holds {float(xp.min(y)):g}; the poisson loss takes counts or rates of at least 0")
    if isinstance(loss, (BinaryCrossEntropy, CrossEntropy)) and (float(xp.min(y)) < 0 or float(xp.max(y)) > 1):
        raise InputError(
            f"{name} holds values from {float(xp.min(y)):g} to {float(xp.max(y)):g}; for {type(loss).__name__} they "
            "must lie between 0 and 1, or be class indices with one output for each class"
        )
    if isinstance(loss, CrossEntropy):
        sums = xp.sum(y, axis=1)
        if float(xp.max(xp.abs(sums - 1.0))) > 1e-3:
            raise InputError(
                f"the rows of {name} do not sum to 1, so they are not one class each; for several classes at once use "
                "loss='binary_cross_entropy'"
            )
