"""Networks as ONNX models, which ONNX Runtime and many others run: from the traced graph, with the table's columns."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from gdkernels.errors import InputError
from gdkernels.system.atomic_files import check_destination, write_atomically

if TYPE_CHECKING:
    from gdkernels.network.network import Model
    from gdkernels.tables import Preparation

__all__ = ["INPUTS", "write_onnx"]

# What the model takes for each kind of column.
INPUTS = {
    "number": "float64, NaN for a gap",
    "category": 'text, "" for a gap',
    "date": "int64, seconds since 1970-01-01 UTC, the smallest for a gap",
}


def write_onnx(
    model: Model, path: str | os.PathLike[str], *, preparation: Preparation | None = None, overwrite: bool = False
) -> None:
    """Write a network as an ONNX model that predicts what the network does.

    Without a preparation it has the input ``x`` [records, inputs] in the network's precision; with one, an input
    [records, 1] for each column of the raw table, as `gdkernels.interchange.onnx.columns` says. The outputs are
    ``prediction`` [records, outputs], or of a classifier ``label`` [records] and ``probabilities`` [records, classes].

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
    except ImportError as error:
        raise InputError(f"ONNX needs more packages ({error}); run `pip install 'gdkernels[onnx]'`") from None
    check_destination(path, overwrite=overwrite)
    content = _model(model, preparation).SerializeToString(deterministic=True)
    write_atomically(path, lambda file: file.write(content), overwrite=overwrite)


def _model(model: Model, preparation: Preparation | None) -> Any:
    from gdkernels.backend import storage_dtype
    from gdkernels.backend.program import Program
    from gdkernels.data.validation import is_classifier
    from gdkernels.interchange.onnx.builder import Builder
    from gdkernels.interchange.onnx.columns import add_inputs, add_predictions
    from gdkernels.interchange.onnx.graph import emit
    from gdkernels.system.version import __version__

    dtype = storage_dtype(model.precision or "float32")
    traced = Program((*model.activations, model.output), model.bias).trace_forward()
    builder = Builder()
    if preparation is None:
        inputs = {"x": builder.input("x", dtype, model.sizes[0])}
    else:
        inputs = {"x": builder.cast(add_inputs(builder, preparation), dtype)}
    for k, layer in enumerate(model._host_parameters()):
        arrays = zip("Wb", layer, strict=True)
        inputs |= {f"{name}{k}": builder.constant(a, dtype) for name, a in arrays if a is not None}
    sizes = dict(zip(traced.widths, model.sizes, strict=True))
    output = emit(builder, traced.output, inputs, sizes, dtype)
    metadata = {"precision": model.precision or "float32", "sizes": json.dumps(model.sizes)}
    if preparation is not None:
        add_predictions(builder, preparation.outcome, output, model.sizes[-1])
        metadata["targets"] = json.dumps(preparation.targets)
    elif is_classifier(model._loss):
        _add_classes(builder, model, output, dtype)
    else:
        builder.output("prediction", output, dtype, model.sizes[-1])
    return builder.model("gdkernels", __version__, metadata)


def _add_classes(builder: Any, model: Model, output: str, dtype: str) -> None:
    """Add ``label`` and ``probabilities`` as `gdkernels.MLP.predict` and ``predict_proba`` give them."""
    from gdkernels.definition.losses import BinaryCrossEntropy

    outputs = model.sizes[-1]
    builder.output("probabilities", output, dtype, outputs)
    if not isinstance(model._loss, BinaryCrossEntropy):
        builder.output("label", builder.op("ArgMax", output, axis=1, keepdims=0), np.int64)
        return
    label = builder.cast(builder.op("Greater", output, builder.constant(0.5, dtype)), np.int64)
    if outputs == 1:
        builder.output("label", builder.op("Squeeze", label, builder.constant([1], np.int64)), np.int64)
    else:
        builder.output("label", label, np.int64, outputs)
