"""Networks as ONNX models, which ONNX Runtime and many others run: from the traced graph, with the table's columns.

What belongs here writes ONNX's operations; the graph comes from `gdkernels.graph`, the columns from `gdkernels.tables`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gdkernels.errors import InputError
from gdkernels.system.atomic_files import check_destination, write_atomically
from gdkernels.system.libraries import lack_of

if TYPE_CHECKING:
    from gdkernels.definition.losses import Loss
    from gdkernels.network import BoundNetwork
    from gdkernels.tables import Preparation

__all__ = ["INPUTS", "write_onnx"]

# What the model takes for each kind of column.
INPUTS = {
    "number": "float64, NaN for a gap",
    "category": 'text, "" for a gap',
    "date": "int64, seconds since 1970-01-01 UTC, the smallest for a gap",
}


def write_onnx(
    network: BoundNetwork,
    path: str | os.PathLike[str],
    *,
    preparation: Preparation | None = None,
    classes: Sequence[Any] | None = None,
    loss: Loss | None = None,
    overwrite: bool = False,
) -> None:
    """Write a network as an ONNX model that predicts what the network does.

    Without a preparation it has the input ``x`` [records, inputs] in the network's precision; with one, an input
    [records, 1] for each column of the raw table, as `gdkernels.interchange.onnx.columns` says. The outputs are
    ``prediction`` [records, outputs], or of a classifier ``label`` [records] and ``probabilities`` [records, classes].

    Parameters
    ----------
    classes
        The labels of a classifier without a preparation; None makes them the numbers of the classes.
    loss
        The loss that the network was trained for, if it does not know itself.

    Raises
    ------
    InputError
        Where the package onnx is missing.
    TraceError
        Where a function of the user's cannot be traced.
    FileError
        If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
    """
    try:
        import onnx  # noqa: F401
    except Exception as error:  # a library that is broken raises anything
        lack = lack_of("onnx", error, "pip install 'gdkernels[onnx]'")
        raise InputError(f"ONNX needs the package onnx, {lack}") from None
    check_destination(path, overwrite=overwrite)
    content = _model(network, preparation, classes, loss).SerializeToString(deterministic=True)
    write_atomically(path, lambda file: file.write(content), overwrite=overwrite)


def _model(
    network: BoundNetwork, preparation: Preparation | None, classes: Sequence[Any] | None, loss: Loss | None
) -> Any:
    from gdkernels.backend import storage_dtype
    from gdkernels.definition.blocks import Mean
    from gdkernels.definition.losses import is_classifier
    from gdkernels.interchange.onnx.builder import Builder
    from gdkernels.interchange.onnx.columns import add_inputs, add_predictions
    from gdkernels.interchange.onnx.graph import emit
    from gdkernels.interchange.onnx.side_by_side import emit_mean
    from gdkernels.system.version import __version__

    structure, dtype = network.structure, storage_dtype(network.precision or "float32")
    builder = Builder()
    if preparation is None:
        x = builder.input("x", dtype, network.inputs)
    else:
        x = builder.cast(add_inputs(builder, preparation), dtype)
    arrays = network.host_parameters()
    if isinstance(structure.whole, Mean):
        output = emit_mean(builder, structure.whole, network.inputs, x, arrays, dtype)
    else:
        traced = structure.program().trace_forward()
        inputs = {"x": x} | {name: builder.constant(a, dtype) for name, a in arrays.items()}
        output = emit(builder, traced.output, inputs, traced.sizes, dtype)
    trained_for = loss if network.objective is None else network.objective.loss
    metadata = {"precision": network.precision or "float32", "sizes": json.dumps(structure.sizes)}
    if preparation is not None:
        add_predictions(builder, preparation.outcome, output, network.outputs)
        metadata["targets"] = json.dumps(preparation.targets)
    elif classes is not None:
        _add_labels(builder, classes, network.outputs, output, dtype)
    elif trained_for is not None and is_classifier(trained_for):
        _add_classes(builder, trained_for, network.outputs, output, dtype)
    else:
        builder.output("prediction", output, dtype, network.outputs)
    return builder.model("gdkernels", __version__, metadata)


def _add_classes(builder: Any, loss: Any, outputs: int, output: str, dtype: str) -> None:
    """Add ``label`` and ``probabilities`` as `gdkernels.MLP.predict` and ``predict_proba`` give them."""
    from gdkernels.definition.losses import BinaryCrossEntropy

    builder.output("probabilities", output, dtype, outputs)
    if not isinstance(loss, BinaryCrossEntropy):
        builder.output("label", builder.op("ArgMax", output, axis=1, keepdims=0), np.int64)
        return
    label = builder.cast(builder.op("Greater", output, builder.constant(0.5, dtype)), np.int64)
    if outputs == 1:
        builder.output("label", builder.op("Squeeze", label, builder.constant([1], np.int64)), np.int64)
    else:
        builder.output("label", label, np.int64, outputs)


def _add_labels(builder: Any, classes: Sequence[Any], outputs: int, output: str, dtype: str) -> None:
    """Add ``label``, one of these, and ``probabilities`` [records, outputs]; a single output is the second class's."""
    builder.output("probabilities", output, dtype, outputs)
    if outputs > 1:
        index = builder.op("ArgMax", output, axis=1, keepdims=0)
    else:
        second = builder.cast(builder.op("Greater", output, builder.constant(0.5, dtype)), np.int64)
        index = builder.op("Squeeze", second, builder.constant([1], np.int64))
        index = builder.op("Min", index, builder.constant(len(classes) - 1, np.int64))  # of a single class, always 0
    kind = {type(label) for label in classes}
    of_labels = object if str in kind else np.float64 if float in kind else np.int64
    labels = builder.constant(np.array(list(classes), of_labels))
    builder.output("label", builder.op("Gather", labels, index), of_labels)
