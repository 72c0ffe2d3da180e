"""Reading ahead: what comes next is read by a thread of its own while the present is worked on."""

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
    """Yield ``load(k)`` for each k, each called as soon as whoever takes them has asked for the one before.

    There are never more than two of them: who loads into the place of the last but one disturbs nobody. What `load`
    raises is raised here, when its turn comes.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="gdkernels-read") as reader:
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
