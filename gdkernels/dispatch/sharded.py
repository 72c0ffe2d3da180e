"""The executable of a group: shards of each batch, of the plan that rank 0 has chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gdkernels.backend import Executable, Plan
from gdkernels.backend.program import Program
from gdkernels.backend.sharded_executable import SHARDS, Sharded, ShardedExecutable
from gdkernels.dispatch import registry
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.footprint import rows_that_fit
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import ScheduleError, TraceError
from gdkernels.groups.sharding import Sharding

__all__ = ["device_of_rank", "sharded_executable"]

_log = logging.getLogger("gdkernels")

_ROWS = "rows_at_a_time"


def device_of_rank(backend: str, device: str, local_rank: int) -> str:
    """Return the device of a rank: where several are there to be had, each rank of a machine has the next."""
    devices: Sequence[str] = ()
    if device != "cpu":
        with suppress(Exception):  # of a backend that is not there: choosing it says so
            devices = registry.get(backend).devices()
    return devices[(devices.index(device) + local_rank) % len(devices)] if device in devices else device


def sharded_executable(
    binding: Binding,
    program: Program,
    work: Workload,
    choices: Mapping[str, Any] | None,
    sharding: Sharding,
    made: Callable[[Program, Plan], Executable] | None = None,
) -> Sharded:
    """Return a program in shards; on the host, those that do not fit into memory are computed in parts.

    Parameters
    ----------
    made
        Makes what computes the gradients of records that the backend's own shards do not take.

    Raises
    ------
    InputError
        If not even a single record fits.
    """
    given = choices or {}
    own = {name: value for name, value in given.items() if name not in (_ROWS, SHARDS)}
    plan = Plan(binding.backend.name, binding.device, binding.precision, own)
    if made is not None:
        return ShardedExecutable(binding.backend, program, plan, sharding, made=made)
    if given.get(_ROWS) is not None:
        return ShardedExecutable(binding.backend, program, plan, sharding, given[_ROWS])
    compiled, remark = None, ""
    try:
        compiled = binding.backend.compile_shards(program, plan, sharding)
    except (TraceError, ScheduleError) as error:
        remark = f"the definition runs as it is, because it cannot be compiled: {error}"
        _log.info("%s", remark)
    runs = compiled if isinstance(compiled, Sharded) else ShardedExecutable(binding.backend, program, plan, sharding)
    runs.remark = remark
    if not binding.on_host:
        return runs
    of_shard = -(-work.batch // sharding.shards)
    at_once = replace(work, batch_size=min(work.batch, of_shard * sharding.threads))
    rows = rows_that_fit(at_once, binding.precision, compiled=runs.origin == "compiled") // sharding.threads
    if rows >= of_shard:
        return runs
    _log.warning("a shard of %s records does not fit into memory: it is computed in parts of %s", f"{of_shard:,}", rows)
    return ShardedExecutable(binding.backend, program, plan, sharding, max(1, rows))
