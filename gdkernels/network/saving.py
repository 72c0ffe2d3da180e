"""A network as a model file: what is kept of it, and how it comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from gdkernels.backend import Backend
from gdkernels.definition.naming import describe, restore
from gdkernels.definition.network import Layer, Layers
from gdkernels.errors import FileError
from gdkernels.files.model_file import read_model, write_model
from gdkernels.network.network import Model

__all__ = ["read_network", "write_network"]

Network = TypeVar("Network", bound=Model)


def write_network(model: Model, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write `model`; see `gdkernels.MLP.save`."""
    tensors = {
        f"{kind}{k}": np.ascontiguousarray(a)
        for k, layer in enumerate(model._host_parameters())
        for kind, a in zip("Wb", layer, strict=True)
        if a is not None
    }
    metadata = {
        "sizes": list(model.sizes),
        "activations": [describe(f) for f in model.activations],
        "output": describe(model.output),
        "bias": model.bias,
        "seed": model.seed,
        "precision": model.precision,
        "loss": None if model._loss is None else describe(model._loss),
        "extra": model.extra,
    }
    write_model(path, tensors, metadata, overwrite=overwrite)


def read_network(
    kind: type[Network],
    path: str | os.PathLike[str],
    *,
    backend: str | Backend,
    device: str | None,
    objects: Mapping[str, Callable[..., Any]] | None,
) -> Network:
    """Return a network of this `kind` from a file; see `gdkernels.load`."""
    tensors, metadata = read_model(path)
    _check(path, tensors, metadata)
    try:
        model = kind(
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
            Layer(tensors[f"W{k}"], tensors[f"b{k}"] if model.bias else None) for k in range(len(model.sizes) - 1)
        ]
        loss, extra = metadata["loss"], metadata["extra"]
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"{os.fspath(path)} is a gdkernels model, but its description lacks or garbles {error}"
        ) from error
    model.set_parameters(layers)
    model._loss = None if loss is None else restore("loss", loss, objects)
    model.extra = extra
    return model


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
