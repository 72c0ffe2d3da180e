"""What a session has to know of the ranks that share its steps."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gdkernels.groups.sharding import Sharding
from gdkernels.groups.tree import rows_of_shard
from gdkernels_cupy.cuda.nccl import NcclRanks
from gdkernels_cupy.graphs.shard_sums import DealtShards

__all__ = ["SharedSteps"]

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class SharedSteps:
    """Steps whose batches are shared by ranks.

    Attributes
    ----------
    carrier
        What carries sums between them; None for one rank.
    """

    sharding: Sharding
    carrier: NcclRanks | None = None

    @property
    def dealt(self) -> DealtShards:
        """The shards of this rank."""
        group = self.sharding.group
        return DealtShards(self.sharding.shards, group.rank, group.size)

    def pieces(self, batch: int) -> tuple[int, ...]:
        """Return the rows of each shard in a batch of so many."""
        parts = (rows_of_shard(k, self.sharding.shards, batch) for k in range(self.sharding.shards))
        return tuple(part.stop - part.start for part in parts)

    def epilogues(self, wished: Any, trusted: tuple[str, ...]) -> tuple[str, ...]:
        """Return what products may take over: what is trusted on the devices of all ranks, and in the plan if it says.

        No step is timed for it: the ranks would have to wait for each other.
        """
        everybody = self.sharding.group.gather_json(list(trusted))
        common = tuple(e for e in trusted if all(e in one for one in everybody))
        if wished is None:
            return common
        if missing := sorted({*wished} - {*common}):
            _log.warning(
                "the plan's epilogues %s are missing or wrong on a rank's device: bits may differ", ", ".join(missing)
            )
        return tuple(e for e in wished if e in common)

    def nodes_of_all(self, nodes: Mapping[int, int]) -> dict[int, int]:
        """Return the most nodes that a step has on any rank: all then capture and launch as many steps at a time."""
        rows = list(nodes)
        most = self.sharding.group.gather_numbers([nodes[r] for r in rows]).max(axis=0)
        return {r: int(n) for r, n in zip(rows, most, strict=True)}
