"""A fit of several ranks: what they settle before the first step, compare after each epoch, and tell in the end."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from gdkernels.backend import Plan
from gdkernels.backend.sharded_executable import SHARDS, Sharded
from gdkernels.dispatch import registry
from gdkernels.dispatch.sharded import device_of_rank
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import InputError, keyword
from gdkernels.groups import Group
from gdkernels.groups.agreement import agree, from_rank_0, guarded
from gdkernels.groups.link import measured
from gdkernels.groups.sharding import ALONE, Sharding, threads_of_ranks
from gdkernels.system.hashing import sha256
from gdkernels.system.thread_limits import at_most
from gdkernels.training.efficiency import Efficiency
from gdkernels.training.history import Epoch, Ranks
from gdkernels.training.placement import Placed
from gdkernels.training.runner import Runner
from gdkernels.training.step_timing import seconds_of_a_step

__all__ = ["Together"]

_log = logging.getLogger("gdkernels")

_WORTH = 0.5  # a rank should do at least this share of what it does alone
_FLOPS_OF_A_SHARD = 2e7  # in a step; with less, waking a thread for it takes as long


class Together:
    """The ranks of a fit; one process alone settles, compares and tells nothing.

    Parameters
    ----------
    group
        The ranks.
    shards
        The number of shards of a batch that the user asked for; None is a choice.
    """

    def __init__(self, group: Group, shards: int | None) -> None:
        self.group, self._shards = group, shards

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self.group.size == 1

    @contextmanager
    def computing(self, call: Mapping[str, Any]) -> Iterator[None]:
        """Compute on the threads of this rank, and end all ranks if one of them fails alone.

        Parameters
        ----------
        call
            What all ranks have to call alike, because it decides what they exchange and when.

        Raises
        ------
        InputError
            If they do not.
        """
        if self.alone:
            yield
            return
        with guarded(self.group):
            agree(self.group, call)
            with at_most(threads_of_ranks(self.group)[self.group.rank]):
                yield

    # ---- before the first step

    def sharding(self, job: Callable[[], Workload], planned: Plan | None) -> Sharding:
        """Return the shards of each batch: as asked for, as in the plan of a checkpoint, or one for each thread.

        Raises
        ------
        InputError
            If the checkpoint has fewer shards than there are ranks, or others than were asked for.
        """
        size = self.group.size
        if size == 1 and planned is None and self._shards in (None, 1):
            return ALONE
        before = None if planned is None else int(planned.choices.get(SHARDS, 1))
        if before is not None and self._shards not in (None, before):
            raise InputError(f"{_bits_of(before)}, and {keyword('shards', self._shards)} was asked for: leave that out")
        if before is not None and before < size:
            raise InputError(
                f"{_bits_of(before)}, which {size} ranks cannot share: go on with at most {before}, or begin anew with "
                "more shards"
            )
        threads = threads_of_ranks(self.group) if size > 1 or self._shards not in (None, 1) else [1]
        pays = max(1, int(job().step_flops / size / _FLOPS_OF_A_SHARD)) if max(threads) > 1 else 1
        shards = before or self._shards or (1 if size == 1 else size * min(*threads, pays))
        return Sharding(self.group, shards, min(threads[self.group.rank], pays))

    def plan_of_rank_0(self, plan: Callable[[], Plan] | None) -> Plan:
        """Return the plan that rank 0 makes by `plan`, or raise there what that raises; on this rank's own device."""
        told = from_rank_0(self.group, None if plan is None else lambda: json.dumps(plan().as_dict()).encode())
        made = Plan(**json.loads(told))
        return replace(made, device=device_of_rank(made.backend, made.device, self.group.local_rank))

    def agree(self, told: Mapping[str, Any]) -> None:
        """Compare what all ranks bring to a fit.

        Raises
        ------
        InputError
            If they differ; it names the first difference and its rank.
        """
        if not self.alone:
            agree(self.group, {"versions": registry.versions(), **told})

    def expected(self, runner: Runner, now: Placed) -> Efficiency | None:
        """Return what is expected of the ranks, and warn where they would wait for each other more than compute."""
        if self.alone:
            return None
        seconds = seconds_of_a_step(self.group, now.executable, runner.state(), now.train, runner.settings.batch_size)
        found = Efficiency.of(now.job, now.binding, runner.sharding, measured(self.group), seconds)
        if found is not None and found.share < _WORTH:
            _log.warning(
                "%d ranks are expected to be %s; fewer ranks or larger batches make more of them",
                self.group.size,
                found,
            )
        return found

    # ---- during it

    def compared(self, epochs: Sequence[Epoch], parameters: Mapping[str, Any]) -> list[Epoch]:
        """Return epochs with the times of rank 0; compare all ranks' losses and parameters.

        Raises
        ------
        InputError
            If they differ, because the ranks do not compute the same.
        """
        if self.alone:
            return list(epochs)
        digest = sha256()
        for name, array in parameters.items():
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        for epoch in epochs:
            digest.update(repr((epoch.loss, epoch.validation_loss, epoch.gradient_norm)).encode())
        times = np.array([(epoch.seconds, epoch.samples_per_second) for epoch in epochs])
        words = np.frombuffer(digest.digest(), np.int64)
        told = np.concatenate([words, times.view(np.int64).ravel()])  # one message, as an epoch may be short
        everybody = self.group.gather_numbers(told, np.int64)
        for rank in range(self.group.size):
            if (everybody[rank, : len(words)] != everybody[0, : len(words)]).any():
                raise InputError(
                    f"rank {rank} has other parameters or losses than rank 0 after epoch {epochs[-1].number}: the "
                    "ranks do not compute the same; give them the same data, functions, versions and processors"
                )
        of_rank_0 = everybody[0, len(words) :].view(np.float64).reshape(-1, 2).tolist()
        return [
            replace(epoch, seconds=s, samples_per_second=r) for epoch, (s, r) in zip(epochs, of_rank_0, strict=True)
        ]

    def any(self, flag: bool) -> bool:
        """Return whether any rank says so."""
        return flag if self.alone else self.group.any(flag)

    def least(self, number: int) -> int:
        """Return the smallest number of any rank."""
        return number if self.alone else int(self.group.gather_numbers([number], np.int64).min())

    # ---- after it

    def reason_of_rank_0(self, reason: str) -> str:
        """Return why rank 0 computes where it does: the others follow it."""
        return reason if self.alone else self.group.broadcast(reason.encode()).decode()

    def told(self, executable: Any, expected: Efficiency | None) -> Ranks | None:
        """Return what the history tells of the ranks; None for a fit as any other."""
        if not isinstance(executable, Sharded):
            return None
        spent = executable.spent
        times = self.group.gather_numbers([spent.whole, spent.exchanging])
        computing = times[:, 0] - times[:, 1]
        slowest = int(np.argmax(computing))
        whole = float(times[slowest, 0]) or 1.0
        return Ranks(
            group=self.group.name,
            ranks=self.group.size,
            shards=int(executable.plan.choices[SHARDS]),
            communication=float(times[slowest, 1]) / whole,
            waiting=float(1.0 - computing.min() / whole),
            slowest=slowest,
            expected=expected,
        )


def _bits_of(shards: int) -> str:
    return f"the checkpoint has the bits of {shards} shard{'s' * (shards > 1)}"
