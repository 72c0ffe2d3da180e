"""The fit of one model among many, on the executables that its thread shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Job
from gdkernels.data.records import Records
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.footprint import footprint
from gdkernels.dispatch.shared_executables import Executables
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import BackendError
from gdkernels.network import Structure
from gdkernels.system.hashing import sha256
from gdkernels.system.thread_limits import at_most
from gdkernels.system.threads import ThreadBound, thread_bound
from gdkernels.training.checkpointing import Checkpointer, Keeping, Run
from gdkernels.training.evaluator import Evaluator
from gdkernels.training.fit import Fit
from gdkernels.training.fit_identity import digest_of_arrays, identity
from gdkernels.training.history import Epoch, History
from gdkernels.training.jobs.threads import GivenUpError
from gdkernels.training.placement import Placed
from gdkernels.training.settings import FitSettings
from gdkernels.training.trainer import Trainer

__all__ = ["BegunFit", "FitJob", "Paces", "PlanChoices", "Rows", "digest_of"]

Rows = npt.NDArray[np.int64]

_MEMORY = "memory "  # before the names of what a solver keeps


@dataclass(frozen=True)
class FitJob:
    """The fit of one model.

    Attributes
    ----------
    train, held_out
        The records of all models, and those to validate on if the user gave some.
    rows
        Those of the model; None is all.
    left_out
        Those to validate it on, where they are among the records of all models.
    number
        That of the model among all.
    """

    trainer: Trainer
    train: Records
    held_out: Records | None
    rows: Rows | None
    left_out: Rows | None
    validation: float | tuple[Any, ...] | None
    asked: FitSettings
    plans: PlanChoices
    paces: Paces
    number: int
    keeping: Keeping | None

    def run(self, executables: Executables, gives_up: Callable[[], bool]) -> History:
        """Return the history of the fit."""
        with ExitStack() as stack:
            checkpointer: Checkpointer | None = None
            if self.keeping is not None:
                checkpointer = stack.enter_context(Checkpointer(self.keeping.of_model(self.number)))
            stack.callback(self.trainer.runner.give_back)
            at_most_threads, on_device = self._computing
            with at_most_threads, on_device:
                return self._run(self._made(executables, checkpointer), gives_up)

    def begin(self, executables: Executables) -> BegunFit | None:
        """Return the fit as a job for others to run; None if it has to be run by `run`."""
        if self.keeping is not None:
            return None
        at_most_threads, on_device = self._computing
        with at_most_threads, on_device:
            made = self._made(executables, None)
            job = made.fit.job()
            if job is None:
                self.trainer.runner.give_back()
                return None
            return BegunFit(self, made, job)

    def end(self, begun: BegunFit, found: list[tuple[float, float | None]]) -> History | None:
        """Return the history of a fit whose job has returned this; None if it has diverged, and `run` shows where."""
        at_most_threads, on_device = self._computing
        with at_most_threads, on_device:
            try:
                if not begun.made.fit.follow_job(begun.job, found):
                    return None
                begun.made.tell_why()
                return begun.made.run.history
            finally:
                self.trainer.runner.give_back()

    @property
    def _computing(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """Contexts in which to compute where the network does: its threads, and its device."""
        binding = self.train.binding
        return at_most(self.trainer.mlp.network.threads), binding.backend.on_device(binding.device)

    def _made(self, executables: Executables, checkpointer: Checkpointer | None) -> _MadeFit:
        """Return the fit, with the executable of this thread for it."""
        runner, network = self.trainer.runner, self.trainer.mlp.network
        train, held_out = self._records()
        binding, work = train.binding, self._workload(train)
        usual, bound = self.plans.of(binding)
        planned = None if checkpointer is None else binding.choices_of(checkpointer.plan)
        choices = usual if planned is None else planned
        executable = executables.of(
            binding, work.program, choices or {}, lambda: binding.executable(work.program, work, choices)
        )
        runner.take(executable, work)
        history = History(executable.plan, executable.origin, binding.why(executable), thread_bound=bound)
        evaluator = Evaluator(network, train, held_out, self.asked.metrics, executable=executable)
        pace = self.paces.of(network.structure, work.batch)
        seconds = None if pace is None else pace * len(train)
        placed = Placed(binding, work, train, False, evaluator, executable, seconds)
        run = Run(history, began=runner.epochs_done)
        return _MadeFit(
            Fit(runner, _Here(placed), self.asked, run, checkpointer, unseen=True), run, checkpointer, placed
        )

    def _records(self) -> tuple[Records, Records | None]:
        """Return the records to train on, and those to validate on."""
        train = self.train if self.rows is None else self.train.take(self.rows)
        if self.left_out is not None:
            return train, self.train.take(self.left_out)
        if isinstance(self.validation, (int, float)):
            return train.split(self.validation, self.trainer.mlp.network.seed)
        return train, self.held_out

    def _workload(self, train: Records) -> Workload:
        asked = self.asked
        return self.trainer.runner.workload(
            len(train), asked.epochs, gradient_norm=asked.with_norm, weighted=train.weighted
        )

    def memory(self, history: History) -> int:
        """Return how many bytes of the host's memory the fit takes that has this history."""
        train, held_out = self._records()
        evaluator = Evaluator(self.trainer.mlp.network, train, held_out, self.asked.metrics)
        needs = footprint(
            self._workload(train),
            history.plan.precision,
            compiled=history.origin == "compiled",
            rows=history.plan.choices.get("rows_at_a_time"),
            records=0,
            evaluated=evaluator.at_once,
        )
        return int(needs.as_dict()["total"])

    def _run(self, made: _MadeFit, gives_up: Callable[[], bool]) -> History:
        runner, run, history = self.trainer.runner, made.run, made.run.history
        try:
            if made.checkpointer is not None:
                made.fit.resume()
            made.fit.until_stopped((), _Watched(gives_up))
        except GivenUpError:
            if made.checkpointer is not None:
                made.checkpointer.rescue(runner.state(), run, runner.epochs_done)
            raise
        made.tell_why()
        if history.epochs:
            structure, seconds = self.trainer.mlp.network.structure, history.epochs[-1].seconds
            self.paces.note(structure, made.placed.job.batch, seconds / made.placed.job.records)
        return history

    @property
    def kind(self) -> tuple[Any, ...]:
        """How much there is to compute for a record, and what fits that share code and memory have in common."""
        shapes = [p.shape for p in self.trainer.mlp.network.structure.parameters.values()]
        rows = len(self.train) if self.rows is None else len(self.rows)
        return sum(map(math.prod, shapes)), shapes, self.trainer.settings.batch_size, rows

    def identity(self) -> dict[str, Any]:
        """Return what ranks that deal such jobs among them must share of this one, besides the data."""
        binding = self.train.binding
        computing = {"backend": binding.backend.name, "precision": binding.precision}
        own: dict[str, Any] = identity(self.trainer.runner, self.asked) | computing
        for name, at in (("rows", self.rows), ("validation rows", self.left_out)):
            own[name] = None if at is None else sha256(np.ascontiguousarray(at).tobytes()).hexdigest()
        own["initial parameters"] = digest_of_arrays(self.trainer.mlp.network.host_parameters())
        own["validation"] = self.validation if isinstance(self.validation, float) else None
        if (order := self.trainer.runner.order) is not None:
            first = np.asarray(order(self.trainer.epochs_done, len(self._records()[0])))
            own["order of the records"] = sha256(np.ascontiguousarray(first).tobytes()).hexdigest()
        return own

    def state(self) -> dict[str, Any]:
        """Return by name what the fit leaves, on the host."""
        runner, to_host = self.trainer.runner, self.train.binding.to_numpy
        state = runner.state()
        counts = {"steps": np.array([state.step, runner.epochs_done])}
        slots = {f"slot {k} {n}": to_host(a) for n, each in state.slots.items() for k, a in enumerate(each)}
        kept = {f"{_MEMORY}{name}": a for name, a in state.memory.items()}
        return counts | slots | kept | {f"parameter {name}": to_host(a) for name, a in state.parameters.items()}

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Become what the fit left on another rank."""
        runner, binding = self.trainer.runner, self.train.binding
        runner.follow(binding)
        state = runner.state()

        def placed(name: str) -> Any:
            return binding.place(arrays[name], "parameters")

        state.parameters = {name: placed(f"parameter {name}") for name in state.parameters}
        state.slots = {
            name: tuple(placed(f"slot {k} {name}") for k in range(len(each))) for name, each in state.slots.items()
        }
        state.memory = {name.removeprefix(_MEMORY): a for name, a in arrays.items() if name.startswith(_MEMORY)}
        state.step, runner.epochs_done = (int(n) for n in arrays["steps"])
        runner.restore(state)


@dataclass(frozen=True)
class _MadeFit:
    """A fit that can be run."""

    fit: Fit
    run: Run
    checkpointer: Checkpointer | None
    placed: Placed

    def tell_why(self) -> None:
        """Have the history say what has run: a way that does not do what the definition does has given way."""
        self.run.history.reason = self.placed.binding.why(self.placed.executable)


@dataclass(frozen=True)
class BegunFit:
    """A fit whose epochs are a job that somebody else runs."""

    of: FitJob
    made: _MadeFit
    job: Job


class PlanChoices:
    """The choices of a plan for each place where models compute: one thread each, or a share of a launch.

    Parameters
    ----------
    single
        Whether there is one model: it has all the threads that its own fit would have.
    """

    def __init__(self, *, single: bool) -> None:
        self._single = single
        self._known: dict[int, tuple[Binding, dict[str, Any], ThreadBound | None]] = {}

    def of(self, binding: Binding) -> tuple[dict[str, Any] | None, ThreadBound | None]:
        """Return the choices, None for those of a fit alone, and what bounds the threads."""
        if self._single:
            return None, thread_bound() if binding.on_host else None
        if id(binding) not in self._known:
            counts = binding.backend.threads(binding.device)
            bound = ThreadBound(1, "each model has one") if counts else None
            choices: dict[str, Any] = {"threads": 1} if counts else {}
            choices |= {"many": True} if binding.backend.trains_together else {}
            self._known[id(binding)] = binding, choices, bound
        return self._known[id(binding)][1:]


class Paces:
    """How long a record takes in networks of one structure, so that the next one's epochs are run at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Structure, int], float] = {}

    def of(self, structure: Structure, batch: int) -> float | None:
        """Return the seconds of a record in batches of this size; None for the first network of its structure."""
        return self._known.get((structure, batch))

    def note(self, structure: Structure, batch: int, seconds: float) -> None:
        """Remember what one took."""
        self._known[structure, batch] = seconds


def digest_of(data: Iterable[tuple[Records, Records | None]]) -> str:
    """Return the SHA-256 of all the values of some records, each once."""
    found, once = sha256(), {id(part): part for pair in data for part in pair if part is not None}
    for part in once.values():
        part.add_to(found)
    return found.hexdigest()


@dataclass(frozen=True)
class _Here:
    """The one place of a fit: where it fails, all fits do."""

    now: Placed

    def elsewhere(self, error: BackendError) -> bool:
        return False

    def note(self, history: History) -> None:
        history.plan, history.origin = self.now.executable.plan, self.now.executable.origin

    def tell(self, history: History) -> None:
        pass


@dataclass(frozen=True)
class _Watched:
    """Ends a fit between two epochs if all are to be given up."""

    gives_up: Callable[[], bool]

    def update(self, epoch: Epoch) -> None:
        if self.gives_up():
            raise GivenUpError
