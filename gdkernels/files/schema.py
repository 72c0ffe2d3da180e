"""Checks that the JSON in a file has the expected types: a right digest does not tell that the content makes sense."""

from __future__ import annotations

import sys
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["is_of", "require_fields"]


def is_of(value: Any, kind: Any) -> bool:
    """Return whether `value` is of a type: a class, a union, or a tuple of one type; numbers are finite."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(is_of(value, k) for k in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(is_of(v, args[0]) for v in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return kind is Any or (value is None if kind is type(None) else type(value) is kind)


def require_fields(kind: type, fields: dict[str, Any]) -> None:
    """Raise TypeError unless `fields` have the types of the dataclass `kind`."""
    for name, expected in get_type_hints(kind).items():
        if name in fields and not is_of(fields[name], expected):
            raise TypeError(f"{name} is {fields[name]!r:.40}")
