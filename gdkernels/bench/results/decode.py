"""From JSON to dataclasses: every value is checked against its annotation, and what does not fit is named."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from gdkernels.errors import InputError

__all__ = ["decode"]

Kind = TypeVar("Kind")


def decode(kind: type[Kind], value: object, where: str) -> Kind:
    """Return `value` as a `kind`: a dataclass, or what its fields may be.

    Fields that are unknown are left out, so that a later version may add some.

    Raises
    ------
    InputError
        For a value that is missing or of another kind; it says which, as in ``rows[3].piece``.
    """
    result: Kind = _decode(kind, value, where)
    return result


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (a for a in arguments if a is not type(None))
        return _decode(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, value, where)
    if origin is tuple:
        _check(isinstance(value, list), where, "a list", value)
        return tuple(_decode(arguments[0], v, f"{where}[{k}]") for k, v in enumerate(value))
    if kind is dict or origin is dict:
        _check(isinstance(value, Mapping), where, "an object", value)
        return dict(value)
    if kind is float:
        _check(_is_number(value), where, "a number", value)
        return float(value)
    _check(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), where, _NAMES[kind], value)
    return value


_NAMES = {str: "text", int: "a whole number", bool: "true or false"}


def _decode_fields(kind: Any, value: Any, where: str) -> Any:
    _check(isinstance(value, Mapping), where, "an object", value)
    hints = typing.get_type_hints(kind)
    found = {}
    for field in dataclasses.fields(kind):
        place = f"{where}.{field.name}" if where else field.name
        if field.name not in value:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise InputError(f"{place} is missing")
            continue
        found[field.name] = _decode(hints[field.name], value[field.name], place)
    return kind(**found)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check(fits: bool, where: str, wanted: str, value: object) -> None:
    if not fits:
        shown = repr(value)
        raise InputError(f"{where} must be {wanted}, got {shown if len(shown) < 40 else shown[:36] + ' …'}")
