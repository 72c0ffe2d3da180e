"""A network as a model file: writing it and reading it back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from gdkernels.backend import Backend
from gdkernels.data.frames import ColumnNames
from gdkernels.definition.blocks.describing import restore_block
from gdkernels.definition.naming import describe, restore
from gdkernels.definition.objective import Objective
from gdkernels.errors import FileError, InputError, shown
from gdkernels.files.model_file import read_model, write_model
from gdkernels.network.bound import BoundNetwork
from gdkernels.network.structure import Structure

__all__ = ["network_of_file", "read_network", "told_in_file", "write_network"]


def write_network(
    network: BoundNetwork, path: str | os.PathLike[str], *, extra: Mapping[str, Any], overwrite: bool
) -> None:
    """Write a network, and the other contents of its model as JSON; see `gdkernels.MLP.save`."""
    write_model(path, *told_in_file(network, extra), overwrite=overwrite)


def told_in_file(network: BoundNetwork, extra: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a file keeps of a network: its arrays by name, and the rest, which is JSON."""
    arrays = network.host_parameters()
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
    return tensors, metadata


def read_network(
    path: str | os.PathLike[str],
    *,
    backend: str | Backend,
    device: str | None,
    threads: int | None,
    objects: Mapping[str, Callable[..., Any]] | None,
) -> tuple[BoundNetwork, dict[str, Any]]:
    """Return a network from a file, and the other contents of its model; see `gdkernels.load`."""
    if objects is not None and not isinstance(objects, Mapping):
        raise InputError(f"objects must be a dictionary of functions and objects by name, got {shown(objects)}")
    return network_of_file(*read_model(path), path, backend=backend, device=device, threads=threads, objects=objects)


def network_of_file(
    tensors: Mapping[str, Any],
    metadata: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    backend: str | Backend,
    device: str | None,
    threads: int | None,
    objects: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[BoundNetwork, dict[str, Any]]:
    """Return the network that `told_in_file` told, and the other contents of its model; messages name the `path`."""
    try:
        structure = _structure(path, tensors, metadata, objects)
        network = BoundNetwork(
            structure,
            seed=metadata["seed"],
            backend=backend,
            device=device,
            precision=metadata["precision"],
            threads=threads,
        )
        loss, extra = metadata["loss"], metadata["extra"]
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"{os.fspath(path)} is a gdkernels model, but its description lacks or garbles {error}"
        ) from error
    network.set_parameters(tensors)
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


def _structure(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Any],
    metadata: Mapping[str, Any],
    objects: Mapping[str, Callable[..., Any]] | None,
) -> Structure:
    """Return the structure that a file describes, if its tensors are of that; nothing is allocated before."""
    unfit = f"{os.fspath(path)} is a gdkernels model, but its description does not fit its tensors"
    output = restore("activation", metadata["output"], objects)
    if "block" in metadata:
        inputs = metadata["inputs"]
        if type(inputs) is not int or inputs < 1:
            raise FileError(unfit)
        structure = Structure.checked(restore_block(metadata["block"], objects), inputs, output)
    else:
        functions = [restore("activation", f, objects) for f in metadata["activations"]]
        if not _are_sizes(metadata["sizes"], tensors):
            raise FileError(unfit)
        structure = Structure.of_sizes(metadata["sizes"], functions, output, metadata["bias"])
    shapes = {name: parameter.shape for name, parameter in structure.parameters.items()}
    sound = isinstance(metadata.get("extra"), dict) and all(t.dtype.kind == "f" for t in tensors.values())
    if not sound or {name: t.shape for name, t in tensors.items()} != shapes:
        raise FileError(unfit)
    return structure


def _are_sizes(sizes: Any, tensors: Mapping[str, Any]) -> bool:
    """Return whether these are the sizes of a chain of dense layers whose weights, and no others, are the tensors."""
    shapes = [tuple(pair) for pair in pairwise(sizes)] if isinstance(sizes, list) else []
    weights = {name: tensor.shape for name, tensor in tensors.items() if name.startswith("W")}
    return bool(shapes) and weights == {f"W{k}": pair for k, pair in enumerate(shapes)}
