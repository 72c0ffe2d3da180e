"""A group whose ranks are threads of this process, for tests: it may wait as a slow network would."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from gdkernels.groups import Group


class Ranks:
    """What the ranks of a group share."""

    def __init__(self, size: int, alpha: float = 0.0, beta: float = float("inf")) -> None:
        self.size, self.alpha, self.beta = size, alpha, beta
        self.barrier, self.ends = threading.Barrier(size), threading.Barrier(size)
        self.sent: list[Any] = [None] * size
        self.codes: list[int] = []


class ThreadGroup(Group):
    """A rank; a message takes `alpha` seconds and a second for `beta` bytes."""

    name = "threads"

    def __init__(self, ranks: Ranks, rank: int) -> None:
        self.ranks, self.rank, self.size = ranks, rank, ranks.size
        self.local_rank, self.local_size = rank, ranks.size

    def carry_to_each(self, send, sent, got, received) -> None:
        edges = [sum(sent[:r]) for r in range(self.size + 1)]
        parts = self._exchanged([send[a:b].copy() for a, b in pairwise(edges)], len(send) - sent[self.rank])
        self._take([part[self.rank] for part in parts], got, received)

    def carry_to_all(self, send, got, received) -> None:
        self._take(self._exchanged(send.copy(), len(send) * (self.size - 1)), got, received)

    def abort(self, code: int) -> None:
        self.ranks.codes.append(code)
        self.ranks.barrier.abort()
        raise SystemExit(code)

    def all_stop_here(self, seconds: float) -> bool:
        try:
            self.ranks.ends.wait(seconds)
        except threading.BrokenBarrierError:
            return False
        return True

    def _exchanged(self, mine: Any, size: int) -> list[Any]:
        self.ranks.sent[self.rank] = mine
        self.ranks.barrier.wait(30)
        found = list(self.ranks.sent)
        until = time.perf_counter() + self.ranks.alpha + size / self.ranks.beta
        self.ranks.barrier.wait(30)
        time.sleep(max(0.0, until - time.perf_counter()))
        return found

    @staticmethod
    def _take(parts, got, received) -> None:
        at = 0
        for part, count in zip(parts, received, strict=True):
            assert len(part) == count, "ranks disagree about a length"
            got[at : at + count] = part
            at += count


def on_ranks(size: int, work: Callable[[Group], Any], **network: float) -> list[Any]:
    """Return what `work` returns on each rank; the first error is raised, whoever has it."""
    ranks, results, errors = Ranks(size, **network), [None] * size, []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadGroup(ranks, rank))
        except BaseException as error:
            errors.append(error)
            ranks.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors:
        raise (own or errors)[0]
    return results
