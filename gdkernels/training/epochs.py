"""Gradient steps over data: what the optimizer carries, where it is bound, and one epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.backend import Executable, State
from gdkernels.backend.program import Program
from gdkernels.data.batches import Batches
from gdkernels.data.records import OrderedRecords, Piece, Records, changed, place_records
from gdkernels.data.stored import Stored
from gdkernels.data.stored.windows import ShuffledWindows, Windows, place_stored
from gdkernels.definition.network import map_layers
from gdkernels.dispatch.binding import Binding, all_finite
from gdkernels.dispatch.workload import Work
from gdkernels.errors import DivergenceError, FileError, InputError
from gdkernels.network.network import Model
from gdkernels.training.checkpointing import Checkpoints, Middle, Run
from gdkernels.training.settings import Settings

__all__ = ["Epochs", "Order"]

Order = Callable[[int, int], Any]


class Epochs:
    """What a `gdkernels.Trainer` does once everything is checked.

    What begins with an underscore is shared by the modules that are built on this one, and by nobody else.
    """

    def __init__(self, mlp: Model, settings: Settings, order: Order | None) -> None:
        self.mlp, self.settings = mlp, settings
        self.epochs_done = 0
        self._order = order
        self._fit_began = 0
        self._binding: Binding | None = None
        self._bound_to: tuple[Program, int] | None = None
        self._executable: Executable | None = None
        self._slots: Any = None
        self._steps_done = 0

    def work(self, records: int, epochs: int = 1, *, gradient_norm: bool = False, weighted: bool = False) -> Work:
        """Return what training on so many records is about, by which `gdkernels.dispatch.registry.decide` chooses."""
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

    def _state(self) -> State:
        """Return where the last epoch ended."""
        return State(self.mlp._parameters, self._slots, self._steps_done)

    def _run_epoch(
        self,
        data: Records | Windows | Batches,
        gradient_norm: bool = False,
        epochs: int | None = None,
        run: Run | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> tuple[float, float | None, float]:
        """Return E over the pass, the mean norm of the gradient, and the rate of the last step."""
        if isinstance(data, Batches):
            return self._run_batches(data, gradient_norm, epochs, run)
        batch = min(self.settings.batch_size, len(data))
        executable = self._bind_program(gradient_norm, data)
        arranged = self._arranged(data, batch)
        rates = self._rates(arranged.steps, epochs, run)
        used = arranged.digest() if checkpoints else ""
        middle = (run.middle if run else None) or Middle(self._copied_state(), used)
        if middle.order != used or middle.steps > arranged.steps:
            raise FileError("cannot go on in the middle of an epoch: its records would come in another order")
        at_a_time = checkpoints.segment(self.mlp.sizes, batch) if checkpoints else arranged.steps
        began = time.perf_counter() - middle.seconds
        with closing(arranged.pieces(middle.steps)) as pieces:
            for piece in pieces:
                here = piece.records
                # A backend of a third party need not know the argument: it is given where the program asks for it.
                weights = () if here.weights is None else (here.weights,)
                while middle.steps < piece.last:
                    part = slice(middle.steps, min(middle.steps + at_a_time, piece.last))
                    rows = piece.order[(part.start - piece.first) * batch : (part.stop - piece.first) * batch]
                    error, norm = executable.run(middle.state, here.x, here.y, rows, batch, rates[part], *weights)
                    if run:
                        run.history.plan = executable.plan  # some choices are made when sizes are known
                    middle.error += error
                    middle.norms += (norm or 0.0) * (part.stop - part.start)
                    middle.steps = part.stop
                    middle.seconds = time.perf_counter() - began
                    self._check_finite(middle, float(rates[-1]), piece, batch)
                    if run and checkpoints and middle.steps < arranged.steps:
                        run.middle = middle
                        checkpoints.between_steps(self._state(), run, self.epochs_done)
        if run:
            run.middle = None
        return self._end_epoch(middle, gradient_norm, float(rates[-1]))

    def _arranged(self, data: Records | Windows, batch: int) -> OrderedRecords | ShuffledWindows:
        """Return the records in the order of the next epoch."""
        if isinstance(data, Windows):
            return data.shuffled(batch, self.mlp.seed, self.epochs_done)
        order = (self._order or self._shuffled)(self.epochs_done, len(data))
        return OrderedRecords(data, _checked_order(order, len(data)), batch)

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
        return randomness.generator(self.mlp.seed, "order", epoch).permutation(records)

    def _check_finite(self, middle: Middle, rate: float, piece: Piece | None = None, batch: int = 1) -> None:
        """Raise `DivergenceError` where the steps so far came to what is not finite; `InputError` if the data did."""
        assert self._binding is not None
        xp = self._binding.xp
        arrays = (a for layer in middle.state.parameters for a in layer if a is not None)
        if math.isfinite(middle.error) and all_finite(*arrays, xp=xp):
            return
        epoch, before = self.epochs_done + 1, "the parameters are those before it"
        if piece is not None and (found := changed(piece.records, piece.order)) is not None:
            place, what = found
            raise InputError(
                f"{what}, used in step {piece.first + place // batch + 1} of epoch {epoch}: it was finite when "
                f"training began, so something writes into the data meanwhile; {before}"
            )
        raise DivergenceError(
            f"{'the loss' if not math.isfinite(middle.error) else 'a parameter'} stopped being finite in epoch "
            f"{epoch}; {before}. Lower the learning rate ({rate:g}), set clip_norm, or scale the data"
        )

    # ---- binding

    def _place_any(self, X: Any, Y: Any, sample_weight: Any, *, of: str = "") -> Records | Windows:
        """Return the records on the device, or a window at a time where they are in files and too many."""
        stored = Stored.of(X, Y, sample_weight)
        if stored is None:
            return self._place(X, Y, sample_weight, of=of)
        binding, batch = self._bind_slots(stored), min(self.settings.batch_size, len(stored))
        placed = place_stored(binding, stored, sizes=self.mlp.sizes, loss=self.settings.loss, batch=batch)
        if self._order is not None and isinstance(placed, Windows):
            raise InputError("order= needs all records in memory: allow more by memory=, or leave it to the shuffle")
        return placed

    def _place(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records:
        binding = self._bind_slots(X)
        return place_records(binding, X, Y, sample_weight, sizes=self.mlp.sizes, loss=self.settings.loss, of=of)

    def _bind_slots(self, X: Any) -> Binding:
        """Return where the network computes, with what the optimizer carries moved there."""
        binding = self.mlp._bind(X)
        if self._binding is not binding:
            self._move_slots(binding)
        return binding

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

    def _bind_program(
        self,
        gradient_norm: bool,
        data: Records | Windows | Batches,
        choices: Mapping[str, Any] | None = None,
    ) -> Executable:
        """Return what runs the steps; where `choices` of a plan are to be repeated, with these."""
        self._bind_slots(None)
        records = data.size if isinstance(data, Batches) else len(data)
        work = self.work(records, gradient_norm=gradient_norm, weighted=data.weighted)
        bound_to = (work.program, work.batch)
        if self._bound_to != bound_to or choices is not None:
            assert self._binding is not None
            self._bound_to, self._executable = bound_to, self._binding.executable(work.program, work, choices)
        assert self._executable is not None
        return self._executable


def _checked_order(rows: Any, records: int) -> npt.NDArray[np.int64]:
    order = np.asarray(rows)
    if order.shape != (records,) or order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= records:
        raise InputError(f"order must return {records} numbers of rows, from 0 to {records - 1}, got {rows!r}")
    return order.astype(np.int64, copy=False)
