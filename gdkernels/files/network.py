"""A network as a model file: what is kept of it, and how it comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from gdkernels.backend import Backend
from gdkernels.definition.naming import describe, restore
from gdkernels.definition.network import Layer, Layers
from gdkernels.errors import FileError
from gdkernels.files.model import read_model, write_model
from gdkernels.mlp import MLP

__all__ = ["load", "save"]


def save(mlp: MLP, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write `mlp`; see `MLP.save`."""
    to_numpy = np.asarray if mlp._binding is None else mlp._binding.to_numpy
    tensors = {
        f"{kind}{k}": np.ascontiguousarray(to_numpy(a))
        for k, layer in enumerate(mlp._parameters)
        for kind, a in zip("Wb", layer, strict=True)
        if a is not None
    }
    metadata = {
        "sizes": list(mlp.sizes),
        "activations": [describe(f) for f in mlp.activations],
        "output": describe(mlp.output),
        "bias": mlp.bias,
        "seed": mlp.seed,
        "precision": mlp.precision,
        "loss": None if mlp._loss is None else describe(mlp._loss),
        "extra": mlp.extra,
    }
    write_model(path, tensors, metadata, overwrite=overwrite)


def load(
    path: str | os.PathLike[str],
    *,
    backend: str | Backend = "auto",
    device: str | None = None,
    objects: Mapping[str, Callable[..., Any]] | None = None,
) -> MLP:
    """Return the network that `MLP.save` wrote.

    Parameters
    ----------
    objects
        By name, the functions that are not built in; files keep no code.

    Raises
    ------
    FileError
        If the file is missing, damaged, of another format or of a newer version.
    InputError
        If a function that is not built in is missing from `objects`.
    """
    tensors, metadata = read_model(path)
    _check(path, tensors, metadata)
    try:
        mlp = MLP(
            metadata["sizes"],
            activation=[restore("activation", f, objects) for f in metadata["activations"]],
            output=restore("activation", metadata["output"], objects),
            bias=metadata["bias"],
            seed=metadata["seed"],
            backend=backend,
            device=device,
            precision=metadata["precision"],
        )
        layers: Layers = [
            Layer(tensors[f"W{k}"], tensors[f"b{k}"] if mlp.bias else None) for k in range(len(mlp.sizes) - 1)
        ]
        loss, extra = metadata["loss"], metadata["extra"]
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"{os.fspath(path)} is a gdkernels model, but its description lacks or garbles {error}"
        ) from error
    mlp.set_parameters(layers)
    mlp._loss = None if loss is None else restore("loss", loss, objects)
    mlp.extra = extra
    return mlp


def _check(path: str | os.PathLike[str], tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Refuse a description that does not fit the tensors, before anything of the sizes that it names is allocated."""
    sizes, bias = metadata.get("sizes"), metadata.get("bias")
    expected: dict[str, tuple[Any, ...]] = {}
    if isinstance(sizes, list):
        for k, (inputs, units) in enumerate(pairwise(sizes)):
            expected |= {f"W{k}": (inputs, units)} | ({f"b{k}": (units,)} if bias else {})
    sound = isinstance(metadata.get("extra"), dict) and all(t.dtype.kind == "f" for t in tensors.values())
    if not sound or {name: t.shape for name, t in tensors.items()} != expected:
        raise FileError(f"{os.fspath(path)} is a gdkernels model, but its description does not fit its tensors")
