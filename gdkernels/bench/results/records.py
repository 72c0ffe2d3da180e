"""Dataclasses to JSON and back: every value is checked against its annotation, and an error names its place."""

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from gdkernels.errors import InputError

__all__ = ["decode", "encode"]

Kind = TypeVar("Kind")

_NAMES = {str: "text", int: "a whole number", bool: "true or false"}


def encode(value: Any, names: Mapping[str, str]) -> Any:
    """Return `value` as JSON takes it; `names` maps the names of fields to those in the file."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {names.get(f.name, f.name): encode(getattr(value, f.name), names) for f in fields}
    if isinstance(value, tuple):
        return [encode(v, names) for v in value]
    return value


def decode(kind: type[Kind], value: object, where: str, names: Mapping[str, str]) -> Kind:
    """Return `value` as a `kind`: a dataclass, or what its fields may be.

    Unknown names are left out, so that a later version may add some.

    Raises
    ------
    InputError
        For a value that is missing or of another kind; it names its place, as in ``rows[3].piece``.
    """
    result: Kind = _Decoder(names).decode(kind, value, where)
    return result


class _Decoder:
    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def decode(self, kind: Any, value: Any, where: str) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, typing.Union):
            if value is None and type(None) in arguments:
                return None
            (kind,) = (a for a in arguments if a is not type(None))
            return self.decode(kind, value, where)
        if dataclasses.is_dataclass(kind):
            return self._decode_fields(kind, value, where)
        if origin is tuple:
            _check(isinstance(value, list), where, "a list", value)
            return tuple(self.decode(arguments[0], v, f"{where}[{k}]") for k, v in enumerate(value))
        if kind is dict or origin is dict:
            _check(isinstance(value, Mapping), where, "an object", value)
            return dict(value)
        if kind is float:
            _check(_is_number(value), where, "a number", value)
            return float(value)
        _check(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), where, _NAMES[kind], value)
        return value

    def _decode_fields(self, kind: Any, value: Any, where: str) -> Any:
        _check(isinstance(value, Mapping), where, "an object", value)
        hints = typing.get_type_hints(kind)
        found = {}
        for field in dataclasses.fields(kind):
            name = self._names.get(field.name, field.name)
            place = f"{where}.{name}" if where else name
            if name not in value:
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                    raise InputError(f"{place} is missing")
                continue
            found[field.name] = self.decode(hints[field.name], value[name], place)
        return kind(**found)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _check(fits: bool, where: str, wanted: str, value: object) -> None:
    if not fits:
        shown = repr(value)
        raise InputError(f"{where} must be {wanted}, got {shown if len(shown) < 40 else shown[:36] + ' …'}")
