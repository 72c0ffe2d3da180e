"""`fit_many`: the fits of many models, several at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.records import Records, place_records
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.shared_executables import Executables
from gdkernels.errors import BackendError, InputError
from gdkernels.groups import Group, joined
from gdkernels.groups.agreement import guarded
from gdkernels.groups.sharding import threads_of_ranks
from gdkernels.many.dealing import dealt
from gdkernels.many.workers import GivenUpError, run_jobs
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork
from gdkernels.system.machine import cores
from gdkernels.system.progress import progress_bar
from gdkernels.system.threads import ThreadBound, asked_bound, at_most
from gdkernels.training.checkpointing import Run
from gdkernels.training.evaluator import Evaluator
from gdkernels.training.fit import Fit
from gdkernels.training.history import Epoch, History
from gdkernels.training.placement import Placed
from gdkernels.training.settings import FitSettings
from gdkernels.training.trainer import Trainer

__all__ = ["TRAINER_SETTINGS", "fit_many"]

Rows = npt.NDArray[np.int64]

TRAINER_SETTINGS = ("optimizer", "loss", "batch_size", "schedule", "l2", "l2_in_loss", "clip_norm", "reduction")


def fit_many(
    models: Sequence[Network],
    X: Any,
    Y: Any,
    *,
    epochs: int,
    settings: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    rows: Sequence[Any] | None = None,
    sample_weight: Any = None,
    validation: float | tuple[Any, ...] | None = None,
    patience: int | None = None,
    threads: int | None = None,
    group: str | Group | None = None,
    progress: bool | None = None,
) -> list[History]:
    """Train many models on the same data, several at the same time, and return their histories.

    Each model comes out as `Network.fit` with a single thread would leave it, to the bit. Data are placed once, code is
    compiled once for models that differ only in numbers, and each thread takes the next model. A second call with the
    same settings goes on where the first ended.

    Parameters
    ----------
    models
        Networks of any shapes, activations and blocks; each has its own initial weights and seed.
    X, Y, sample_weight
        As for `Network.fit`; arrays in memory.
    epochs
        The largest number of passes.
    settings
        The settings of training, as keywords of `Trainer`: one dictionary for all models, or one for each.
    rows
        For each model the rows of the data that it is trained on, such as those of a fold or a bootstrap sample, which
        may come more than once; None for a model, or for all, is all rows.
    validation, patience
        As for `Network.fit`; a share is taken of each model's rows.
    threads
        The number of models that are trained at the same time. None is the smallest number of threads that a model and
        this process may have, as `Network` explains, and one where models would wait for each other.
    group
        The processes that the models are dealt to, as for `Trainer`; all of them have all models in the end.
    progress
        Whether to show a bar; None means on a terminal, when it takes longer than a second.

    Returns
    -------
    list
        The history of each model. One that diverged says so, and does not disturb the others.

    Raises
    ------
    InputError
        For data that does not fit a network, and for settings that are not possible; before any training.
    BackendError
        If the place where the models compute fails. Those that were done have their parameters.
    """
    models = _checked_models(models)
    trainers = [model.trainer(**given) for model, given in zip(models, _settings(settings, len(models)), strict=True)]
    asked = FitSettings.checked(
        epochs=epochs, patience=patience, metrics=(), stop_gradient_norm=None, gradient_norm=False, retries=0
    )
    chosen = _rows(rows, len(models))
    data = _SharedData(X, Y, sample_weight, validation)
    work = [data.of(trainer, asked, len(models)) for trainer in trainers]
    for k, (at, (train, _)) in enumerate(zip(chosen, work, strict=True)):
        if at is not None and (at.min() < 0 or at.max() >= len(train)):
            wrong = at.min() if at.min() < 0 else at.max()
            raise InputError(f"rows[{k}] names row {wrong} of {len(train)}")
    jobs = [
        _Job(trainer, *given, at, validation, asked) for trainer, given, at in zip(trainers, work, chosen, strict=True)
    ]
    at_once = _threads(threads, [model.network for model in models], [job.train.binding for job in jobs])
    ranks = joined(group)
    mine = range(ranks.rank, len(jobs), ranks.size)
    bar = progress_bar(False if ranks.rank else progress, total=len(mine), unit="model")

    def done() -> None:
        if bar is not None:
            with suppress(OSError):  # the terminal has gone: the work goes on
                bar.update()

    try:
        if ranks.size == 1:
            return run_jobs([job.run for job in jobs], at_once, done)
        with guarded(ranks), at_most(threads_of_ranks(ranks)[ranks.rank]):
            own = run_jobs([jobs[k].run for k in mine], min(at_once, len(mine) or 1), done)
            found = dealt(ranks, len(jobs), lambda k: (jobs[k].state(), own[mine.index(k)]))
            for k, (arrays, _) in enumerate(found):
                if k not in mine:
                    jobs[k].restore(arrays)
            return [history for _, history in found]
    finally:
        if bar is not None:
            bar.close()


@dataclass(frozen=True)
class _Job:
    """The fit of one model.

    Attributes
    ----------
    train, held_out
        The records of all models, and those to validate on if the user gave some.
    rows
        Those of the model; None is all.
    """

    trainer: Trainer
    train: Records
    held_out: Records | None
    rows: Rows | None
    validation: float | tuple[Any, ...] | None
    asked: FitSettings

    def run(self, executables: Executables, gives_up: Callable[[], bool]) -> History:
        """Return the history of the fit."""
        runner, network = self.trainer.runner, self.trainer.mlp.network
        train, held_out = self.train if self.rows is None else self.train.take(self.rows), self.held_out
        if isinstance(self.validation, (int, float)):
            train, held_out = train.split(self.validation, network.seed)
        binding = train.binding
        work = runner.workload(len(train), self.asked.epochs, weighted=train.weighted)
        choices = {"threads": 1} if binding.backend.threads(binding.device) else {}
        executable = executables.of(
            binding, work.program, choices, lambda: binding.executable(work.program, choices=choices)
        )
        runner.take(executable, work)
        try:
            bound = ThreadBound(1, "each model has one") if choices else None
            history = History(executable.plan, executable.origin, binding.reason, thread_bound=bound)
            placed = Placed(binding, work, train, False, Evaluator(network, train, held_out, {}), executable)
            run = Run(history, began=runner.epochs_done)
            with at_most(network.threads), binding.backend.on_device(binding.device):
                Fit(runner, _Here(placed), self.asked, run, None).until_stopped((), _Watched(gives_up))
            return history
        finally:
            runner.give_back()

    def state(self) -> dict[str, Any]:
        """Return by name what the fit leaves, on the host."""
        runner, to_host = self.trainer.runner, self.train.binding.to_numpy
        state = runner.state()
        counts = {"steps": np.array([state.step, runner.epochs_done])}
        slots = {f"slot {k} {n}": to_host(a) for n, each in state.slots.items() for k, a in enumerate(each)}
        return counts | slots | {f"parameter {name}": to_host(a) for name, a in state.parameters.items()}

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Become what the fit left on another rank."""
        runner, binding = self.trainer.runner, self.train.binding
        runner.optimizer_state.follow(binding)
        state = runner.state()

        def placed(name: str) -> Any:
            return binding.place(arrays[name], "parameters")

        state.parameters = {name: placed(f"parameter {name}") for name in state.parameters}
        state.slots = {
            name: tuple(placed(f"slot {k} {name}") for k in range(len(each))) for name, each in state.slots.items()
        }
        state.step, runner.epochs_done = (int(n) for n in arrays["steps"])
        runner.restore(state)


