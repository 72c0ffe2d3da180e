"""What ranks that train on a table must have in common, before they deal its networks among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gdkernels.dispatch import registry
from gdkernels.groups import Group
from gdkernels.groups.agreement import agree
from gdkernels.system.hashing import sha256

__all__ = ["agree_on_data", "agree_on_keywords"]

# What may differ from rank to rank: where things are, and who says what.
_OWN = {"group", "device", "threads", "checkpoint", "every", "keep", "resume", "progress", "memory", "test_file"}


def agree_on_keywords(group: Group, keywords: Mapping[str, Any]) -> None:
    """Compare the keywords of a predictor, before its table is read.

    Raises
    ------
    InputError
        If the ranks differ; it names the first difference and its rank.
    """
    if group.size > 1:
        told = {name: _plain(value) for name, value in keywords.items() if name not in _OWN}
        agree(group, {"versions": registry.versions(), "settings": told})


def agree_on_data(group: Group, x: Any, y: Any) -> None:
    """Compare the prepared records; raises as `agree_on_keywords`."""
    if group.size > 1:
        digest = sha256()
        for array in (x, y):
            digest.update(np.ascontiguousarray(array).tobytes())
        agree(group, {"records": len(x), "columns": x.shape[1], "data": digest.hexdigest()})


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a value: of a function or an object, its kind."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return type(value).__name__
