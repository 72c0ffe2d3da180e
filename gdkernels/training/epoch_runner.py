"""One epoch: gradient steps over all the records, or over batches as they come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.backend import Executable, State
from gdkernels.backend.program import Program
from gdkernels.data.batches import Batches
from gdkernels.data.records import OrderedRecords, Piece, Records, changed, place_records
from gdkernels.data.rounding import SAMPLE, warn_of_rounding
from gdkernels.data.sparse import taking
from gdkernels.data.stored import Stored
from gdkernels.data.stored.windows import ShuffledWindows, Windows, place_stored
from gdkernels.dispatch.binding import Binding, all_finite, moved
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import BackendError, DivergenceError, FileError, InputError
from gdkernels.network import BoundNetwork, Structure
from gdkernels.training.checkpointing import Middle
from gdkernels.training.optimizer_state import OptimizerState
from gdkernels.training.settings import Settings

__all__ = ["EpochRunner", "EpochTotals", "Order", "Pace", "Segments"]

Order = Callable[[int, int], Any]


@dataclass(frozen=True)
class Pace:
    """The state of a fit that the learning rate depends on, besides the settings.

    Attributes
    ----------
    began
        The epochs done before the fit, within which the schedule counts.
    epochs
        The largest number of epochs of the fit; None outside a fit.
    losses
        The losses of its epochs so far, which a schedule watches.
    halvings
        The number of times that the rate was halved because training diverged.
    """

    began: int = 0
    epochs: int | None = None
    losses: Sequence[float] = ()
    halvings: int = 0


@dataclass(frozen=True)
class Segments:
    """An epoch in parts, so that a fit can stop between steps.

    Attributes
    ----------
    steps
        The number of steps in a part.
    between
        A function that gets the position in the epoch after each part but the last.
    """

    steps: Callable[[int], int]
    between: Callable[[Middle], None]


@dataclass(frozen=True)
class EpochTotals:
    """E over a pass, the mean norm of the gradient if it was asked for, and the rate of the last step."""

    error: float
    norm: float | None
    rate: float


class EpochRunner:
    """Runs epochs of gradient steps on a network.

    Parameters
    ----------
    network
        The network, whose parameters are replaced at the end of each epoch.
    settings
        The settings of training.
    order
        As for `gdkernels.Trainer`.

    Attributes
    ----------
    epochs_done
        The number of epochs so far, which determines the shuffle of the next one.
    optimizer_state
        The slots of the optimizer.
    each_step
        Called with E of each step, which then run one at a time; None runs as many at once as it can.
    """

    def __init__(self, network: BoundNetwork, settings: Settings, order: Order | None = None) -> None:
        self.network, self.settings, self.order = network, settings, order
        self.epochs_done = 0
        self.optimizer_state = OptimizerState(network, settings.optimizer)
        self.each_step: Callable[[float], None] | None = None
        self._programs: dict[tuple[Structure, bool, bool], Program] = {}
        self._prepared: tuple[Structure, bool, bool, int, bool] | None = None
        self._executable: Executable | None = None
        self._looked = False
        self._for_sparse: tuple[Executable, Executable] | None = None

    # ---- program and executable

    def workload(
        self, records: int, epochs: int = 1, *, gradient_norm: bool = False, weighted: bool = False
    ) -> Workload:
        """Return the workload of training on so many records, by which a backend is chosen."""
        structure, settings = self.network.structure, self.settings
        key = structure, gradient_norm, weighted
        if key not in self._programs:
            self._programs[key] = structure.program(
                settings.objective, settings.optimizer, gradient_norm=gradient_norm, weighted=weighted
            )
        return structure.workload(self._programs[key], settings.batch_size, records, epochs)

    def prepare(
        self, workload: Workload, choices: Mapping[str, Any] | None = None, *, sparse: bool = False
    ) -> Executable:
        """Return the executable of the steps, with the `choices` of a plan if there is one to repeat.

        Batches of `sparse` records are never split to fit into memory: they are dense a piece at a time.
        """
        binding, program = self._bind(None), workload.program
        prepared = self.network.structure, program.gradient_norm, program.weighted, workload.batch, sparse
        if self._executable is None or self._prepared != prepared or choices is not None:
            made = binding.executable(program, workload, choices, by_pieces=sparse)
            self._prepared, self._executable = prepared, made
        return self._executable

    def _prepared_for(self, records: int, gradient_norm: bool, data: Records | Windows | Batches) -> Executable:
        """Return the executable for an epoch of so many records, and make it only if it is not ready."""
        self._bind(None)
        batch = min(self.settings.batch_size, records)
        wanted = self.network.structure, gradient_norm, data.weighted, batch, data.sparse
        if self._executable is not None and self._prepared == wanted:
            return self._executable
        workload = self.workload(records, gradient_norm=gradient_norm, weighted=data.weighted)
        return self.prepare(workload, sparse=data.sparse)

    def _taking(self, records: Records, executable: Executable, gradient_norm: bool) -> Executable:
        """Return what runs the steps on these records: the executable itself, unless they are sparse."""
        if not records.sparse:
            return executable
        if self._for_sparse is None or self._for_sparse[0] is not executable:
            program = self.workload(1, gradient_norm=gradient_norm, weighted=records.weighted).program
            self._for_sparse = executable, taking(records.x, executable, program, self._bind(None))
        return self._for_sparse[1]

    @property
    def executable(self) -> Executable:
        """The executable of the steps, once one was prepared."""
        assert self._executable is not None
        return self._executable

    def place(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records | Windows:
        """Return the records on the device, or windows of them if they are in files and too many."""
        stored = Stored.of(X, Y, sample_weight)
        if stored is None:
            records = self.place_records(X, Y, sample_weight, of=of)
            if not of:
                self._look_at(X, Y)
            return records
        binding, batch = self._bind(stored), min(self.settings.batch_size, len(stored))
        placed = place_stored(binding, stored, spec=self.network.expects(self.settings.objective), batch=batch)
        if self.order is not None and isinstance(placed, Windows):
            raise InputError("order= needs all records in memory: allow more by memory=, or leave it to the shuffle")
        if not of:
            self._look_at(*stored.sample(SAMPLE))
        return placed

    def _look_at(self, X: Any, Y: Any) -> None:
        """Warn once of numbers to train on that the precision cannot tell apart."""
        if not self._looked:
            self._looked = True
            for given, name in ((X, "X"), (Y, "Y")):
                warn_of_rounding(self._bind(None), given, name)

    def place_records(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records:
        """Return the user's arrays as records on the device, checked."""
        spec = self.network.expects(self.settings.objective)
        return place_records(self._bind(X), X, Y, sample_weight, spec=spec, of=of)

    def _bind(self, X: Any) -> Binding:
        """Bind the network, and move the optimizer's slots to its place."""
        binding = self.network.binding or self.network.bind(X)
        if self.optimizer_state.follow(binding):
            self._prepared, self._executable = None, None
        return binding

    # ---- state

    def state(self) -> State:
        """Return the state at the end of the last epoch."""
        slots, steps = self.optimizer_state.slots, self.optimizer_state.steps
        return State(self.network.parameters, slots, steps, self.network.seed)

    def restore(self, state: State) -> None:
        """Go to another state of this network and optimizer."""
        self.network.parameters = state.parameters
        self.optimizer_state.slots, self.optimizer_state.steps = state.slots, state.step

    # ---- one epoch

    def run(
        self,
        data: Records | Windows | Batches,
        pace: Pace,
        *,
        gradient_norm: bool = False,
        middle: Middle | None = None,
        segments: Segments | None = None,
    ) -> EpochTotals:
        """Do one pass over the data.

        Parameters
        ----------
        gradient_norm
            Whether to measure the norm of the gradient.
        middle
            The position in the epoch to continue from; None begins the epoch.
        segments
            The parts of the epoch; None runs it at once.

        Raises
        ------
        DivergenceError
            If loss or parameters stop being finite; the parameters are then those before this epoch.
        InputError
            If the data stopped being finite, because something writes into it.
        """
        if isinstance(data, Batches):
            return self._run_batches(data, pace, gradient_norm)
        records = len(data)
        batch = min(self.settings.batch_size, records)
        executable = self._prepared_for(records, gradient_norm, data)
        arranged = self._arranged(data, records, batch)
        rates = self._rates(arranged.steps, pace)
        used = arranged.digest() if segments else ""
        middle = middle or Middle(self._copied_state(), used)
        middle.state.seed = self.network.seed  # which checkpoints leave to the network
        if middle.order != used or middle.steps > arranged.steps:
            raise FileError("cannot go on in the middle of an epoch: its records would come in another order")
        at_a_time = 1 if self.each_step else segments.steps(batch) if segments else arranged.steps
        began = time.perf_counter() - middle.seconds
        with closing(arranged.pieces(middle.steps)) as pieces:
            for piece in pieces:
                here = piece.records
                # A third party's backend need not know the argument: it is passed only if the program asks for it.
                weights = () if here.weights is None else (here.weights,)
                while middle.steps < piece.last:
                    part = slice(middle.steps, min(middle.steps + at_a_time, piece.last))
                    rows = piece.order[(part.start - piece.first) * batch : (part.stop - piece.first) * batch]
                    runs = self._taking(here, executable, gradient_norm)
                    error, norm = runs.run(middle.state, here.x, here.y, rows, batch, rates[part], *weights)
                    middle.error += error
                    middle.norms += (norm or 0.0) * (part.stop - part.start)
                    middle.steps = part.stop
                    middle.seconds = time.perf_counter() - began
                    self._check_finite(middle, float(rates[-1]), piece, batch)
                    if self.each_step:
                        self.each_step(error)
                    if segments and middle.steps < arranged.steps:
                        segments.between(middle)
        return self._end_epoch(middle, gradient_norm, float(rates[-1]))

    def _run_batches(self, batches: Batches, pace: Pace, gradient_norm: bool) -> EpochTotals:
        """Run an epoch of the user's batches: one step for each, as they come."""
        steps = batches.steps or 1  # the rate stays as at the beginning while that is unknown
        rates = self._rates(steps, pace)
        binding, middle = self._bind(None), Middle(self._copied_state())
        self._look_at(*batches.sample[:2])

        def job(records: int) -> Workload:
            return self.workload(records, gradient_norm=gradient_norm, weighted=batches.weighted)

        def leave(error: BackendError) -> bool:
            """Go to the next backend, if there is one: a batch may come only once, so the epoch does not begin anew."""
            return self.network.leave(error, batches.sample[0], job)

        def place(*batch: Any, of: str) -> Records:
            while True:
                try:
                    return self.place_records(*batch, of=of)
                except BackendError as error:
                    if not leave(error):
                        raise

        def step(part: Records, rate: npt.NDArray[np.float64]) -> tuple[float, float | None]:
            weights = () if part.weights is None else (part.weights,)
            executable = self._prepared_for(batches.size, gradient_norm, batches)
            runs = self._taking(part, executable, gradient_norm)
            return runs.run(middle.state, part.x, part.y, np.arange(len(part)), len(part), rate, *weights)

        for k, given in enumerate(batches.records(place)):
            part, done = given, middle.state.step
            while True:
                now = self._bind(None)
                if now is not binding:
                    middle.state, binding = moved(middle.state, binding, now), now
                part = part if part.binding is now else part.moved(now)
                try:
                    error, norm = step(part, rates[min(k, steps - 1)][None])
                    break
                except BackendError as failure:
                    if middle.state.step != done or not leave(failure):  # a step that is done is not done again
                        raise
            middle.steps, middle.error, middle.norms = k + 1, middle.error + error, middle.norms + (norm or 0.0)
            if self.each_step:
                self.each_step(error)
        self._check_finite(middle, float(rates[-1]))
        return self._end_epoch(middle, gradient_norm, float(rates[-1]))

    def _arranged(self, data: Records | Windows, records: int, batch: int) -> OrderedRecords | ShuffledWindows:
        """Return the records in the order of the next epoch."""
        if isinstance(data, Windows):
            return data.shuffled(batch, self.network.seed, self.epochs_done)
        order = (self.order or self._shuffled)(self.epochs_done, records)
        return OrderedRecords(data, _checked_order(order, records), batch)

    def _shuffled(self, epoch: int, records: int) -> npt.NDArray[np.int64]:
        return randomness.generator(self.network.seed, "order", epoch).permutation(records)

    def _rates(self, steps: int, pace: Pace) -> npt.NDArray[np.float64]:
        """Return the learning rate of each step of the next epoch."""
        position = self.epochs_done - pace.began + np.arange(steps) / steps
        factor = self.settings.schedule(position, epochs=pace.epochs, losses=pace.losses)
        halved = self.settings.optimizer.learning_rate * 0.5**pace.halvings
        return np.broadcast_to(np.asarray(factor, dtype=np.float64), (steps,)) * halved

    def _copied_state(self) -> State:
        """Return a copy that steps may change in place, so that the state of the last epoch's end stays."""
        return self.state().copy(self._bind(None).xp)

    def _end_epoch(self, middle: Middle, gradient_norm: bool, rate: float) -> EpochTotals:
        self.restore(middle.state)
        self.epochs_done += 1
        return EpochTotals(middle.error, middle.norms / middle.steps if gradient_norm else None, rate)

    def _check_finite(self, middle: Middle, rate: float, piece: Piece | None = None, batch: int = 1) -> None:
        """Raise `DivergenceError` if the steps led to values that are not finite, or `InputError` if the data did."""
        arrays = middle.state.parameters.values()
        if math.isfinite(middle.error) and all_finite(*arrays, xp=self._bind(None).xp):
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


def _checked_order(rows: Any, records: int) -> npt.NDArray[np.int64]:
    order = np.asarray(rows)
    if order.shape != (records,) or order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= records:
        raise InputError(f"order must return {records} numbers of rows, from 0 to {records - 1}, got {rows!r}")
    return order.astype(np.int64, copy=False)
