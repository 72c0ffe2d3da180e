"""From a model file to the kind of model that was saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from gdkernels.backend import Backend
from gdkernels.models import Network, load_network
from gdkernels.tabular import TabularPredictor

__all__ = ["load"]


def load(
    path: str | os.PathLike[str],
    *,
    backend: str | Backend = "auto",
    device: str | None = None,
    threads: int | None = None,
    objects: Mapping[str, Callable[..., Any]] | None = None,
) -> Network | TabularPredictor:
    """Return the model that was saved: an `MLP`, another `Network`, or the predictor of a raw table.

    A file that `Network.save` wrote comes back as an `MLP` if it is a chain of dense layers, and as a `Network`
    otherwise. One that `TabularPredictor.save` or ``gdkernels train --out`` wrote comes back as a `TabularPredictor`,
    whose ``network`` is that.

    Parameters
    ----------
    backend, device, threads
        The place of the computation, and the most threads to compute on, as for `MLP`.
    objects
        Your own functions, by name: files keep no code.

    Raises
    ------
    FileError
        If the file is missing, damaged, of another format or of a newer version.
    InputError
        If a function that is not built in is missing from `objects`.
    """
    network = load_network(path, backend=backend, device=device, threads=threads, objects=objects)
    if "preparation" in network.extra:
        return TabularPredictor.of_network(network, path, backend, device, threads)
    return network
