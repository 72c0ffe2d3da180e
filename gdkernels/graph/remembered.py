"""Results of tracing that are kept for the next who asks, and that tests forget when they change a function."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

__all__ = ["forget_traces", "remembered"]

P = ParamSpec("P")
T = TypeVar("T")

_FORGET: list[Callable[[], Any]] = []


def remembered(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep so many results of a function; the least recently used give way.

    Where an argument cannot be hashed, as some functions of users cannot, nothing is kept.
    """

    def keep(f: Callable[P, T]) -> Callable[P, T]:
        cached = lru_cache(maxsize)(f)
        _FORGET.append(cached.cache_clear)

        @wraps(f)
        def known(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                hash(args)
            except TypeError:
                return f(*args, **kwargs)
            return cached(*args, **kwargs)  # type: ignore[arg-type]  # they can be hashed

        return known

    return keep


def forget_traces() -> None:
    """Forget all of them: a function that was traced before is then traced again."""
    for forget in _FORGET:
        forget()
