"""What a trainer holds for a solver: an iteration over all the records is an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gdkernels.backend import Executable, State
from gdkernels.data.batches import Batches
from gdkernels.data.records import Records, changed
from gdkernels.data.stored.windows import Windows
from gdkernels.definition.solvers import LBFGS, LevenbergMarquardt, Solver
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import DivergenceError, InputError, keyword
from gdkernels.groups.sharding import ALONE, Sharding
from gdkernels.network import BoundNetwork
from gdkernels.randomness import ORDER_STREAM
from gdkernels.training.checkpointing import Middle
from gdkernels.training.epoch_values import EpochTotals, Pace, Segments
from gdkernels.training.record_placer import RecordPlacer
from gdkernels.training.runner import Order
from gdkernels.training.settings import Settings
from gdkernels.training.solvers.damped import DampedLeastSquares
from gdkernels.training.solvers.method import Method
from gdkernels.training.solvers.outcome import Memory, Vector
from gdkernels.training.solvers.quasi_newton import QuasiNewton, gradient_sum
from gdkernels.training.solvers.value import Gradient, named_parts

__all__ = ["SolverRunner"]


class SolverRunner:
    """Runs the iterations of a solver on a network, one for each epoch.

    Parameters
    ----------
    network
        The network, whose parameters are replaced at the end of each epoch.
    settings
        The settings of training, with a solver.

    Attributes
    ----------
    epochs_done
        The number of epochs so far.
    order, order_stream
        None, and the present one: a solver looks at all records, in any order.
    each_step
        Called with E after each iteration.
    """

    def __init__(self, network: BoundNetwork, settings: Settings) -> None:
        self.network, self.settings = network, settings
        self.order: Order | None = None
        self.order_stream = ORDER_STREAM
        self.each_step: Callable[[float], None] | None = None
        self.epochs_done = 0
        assert settings.solver is not None
        self._method = _method_of(network, settings, settings.solver)
        self._memory: Memory = {}
        self._steps = 0
        self._placer = RecordPlacer(network, settings.objective, self.follow)
        self._bound: Binding | None = None
        self._ready_for: object = None  # the data that the method was prepared for

    def __getstate__(self) -> dict[str, Any]:
        kept = ("network", "settings", "epochs_done", "_memory", "_steps")
        return {name: value for name, value in vars(self).items() if name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What it computes with belongs to the process.
        SolverRunner.__init__(self, state["network"], state["settings"])
        vars(self).update(state)

    def follow(self, binding: Binding) -> None:
        """Compute at this place from now on."""
        if self._bound is not binding:
            self.give_back()
            self._bound = binding

    # ---- before an epoch

    @property
    def sharding(self) -> Sharding:
        """None are split: an iteration is about all the records, in one process."""
        return ALONE

    def share(self, sharding: Sharding) -> None:
        """Refuse shards.

        Raises
        ------
        InputError
            If there are any.
        """
        if sharding.splits:
            raise InputError(
                "a solver looks at all the records in each iteration, in one process: leave out "
                f"{keyword('group')} and {keyword('shards')}, or choose an optimizer"
            )

    @property
    def executable(self) -> Executable:
        """What runs the iterations, once it was prepared."""
        return self._method.executable

    @property
    def workspace(self) -> int:
        """The bytes that an iteration takes beyond data and state; 0 leaves it to an estimate."""
        return self._method.workspace

    @property
    def slots(self) -> int:
        """None: what a solver keeps has no parameter's shape."""
        return 0

    def workload(
        self, records: int, epochs: int = 1, *, gradient_norm: bool = False, weighted: bool = False
    ) -> Workload:
        """Return the workload of so many gradients of all the records, by which a backend is chosen."""
        objective = gradient_sum(self.settings.objective)
        program = self.network.structure.program(objective, Gradient(), weighted=weighted)
        return Workload(program, records, records, epochs)

    def prepare(
        self, workload: Workload, choices: Mapping[str, Any] | None = None, *, sparse: bool = False
    ) -> Executable:
        """Return what runs the iterations; what cannot be is refused here, before any work."""
        self._ready_for = None
        return self._method.prepare(self._placer.bind(None), replace(workload, batch_size=workload.records), choices)

    def take(self, executable: Executable, workload: Workload) -> None:
        """Run the iterations by what somebody else has made, until `give_back`."""
        binding = self._placer.bind(None)
        self._method.take(executable, binding, workload)
        self._method.prepare(binding, workload, None)

    def give_back(self) -> None:
        """Let go of what was taken."""
        self._method.forget()
        self._ready_for = None

    def rest(self) -> None:
        """Let other fits have the memory that the next one can fill anew."""
        self._method.rest()

    def place(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records | Windows:
        """Return the records on the device, or windows of them if they are in files and too many."""
        return self._placer.place(X, Y, sample_weight, batch=1, of=of)

    def place_records(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records:
        """Return the user's arrays as records on the device, checked."""
        return self._placer.place_records(X, Y, sample_weight, of=of)

    # ---- state

    def state(self) -> State:
        """Return the state at the end of the last epoch."""
        slots: dict[str, tuple[Any, ...]] = dict.fromkeys(self.network.structure.trained, ())
        return State(self.network.parameters, slots, self._steps, self.network.seed, memory=self._memory)

    def restore(self, state: State) -> None:
        """Go to another state of this network and solver."""
        self.network.parameters, self._steps, self._memory = state.parameters, state.step, state.memory

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
        """Do one iteration over all the data.

        Raises
        ------
        DivergenceError
            If no step can be chosen, because the loss or its derivatives are not finite.
        InputError
            If the data stopped being finite, because something writes into it.
        """
        if isinstance(data, Batches):
            raise InputError("a solver looks at all records in each iteration: give X and Y, or Stored, not batches")
        binding = self._placer.bind(None)
        if self._ready_for is not data:
            self._method.prepare(binding, self.workload(len(data), weighted=data.weighted), None)
            self._ready_for = data
        try:
            with np.errstate(all="ignore"):  # a trial that is too large is rejected, and its error is not finite
                outcome = self._method.iterate(binding, data, self._vector(binding), self._memory)
        except DivergenceError as error:
            if isinstance(data, Records) and (found := changed(data, np.arange(len(data)))) is not None:
                raise InputError(
                    f"{found[1]} in epoch {self.epochs_done + 1}: it was finite when training began, so something "
                    "writes into the data meanwhile"
                ) from None
            raise DivergenceError(f"training stopped in epoch {self.epochs_done + 1}: {error}") from None
        self._go_to(outcome.vector, binding)
        self._memory, self._steps, self.epochs_done = outcome.memory, self._steps + 1, self.epochs_done + 1
        if self.each_step is not None:
            self.each_step(outcome.error)
        norm = outcome.norm if gradient_norm else None
        return EpochTotals(len(data), outcome.error, norm, outcome.length, outcome.figures, outcome.stop)

    def run_epochs(self, data: Records, pace: Pace, epochs: int, *, gradient_norm: bool = False) -> list[EpochTotals]:
        """Do what `run` does so many times; what is returned ends with an iteration that is the last.

        Raises
        ------
        DivergenceError
            If the first of them finds no step.
        """
        done: list[EpochTotals] = []
        while len(done) < epochs and (not done or done[-1].stop is None):
            try:
                done.append(self.run(data, pace, gradient_norm=gradient_norm))
            except DivergenceError:
                if not done:
                    raise
                break
        return done

    def _vector(self, binding: Binding) -> Vector:
        """Return all the parameters that are trained, on the host."""
        trained = self.network.structure.trained
        arrays = [binding.to_numpy(self.network.parameters[name]).ravel() for name in trained]
        return np.concatenate(arrays).astype(np.float64) if arrays else np.zeros(0)

    def _go_to(self, vector: Vector, binding: Binding) -> None:
        place = binding.backend.asarray
        parts = named_parts(vector.astype(binding.dtype), self.network.structure.program())
        moved = {n: place(a, dtype=binding.dtype, device=binding.device) for n, a in parts.items()}
        self.network.parameters = {**self.network.parameters, **moved}


def _method_of(network: BoundNetwork, settings: Settings, solver: Solver) -> Method:
    if isinstance(solver, LevenbergMarquardt):
        return DampedLeastSquares(network, settings, solver)
    if isinstance(solver, LBFGS):
        return QuasiNewton(network, settings, solver)
    raise InputError(f"solver must be LevenbergMarquardt or LBFGS, got {type(solver).__name__}")
