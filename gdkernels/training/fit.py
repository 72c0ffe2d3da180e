"""One fit: epoch after epoch until there is a reason to stop, with retries after divergence, and checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from gdkernels.backend import Job
from gdkernels.data.batches import Batches
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.definition.loss_sequence import Losses
from gdkernels.errors import BackendError, DivergenceError, GdkernelsError
from gdkernels.groups import SerialGroup
from gdkernels.randomness import KEYED_ABOVE
from gdkernels.system.profiling import phase
from gdkernels.training.checkpointing import Checkpointer, Middle, Run
from gdkernels.training.epoch_records import record_of, records_of_unseen
from gdkernels.training.epoch_runner import EpochRunner
from gdkernels.training.epoch_values import EpochTotals, Pace, Segments
from gdkernels.training.failover import Failover
from gdkernels.training.fit_identity import identity, told_to_ranks, values_digest
from gdkernels.training.history import Epoch, Stop, StopReason
from gdkernels.training.looks import Callback, Looks
from gdkernels.training.own_functions import agree_on_functions
from gdkernels.training.placement import Placed, Where
from gdkernels.training.runner import Runner
from gdkernels.training.settings import FitSettings
from gdkernels.training.together import Together

__all__ = ["Fit"]

_log = logging.getLogger("gdkernels")

_ALONE = Together(SerialGroup(), None)


class Watcher(Protocol):
    """What sees the epochs of a fit as they end, such as its progress bar."""

    def update(self, epoch: Epoch) -> None:
        """See an epoch that is done."""


class Fit:
    """A fit between placing the data and returning the history.

    Parameters
    ----------
    runner
        The object that runs an epoch.
    placement
        The records to train on, and what measures the network after an epoch.
    asked
        The settings of this fit.
    run
        The state of the fit; its history grows.
    checkpointer
        The writer of checkpoints; None if the user asked for none.
    together
        The ranks that train together.
    unseen
        Whether nobody else reads or keeps the network's parameters meanwhile: then epochs that are looked at in between
        change one copy of them.
    """

    def __init__(
        self,
        runner: Runner,
        placement: Where,
        asked: FitSettings,
        run: Run,
        checkpointer: Checkpointer | None,
        together: Together | None = None,
        *,
        unseen: bool = False,
    ) -> None:
        self._together = _ALONE if together is None else together
        self._unseen = unseen and checkpointer is None and self._together.alone
        self._runner, self._placement, self._asked = runner, placement, asked
        self._run, self._checkpointer = run, checkpointer
        self._looks = Looks(runner, placement, asked, checkpointer, self._together)
        self._failover = Failover(runner, placement, run, checkpointer)
        self._losses = Losses.of()  # those that the epochs of the history are compared by
        self._solved: Stop | None = None  # why a solver ends training
        self._segments: Segments | None = None
        if checkpointer is not None:
            multiply_adds = runner.network.structure.multiply_adds
            self._segments = Segments(lambda batch: checkpointer.segment(multiply_adds, batch), self._between_steps)

    def resume(self) -> None:
        """Restore everything from the checkpoint, if there is one to resume from."""
        now, network, runner = self._placement.now, self._runner.network, self._runner
        train = now.train
        assert self._checkpointer is not None
        assert not isinstance(train, Batches)
        assert network.binding is not None
        window = {"records at a time": train.window} if isinstance(train, Windows) else {}
        # Others than rank 0 take its word for the data, which may be in files that they read a part of.
        data = {"data": values_digest(train, now.evaluator.held_out) if not self._together.group.rank else ""}
        shared = identity(runner, self._asked) | window | data
        trained, slots = network.structure.trained, runner.slots
        found = self._checkpointer.begin(shared, network.binding, self._run, network.host_parameters(), trained, slots)
        if found is not None:
            state, runner.epochs_done = found
            runner.order_stream = self._run.order_stream
            runner.restore(state)

    def agree(self) -> None:
        """Compare network, settings and data of all ranks.

        Raises
        ------
        InputError
            If they differ.
        """
        if not self._together.alone:
            runner = self._runner
            self._together.agree(told_to_ranks(runner, self._asked, self._placement.now))
            agree_on_functions(self._together.group, [(runner.network.structure, runner.settings)])

    def job(self) -> Job | None:
        """Return all the epochs as a job, for somebody who runs it and then calls `follow_job`.

        None means that something looks at the network or the losses in between, or that it would take too long.
        """
        train, runner, asked = self._placement.now.train, self._runner, self._asked
        if not isinstance(train, Records) or train.sparse or not isinstance(runner, EpochRunner):
            return None
        if not self._looks.fit_is_one_job():
            return None
        return runner.job(train, self._pace(), asked.epochs, gradient_norm=asked.with_norm)

    def follow_job(self, job: Job, found: list[tuple[float, float | None]]) -> bool:
        """Take over what a job has done, and return whether it has not diverged; if it has, nothing changes."""
        train, runner, run, done = self._placement.now.train, self._runner, self._run, self._runner.epochs_done
        assert isinstance(train, Records)
        assert isinstance(runner, EpochRunner)
        totals = runner.follow_job(job, found, train, gradient_norm=self._asked.with_norm)
        if totals is None:
            return False
        run.history.plan, run.history.origin = job.executable.plan, job.executable.origin
        self._note_unseen(records_of_unseen(train, totals, done, job.seconds / len(totals)))
        run.history.stop = self._asked.ending(run.history)
        self._end()
        return True

    def until_stopped(self, callbacks: Iterable[Callback], bar: Watcher) -> None:
        """Train, and leave the network with the final parameters of the fit."""
        run, history = self._run, self._run.history
        self._losses = Losses.of([record.watched for record in history.epochs])
        for record in history.epochs:
            bar.update(record)
        callbacks = tuple(callbacks)
        watched = self._together.any(bool(callbacks))  # on any rank: one may have more than the others
        while history.stop is None:
            try:
                count = self._looks.epochs_at_once(history, callbacks, watched=watched)
                if count == 1 and self._changes_one_copy(callbacks):
                    self._look_at_epochs(bar)
                    continue
                *before, record = self._together.compared(self._epochs(count), self._host_parameters())
            except DivergenceError as error:
                run.middle = None
                if run.retries < self._asked.retries:
                    self._retry(error)
                    continue
                history.stop = Stop(StopReason.DIVERGED, str(error))
                _log.warning("training stopped: %s", error)
                break
            except GdkernelsError:
                if self._checkpointer is not None:
                    self._checkpointer.rescue(self._runner.state(), run, self._runner.epochs_done)
                raise
            for one in before:  # which end nothing
                self._note(one)
                bar.update(one)
                for callback in callbacks:
                    callback(one)
            if before:
                self._losses = self._losses.then(*[one.watched for one in before])
            self._note(record)
            bar.update(record)
            ended = [callback(record) is True for callback in callbacks]
            asked = watched and self._together.any(any(ended))
            by_callback = Stop(StopReason.CALLBACK, "a callback asked for it") if asked else None
            history.stop = by_callback or self._solved or self._asked.ending(history)
            if history.stop is not None:
                break
            self._losses = self._losses.then(record.watched)
            if self._checkpointer is not None:
                self._checkpointer.between_steps(self._runner.state(), run, self._runner.epochs_done)
        if self._checkpointer is not None:
            self._checkpointer.write(self._runner.state(), run, self._runner.epochs_done)
        self._end()

    def _end(self) -> None:
        """Leave the network with the parameters that the fit ends with."""
        self._runner.rest()
        run, history, network = self._run, self._run.history, self._runner.network
        if self._asked.patience is not None and run.best is not None:
            network.set_parameters(run.best)
        elif history.epochs:
            history.best_epoch = history.epochs[-1].number

    def _host_parameters(self) -> dict[str, Any]:
        """Return the parameters on the host, which only ranks compare."""
        return {} if self._together.alone else self._runner.network.host_parameters()

    def _note_unseen(self, records: list[Epoch]) -> None:
        """Add epochs to the history after which nobody has looked at the network; many small models have many."""
        if _log.isEnabledFor(logging.DEBUG):
            for record in records:
                _tell(record)
        run = self._run
        run.history.epochs += records
        losses = [record.loss for record in records]
        if (lowest := min(losses)) < run.best_loss:
            run.history.best_epoch, run.best_loss = records[losses.index(lowest)].number, lowest

    def _note(self, record: Epoch) -> None:
        """Add an epoch to the history, and remember it if it is the best so far."""
        self._run.history.epochs.append(record)
        if _log.isEnabledFor(logging.DEBUG):
            _tell(record)
        run, history = self._run, self._run.history
        if record.watched < run.best_loss:
            history.best_epoch, run.best_loss = record.number, record.watched
            keeps = self._asked.patience is not None
            run.best = self._runner.network.copied_parameters() if keeps else None

    def _changes_one_copy(self, callbacks: Sequence[Callback]) -> bool:
        """Return whether `_look_at_epochs` does the rest of the fit."""
        train = self._placement.now.train
        whole = isinstance(train, Records) and not train.sparse and isinstance(self._runner, EpochRunner)
        stepwise = self._runner.each_step is not None
        return self._unseen and whole and not stepwise and not callbacks and self._looks.of_the_fit

    def _look_at_epochs(self, bar: Watcher) -> None:
        """Run the rest of the epochs, each measured before the next."""
        runner, asked, history = self._runner, self._asked, self._run.history

        def look(totals: EpochTotals, seconds: float) -> bool:
            record = self._measured(totals, seconds)
            self._note(record)
            bar.update(record)
            history.stop = asked.ending(history)
            if history.stop is None:
                self._losses = self._losses.then(record.watched)
            return history.stop is None

        def go_on(now: Placed) -> None:
            assert isinstance(now.train, Records)
            assert isinstance(runner, EpochRunner)
            left = asked.epochs - len(history.epochs)
            try:
                runner.run_and_look(now.train, self._pace, left, look, gradient_norm=asked.with_norm)
            finally:
                self._placement.note(history)

        with phase("training"):
            self._failover.do(go_on)

    def _epochs(self, count: int) -> list[Epoch]:
        """Run some epochs; after a single one, measure the network."""
        train = self._placement.now.train
        if count == 1 or not isinstance(train, Records):
            return [self._epoch()]
        runner, began, done = self._runner, time.perf_counter(), self._runner.epochs_done
        with phase("training"):
            found = self._failover.do(lambda now: self._steps(now, count))
        seconds = (time.perf_counter() - began) / len(found)
        assert len(found) == runner.epochs_done - done
        self._solved = found[-1].stop
        return records_of_unseen(train, found, done, seconds)

    def _epoch(self) -> Epoch:
        """Run an epoch, and measure the network after it."""
        run = self._run
        began = time.perf_counter() - (run.middle.seconds if run.middle else 0.0)
        with phase("training"):
            (totals,) = self._failover.do(self._steps)
            run.middle, self._solved = None, totals.stop
        return self._measured(totals, time.perf_counter() - began)

    def _measured(self, totals: EpochTotals, seconds: float) -> Epoch:
        """Return the record of the epoch just done, with what the network does on the records held out."""
        done = self._runner.epochs_done
        with phase("validating"):
            validation_loss, metrics = self._failover.do(
                lambda now: (now.evaluator.validation_loss(done), now.evaluator.metrics())
            )
        weight = self._placement.now.train.total_weight
        return record_of(totals, done, seconds, weight, validation_loss, metrics)

    def _is_whole(self, now: Placed) -> bool:
        """Return whether nothing happens within an epoch of few records, whose order is there at once."""
        runner = self._runner
        if not isinstance(runner, EpochRunner) or now.job.records > KEYED_ABOVE or now.sparse:
            return False
        return runner.each_step is None and self._segments is None and self._run.middle is None

    def _steps(self, now: Placed, count: int = 1) -> list[EpochTotals]:
        """Run the steps of some epochs."""
        run, runner, asked = self._run, self._runner, self._asked
        pace = self._pace()
        before, done = runner.state(), runner.epochs_done
        try:
            if isinstance(now.train, Records) and (count > 1 or self._is_whole(now)):
                totals = runner.run_epochs(now.train, pace, count, gradient_norm=asked.with_norm)
            else:
                one = runner.run(
                    now.train, pace, gradient_norm=asked.with_norm, middle=run.middle, segments=self._segments
                )
                totals = [one]
            now.binding.backend.synchronize(now.binding.device)
        except BackendError:  # an epoch that nobody has seen the end of is none
            runner.epochs_done = done
            if runner.network.binding is now.binding:
                runner.restore(before)
            raise
        finally:
            # Some choices are made when sizes are known, and what is compiled may turn out wrong.
            self._placement.note(run.history)
        return totals

    def _pace(self) -> Pace:
        return Pace(self._run.began, self._asked.epochs, self._losses, self._run.retries)

    def _between_steps(self, middle: Middle) -> None:
        run, runner = self._run, self._runner
        assert self._checkpointer is not None
        run.middle, run.history.plan = middle, runner.executable.plan
        self._checkpointer.between_steps(runner.state(), run, runner.epochs_done)

    def _retry(self, error: DivergenceError) -> None:
        """Go back, and halve the learning rate."""
        run, runner, where = self._run, self._runner, "the last epoch's end"
        if run.failed == runner.epochs_done and run.start is not None:  # finite, but beyond saving
            runner.restore(run.start)
            where = "the start"
        run.retries, run.failed = run.retries + 1, runner.epochs_done
        _log.warning("%s. Going on from %s at half the rate", str(error), where)


def _tell(record: Epoch) -> None:
    told = {"event": "epoch", **vars(record)}
    _log.debug("epoch %d: loss %.4g", record.number, record.loss, extra={"told": told})
