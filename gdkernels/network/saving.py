"""A network as a model file: writing it and reading it back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from gdkernels.backend import Backend
from gdkernels.data.frames import ColumnNames
from gdkernels.definition.naming import describe, restore
from gdkernels.definition.network import Layer, Layers
from gdkernels.definition.objective import Objective
from gdkernels.errors import FileError
from gdkernels.files.model_file import read_model, write_model
from gdkernels.network.bound import BoundNetwork
from gdkernels.network.structure import DenseChain, named_arrays

__all__ = ["read_network", "write_network"]


def write_network(
    network: BoundNetwork, path: str | os.PathLike[str], *, extra: Mapping[str, Any], overwrite: bool
) -> None:
    """Write a network, and the other contents of its model as JSON; see `gdkernels.MLP.save`."""
    arrays = named_arrays(network.host_parameters())
    tensors = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    metadata = {
        **network.structure.as_dict(),
        "seed": network.seed,
        "precision": network.precision,
        "loss": None if network.objective is None else describe(network.objective.loss),
        "extra": extra,
    }
    if network.names != ColumnNames():
        metadata["columns"] = {"inputs": network.names.inputs, "outputs": network.names.outputs}
    write_model(path, tensors, metadata, overwrite=overwrite)


def read_network(
    path: str | os.PathLike[str],
    *,
    backend: str | Backend,
    device: str | None,
    objects: Mapping[str, Callable[..., Any]] | None,
) -> tuple[BoundNetwork, dict[str, Any]]:
    """Return a network from a file, and the other contents of its model; see `gdkernels.load`."""
    tensors, metadata = read_model(path)
    _check(path, tensors, metadata)
    try:
        structure = DenseChain.checked(
            metadata["sizes"],
            [restore("activation", f, objects) for f in metadata["activations"]],
            restore("activation", metadata["output"], objects),
            metadata["bias"],
        )
        network = BoundNetwork(
            structure, seed=metadata["seed"], backend=backend, device=device, precision=metadata["precision"]
        )
        layers: Layers = [
            Layer(tensors[f"W{k}"], tensors[f"b{k}"] if structure.bias else None)
            for k in range(len(structure.sizes) - 1)
        ]
        loss, extra = metadata["loss"], metadata["extra"]
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"{os.fspath(path)} is a gdkernels model, but its description lacks or garbles {error}"
        ) from error
    network.set_parameters(layers)
    if loss is not None:
        network.objective = Objective(restore("loss", loss, objects))
    network.names = _column_names(path, metadata.get("columns", {}), network)
    return network, extra


def _column_names(path: str | os.PathLike[str], told: Any, network: BoundNetwork) -> ColumnNames:
    """Return the names of the columns that a file tells of; earlier versions wrote none."""
    widths = {"inputs": network.inputs, "outputs": network.outputs}
    names = {what: told.get(what) for what in widths} if isinstance(told, dict) else {"inputs": told}
    for what, given in names.items():
        sound = isinstance(given, list) and all(isinstance(name, str) for name in given)
        if given is not None and not (sound and len(set(given)) == len(given) == widths[what]):
            raise FileError(f"{os.fspath(path)} is a gdkernels model, but its names of columns do not fit its sizes")
    return ColumnNames(**{what: None if given is None else tuple(given) for what, given in names.items()})


def _check(path: str | os.PathLike[str], tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Reject a description that does not fit the tensors, before allocating anything of the sizes that it names."""
    sizes, bias = metadata.get("sizes"), metadata.get("bias")
    expected: dict[str, tuple[Any, ...]] = {}
    if isinstance(sizes, list):
        for k, (inputs, units) in enumerate(pairwise(sizes)):
            expected |= {f"W{k}": (inputs, units)} | ({f"b{k}": (units,)} if bias else {})
    sound = isinstance(metadata.get("extra"), dict) and all(t.dtype.kind == "f" for t in tensors.values())
    if not sound or {name: t.shape for name, t in tensors.items()} != expected:
        raise FileError(f"{os.fspath(path)} is a gdkernels model, but its description does not fit its tensors")
