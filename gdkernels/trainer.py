"""Trainer: epochs of shuffled batches, validation, early stopping."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import streams
from gdkernels.backend import Executable, State
from gdkernels.batches import Batches
from gdkernels.binding import Binding, all_finite, located
from gdkernels.checkpoints import Cadence, Checkpoints, Middle, Run
from gdkernels.definition.activations import identity
from gdkernels.definition.losses import Loss, link_of
from gdkernels.definition.naming import describe
from gdkernels.definition.network import map_layers
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.errors import DivergenceError, FileError, InputError
from gdkernels.history import Epoch, History
from gdkernels.metrics import Metric, check_takes_weights, resolve_metrics
from gdkernels.model import Model
from gdkernels.program import Program
from gdkernels.progress import Progress
from gdkernels.records import Records, digest, place_records
from gdkernels.settings import Settings
from gdkernels.work import Work

__all__ = ["Trainer"]

_log = logging.getLogger("gdkernels")

Callback = Callable[[Epoch], Any]
Order = Callable[[int, int], Any]


class Trainer:
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
        self.mlp = mlp
        self.settings = Settings.checked(
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
        link = link_of(self.settings.loss)
        if link is not identity and mlp.output not in (identity, link):
            raise InputError(
                f"the loss {describe(self.settings.loss)['name']!r} takes logits and sets the output to "
                f"{describe(link)['name']!r}, but the network's output is {describe(mlp.output)['name']!r}; "
                "leave it at 'identity'"
            )
        self._order = self._shuffled if order is None else order
        self.epochs_done = 0
        self._fit_began = 0
        self._binding: Binding | None = None
        self._bound_to: tuple[Program, int] | None = None
        self._executable: Executable | None = None
        self._slots: Any = None
        self._steps_done = 0
        mlp._set_objective(self.settings.loss)

    def epoch(self, X: Any, Y: Any = None, *, sample_weight: Any = None) -> float:
        """Do one shuffled pass over the data, and return the sum E of the loss, each batch measured before its step.

        Parameters
        ----------
        X
            [records, inputs]: NumPy, anything with DLPack, a frame, or already on the device. Without Y, the batches
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
        batches = Batches(X, 1) if Y is None else None
        weighted = sample_weight is not None if batches is None else batches.weighted
        with self.mlp._bound(
            X if batches is None else batches.sample[0], lambda records: self.work(records, weighted=weighted)
        ):
            data = self._place(X, Y, sample_weight) if batches is None else batches
            return self._run_epoch(data)[0]

    def fit(
        self,
        X: Any,
        Y: Any = None,
        *,
        epochs: int,
        sample_weight: Any = None,
        validation: float | tuple[Any, ...] | None = None,
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
            its weights; or (X, Y) or (X, Y, sample_weight) of its own.
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
        batches = Batches(X, int(epochs)) if Y is None else None
        weighted = sample_weight is not None if batches is None else batches.weighted

        def work(records: int) -> Work:
            return self.work(records, int(epochs), gradient_norm=with_norm, weighted=weighted)

        with self.mlp._bound(X if batches is None else batches.sample[0], work) as binding:
            data = self._place(X, Y, sample_weight) if batches is None else batches
            train, held_out = self._held_out(data, validation)
            if (train if held_out is None else held_out).weighted:
                check_takes_weights(wanted)
            if wanted and held_out is None and batches is not None:
                raise InputError("metrics of batches need validation=(X, Y): the batches themselves are not kept")
            executable = self._bind_program(with_norm, train)
            history = History(executable.plan, executable.origin, binding.reason)
            run = Run(history, began=self.epochs_done, start=self._state() if retries else None)
            identity = {
                **self._identity(),
                "epochs": int(epochs),
                "patience": patience,
                "metrics": list(wanted),
                "stop_gradient_norm": stop_gradient_norm,
                "gradient_norm": with_norm,
                "retries": int(retries),
            }
            with ExitStack() as stack:
                checkpoints: Checkpoints | None = None
                if checkpoint is not None:
                    if isinstance(train, Batches):
                        raise InputError("checkpoints need records that can be told apart: give X and Y, not batches")
                    identity["data"] = digest(train, held_out)
                    checkpoints = stack.enter_context(Checkpoints(checkpoint, cadence, keep, identity, binding))
                    self._begin_from(checkpoints, run, resume)
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

    def work(self, records: int, epochs: int = 1, *, gradient_norm: bool = False, weighted: bool = False) -> Work:
        """Return what training on so many records is about, by which `gdkernels.registry.decide` chooses."""
        settings = self.settings
        program = Program(
            activations=self.mlp._raw_activations(settings.loss),
            bias=self.mlp.bias,
            loss=settings.loss,
            optimizer=settings.optimizer,
            reduction=settings.reduction,
            l2=settings.l2,
            l2_in_loss=settings.l2_in_loss,
            clip_norm=settings.clip_norm,
            gradient_norm=gradient_norm,
            weighted=weighted,
        )
        return Work(program, self.mlp.sizes, settings.batch_size, records, epochs)

    # ---- one epoch

    def _record(
        self,
        train: Records | Batches,
        held_out: Records | None,
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
            metrics=self.mlp._score(judged.x, judged.y, metrics, judged.weights)
            if metrics and isinstance(judged, Records)
            else {},
        )

    def _mean_error(self, held_out: Records | None) -> float | None:
        if held_out is None:
            return None
        return self.mlp._error(held_out.x, held_out.y, sample_weight=held_out.weights) / held_out.total_weight

    def _run_epoch(
        self,
        data: Records | Batches,
        gradient_norm: bool = False,
        epochs: int | None = None,
        run: Run | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> tuple[float, float | None, float]:
        """Return E over the pass, the mean norm of the gradient, and the rate of the last step."""
        if isinstance(data, Batches):
            return self._run_batches(data, gradient_norm, epochs, run)
        records, batch = len(data), min(self.settings.batch_size, len(data))
        executable = self._bind_program(gradient_norm, data)
        steps = -(-records // batch)
        order = _checked_order(self._order(self.epochs_done, records), records)
        rates = self._rates(steps, epochs, run)
        # A backend of a third party need not know the argument: it is given where the program asks for it.
        weights = () if data.weights is None else (data.weights,)
        used = hashlib.sha256(order.tobytes()).hexdigest() if checkpoints else ""
        middle = (run.middle if run else None) or Middle(self._copied_state(), used)
        if middle.order != used or middle.steps > steps:
            raise FileError("cannot go on in the middle of an epoch: its records would come in another order")
        at_a_time = checkpoints.segment(self.mlp.sizes, batch) if checkpoints else steps
        began = time.perf_counter() - middle.seconds
        while middle.steps < steps:
            part = slice(middle.steps, min(middle.steps + at_a_time, steps))
            rows = order[part.start * batch : part.stop * batch]
            error, norm = executable.run(middle.state, data.x, data.y, rows, batch, rates[part], *weights)
            middle.error += error
            middle.norms += (norm or 0.0) * (part.stop - part.start)
            middle.steps = part.stop
            middle.seconds = time.perf_counter() - began
            self._check_finite(middle, float(rates[-1]))
            if run and checkpoints and middle.steps < steps:
                run.middle = middle
                checkpoints.between_steps(self._state(), run, self.epochs_done)
        if run:
            run.middle = None
        return self._end_epoch(middle, gradient_norm, float(rates[-1]))

    def _run_batches(
        self, batches: Batches, gradient_norm: bool, epochs: int | None, run: Run | None
    ) -> tuple[float, float | None, float]:
        """Do for batches of the user's what `_run_epoch` does for records: one step each, as they come."""
        executable = self._bind_program(gradient_norm, batches)
        steps = batches.steps or 1  # where that is not known yet, the rate stays what it is at the beginning
        rates = self._rates(steps, epochs, run)
        middle = Middle(self._copied_state())
        for k, part in enumerate(batches.records(self._place)):
            rate = rates[min(k, steps - 1)][None]
            weights = () if part.weights is None else (part.weights,)
            rows = np.arange(len(part))
            error, norm = executable.run(middle.state, part.x, part.y, rows, len(part), rate, *weights)
            middle.steps, middle.error, middle.norms = k + 1, middle.error + error, middle.norms + (norm or 0.0)
        self._check_finite(middle, float(rates[-1]))
        return self._end_epoch(middle, gradient_norm, float(rates[-1]))

    def _rates(self, steps: int, epochs: int | None, run: Run | None) -> npt.NDArray[np.float64]:
        """Return the learning rate of each step of the next epoch."""
        position = self.epochs_done - self._fit_began + np.arange(steps) / steps
        losses = tuple(e.watched for e in run.history.epochs) if run else ()
        factor = np.asarray(self.settings.schedule(position, epochs=epochs, losses=losses), dtype=np.float64)
        halved = self.settings.optimizer.learning_rate * 0.5 ** (run.retries if run else 0)
        return np.broadcast_to(factor, (steps,)) * halved

    def _copied_state(self) -> State:
        """Return a state that steps may change in place: that of the last epoch's end stays what it was."""
        assert self._binding is not None
        return self._state().copy(self._binding.xp)

    def _end_epoch(self, middle: Middle, gradient_norm: bool, rate: float) -> tuple[float, float | None, float]:
        state = middle.state
        self.mlp._parameters, self._slots, self._steps_done = state.parameters, state.slots, state.step
        self.epochs_done += 1
        return middle.error, middle.norms / middle.steps if gradient_norm else None, rate

    def _shuffled(self, epoch: int, records: int) -> npt.NDArray[np.int64]:
        return streams.generator(self.mlp.seed, "order", epoch).permutation(records)

    def _check_finite(self, middle: Middle, rate: float) -> None:
        assert self._binding is not None
        xp = self._binding.xp
        arrays = (a for layer in middle.state.parameters for a in layer if a is not None)
        if not (math.isfinite(middle.error) and all(all_finite(a, xp=xp) for a in arrays)):
            raise DivergenceError(
                f"{'the loss' if not math.isfinite(middle.error) else 'a parameter'} stopped being finite in epoch "
                f"{self.epochs_done + 1}; the parameters are those before it. Lower the learning rate "
                f"({rate:g}), set clip_norm, or scale the data"
            )

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

    # ---- checkpoints

    def _state(self) -> State:
        """Return where the last epoch ended."""
        return State(self.mlp._parameters, self._slots, self._steps_done)

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

    def _begin_from(self, checkpoints: Checkpoints, run: Run, resume: bool) -> None:
        """Bring everything to where the newest checkpoint was, if there is one and that is wanted."""
        if not resume:
            checkpoints.refuse_others()
            return
        found = checkpoints.resume(run, self.mlp._host_parameters(), self.settings.optimizer.slots)
        if found is not None:
            state, self.epochs_done = found
            self.mlp._parameters, self._slots, self._steps_done = state.parameters, state.slots, state.step

    # ---- binding

    def _place(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records:
        binding = self.mlp._bind(X)
        if self._binding is not binding:
            self._move_slots(binding)
        return place_records(binding, X, Y, sample_weight, sizes=self.mlp.sizes, loss=self.settings.loss, of=of)

    def _move_slots(self, binding: Binding) -> None:
        def zeros(parameter: Any) -> tuple[Any, ...]:
            return tuple(binding.xp.zeros_like(parameter) for _ in range(self.settings.optimizer.slots))

        if self._slots is None or self._binding is None:
            self._slots = map_layers(zeros, self.mlp._parameters)
        else:
            old = self._binding

            def move(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
                return tuple(binding.place(old.to_numpy(a), "slot") for a in arrays)

            self._slots = map_layers(move, self._slots)
        self._binding, self._executable, self._bound_to = binding, None, None

    def _bind_program(self, gradient_norm: bool, data: Records | Batches) -> Executable:
        binding = self.mlp._bind(None)
        if self._binding is not binding:
            self._move_slots(binding)
        records = data.size if isinstance(data, Batches) else len(data)
        work = self.work(records, gradient_norm=gradient_norm, weighted=data.weighted)
        bound_to = (work.program, work.batch)
        if self._bound_to != bound_to:
            assert self._binding is not None
            self._bound_to, self._executable = bound_to, self._binding.executable(work.program, work)
        assert self._executable is not None
        return self._executable

    def _held_out(
        self, data: Records | Batches, validation: float | tuple[Any, ...] | None
    ) -> tuple[Records | Batches, Records | None]:
        """Return the records to train on, and those to validate on."""
        if validation is None:
            return data, None
        if isinstance(validation, tuple):
            if len(validation) not in (2, 3):
                raise InputError(
                    f"validation must be a share, (X, Y) or (X, Y, sample_weight), got {len(validation)} things"
                )
            return data, self._place(*validation, of="the validation ")
        if not (isinstance(validation, (int, float)) and 0 < validation < 1):
            raise InputError(f"validation must be a share between 0 and 1, (X, Y) or None, got {validation!r}")
        if isinstance(data, Batches):
            raise InputError(f"validation={validation:g} cannot be a share of batches; give validation=(X, Y)")
        return data.split(validation, self.mlp.seed)


def _checked_order(rows: Any, records: int) -> npt.NDArray[np.int64]:
    order = np.asarray(rows)
    if order.shape != (records,) or order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= records:
        raise InputError(f"order must return {records} numbers of rows, from 0 to {records - 1}, got {rows!r}")
    return order.astype(np.int64, copy=False)
