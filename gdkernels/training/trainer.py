"""Trainer: epochs of shuffled batches, validation, early stopping."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cache, partial
from typing import Any, Protocol

from gdkernels.backend import Plan
from gdkernels.data.batches import Batches
from gdkernels.data.stored import Stored
from gdkernels.definition.losses import Loss
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.definition.solvers import Solver
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import InputError, shown
from gdkernels.groups import Group, joined
from gdkernels.groups.launchers import launched
from gdkernels.groups.sharding import checked_shards
from gdkernels.metrics import Metric
from gdkernels.network import BoundNetwork
from gdkernels.system.given import checked_progress
from gdkernels.training.checkpointing import Checkpointer, Keeping, Run
from gdkernels.training.epoch_runner import EpochRunner
from gdkernels.training.epoch_values import Pace
from gdkernels.training.fit import Fit
from gdkernels.training.history import History
from gdkernels.training.looks import Callback, checked_callbacks
from gdkernels.training.placement import FitData, Placement
from gdkernels.training.progress import Progress
from gdkernels.training.runner import Order, Runner
from gdkernels.training.settings import FitSettings, Settings
from gdkernels.training.together import Together

__all__ = ["Trainer"]

_log = logging.getLogger("gdkernels")

_ALONE = joined(None)


class Trainable(Protocol):
    """An object that can be trained: a `gdkernels.MLP`, or anything else that holds a network."""

    @property
    def network(self) -> BoundNetwork: ...


class Trainer:
    """Trains an `MLP` by gradient descent or with a solver, and keeps what either carries from step to step.

    Parameters
    ----------
    mlp
        The network, whose parameters are replaced at the end of each epoch.
    optimizer
        "sgd", "rmsprop", "adam", "adamw", or an `Optimizer`.
    loss
        "sse", "mse", "huber", "poisson", "cross_entropy", "binary_cross_entropy", or a function of two arrays
        [records, outputs] that returns one value per record. A loss that takes logits makes the network's output its
        link: softmax, sigmoid, or exp.
    batch_size
        Records a step; the last batch of an epoch may be smaller.
    schedule
        The factor on the learning rate: a name or a `Schedule`; within a fit it counts the epochs of that fit.
    l2
        λ of a penalty ½λ‖W‖² on the weights, not the biases.
    l2_in_loss
        Whether the penalty is a part of E: then the loss of an epoch contains it, once for each batch, and the gradient
        of E/B contains it divided by B.
    clip_norm
        The largest norm of all the gradients together; longer ones are scaled down to it.
    reduction
        "mean": steps use the gradient of E/B, B the records in the batch; "sum": that of E.
    solver
        "lm", "lbfgs", or a `Solver` such as `LevenbergMarquardt`, in place of an optimizer: each epoch is then one
        iteration over all the records, without batches, learning rates or schedules.
    order
        A function (epochs done, records) that returns the rows of the next epoch, as many as there are records, in the
        order in which they are used; None shuffles them by the network's seed.
    group
        The processes that train together: "mpi" for those that one mpiexec has started, another plug-in's name, or a
        `gdkernels.groups.Group`; None is this process alone. All of them make the same calls with the same arguments.
    shards
        The parts of each batch that are summed in one fixed tree, at least one for each rank. Bits depend on their
        number, and not on the ranks; None is one for each rank, or for each of their threads where that pays.

    Raises
    ------
    InputError
        For unknown names, numbers out of range, or an output that contradicts the loss.
    """

    def __init__(
        self,
        mlp: Trainable,
        *,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "sse",
        batch_size: int = 64,
        schedule: str | ScheduleFunction = "constant",
        l2: float = 0.0,
        l2_in_loss: bool = False,
        clip_norm: float | None = None,
        reduction: str = "mean",
        solver: str | Solver | None = None,
        order: Order | None = None,
        group: str | Group | None = None,
        shards: int | None = None,
    ) -> None:
        if not hasattr(mlp, "network"):
            raise InputError(f"mlp must be a Network or an MLP to train, got {shown(mlp)}")
        if order is not None and not callable(order):
            raise InputError(f"order must be a function of the epoch and the records, or None, got {shown(order)}")
        self.mlp, network = mlp, mlp.network
        self.settings = Settings.checked(
            outputs=network.outputs,
            optimizer=optimizer,
            batch_size=batch_size,
            schedule=schedule,
            loss=loss,
            l2=l2,
            l2_in_loss=l2_in_loss,
            clip_norm=clip_norm,
            reduction=reduction,
            solver=solver,
        )
        if self.settings.solver is not None and order is not None:
            raise InputError("order= is for an optimizer: a solver looks at all the records in each iteration")
        network.train_for(self.settings.objective)
        self.runner: Runner
        if self.settings.solver is None:
            self.runner = EpochRunner(network, self.settings, order)
        else:
            from gdkernels.training.solvers import SolverRunner  # most fits have none, and do without loading it

            self.runner = SolverRunner(network, self.settings)
        self._fit_began = 0
        self.share(group, shards)

    def share(self, group: str | Group | None, shards: int | None = None) -> None:
        """Go on with these ranks and shards; see the arguments `group` and `shards`."""
        self.group = _ALONE if group is None else joined(group)
        self.shards = None if shards is None else checked_shards(shards, self.group)
        if group is None:
            _warn_if_launched()

    @property
    def epochs_done(self) -> int:
        """The number of epochs so far, which determines the shuffle of the next one."""
        return self.runner.epochs_done

    def workload(
        self, records: int, epochs: int = 1, *, gradient_norm: bool = False, weighted: bool = False
    ) -> Workload:
        """Return the workload of training on so many records, by which `gdkernels.dispatch.choosing.decide` chooses."""
        return self.runner.workload(records, epochs, gradient_norm=gradient_norm, weighted=weighted)

    def epoch(self, X: Any, Y: Any = None, *, sample_weight: Any = None) -> float:
        """Do one shuffled pass over the data, and return the sum E of the loss, each batch measured before its step.

        Parameters
        ----------
        X
            [records, inputs]: NumPy, anything with DLPack, or an array on the device; a frame of pandas, polars or
            pyarrow, whose columns the network finds by name from then on, in any order; or a memory map, which is read
            in windows if it is too large, as `gdkernels.Stored` explains. Without Y, pass a `gdkernels.Stored`, or
            batches: an iterable of (X, Y) or (X, Y, sample_weight). Each batch is one step, in the order they come.
        Y
            [records, outputs]; [records] for one output, or as class indices for a cross-entropy.
        sample_weight
            [records]: the weight of each, at least 0. E is then Σ w ℓ, and the reduction "mean" divides it by the sum
            of the batch's weights.

        Raises
        ------
        InputError
            For data that does not fit the network.
        DivergenceError
            If loss or parameters stop being finite; the parameters are then those before this epoch.
        """
        batches = self._batches(X, Y, 1)
        weighted = _weighted(X if batches is None else batches, sample_weight)
        network, given = self.mlp.network, FitData(X, Y, sample_weight, None, batches)

        together = Together(self.group, self.shards)

        def run(_: Binding) -> float:
            with network.naming(*given.first):
                data = self.runner.place(X, Y, sample_weight) if batches is None else batches
            return self.runner.run(data, Pace(self._fit_began)).error

        def job(records: int) -> Workload:
            return self.workload(records, weighted=weighted)

        with together.computing({"call": "epoch", "data": _kind(X, batches)}):
            self.runner.share(together.sharding(lambda: self.workload(self.settings.batch_size), None))
            if batches is not None and batches.once:
                with network.bound(given.first[0], job) as binding:
                    return run(binding)
            return network.computing(given.first[0], run, job)

    def fit(
        self,
        X: Any,
        Y: Any = None,
        *,
        epochs: int,
        sample_weight: Any = None,
        validation: float | tuple[Any, ...] | Stored | None = None,
        patience: int | None = None,
        callbacks: Iterable[Callback] = (),
        metrics: Iterable[str | Metric] = (),
        stop_gradient_norm: float | None = None,
        gradient_norm: bool = False,
        retries: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        every: str = "5min",
        keep: int = 3,
        resume: bool = False,
        progress: bool | None = None,
    ) -> History:
        """Train for up to `epochs` passes. A second call continues where the first ended.

        Parameters
        ----------
        X, Y, sample_weight
            As for `epoch`; batches come from a list or a loader, or from a function that returns an iterator for each
            epoch.
        epochs
            The largest number of passes.
        validation
            The share of the records, drawn by the network's seed, that is held out of training and only measured, with
            its weights; or (X, Y), (X, Y, sample_weight) or another `gdkernels.Stored`.
        patience
            Stop when the validation loss, or the training loss if there is none, has not fallen for this many epochs,
            and keep the parameters of the best epoch.
        callbacks
            Functions that get the `Epoch` just done; one that returns True ends training. Epochs run one at a time
            unless each has a method `next_look`, which returns after how many further epochs it may end training, or
            read or change anything.
        metrics
            Names ("r2", "rmse", "mae", "accuracy", "log_loss") or functions (target, prediction) of NumPy arrays. If
            the measured records have weights, a function gets (target, prediction, sample_weight).
        stop_gradient_norm
            Stop at a critical point: when the mean norm of the gradient over an epoch is at most this.
        gradient_norm
            Whether the history records that norm.
        retries
            How often training may go back when it diverges and continue at half the learning rate: to the end of the
            last epoch, or to the beginning if it has been there already.
        checkpoint
            A folder for checkpoints. On SIGINT, SIGTERM or SIGHUP, the fit then finishes the step, writes a checkpoint,
            and raises `Interrupted`. With checkpoints, E is summed in parts, so losses may differ by rounding.
        every, keep
            How often to write a checkpoint ("30s", "5min", "2h", "10 epochs", "1000 steps"), and how many to keep.
        resume
            Continue from the newest intact checkpoint in the folder, or start if there is none. Network, settings and
            data must be those that the fit began with, and callbacks see only the coming epochs. On the same plan, you
            get the bits of a fit without a break.
        progress
            Whether to show a bar; None means on a terminal, when it takes longer than a second.

        Returns
        -------
        History
            A record for each epoch, and what ran where. Where loss or parameters stopped being finite, it says so in
            `diverged` and `stopped`, and the parameters are the last finite ones.

        Raises
        ------
        InputError
            For data that does not fit the network, and numbers out of range.
        FileError
            If the checkpoints cannot be kept or resumed from; the message says why.
        Interrupted
            After a signal, where there are checkpoints.
        """
        asked = FitSettings.checked(
            epochs=epochs,
            patience=patience,
            metrics=metrics,
            stop_gradient_norm=stop_gradient_norm,
            gradient_norm=gradient_norm,
            retries=retries,
        )
        keeping = Keeping.checked(checkpoint, every, keep, resume)
        callbacks, progress = checked_callbacks(callbacks), checked_progress(progress)
        batches = self._batches(X, Y, asked.epochs)
        if keeping is not None and batches is not None:
            raise InputError("checkpoints need records that can be told apart: give X and Y, not batches")
        weighted = _weighted(X if batches is None else batches, sample_weight)

        def workload(records: int) -> Workload:
            return self.workload(records, asked.epochs, gradient_norm=asked.with_norm, weighted=weighted)

        runner, together = self.runner, Together(self.group, self.shards)
        call: dict[str, Any] = {"call": "fit", "data": _kind(X, batches), "validation": _kind(validation)}
        if keeping is not None:
            cadence = keeping.cadence
            call |= {"checkpoint": True, "every": f"{cadence.amount:g} {cadence.unit}", "resume": keeping.resume}
        with ExitStack() as stack:
            stack.enter_context(together.computing(call))
            checkpointer: Checkpointer | None = None
            if keeping is not None:
                checkpointer = stack.enter_context(Checkpointer(keeping, group=self.group))
            planned = None if checkpointer is None else checkpointer.plan
            runner.share(together.sharding(lambda: workload(self.settings.batch_size), planned))
            given = FitData(X, Y, sample_weight, validation, batches)
            place = partial(Placement, runner, given, asked.metrics, workload)
            placement = self._placed_by_rank_0(place, planned, stack)
            now = placement.now
            history = History(now.executable.plan, now.executable.origin, "")  # told next
            placement.tell(history)
            run = Run(history, began=runner.epochs_done, start=runner.state() if asked.retries else None)
            run.order_stream = runner.order_stream
            fit = Fit(runner, placement, asked, run, checkpointer, together)
            fit.agree()
            expected = together.expected(runner, now)
            if checkpointer is not None:
                fit.resume()
            self._fit_began = run.began
            fit.until_stopped(
                callbacks, stack.enter_context(Progress(asked.epochs, progress if not self.group.rank else False))
            )
            history.ranks = together.told(runner.executable, expected)
            history.reason = together.reason_of_rank_0(history.reason)
            _log.info("trained %d epochs on %s (%s)", len(history.epochs), placement.now.binding, history.origin)
            return history

    def _placed_by_rank_0(
        self, place: Callable[[Plan | None, ExitStack], Placement], planned: Plan | None, stack: ExitStack
    ) -> Placement:
        """Return the placement of the data; rank 0 chooses where, and how."""
        together = Together(self.group, self.shards)
        if together.alone:
            return place(planned, stack)
        if self.group.rank:
            return place(together.plan_of_rank_0(None), stack)
        made: list[Placement] = []

        def plan() -> Plan:
            made.append(place(planned, stack))
            return made[0].now.executable.plan

        together.plan_of_rank_0(plan)
        return made[0]

    def _batches(self, X: Any, Y: Any, epochs: int) -> Batches | None:
        """Return the batches where X is a source of them."""
        if self.settings.solver is not None and Y is None and not isinstance(X, Stored):
            raise InputError("a solver looks at all records in each iteration: give X and Y, or Stored, not batches")
        return None if Y is not None or isinstance(X, Stored) else Batches(X, epochs)


@cache
def _warn_if_launched() -> None:
    started = launched()
    if started is not None and not started.rank:
        warnings.warn(  # a record of a log is seen by those alone who have asked for it
            f"{started.variable}={started.size} says that {started.size} processes were started, and each trains a "
            "network of its own: group='mpi' has them train one, and group='none' says that this is meant",
            stacklevel=4,
        )


def _kind(data: Any, batches: Batches | None = None) -> str | None:
    """Return in a word what data are, which ranks have to have alike."""
    if batches is not None or data is None:
        return None if batches is None else "batches"
    return "files" if isinstance(data, Stored) else "a share" if isinstance(data, float) else "records"


def _weighted(data: Any, sample_weight: Any) -> bool:
    if isinstance(data, Batches):
        return data.weighted
    return sample_weight is not None or (isinstance(data, Stored) and data.weights is not None)
