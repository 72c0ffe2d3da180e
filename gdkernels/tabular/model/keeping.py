"""What is kept of a `TabularPredictor` besides its file: all of it in a pickle, and arrays and JSON elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdkernels.models.mlp import model_of
from gdkernels.network.saving import network_of_file, told_in_file
from gdkernels.tabular.model.prediction import PreparedNetwork

__all__ = ["copy_of", "kept_of", "model_kept"]


def copy_of(kind: type[Any], attributes: Mapping[str, Any]) -> Any:
    """Return an object of this class with these attributes: what pickle and copy make one of."""
    made = object.__new__(kind)
    vars(made).update(attributes)
    return made


def kept_of(keywords: Mapping[str, Any], model: PreparedNetwork | None) -> dict[str, Any]:
    """Return the keywords of a predictor, and what a file would keep of its model; None before the first fit."""
    kept = None if model is None else told_in_file(model.network.network, model.network.extra)
    return {"keywords": dict(keywords), "model": None if kept is None else {"tensors": kept[0], "metadata": kept[1]}}


def model_kept(state: Mapping[str, Any]) -> PreparedNetwork | None:
    """Return the model of what `kept_of` returned.

    Raises
    ------
    FileError
        If it makes no sense.
    """
    kept, keywords = state["model"], state["keywords"]
    if kept is None:
        return None
    place = {name: keywords[name] for name in ("backend", "device", "threads")}
    network = model_of(*network_of_file(kept["tensors"], kept["metadata"], "that was kept", **place))
    return PreparedNetwork.of(network, "that was kept")
