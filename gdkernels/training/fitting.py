"""One fit: epoch after epoch until there is a reason to stop, back where training diverges, checkpoints between."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from gdkernels.backend import Executable
from gdkernels.data.batches import Batches
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.definition.naming import describe
from gdkernels.dispatch.footprint import Footprint, footprint
from gdkernels.dispatch.workload import Work
from gdkernels.errors import DivergenceError, GdkernelsError
from gdkernels.system.hashing import sha256
from gdkernels.system.profiling import phase
from gdkernels.training.checkpointing import Checkpoints, Run
from gdkernels.training.epochs import Epochs
from gdkernels.training.evaluator import Judge
from gdkernels.training.history import Epoch
from gdkernels.training.progress import Progress
from gdkernels.training.settings import FitSettings

__all__ = ["Callback", "Fitting"]

_log = logging.getLogger("gdkernels")

Callback = Callable[[Epoch], Any]


class Fitting(Epochs):
    """What a `gdkernels.Trainer` does for a fit once its data is placed."""

    def _epochs_until_stopped(
        self,
        asked: FitSettings,
        train: Records | Windows | Batches,
        judge: Judge,
        run: Run,
        *,
        callbacks: Iterable[Callback],
        checkpoints: Checkpoints | None,
        bar: Progress,
    ) -> None:
        """Train, and leave the network with the parameters that the fit ends with."""
        history = run.history
        for record in history.epochs:
            bar.update(record)
        while not history.stopped:
            try:
                record = self._record(asked, train, judge, run, checkpoints)
            except DivergenceError as error:
                run.middle = None
                if run.retries < asked.retries:
                    self._retry(run, error)
                    continue
                history.stopped, history.diverged = str(error), True
                _log.warning("training stopped: %s", error)
                break
            except GdkernelsError:
                if checkpoints is not None:
                    checkpoints.rescue(self._state(), run, self.epochs_done)
                raise
            history.epochs.append(record)
            told = {"event": "epoch", **vars(record)}
            _log.debug("epoch %d: loss %.4g", record.number, record.loss, extra={"told": told})
            bar.update(record)
            if record.watched < run.best_loss:
                history.best_epoch, run.best_loss = record.number, record.watched
                run.best = self.mlp.parameters if asked.patience is not None else None
            ended = [callback(record) is True for callback in callbacks]
            history.stopped = "a callback asked for it" if any(ended) else asked.ending(history)
            if checkpoints is not None and not history.stopped:
                checkpoints.between_steps(self._state(), run, self.epochs_done)
        if checkpoints is not None:
            checkpoints.write(self._state(), run, self.epochs_done)
        if asked.patience is not None and run.best is not None:
            self.mlp.set_parameters(run.best)
        elif history.epochs:
            history.best_epoch = history.epochs[-1].number

    def _record(
        self,
        asked: FitSettings,
        train: Records | Windows | Batches,
        judge: Judge,
        run: Run,
        checkpoints: Checkpoints | None,
    ) -> Epoch:
        """Do an epoch and measure what came of it."""
        assert self._binding is not None
        began = time.perf_counter() - (run.middle.seconds if run.middle else 0.0)
        with phase("training"):
            total, norm, rate = self._run_epoch(train, asked.with_norm, asked.epochs, run, checkpoints)
            self._binding.backend.synchronize(self._binding.device)
        seconds = time.perf_counter() - began
        with phase("validating"):
            validation_loss, metrics = judge.validation_loss(self.epochs_done), judge.metrics()
        return Epoch(
            number=self.epochs_done,
            loss=total / train.total_weight,
            validation_loss=validation_loss,
            learning_rate=rate,
            seconds=seconds,
            samples_per_second=len(train) / seconds,
            gradient_norm=norm,
            metrics=metrics,
        )

    def _retry(self, run: Run, error: DivergenceError) -> None:
        """Go back, and have the learning rate halved."""
        where = "the last epoch's end"
        if run.failed == self.epochs_done and run.start is not None:  # finite, but beyond saving
            start, where = run.start, "the start"
            self.mlp._parameters, self._slots, self._steps_done = start.parameters, start.slots, start.step
        run.retries, run.failed = run.retries + 1, self.epochs_done
        _log.warning("%s. Going on from %s at half the rate", str(error), where)

    # ---- before the first epoch

    def _footprint(
        self, executable: Executable, work: Work, train: Records | Windows | Batches, judge: Judge
    ) -> Footprint:
        return footprint(
            work,
            executable.plan.precision,
            compiled=executable.origin == "compiled",
            rows=executable.plan.choices.get("rows_at_a_time", work.batch),
            records=max((d.bytes for d in (train, judge.held_out) if isinstance(d, Windows)), default=0),
            judged=judge.at_once,
        )

    def _begin(
        self, checkpoints: Checkpoints, run: Run, asked: FitSettings, train: Records | Windows, judge: Judge
    ) -> None:
        """Bring everything to where the checkpoint was, if there is one to go on from."""
        assert self._binding is not None
        window = {"records at a time": train.window} if isinstance(train, Windows) else {}
        told = self._identity() | asked.identity() | window | {"data": _digest(train, judge.held_out)}
        slots = self.settings.optimizer.slots
        found = checkpoints.begin(told, self._binding, run, self.mlp._host_parameters(), slots)
        if found is not None:
            state, self.epochs_done = found
            self.mlp._parameters, self._slots, self._steps_done = state.parameters, state.slots, state.step

    def _identity(self) -> dict[str, Any]:
        """Return what of network and settings a checkpoint must agree on with a fit that goes on from it."""
        mlp, settings = self.mlp, self.settings
        functions = {"optimizer": settings.optimizer, "loss": settings.loss, "schedule": settings.schedule}
        return {
            "sizes": list(mlp.sizes),
            "activations": [describe(f) for f in (*mlp.activations, mlp.output)],
            "bias": mlp.bias,
            "seed": mlp.seed,
            "precision": mlp.precision,
            **{name: describe(f) for name, f in functions.items()},
            **{name: getattr(settings, name) for name in ("batch_size", "l2", "l2_in_loss", "clip_norm", "reduction")},
        }


def _digest(*parts: Records | Windows | None) -> str:
    """Return the SHA-256 of all the values of some records: of other data it is another."""
    found = sha256()
    for part in parts:
        if part is None:
            found.update(b"None" * 3)
        else:
            part.add_to(found)
    return found.hexdigest()
