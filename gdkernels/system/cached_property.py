"""`cached_property` without a lock, hashes that are kept, and objects that pickle without what they cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Generic, TypeVar, overload

__all__ = ["cached_property", "fields_of", "hashed_once"]

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801 - it is read as the standard library's is
    """A property that is computed when it is first read, and kept by the object.

    That of the standard library has, up to Python 3.11, one lock for all objects of a class: a process that is forked
    while another thread computes the property of any of them waits for ever. Here, two threads may compute it twice.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> cached_property[T] | T:
        if instance is None:
            return self
        # One that came in between is kept: all who read it get the same object.
        return instance.__dict__.setdefault(self._name, self._compute(instance))  # type: ignore[no-any-return]


Hashed = TypeVar("Hashed", bound=type[Any])


def hashed_once(family: Hashed) -> Hashed:
    """Have each object of a frozen dataclass keep its hash: that of values in values in values takes a while.

    A pickle leaves it out: names hash to other numbers in another process.
    """
    compute: Callable[[Any], int] = vars(family)["__hash__"]

    def kept(self: Any) -> int:
        own = self.__dict__
        found: int | None = own.get(_HASH)
        if found is None:
            found = own[_HASH] = compute(self)
        return found

    type.__setattr__(family, "__hash__", kept)
    if "__getstate__" not in vars(family):
        type.__setattr__(family, "__getstate__", _without_hash)
    return family


def _without_hash(instance: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(instance).items() if name != _HASH}


_HASH = "kept hash"  # which no field can be called


def fields_of(instance: Any) -> dict[str, Any]:
    """Return the state of a dataclass for a pickle: its fields, without what its properties keep.

    What they keep may be large, or made of functions that cannot be pickled.
    """
    return {field.name: getattr(instance, field.name) for field in fields(instance)}
