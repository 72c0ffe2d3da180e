"""Results of tracing that are kept for the next who asks, and that tests forget when they change a function."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

__all__ = ["forget_traces", "remembered"]

P = ParamSpec("P")
T = TypeVar("T")

_FORGET: list[Callable[[], Any]] = []


def remembered(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep so many results of a function whose arguments can be hashed; the least recently used give way."""

    def keep(f: Callable[P, T]) -> Callable[P, T]:
        cached = lru_cache(maxsize)(f)
        _FORGET.append(cached.cache_clear)
        return cached  # type: ignore[return-value]

    return keep


def forget_traces() -> None:
    """Forget all of them: a function that was traced before is then traced again."""
    for forget in _FORGET:
        forget()
