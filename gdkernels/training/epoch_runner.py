"""One epoch: gradient steps over all the records, or over batches as they come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.backend import Executable, Job, State
from gdkernels.data.batches import Batches
from gdkernels.data.records import OrderedRecords, Piece, Records
from gdkernels.data.stored.windows import DealtWindows, ShuffledWindows, Windows
from gdkernels.dispatch.binding import Binding, all_finite
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import DivergenceError, FileError, InputError
from gdkernels.groups.sharding import Sharding
from gdkernels.network import BoundNetwork
from gdkernels.randomness import KeyedOrder
from gdkernels.training.batch_steps import steps_over
from gdkernels.training.checkpointing import Middle
from gdkernels.training.epoch_orders import Rows, order_of_epoch, orders_of_epochs
from gdkernels.training.epoch_values import EpochTotals, Pace, Segments
from gdkernels.training.finiteness import check_finite
from gdkernels.training.learning_rates import rates_of_epoch, rates_of_epochs
from gdkernels.training.optimizer_state import OptimizerState
from gdkernels.training.prepared_steps import PreparedSteps
from gdkernels.training.record_placer import RecordPlacer
from gdkernels.training.runner import Order
from gdkernels.training.same_on_ranks import agree_on_orders
from gdkernels.training.settings import Settings

__all__ = ["EpochRunner"]


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
    order_stream
        The stream of `gdkernels.randomness.epoch_order` that shuffles: an older one where a checkpoint began with it.
    optimizer_state
        The slots of the optimizer.
    each_step
        Called with E of each step, which then run one at a time; None runs as many at once as it can.
    """

    def __init__(self, network: BoundNetwork, settings: Settings, order: Order | None = None) -> None:
        self.network, self.settings, self.order = network, settings, order
        self.epochs_done = 0
        self.order_stream = randomness.ORDER_STREAM
        self.optimizer_state = OptimizerState(network, settings.optimizer)
        self.each_step: Callable[[float], None] | None = None
        self._steps = PreparedSteps(network, settings)
        self._placer = RecordPlacer(network, settings.objective, self.follow)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("network", "settings", "order", "epochs_done", "order_stream", "optimizer_state")
        return {name: value for name, value in vars(self).items() if name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What it runs steps with belongs to the process.
        EpochRunner.__init__(self, state["network"], state["settings"], state["order"])
        vars(self).update(state)

    # ---- before an epoch

    @property
    def slots(self) -> int:
        """The number of arrays that the optimizer carries for each parameter."""
        return self.settings.optimizer.slots

    @property
    def workspace(self) -> int:
        """0: what a step takes is estimated from its graph."""
        return 0

    def workload(
        self, records: int, epochs: int = 1, *, gradient_norm: bool = False, weighted: bool = False
    ) -> Workload:
        """Return the workload of training on so many records, by which a backend is chosen."""
        return self._steps.workload(records, epochs, gradient_norm=gradient_norm, weighted=weighted)

    def prepare(
        self, workload: Workload, choices: Mapping[str, Any] | None = None, *, sparse: bool = False
    ) -> Executable:
        """Return the executable of the steps, with the `choices` of a plan if there is one to repeat.

        Batches of `sparse` records are never split to fit into memory: they are dense a piece at a time.
        """
        return self._steps.prepare(self._bind(None), workload, choices, sparse=sparse)

    def take(self, executable: Executable, workload: Workload) -> None:
        """Run the steps of this workload by an executable that somebody else has made, until `give_back`."""
        self._bind(None)
        self._steps.take(executable, workload)

    def give_back(self) -> None:
        """Let go of the executable that was taken, so that the next epoch has one of its own."""
        self._steps.forget()

    def rest(self) -> None:
        """Keep everything: what the steps have is small, or belongs to the optimizer."""

    def share(self, sharding: Sharding) -> None:
        """Split each batch into these shards from now on."""
        self._steps.share(sharding)

    @property
    def sharding(self) -> Sharding:
        """The shards of each batch, and the ranks that have them."""
        return self._steps.sharding

    @property
    def executable(self) -> Executable:
        """The executable of the steps, once one was prepared."""
        return self._steps.executable

    def place(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records | Windows:
        """Return the records on the device, or windows of them if they are in files and too many."""
        placed = self._placer.place(X, Y, sample_weight, batch=self.settings.batch_size, of=of, sharding=self.sharding)
        if self.order is not None and isinstance(placed, Windows):
            raise InputError("order= needs all records in memory: allow more by memory=, or leave it to the shuffle")
        return placed

    def place_records(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records:
        """Return the user's arrays as records on the device, checked."""
        return self._placer.place_records(X, Y, sample_weight, of=of)

    def _bind(self, X: Any) -> Binding:
        """Bind the network, and move the optimizer's slots to its place."""
        binding = self.network.binding
        if binding is not None and self.optimizer_state.is_at(binding):
            return binding
        return self._placer.bind(X)

    def follow(self, binding: Binding) -> None:
        """Move the optimizer's slots to this place."""
        if self.optimizer_state.follow(binding):
            self._steps.forget()

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
        self._steps.be_ready(self._bind(None), records, data, gradient_norm=gradient_norm)
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
                    rows: Any = piece.order[(part.start - piece.first) * batch : (part.stop - piece.first) * batch]
                    executable = self._steps.on(here)
                    error, norm = executable.run(middle.state, here.x, here.y, rows, batch, rates[part], *weights)
                    middle.error += error
                    middle.norms += (norm or 0.0) * (part.stop - part.start)
                    middle.steps = part.stop
                    middle.seconds = time.perf_counter() - began
                    self._check_finite(middle, float(rates[-1]), piece, batch)
                    if self.each_step:
                        self.each_step(error)
                    if segments and middle.steps < arranged.steps:
                        segments.between(middle)
        return self._end_epoch(middle, records, gradient_norm, float(rates[-1]))

    def run_epochs(self, data: Records, pace: Pace, epochs: int, *, gradient_norm: bool = False) -> list[EpochTotals]:
        """Do what `run` does so many times, at once; what is returned ends before an epoch that diverges.

        Raises
        ------
        DivergenceError
            If the first of them diverges.
        """
        job = self.job(data, pace, epochs, gradient_norm=gradient_norm)
        totals = self.follow_job(job, job.run(), data, gradient_norm=gradient_norm)
        if totals is not None:
            return totals
        done: list[EpochTotals] = []
        while len(done) < epochs:  # again, one by one, up to the epoch that went wrong
            try:
                done.append(self.run(data, pace, gradient_norm=gradient_norm))
            except DivergenceError:
                if not done:
                    raise
                break
        return done

    def job(self, data: Records, pace: Pace, epochs: int, *, gradient_norm: bool = False) -> Job:
        """Return the next epochs as a job, which changes a copy of the state; `follow_job` then goes there."""
        records = len(data)
        batch = min(self.settings.batch_size, records)
        self._steps.be_ready(self._bind(None), records, data, gradient_norm=gradient_norm)
        coming = range(self.epochs_done, self.epochs_done + epochs)
        executable = self._steps.on(data)
        orders = orders_of_epochs(self.order, self.network.seed, coming, records, self.order_stream, executable)
        if self.order is not None:
            agree_on_orders(self.sharding.group, orders)
        rates = rates_of_epochs(self.settings, coming, -(-records // batch), pace)
        return Job(executable, self._copied_state(), data.x, data.y, orders, batch, rates, data.weights)

    def follow_job(
        self, job: Job, found: list[tuple[float, float | None]], data: Records, *, gradient_norm: bool = False
    ) -> list[EpochTotals] | None:
        """Go to the state in which a job has ended, and return the totals of its epochs, from what it has returned.

        If it has diverged, nothing changes, and the result is None.
        """
        finite = all(math.isfinite(error) for error, _ in found)
        if not (finite and all_finite(*job.state.parameters.values(), xp=data.binding.xp)):
            return None
        self.restore(job.state)
        self.epochs_done += len(found)
        records = len(data)
        return [
            EpochTotals(records, error, norm if gradient_norm else None, rate)
            for (error, norm), rate in zip(found, job.learning_rates[:, -1].tolist(), strict=True)
        ]

    def run_and_look(
        self,
        data: Records,
        pace: Callable[[], Pace],
        epochs: int,
        look: Callable[[EpochTotals, float], bool],
        *,
        gradient_norm: bool = False,
    ) -> None:
        """Do what `run` does up to so many times, on one copy of the state, and let somebody look after each epoch.

        Parameters
        ----------
        pace
            Asked before each epoch.
        look
            A function of an epoch's totals and seconds that returns whether to go on. The network's parameters are
            those after the epoch; the next one changes them in place.

        Raises
        ------
        DivergenceError, InputError
            As for `run`.
        """
        records = len(data)
        batch = min(self.settings.batch_size, records)
        self._steps.be_ready(self._bind(None), records, data, gradient_norm=gradient_norm)
        executable, xp = self._steps.on(data), data.binding.xp
        weights = () if data.weights is None else (data.weights,)
        state = self._copied_state()
        for _ in range(epochs):
            before, began = state.copy(xp), time.perf_counter()
            rates = self._rates(-(-records // batch), pace())
            this = range(self.epochs_done, self.epochs_done + 1)
            order = orders_of_epochs(self.order, self.network.seed, this, records, self.order_stream, executable)
            self.restore(before)
            ((error, norm),) = executable.run_epochs(state, data.x, data.y, order, batch, rates[None], *weights)
            if not (math.isfinite(error) and all_finite(*state.parameters.values(), xp=xp)):
                self.run(data, pace(), gradient_norm=gradient_norm)  # which finds out what went wrong
                raise AssertionError("an epoch that diverged has come out well")
            self.restore(state)
            self.epochs_done += 1
            seconds = time.perf_counter() - began
            if not look(EpochTotals(records, error, norm if gradient_norm else None, float(rates[-1])), seconds):
                return

    def _run_batches(self, batches: Batches, pace: Pace, gradient_norm: bool) -> EpochTotals:
        """Run an epoch of the user's batches: one step for each, as they come."""
        rates = self._rates(batches.steps or 1, pace)  # the rate stays as at the beginning while the steps are unknown
        self._bind(None)
        middle = Middle(self._copied_state())
        steps_over(
            batches,
            middle,
            rates,
            network=self.network,
            placer=self._placer,
            steps=self._steps,
            group=self.sharding.group,
            each_step=self.each_step,
            gradient_norm=gradient_norm,
        )
        self._check_finite(middle, float(rates[-1]))
        return self._end_epoch(middle, len(batches), gradient_norm, float(rates[-1]))

    def _arranged(
        self, data: Records | Windows, records: int, batch: int
    ) -> OrderedRecords | ShuffledWindows | DealtWindows:
        """Return the records in the order of the next epoch."""
        if isinstance(data, Windows):
            return data.shuffled(batch, self.network.seed, self.epochs_done)
        order = self._order_of(self.epochs_done, records)
        if self.order is not None:
            agree_on_orders(self.sharding.group, [order])
        keyed = isinstance(order, KeyedOrder) and self._steps.on(data).takes_keyed_orders
        return OrderedRecords(data, order, batch, keyed=keyed)

    def _order_of(self, epoch: int, records: int) -> Rows:
        return order_of_epoch(self.order, self.network.seed, epoch, records, self.order_stream)

    def _rates(self, steps: int, pace: Pace) -> npt.NDArray[np.float64]:
        """Return the learning rate of each step of the next epoch."""
        return rates_of_epoch(self.settings, self.epochs_done, steps, pace)

    def _check_finite(self, middle: Middle, rate: float, piece: Piece | None = None, batch: int = 1) -> None:
        check_finite(middle, self._bind(None).xp, self.epochs_done + 1, rate, piece, batch)

    def _copied_state(self) -> State:
        """Return a copy that steps may change in place, so that the state of the last epoch's end stays."""
        return self.state().copy(self._bind(None).xp)

    def _end_epoch(self, middle: Middle, records: int, gradient_norm: bool, rate: float) -> EpochTotals:
        self.restore(middle.state)
        self.epochs_done += 1
        return EpochTotals(records, middle.error, middle.norms / middle.steps if gradient_norm else None, rate)
