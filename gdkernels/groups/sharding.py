"""How a batch is shared: its shards, the ranks that have them, and the threads of a rank."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from gdkernels.errors import InputError, shown
from gdkernels.groups.contract import Group
from gdkernels.groups.serial import SerialGroup
from gdkernels.groups.tree import shards_of_rank
from gdkernels.system.ranges import whole
from gdkernels.system.threads import thread_bound

__all__ = ["ALONE", "Sharding", "checked_shards", "threads_of_ranks"]


@dataclass(frozen=True)
class Sharding:
    """A number of shards of each batch, dealt to the ranks of a group; bits depend on that number alone.

    Attributes
    ----------
    threads
        The number of shards that this rank computes at a time.
    """

    group: Group
    shards: int = 1
    threads: int = 1

    @property
    def splits(self) -> bool:
        """Whether batches are split at all; a single shard is a step as any other."""
        return self.shards > 1

    @property
    def mine(self) -> range:
        """The shards of this rank."""
        return shards_of_rank(self.group.rank, self.group.size, self.shards)


ALONE = Sharding(SerialGroup())


def checked_shards(shards: int | None, group: Group) -> int | None:
    """Return the number of shards that you asked for.

    Raises
    ------
    InputError
        If it is none, or less than there are ranks.
    """
    if shards is None:
        return None
    if not whole(1).has(shards):
        raise InputError(f"shards must be a whole number of at least 1 or None, got {shown(shards)}")
    if shards < group.size:
        raise InputError(
            f"{shards} shards cannot be shared by {group.size} ranks: take at least as many, or fewer ranks"
        )
    return int(shards)


def threads_of_ranks(group: Group) -> list[int]:
    """Return for each rank how many threads it may have: the cores, divided by the ranks that share them."""
    if group.size == 1:
        return [thread_bound().threads]
    import socket  # a single process needs no name

    mine = {"host": socket.gethostname(), "cores": _cores(), "most": thread_bound().threads}
    told = group.gather_json(mine)
    users = Counter((one["host"], core) for one in told for core in one["cores"])
    shares = [sum(1.0 / users[one["host"], core] for core in one["cores"]) for one in told]
    return [max(1, min(one["most"], int(share + 1e-9))) for one, share in zip(told, shares, strict=True)]


def _cores() -> list[int]:
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # a system without affinities
        return list(range(os.cpu_count() or 1))