@dataclass(frozen=True)
class _Here:
    """The one place of a fit: where it fails, all fits do."""

    now: Placed

    def elsewhere(self, error: BackendError) -> bool:
        return False

    def tell(self, history: History) -> None:
        pass


@dataclass(frozen=True)
class _Watched:
    """Ends a fit between two epochs if all are to be given up."""

    gives_up: Callable[[], bool]

    def update(self, epoch: Epoch) -> None:
        if self.gives_up():
            raise GivenUpError


class _SharedData:
    """Data on the devices of models: placed once for those that expect the same."""

    def __init__(self, X: Any, Y: Any, sample_weight: Any, validation: Any) -> None:
        self._given = X, Y, sample_weight
        if isinstance(validation, tuple) and len(validation) not in (2, 3):
            raise InputError(
                f"validation must be a share, (X, Y) or (X, Y, sample_weight), got {len(validation)} things"
            )
        share = isinstance(validation, (int, float)) and 0 < validation < 1
        if not (share or validation is None or isinstance(validation, tuple)):
            raise InputError(f"validation must be a share between 0 and 1, (X, Y) or None, got {validation!r}")
        self._validation = validation if isinstance(validation, tuple) else None
        self._bindings: list[Binding] = []
        self._placed: list[tuple[Binding, Any, tuple[Records, Records | None]]] = []

    def of(self, trainer: Trainer, asked: FitSettings, models: int) -> tuple[Records, Records | None]:
        """Return the records for a model, and those to validate it on if the user gave some."""
        network = trainer.mlp.network
        X, Y, weights = self._given
        binding = self._bound(network, trainer, asked, models)
        with network.naming(X, Y):
            spec = network.expects(trainer.settings.objective)
        key = spec.inputs, spec.outputs, spec.loss, spec.names
        for where, what, records in self._placed:
            if where is binding and what == key:
                return records
        train = place_records(binding, X, Y, weights, spec=spec)
        if train.sparse:
            raise InputError("fit_many takes dense X; fit models on sparse rows one by one")
        held_out = None
        if self._validation is not None:
            one, other, *more = self._validation
            held_out = place_records(binding, one, other, *(more or [None]), spec=spec, of="the validation ")
        self._placed.append((binding, key, (train, held_out)))
        return train, held_out

    def _bound(self, network: BoundNetwork, trainer: Trainer, asked: FitSettings, models: int) -> Binding:
        """Return where a network computes: where one before it does, unless it has its own place."""
        X, _, weights = self._given
        for binding in self._bindings:
            if network.join(binding, X):
                return binding

        def work(records: int) -> Any:
            return trainer.workload(records, asked.epochs * models, weighted=weights is not None)

        binding = network.bind(X, work)
        self._bindings.append(binding)
        return binding


