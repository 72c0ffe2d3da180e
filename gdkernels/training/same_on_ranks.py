"""What the user's functions give on several ranks, compared before a step uses it: losses, batches, orders."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np

from gdkernels.backend.program import Program
from gdkernels.backend.verification import numpy_namespace
from gdkernels.data.records import Records
from gdkernels.definition.network import Arrays
from gdkernels.errors import InputError
from gdkernels.groups import Group
from gdkernels.groups.agreement import agree
from gdkernels.system.hashing import sha256

__all__ = ["agree_on_functions", "agree_on_orders", "same_batches"]

_FEW, _CLOSE = 8, 1e-6  # records, and how far their losses may differ in float64 on different processors

_HOW = "give all ranks the same batches, in the same order"


def agree_on_functions(group: Group, program: Program, parameters: Arrays, records: Records) -> None:
    """Compare what the first records lose by the definition: names do not tell functions of the user apart.

    Raises
    ------
    InputError
        If the ranks differ.
    """
    if group.size == 1 or records.sparse or program.objective is None:
        return
    few = [records.binding.to_numpy(a[:_FEW, ...]).astype(np.float64) for a in (records.x, records.y)]
    named = {name: np.asarray(a, np.float64) for name, a in parameters.items()}
    found, xp = math.nan, numpy_namespace("float64")
    with suppress(Exception), np.errstate(all="ignore"):  # what NumPy does not compute is compared after an epoch
        found = float(np.sum(program.objective.loss(program.forward(named, few[0], xp=xp), few[1], xp=xp)))
    everybody = group.gather_numbers([found])[:, 0]
    for rank in np.flatnonzero(~np.isclose(everybody, everybody[0], rtol=_CLOSE, equal_nan=True))[:1].tolist():
        raise InputError(
            f"the first records lose {everybody[rank]:.6g} on rank {rank}, and {everybody[0]:.6g} on rank 0: give all "
            "ranks the same loss, blocks and activations"
        )


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
