"""What the user gives each step on several ranks, compared before a step uses it: batches and orders."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import numpy as np

from gdkernels.data.records import Records
from gdkernels.errors import InputError
from gdkernels.groups import Group
from gdkernels.groups.agreement import agree
from gdkernels.system.hashing import sha256

__all__ = ["agree_on_orders", "same_batches"]

_HOW = "give all ranks the same batches, in the same order"


def agree_on_orders(group: Group, orders: Iterable[Any]) -> None:
    """Compare the orders that a function of the user returns for the next epochs.

    Raises
    ------
    InputError
        If the ranks differ.
    """
    if group.size > 1:
        whole = np.ascontiguousarray([np.asarray(order) for order in orders], np.int64)
        agree(group, {"order of the records": sha256(whole.tobytes()).hexdigest()})


def same_batches(group: Group, batches: Iterator[Records]) -> Iterator[Records]:
    """Yield each batch once all ranks have the same.

    Raises
    ------
    InputError
        If a rank has another one, or no further.
    """
    if group.size == 1:
        yield from batches
        return
    for number in count():
        batch = next(batches, None)
        mine = [0, 0] if batch is None else [len(batch), _checksum(batch)]
        rows, values = group.gather_numbers(mine, np.int64).T.tolist()
        for rank in range(1, group.size):
            if rows[rank] != rows[0]:
                has, others = ("none" if not n else f"{n} records" for n in (rows[rank], rows[0]))
                raise InputError(f"rank {rank} has {has} in batch {number}, and rank 0 has {others}: {_HOW}")
            if values[rank] != values[0]:
                raise InputError(f"rank {rank} has other values than rank 0 in batch {number}: {_HOW}")
        if batch is None:
            return
        yield batch


class _Checksum:
    """A checksum that takes data as a digest does, and is quicker: a batch is used once."""

    value = 0

    def update(self, data: Any) -> None:
        self.value = zlib.crc32(data, self.value)


def _checksum(batch: Records) -> int:
    found = _Checksum()
    if batch.binding.on_host:  # to bring them here would take longer than their step
        batch.add_to(found)
    return found.value