def _checked_models(models: Any) -> list[Network]:
    found = list(models)
    if not found:
        raise InputError("fit_many takes at least one model")
    for k, model in enumerate(found):
        if not isinstance(model, Network):
            raise InputError(f"models[{k}] must be a Network or an MLP, got {type(model).__name__}")
    if len({id(model) for model in found}) < len(found):
        raise InputError("a model is among the models twice; make another one, such as MLP(…) with another seed")
    return found


def _settings(given: Any, count: int) -> list[dict[str, Any]]:
    each = [given] * count if isinstance(given, Mapping) or not given else list(given)
    if len(each) != count:
        raise InputError(f"settings must be a dictionary, or one for each of the {count} models, got {len(each)}")
    found = [dict(one) for one in each]
    for k, one in enumerate(found):
        if unknown := sorted(one.keys() - {*TRAINER_SETTINGS, "order"}):
            raise InputError(
                f"settings[{k}] has {', '.join(map(repr, unknown))}; known are {', '.join(TRAINER_SETTINGS)}"
            )
    return found


def _rows(given: Any, count: int) -> list[Rows | None]:
    if given is None:
        return [None] * count
    if len(given) != count:
        raise InputError(f"rows must have an entry for each of the {count} models, got {len(given)}")
    found: list[Rows | None] = []
    for k, one in enumerate(given):
        array = None if one is None else np.asarray(one)
        if array is not None and array.dtype == bool and array.ndim == 1:
            array = np.flatnonzero(array)
        if array is not None and (array.ndim != 1 or not array.size or array.dtype.kind not in "iu"):
            raise InputError(f"rows[{k}] must be a list of numbers of rows, or True and False for each row")
        found.append(None if array is None else array.astype(np.int64))
    return found


def _threads(wanted: int | None, networks: Sequence[BoundNetwork], bindings: Sequence[Binding]) -> int:
    """Return how many models are trained at the same time."""
    if wanted is not None and (isinstance(wanted, bool) or not isinstance(wanted, (int, np.integer)) or wanted < 1):
        raise InputError(f"threads must be a whole number of at least 1 or None, got {wanted!r}")
    if wanted is None:
        most = min(max(b.backend.threads(b.device), default=1) for b in bindings)
        most = min([most, *(n.threads for n in networks if n.threads is not None)])
    else:  # variables such as OMP_NUM_THREADS=1 often mean that somebody else starts the threads, as here
        bound = asked_bound()
        most = min(wanted, cores() if bound is None else min(cores(), bound.threads))
    return int(min(most, len(bindings)))
