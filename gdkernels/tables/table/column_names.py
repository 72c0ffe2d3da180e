"""The names of columns that somebody gives for a keyword."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gdkernels.errors import InputError, keyword, shown
from gdkernels.system.given import items_of

__all__ = ["column_names"]


def column_names(said_by: str, value: Any) -> tuple[str, ...]:
    """Return the columns that were named: one or several, numbers where they have no other names.

    Parameters
    ----------
    said_by
        The keyword.

    Raises
    ------
    InputError
        For anything else.
    """
    items = (value,) if _is_name(value) else None if isinstance(value, Mapping) else items_of(value)
    if items is None or not all(map(_is_name, items)):
        raise InputError(
            f"{keyword(said_by)} must be the name of a column, or a list of such names; got {shown(value)}"
        )
    return tuple(map(str, items))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, (int, np.integer)) and not isinstance(value, bool))
