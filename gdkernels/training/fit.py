"""One fit: epoch after epoch until there is a reason to stop, with retries after divergence, and checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from gdkernels.data.batches import Batches
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.definition.loss_sequence import Losses
from gdkernels.errors import DivergenceError, GdkernelsError
from gdkernels.system.hashing import sha256
from gdkernels.system.profiling import phase
from gdkernels.training.checkpointing import Checkpointer, Middle, Run
from gdkernels.training.epoch_runner import EpochRunner, Pace, Segments
from gdkernels.training.evaluator import Evaluator
from gdkernels.training.history import Epoch, Stop, StopReason
from gdkernels.training.progress import Progress
from gdkernels.training.settings import FitSettings

__all__ = ["Callback", "Fit"]

_log = logging.getLogger("gdkernels")

Callback = Callable[[Epoch], Any]


class Fit:
    """A fit between placing the data and returning the history.

    Parameters
    ----------
    runner, evaluator
        The objects that run an epoch, and measure the network after it.
    asked
        The settings of this fit.
    train
        The records to train on.
    run
        The state of the fit; its history grows.
    checkpointer
        The writer of checkpoints; None if the user asked for none.
    """

    def __init__(
        self,
        runner: EpochRunner,
        evaluator: Evaluator,
        asked: FitSettings,
        train: Records | Windows | Batches,
        run: Run,
        checkpointer: Checkpointer | None,
    ) -> None:
        self._runner, self._evaluator, self._asked = runner, evaluator, asked
        self._train, self._run, self._checkpointer = train, run, checkpointer
        self._losses = Losses.of()  # those by which the epochs of the history are judged
        self._segments: Segments | None = None
        if checkpointer is not None:
            multiply_adds = runner.network.structure.multiply_adds
            self._segments = Segments(lambda batch: checkpointer.segment(multiply_adds, batch), self._between_steps)

    def resume(self) -> None:
        """Restore everything from the checkpoint, if there is one to resume from."""
        train, network, runner = self._train, self._runner.network, self._runner
        assert self._checkpointer is not None
        assert not isinstance(train, Batches)
        assert network.binding is not None
        window = {"records at a time": train.window} if isinstance(train, Windows) else {}
        data = {"data": _digest(train, self._evaluator.held_out)}
        identity = self._identity() | self._asked.identity() | window | data
        slots = runner.settings.optimizer.slots
        found = self._checkpointer.begin(
            identity, network.binding, self._run, network.host_parameters(), network.structure.trained, slots
        )
        if found is not None:
            state, runner.epochs_done = found
            runner.restore(state)

    def until_stopped(self, callbacks: Iterable[Callback], bar: Progress) -> None:
        """Train, and leave the network with the final parameters of the fit."""
        run, history, network = self._run, self._run.history, self._runner.network
        self._losses = Losses.of(record.watched for record in history.epochs)
        for record in history.epochs:
            bar.update(record)
        while history.stop is None:
            try:
                record = self._epoch()
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
            history.epochs.append(record)
            self._losses = self._losses.then(record.watched)
            told = {"event": "epoch", **vars(record)}
            _log.debug("epoch %d: loss %.4g", record.number, record.loss, extra={"told": told})
            bar.update(record)
            if record.watched < run.best_loss:
                history.best_epoch, run.best_loss = record.number, record.watched
                run.best = network.copied_parameters() if self._asked.patience is not None else None
            ended = [callback(record) is True for callback in callbacks]
            by_callback = Stop(StopReason.CALLBACK, "a callback asked for it") if any(ended) else None
            history.stop = by_callback or self._asked.ending(history)
            if self._checkpointer is not None and history.stop is None:
                self._checkpointer.between_steps(self._runner.state(), run, self._runner.epochs_done)
        if self._checkpointer is not None:
            self._checkpointer.write(self._runner.state(), run, self._runner.epochs_done)
        if self._asked.patience is not None and run.best is not None:
            network.set_parameters(run.best)
        elif history.epochs:
            history.best_epoch = history.epochs[-1].number

    def _epoch(self) -> Epoch:
        """Run an epoch, and measure the network after it."""
        run, runner, asked, train = self._run, self._runner, self._asked, self._train
        binding = runner.network.binding
        assert binding is not None
        began = time.perf_counter() - (run.middle.seconds if run.middle else 0.0)
        pace = Pace(run.began, asked.epochs, self._losses, run.retries)
        with phase("training"):
            try:
                totals = runner.run(
                    train, pace, gradient_norm=asked.with_norm, middle=run.middle, segments=self._segments
                )
            finally:
                run.history.plan = runner.executable.plan  # some choices are made when sizes are known
            run.middle = None
            binding.backend.synchronize(binding.device)
        seconds = time.perf_counter() - began
        with phase("validating"):
            validation_loss, metrics = self._evaluator.validation_loss(runner.epochs_done), self._evaluator.metrics()
        return Epoch(
            number=runner.epochs_done,
            loss=totals.error / train.total_weight,
            validation_loss=validation_loss,
            learning_rate=totals.rate,
            seconds=seconds,
            samples_per_second=len(train) / seconds,
            gradient_norm=totals.norm,
            metrics=metrics,
        )

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

    def _identity(self) -> dict[str, Any]:
        """Return the description of network and settings that a checkpoint and a fit that resumes must share."""
        network = self._runner.network
        structure = network.structure.as_dict()
        output = structure.pop("output")
        return {
            **structure,
            "activations": [*structure["activations"], output],
            "seed": network.seed,
            "precision": network.precision,
            **self._runner.settings.as_dict(),
        }


def _digest(*parts: Records | Windows | None) -> str:
    """Return the SHA-256 of all the values of some records."""
    found = sha256()
    for part in parts:
        if part is None:
            found.update(b"None" * 3)
        else:
            part.add_to(found)
    return found.hexdigest()
