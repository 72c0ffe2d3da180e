"""Reading ahead: a thread of its own reads the next part while the caller works on the present one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from gdkernels.system.profiling import phase

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["ahead"]

Number = TypeVar("Number")
Loaded = TypeVar("Loaded")


def ahead(load: Callable[[Number], Loaded], numbers: Iterable[Number]) -> Iterator[Loaded]:
    """Yield ``load(k)`` for each k, and call each `load` as soon as the caller has asked for the result before.

    There are never more than two results, so `load` may overwrite the last but one. An error of `load` is raised here
    when its result is due.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="gdkernels-read") as reader:
        try:
            reader.submit(int).result()
        except RuntimeError:
            yield from map(load, numbers)
            return
        present: Future[Loaded] | None = None
        for number in numbers:
            coming = reader.submit(load, number)
            if present is not None:
                yield _result(present)
            present = coming
        if present is not None:
            yield _result(present)


def _result(present: Future[Loaded]) -> Loaded:
    with phase("waiting for records"):
        return present.result()
