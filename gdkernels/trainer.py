"""Trainer: epochs of shuffled batches, validation, early stopping."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np

from gdkernels.backend import Executable
from gdkernels.batches import Batches
from gdkernels.binding import Binding, located
from gdkernels.checkpoints import Cadence, Checkpoints, Run
from gdkernels.definition.activations import identity
from gdkernels.definition.losses import Loss, link_of
from gdkernels.definition.naming import describe
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.digests import sha256
from gdkernels.epochs import Epochs, Order
from gdkernels.errors import DivergenceError, GdkernelsError, InputError
from gdkernels.footprint import Footprint, check_state, footprint
from gdkernels.history import Epoch, History
from gdkernels.metrics import Metric, check_takes_weights, resolve_metrics
from gdkernels.model import Model
from gdkernels.progress import Progress
from gdkernels.records import Records, changed
from gdkernels.settings import Settings
from gdkernels.stored import Stored
from gdkernels.stored.windows import Windows
from gdkernels.sums import Sums, check_sums
from gdkernels.work import Work

__all__ = ["Trainer"]

_log = logging.getLogger("gdkernels")

Callback = Callable[[Epoch], Any]


class Trainer(Epochs):
    """Trains an `MLP` by gradient descent; what the optimizer carries from step to step belongs to it.

    Parameters
    ----------
    mlp
        The network; its parameters are replaced at the end of each epoch.
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
    order
        A function (epochs done, records) that returns the rows of the next epoch, as many as there are records, in the
        order in which they are used; None shuffles them by the network's seed.

    Raises
    ------
    InputError
        For unknown names, numbers out of range, or an output that contradicts the loss.
    """

    def __init__(
        self,
        mlp: Model,
        *,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "sse",
        batch_size: int = 64,
        schedule: str | ScheduleFunction = "constant",
        l2: float = 0.0,
        l2_in_loss: bool = False,
        clip_norm: float | None = None,
        reduction: str = "mean",
        order: Order | None = None,
    ) -> None:
        settings = Settings.checked(
            optimizer=optimizer,
            loss=loss,
            batch_size=batch_size,
            schedule=schedule,
            l2=l2,
            l2_in_loss=l2_in_loss,
            clip_norm=clip_norm,
            reduction=reduction,
            outputs=mlp.sizes[-1],
        )
        link = link_of(settings.loss)
        if link is not identity and mlp.output not in (identity, link):
            raise InputError(
                f"the loss {describe(settings.loss)['name']!r} takes logits and sets the output to "
                f"{describe(link)['name']!r}, but the network's output is {describe(mlp.output)['name']!r}; "
                "leave it at 'identity'"
            )
        super().__init__(mlp, settings, order)
        mlp._set_objective(settings.loss)

    def epoch(self, X: Any, Y: Any = None, *, sample_weight: Any = None) -> float:
        """Do one shuffled pass over the data, and return the sum E of the loss, each batch measured before its step.

        Parameters
        ----------
        X
            [records, inputs]: NumPy, anything with DLPack, a frame, or already on the device; a memory map, which is
            read in windows where it is too large, as `gdkernels.Stored` says. Without Y, such a Stored; or the batches
            themselves: something that yields (X, Y) or (X, Y, sample_weight), each used as it comes, one step each.
        Y
            [records, outputs]; [records] for one output, or as class indices for a cross-entropy.
        sample_weight
            [records]: how much each counts, at least 0. E is then Σ w ℓ, and the reduction "mean" divides it by the
            sum of the batch's weights.

        Raises
        ------
        InputError
            For data that does not fit the network.
        DivergenceError
            If loss or parameters stop being finite; the parameters are then those before this epoch.
        """
        batches = self._batches(X, Y, 1)
        weighted = _weighted(X if batches is None else batches, sample_weight)
        with self.mlp._bound(
            X if batches is None else batches.sample[0], lambda records: self.work(records, weighted=weighted)
        ):
            data = self._place_any(X, Y, sample_weight) if batches is None else batches
            return self._run_epoch(data)[0]

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
        """Train for up to `epochs` passes; a second call goes on where the first ended.

        Parameters
        ----------
        X, Y, sample_weight
            As for `epoch`; batches come from a list or a loader, or from a function that returns an iterator for each
            epoch.
        epochs
            The largest number of passes.
        validation
            The share of the records, drawn by the network's seed, that is kept from training and only measured, with
            its weights; or (X, Y), (X, Y, sample_weight) or a `gdkernels.Stored` of its own.
        patience
            Stop when the validation loss, or the training loss where there is none, has not fallen for so many
            epochs, and keep the parameters of the best epoch.
        callbacks
            Functions of the `Epoch` just done; one that returns True ends training.
        metrics
            Names ("r2", "rmse", "mae", "accuracy", "log_loss") or functions (target, prediction) of NumPy arrays; of
            (target, prediction, sample_weight) where the records that are measured have weights.
        stop_gradient_norm
            Stop at a critical point: when the mean norm of the gradient over an epoch is at most this.
        gradient_norm
            Whether the history records that norm.
        retries
            How often, when training diverges, it goes back to the last epoch's end, or to where it began if it has
            been there, and on at half the learning rate.
        checkpoint
            A folder in which to keep checkpoints; SIGINT and SIGTERM then finish the step, write one, and raise
            `Interrupted`. With them, E is summed in parts, so that losses may differ from those without by rounding.
        every, keep
            How often one is written ("30s", "5min", "2h", "10 epochs", "1000 steps"), and how many stay.
        resume
            Go on from the newest intact checkpoint there, or start where there is none. Network, settings and data
            must be those that it was begun with; callbacks see only the epochs that are yet to come. On the same
            plan, all that follows is to the bit what it would have been.
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
            Where the checkpoints cannot be kept or resumed from; the message says why.
        Interrupted
            After a signal, where there are checkpoints.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, (int, np.integer)) or epochs < 1:
            raise InputError(f"epochs must be a whole number of at least 1, got {epochs!r}")
        if patience is not None and patience < 1:
            raise InputError(f"patience must be a number of epochs of at least 1 or None, got {patience!r}")
        if stop_gradient_norm is not None and not stop_gradient_norm >= 0:
            raise InputError(f"stop_gradient_norm must be at least 0 or None, got {stop_gradient_norm!r}")
        if isinstance(retries, bool) or not isinstance(retries, (int, np.integer)) or retries < 0:
            raise InputError(f"retries must be a whole number of at least 0, got {retries!r}")
        if resume and checkpoint is None:
            raise InputError("resume=True goes on from checkpoints: say in which folder they are, checkpoint=…")
        cadence = Cadence.parse(every)
        wanted = resolve_metrics(metrics)
        with_norm = gradient_norm or stop_gradient_norm is not None
        batches = self._batches(X, Y, int(epochs))
        weighted = _weighted(X if batches is None else batches, sample_weight)

        def work(records: int) -> Work:
            return self.work(records, int(epochs), gradient_norm=with_norm, weighted=weighted)

        if checkpoint is not None and batches is not None:
            raise InputError("checkpoints need records that can be told apart: give X and Y, not batches")
        with ExitStack() as stack:
            checkpoints: Checkpoints | None = None
            if checkpoint is not None:
                checkpoints = stack.enter_context(Checkpoints(checkpoint, cadence, keep, resume=resume))
            planned = None if checkpoints is None else checkpoints.plan
            binding = stack.enter_context(self.mlp._bound(X if batches is None else batches.sample[0], work, planned))
            if binding.on_host:
                check_state(work(1), binding.precision)
            data = self._place_any(X, Y, sample_weight) if batches is None else batches
            train, held_out = self._held_out(data, validation)
            if (train if held_out is None else held_out).weighted:
                check_takes_weights(wanted)
            if wanted and isinstance(train if held_out is None else held_out, Windows):
                check_sums(wanted)
            if wanted and held_out is None and batches is not None:
                raise InputError("metrics of batches need validation=(X, Y): the batches themselves are not kept")
            executable = self._bind_program(with_norm, train, binding.choices_of(planned))
            history = History(executable.plan, executable.origin, binding.reason)
            if binding.on_host:
                needs = self._footprint(executable, work(len(train) or 1), train, held_out, wanted)
                history.memory = needs.total
                _log.info("memory: %s", needs)
            run = Run(history, began=self.epochs_done, start=self._state() if retries else None)
            if checkpoints is not None and not isinstance(train, Batches):
                told = {
                    "epochs": int(epochs),
                    "patience": patience,
                    "metrics": list(wanted),
                    "stop_gradient_norm": stop_gradient_norm,
                    "gradient_norm": with_norm,
                    "retries": int(retries),
                    **({"records at a time": train.window} if isinstance(train, Windows) else {}),
                    "data": _digest(train, held_out),
                }
                self._begin(checkpoints, run, self._identity() | told, binding)
            self._fit_began = run.began
            bar = stack.enter_context(Progress(int(epochs), progress))
            for record in history.epochs:
                bar.update(record)
            while not history.stopped:
                try:
                    record = self._record(train, held_out, wanted, with_norm, int(epochs), run, checkpoints)
                except DivergenceError as error:
                    run.middle = None
                    if run.retries < retries:
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
                bar.update(record)
                if record.watched < run.best_loss:
                    history.best_epoch, run.best_loss = record.number, record.watched
                    run.best = self.mlp.parameters if patience is not None else None
                history.stopped = self._ending(history, int(epochs), patience, stop_gradient_norm, callbacks)
                if checkpoints is not None and not history.stopped:
                    checkpoints.between_steps(self._state(), run, self.epochs_done)
            if checkpoints is not None:
                checkpoints.write(self._state(), run, self.epochs_done)
            if patience is not None and run.best is not None:
                self.mlp.set_parameters(run.best)
            elif history.epochs:
                history.best_epoch = history.epochs[-1].number
            _log.info("trained %d epochs on %s (%s)", len(history.epochs), located(binding), executable.origin)
            return history

    # ---- one epoch

    def _record(
        self,
        train: Records | Windows | Batches,
        held_out: Records | Windows | None,
        metrics: dict[str, Metric],
        with_norm: bool,
        epochs: int,
        run: Run,
        checkpoints: Checkpoints | None,
    ) -> Epoch:
        assert self._binding is not None
        began = time.perf_counter() - (run.middle.seconds if run.middle else 0.0)
        total, norm, rate = self._run_epoch(train, with_norm, epochs, run, checkpoints)
        self._binding.backend.synchronize(self._binding.device)
        seconds = time.perf_counter() - began
        judged = train if held_out is None else held_out
        return Epoch(
            number=self.epochs_done,
            loss=total / train.total_weight,
            validation_loss=self._mean_error(held_out),
            learning_rate=rate,
            seconds=seconds,
            samples_per_second=len(train) / seconds,
            gradient_norm=norm,
            metrics=self._score(judged, metrics),
        )

    def _mean_error(self, held_out: Records | Windows | None) -> float | None:
        if held_out is None:
            return None
        errors = (self.mlp._error(p.x, p.y, sample_weight=p.weights) for p in held_out.parts())
        error = sum(errors) / held_out.total_weight
        if math.isfinite(error) or not isinstance(held_out, Records):
            return error
        if (found := changed(held_out, np.arange(len(held_out)), "the validation ")) is not None:
            raise InputError(
                f"{found[1]} after epoch {self.epochs_done}: it was finite when training began, so something writes "
                "into the data meanwhile; the parameters are those of that epoch"
            )
        return error

    def _score(self, judged: Records | Windows | Batches, metrics: dict[str, Metric]) -> dict[str, float]:
        if not metrics or isinstance(judged, Batches):
            return {}
        if isinstance(judged, Records):
            return {name: float(metric(*self.mlp._judged_by(judged))) for name, metric in metrics.items()}
        sums = Sums()
        for part in judged.parts():
            sums.add(*self.mlp._judged_by(part))
        return {name: sums.figure(name) for name in metrics}

    def _retry(self, run: Run, error: DivergenceError) -> None:
        """Go back, and have the learning rate halved."""
        where = "the last epoch's end"
        if run.failed == self.epochs_done and run.start is not None:  # finite, but beyond saving
            start, where = run.start, "the start"
            self.mlp._parameters, self._slots, self._steps_done = start.parameters, start.slots, start.step
        run.retries, run.failed = run.retries + 1, self.epochs_done
        _log.warning("%s. Going on from %s at half the rate", str(error), where)

    def _ending(
        self,
        history: History,
        epochs: int,
        patience: int | None,
        stop_gradient_norm: float | None,
        callbacks: Iterable[Callback],
    ) -> str:
        """Return why training ends after the last recorded epoch, or nothing if it goes on."""
        last = history.epochs[-1]
        asked = [callback(last) is True for callback in callbacks]
        if any(asked):
            return "a callback asked for it"
        norm = last.gradient_norm
        if stop_gradient_norm is not None and norm is not None and norm <= stop_gradient_norm:
            return f"the gradient's norm fell to {norm:.3g}: a critical point"
        if patience is not None and last.number - (history.best_epoch or 0) >= patience:
            watched = "loss" if last.validation_loss is None else "validation loss"
            return f"the {watched} has not fallen for {patience} epochs"
        return f"all {epochs} epochs are done" if len(history.epochs) >= epochs else ""

    def _footprint(
        self,
        executable: Executable,
        work: Work,
        train: Records | Windows | Batches,
        held_out: Records | Windows | None,
        metrics: dict[str, Metric],
    ) -> Footprint:
        judged = train if held_out is None and metrics else held_out
        return footprint(
            work,
            executable.plan.precision,
            compiled=executable.origin == "compiled",
            rows=executable.plan.choices.get("rows_at_a_time", work.batch),
            records=max((d.bytes for d in (train, held_out) if isinstance(d, Windows)), default=0),
            judged=judged.judged if isinstance(judged, Windows) else len(judged or ()),
        )

    # ---- checkpoints

    def _identity(self) -> dict[str, Any]:
        """Return what a checkpoint must agree on with a fit that goes on from it."""
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

    @staticmethod
    def _batches(X: Any, Y: Any, epochs: int) -> Batches | None:
        """Return the batches where X is a source of them."""
        return None if Y is not None or isinstance(X, Stored) else Batches(X, epochs)

    def _begin(self, checkpoints: Checkpoints, run: Run, identity: dict[str, Any], binding: Binding) -> None:
        """Bring everything to where the checkpoint was, if there is one to go on from."""
        slots = self.settings.optimizer.slots
        found = checkpoints.begin(identity, binding, run, self.mlp._host_parameters(), slots)
        if found is not None:
            state, self.epochs_done = found
            self.mlp._parameters, self._slots, self._steps_done = state.parameters, state.slots, state.step

    def _held_out(
        self, data: Records | Windows | Batches, validation: float | tuple[Any, ...] | Stored | None
    ) -> tuple[Records | Windows | Batches, Records | Windows | None]:
        """Return the records to train on, and those to validate on."""
        if validation is None:
            return data, None
        if isinstance(validation, Stored):
            return data, self._place_any(validation, None, None)
        if isinstance(validation, tuple):
            if len(validation) not in (2, 3):
                raise InputError(
                    f"validation must be a share, (X, Y) or (X, Y, sample_weight), got {len(validation)} things"
                )
            X, Y, *weights = validation
            return data, self._place_any(X, Y, *(weights or [None]), of="the validation ")
        if not (isinstance(validation, (int, float)) and 0 < validation < 1):
            raise InputError(f"validation must be a share between 0 and 1, (X, Y), Stored or None, got {validation!r}")
        if isinstance(data, Batches):
            raise InputError(f"validation={validation:g} cannot be a share of batches; give validation=(X, Y)")
        return data.split(validation, self.mlp.seed)


def _weighted(data: Any, sample_weight: Any) -> bool:
    if isinstance(data, Batches):
        return data.weighted
    return sample_weight is not None or (isinstance(data, Stored) and data.weights is not None)


def _digest(*parts: Records | Windows | None) -> str:
    """Return the SHA-256 of all the values of some records: of other data it is another."""
    found = sha256()
    for part in parts:
        if part is None:
            found.update(b"None" * 3)
        else:
            part.add_to(found)
    return found.hexdigest()
