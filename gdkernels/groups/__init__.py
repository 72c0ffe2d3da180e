"""Groups: several processes that train one network together, as plug-ins like backends.

The contract, the group of one process, finding plug-ins, launchers, and what all groups share belong here: agreement,
and sums in one fixed tree. What moves bytes is a plug-in's. What is summed, and when, belongs to the rooms above.
"""

from gdkernels.groups.contract import Group
from gdkernels.groups.registry import joined
from gdkernels.groups.serial import SerialGroup
from gdkernels.groups.sums import TreeSum
from gdkernels.groups.tree import rows_of_shard, shards_of_rank

__all__ = ["Group", "SerialGroup", "TreeSum", "joined", "rows_of_shard", "shards_of_rank"]
