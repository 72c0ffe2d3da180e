"""The data of a fit where its network computes, with what measures it; placed anew when the network moves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gdkernels.backend import Executable, Plan, storage_dtype
from gdkernels.backend.sharded_executable import Sharded
from gdkernels.data.batches import Batches
from gdkernels.data.records import Records
from gdkernels.data.sparse import most_rows
from gdkernels.data.stored import Stored
from gdkernels.data.stored.windows import Windows
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.footprint import Footprint, check_state, footprint
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import BackendError, InputError, shown
from gdkernels.metrics import Metric
from gdkernels.system.profiling import phase
from gdkernels.system.threads import thread_bound
from gdkernels.training.evaluator import Evaluator
from gdkernels.training.history import History
from gdkernels.training.runner import Runner

__all__ = ["FitData", "Placed", "Placement", "Where"]

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class FitData:
    """The data of a fit, as the user gave them; `batches` where they are a source of those."""

    X: Any
    Y: Any
    sample_weight: Any
    validation: float | tuple[Any, ...] | Stored | None
    batches: Batches | None

    @property
    def first(self) -> tuple[Any, Any]:
        """X and Y that tell where to compute, and how columns are called."""
        return (self.X, self.Y) if self.batches is None else self.batches.sample[:2]


@dataclass(frozen=True)
class Placed:
    """The data that a fit runs on, all of one binding.

    Attributes
    ----------
    seconds
        How long an epoch takes here, where a fit before this one has found it out.
    """

    binding: Binding
    job: Workload
    train: Records | Windows | Batches
    sparse: bool
    evaluator: Evaluator
    executable: Executable
    seconds: float | None = None


class Where(Protocol):
    """The place where a fit runs, and the way to another one."""

    @property
    def now(self) -> Placed:
        """What the fit runs on now."""

    def elsewhere(self, error: BackendError) -> bool:
        """Move to the next backend after an error of this one; return whether there is one."""

    def note(self, history: History) -> None:
        """Write into the history of a fit what runs it now: some choices are made when sizes are known."""

    def tell(self, history: History) -> None:
        """Write into the history of a fit where it runs now, and what that takes."""


class Placement:
    """Places the data where the network computes; if that backend fails, on the next one.

    Parameters
    ----------
    runner
        The runner of the epochs, whose network decides where.
    given
        The data.
    metrics
        The figures that are measured after each epoch, by name.
    workload
        A function from the number of records to the job.
    planned
        The plan of a checkpoint.
    context
        Keeps the device of the network the current one, from the first placing on.
    """

    def __init__(
        self,
        runner: Runner,
        given: FitData,
        metrics: dict[str, Metric],
        workload: Callable[[int], Workload],
        planned: Plan | None,
        context: ExitStack,
    ) -> None:
        self._runner, self._given, self._metrics = runner, given, metrics
        self._workload, self._planned, self._context = workload, planned, context
        self._now: Placed | None = None
        self._told: tuple[int, int, str] | None = None

    @property
    def now(self) -> Placed:
        """The data, where the network computes now.

        Raises
        ------
        BackendError
            If neither this backend takes it, nor another that may come after it.
        InputError
            For data that does not fit the network.
        """
        binding = self._runner.network.binding
        if self._now is None or self._now.binding is not binding:
            self._now = self._placed()
        return self._now

    def elsewhere(self, error: BackendError) -> bool:
        """Move to the next backend after an error of this one; return whether there is one.

        Ranks stay where they are: the others would not know where to follow.
        """
        if self._runner.sharding.group.size > 1:
            return False
        return self._runner.network.leave(error, self._given.first[0], self._workload)

    def note(self, history: History) -> None:
        """Write into the history of a fit what runs it now: some choices are made when sizes are known."""
        executable, binding = self._runner.executable, self._runner.network.binding
        assert binding is not None, "what runs is somewhere"
        history.plan, history.origin = executable.plan, executable.origin
        told = id(history), id(binding), executable.remark
        if told != self._told:  # it seldom differs from epoch to epoch
            self._told, history.reason = told, binding.why(executable)

    def tell(self, history: History) -> None:
        """Write into the history of a fit where it runs now, and what that takes."""
        now = self.now
        self.note(history)
        history.memory, history.thread_bound = None, thread_bound() if now.binding.on_host else None
        if now.binding.on_host:
            needs = _footprint(now, self._runner.workspace)
            told = needs.as_dict()
            history.memory = told["total"]
            _log.info("memory: %s", needs, extra={"told": {"event": "memory", **told}})

    def _placed(self) -> Placed:
        while True:
            try:
                return self._placed_here()
            except BackendError as error:
                if not self.elsewhere(error):
                    raise

    def _placed_here(self) -> Placed:
        network, runner, batches = self._runner.network, self._runner, self._given.batches
        first = self._given.first
        binding = self._context.enter_context(network.bound(first[0], self._workload, self._planned))
        job = self._workload(1)
        if binding.on_host:
            check_state(job, binding.precision)
        with phase("checking records"), network.naming(*first):
            given = self._given
            data = runner.place(given.X, given.Y, given.sample_weight) if batches is None else batches
            train, held_out = self._held_out(data)
        job, sparse = replace(job, records=train.size if isinstance(train, Batches) else len(train)), train.sparse
        evaluator = Evaluator(network, train, held_out, self._metrics, runner.sharding)
        planned = self._planned
        with phase("compiling"):
            choices = None if planned is None else binding.choices_of(planned)
            executable = runner.prepare(job, choices, sparse=sparse)
            if isinstance(executable, Sharded):
                executable.settle(runner.state(), min(runner.settings.batch_size, job.records))
        return Placed(binding, job, train, sparse, evaluator, executable)

    def _held_out(
        self, data: Records | Windows | Batches
    ) -> tuple[Records | Windows | Batches, Records | Windows | None]:
        """Return the records to train on, and those to validate on."""
        validation = self._given.validation
        if validation is None:
            return data, None
        if isinstance(validation, Stored):
            return data, self._runner.place(validation, None, None)
        if isinstance(validation, tuple):
            if len(validation) not in (2, 3):
                raise InputError(
                    f"validation must be a share, (X, Y) or (X, Y, sample_weight), got {len(validation)} things"
                )
            X, Y, *weights = validation
            return data, self._runner.place(X, Y, *(weights or [None]), of="the validation ")
        if not (isinstance(validation, (int, float)) and 0 < validation < 1):
            raise InputError(
                f"validation must be a share between 0 and 1, (X, Y), Stored or None, got {shown(validation)}"
            )
        if isinstance(data, Batches):
            raise InputError(f"validation={validation:g} cannot be a share of batches; give validation=(X, Y)")
        return data.split(validation, self._runner.network.seed)


def _footprint(now: Placed, workspace: int) -> Footprint:
    """Return what a fit takes of the host's memory, `workspace` bytes of it for what a solver computes with."""
    job, executable, evaluator = now.job, now.executable, now.evaluator
    precision = executable.plan.precision
    at_once = most_rows(job.sizes[0], storage_dtype(precision)) if now.sparse else None
    found = footprint(
        job,
        precision,
        compiled=executable.origin == "compiled",
        rows=executable.plan.choices.get("rows_at_a_time", at_once),
        records=max((d.bytes for d in (now.train, evaluator.held_out) if isinstance(d, Windows)), default=0),
        evaluated=evaluator.at_once,
        workspace=executable.workspace,
    )
    return replace(found, step=workspace) if workspace else found
