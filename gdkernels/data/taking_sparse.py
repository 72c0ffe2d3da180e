"""Executables that take sparse records: their entries as they are, or pieces of them that are dense in few columns.

The weights of all columns in which a piece has no entry take no part, and their gradient is 0. So what computes sees a
dense batch of a network with fewer inputs, on any backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Plan, State
from gdkernels.backend.arguments import check_prediction, check_run
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.gradient_accumulation import in_steps, summing, take_step
from gdkernels.backend.program import Program
from gdkernels.data.sparse import DensePiece, SparseRows
from gdkernels.definition.network import Arrays
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError

__all__ = ["TakingSparse", "taking"]

_KEPT_PREDICTIONS = 4  # numbers of columns whose executables are kept
# The weights of the first layer are updated in so many blocks, because a block needs several times its own size on the
# way. Each block costs time of its own, and a large one leaves the caches, so its size has bounds.
_BLOCKS, _BLOCK_BYTES = 16, (1 << 16, 1 << 19)


def taking(x: Any, executable: Executable, program: Program, binding: Binding) -> Executable:
    """Return what runs the program of `executable` on x: itself, unless x is sparse."""
    if not isinstance(x, SparseRows):
        return executable
    by_entries = executable.takes_entries and x.shape[1] <= np.iinfo(np.int32).max
    return _ByEntries(executable, binding) if by_entries else _BySparseRows(executable, program, binding)


class TakingSparse(Executable):
    """Runs a program on records that are sparse, or dense."""

    def __init__(self, program: Program, plan: Plan, binding: Binding) -> None:
        self._executable, self._program, self._binding = bind(binding.backend, program, plan), program, binding
        self._on_sparse: Executable | None = None

    @property
    def origin(self) -> str:  # type: ignore[override]
        return self._executable.origin

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        return self._executable.plan

    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        return self._on(x).run(state, x, y, order, batch_size, learning_rates, sample_weight)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._on(x).predict(parameters, x)

    def _on(self, x: Any) -> Executable:
        if not isinstance(x, SparseRows):
            return self._executable
        if self._on_sparse is None:
            self._on_sparse = taking(x, self._executable, self._program, self._binding)
        return self._on_sparse


class _ByEntries(Executable):
    """Runs what takes the entries of sparse rows as they are."""

    def __init__(self, executable: Executable, binding: Binding) -> None:
        self.origin, self._executable, self._dtype = executable.origin, executable, binding.dtype

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        return self._executable.plan

    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        entries = x.entries(self._dtype)
        return self._executable.run(state, entries, y, order, batch_size, learning_rates, sample_weight)

    def run_epochs(
        self,
        state: State,
        x: Any,
        y: Any,
        orders: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> list[tuple[float, float | None]]:
        entries = x.entries(self._dtype)
        return self._executable.run_epochs(state, entries, y, orders, batch_size, learning_rates, sample_weight)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._executable.predict(parameters, x.entries(self._dtype))


class _BySparseRows(Executable):
    """Runs a program on sparse rows: gradients are summed over the pieces of a batch, and then one step is taken.

    A piece goes through the program with fewer inputs. Few of those are kept, because each has memory of its own.
    """

    def __init__(self, executable: Executable, program: Program, binding: Binding) -> None:
        self.origin, self.plan = executable.origin, executable.plan
        self._program, self._binding = program, binding
        self._first = _weights_of_inputs(program)
        self._kept: dict[tuple[bool, int], Executable] = {}

    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        check_run(self._program, state.parameters, x, y, order, batch_size, learning_rates, sample_weight)
        with self._binding.backend.on_device(self._binding.device), np.errstate(all="ignore"):
            total, norm = in_steps(
                lambda batch, rate: self._step(state, x, y, batch, rate, sample_weight),
                order,
                batch_size,
                learning_rates,
            )
        return total, norm if self._program.gradient_norm else None

    def _step(
        self, state: State, x: SparseRows, y: Any, batch: npt.NDArray[np.int64], rate: float, sample_weight: Any
    ) -> tuple[float, float]:
        """Take the step of a batch, and return E before it and the norm of the gradient, 0 if it was not asked for."""
        binding, xp, first = self._binding, self._binding.xp, self._first
        # Added up on the host, where it can be said which rows are meant; NumPy's arrays are the CPU's own.
        of_first = {name: np.zeros(tuple(state.parameters[name].shape), binding.dtype) for name in first}
        others: dict[str, tuple[Any, ...]] = {
            name: (xp.zeros_like(state.parameters[name]),) for name in self._program.trained if name not in first
        }
        error, weight, first_of_piece = 0.0, 0.0, 0
        for piece in x.pieces(batch, binding.dtype):
            parameters = self._near(piece, state.parameters)
            slots = {n: others[n] if n in others else (xp.zeros_like(parameters[n]),) for n in self._program.trained}
            sums = replace(state, parameters=parameters, slots=slots, first=first_of_piece)
            first_of_piece += len(piece.rows)
            own, *weights = (self._take(a, piece.rows) for a in (y, sample_weight) if a is not None)
            order = np.arange(len(piece.rows))
            parts = self._executable(piece, trains=True)
            found, _ = parts.run(sums, self._put(piece), own, order, len(order), np.zeros(1), *weights)
            error, weight = error + found, weight + (float(xp.sum(weights[0])) if weights else len(order))
            others = {name: slots for name, slots in sums.slots.items() if name not in first}
            for name, total in of_first.items():
                total[piece.columns[: piece.own]] += binding.to_numpy(sums.slots[name][0])[: piece.own]
            del piece, parameters, slots, sums  # before the next piece is made
        gradients = {n: of_first[n] if n in of_first else others[n][0] for n in self._program.trained}
        step = partial(take_step, self._program, total_weight=weight, rate=rate, xp=xp)
        if all(isinstance(state.parameters[name], np.ndarray) for name in first) and not self._needs_norm:
            return _step_in_place(step, state, error, gradients, first), 0.0
        return step(state, error, {n: binding.place(g, "gradient") if n in first else g for n, g in gradients.items()})

    @property
    def _needs_norm(self) -> bool:
        objective = self._program.objective
        return self._program.gradient_norm or (objective is not None and objective.clip_norm is not None)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        check_prediction(self._program, parameters, x)

        def predicted(piece: DensePiece) -> Any:
            return self._executable(piece, trains=False).predict(self._near(piece, parameters), self._put(piece))

        # A loop's variable would keep a piece while the next is made.
        found = list(map(predicted, x.pieces(np.arange(len(x)), self._binding.dtype)))
        return found[0] if len(found) == 1 else self._binding.xp.concat(found, axis=0)

    def _executable(self, piece: DensePiece, *, trains: bool) -> Executable:
        """Return what runs the program on the columns of a piece, to sum gradients or to predict."""
        key = trains, int(piece.dense.shape[1])
        if key not in self._kept:
            alike = [k for k in self._kept if k[0] == trains]
            for old in alike if trains else alike[: 1 - _KEPT_PREDICTIONS]:
                del self._kept[old]
            program = replace(self._program, inputs=key[1])
            wanted = summing(program) if trains else replace(program, objective=None, optimizer=None, weighted=False)
            self._kept[key] = bind(self._binding.backend, wanted, self.plan)
        return self._kept[key]

    def _near(self, piece: DensePiece, parameters: Arrays) -> dict[str, Any]:
        """Return the parameters of the network that takes only the columns of a piece."""
        return {name: self._take(a, piece.columns) if name in self._first else a for name, a in parameters.items()}

    def _put(self, piece: DensePiece) -> Any:
        return self._binding.place(piece.dense, "X")

    def _take(self, a: Any, rows: npt.NDArray[np.int64]) -> Any:
        binding = self._binding
        return binding.xp.take(a, binding.backend.asarray(rows, dtype="int64", device=binding.device), axis=0)


def _weights_of_inputs(program: Program) -> tuple[str, ...]:
    """Return the names of the weights that the inputs are multiplied by.

    Raises
    ------
    InputError
        If the network does something else with its inputs than multiplying them by weights.
    """
    graph = program.trace_forward().graph
    uses = [n for n in graph.nodes if any(a.op == "input" and a.attribute == "x" for a in n.args)]
    weights = [n.args[1] for n in uses if n.op == "matmul" and n.args[1].op == "input"]
    if len(weights) != len(uses) or not all(n.attribute in program.trained for n in weights):
        raise InputError(
            "X is sparse, and this network does not begin with a product of X with weights; pass X.toarray()"
        )
    return tuple(n.attribute for n in weights)


def _step_in_place(
    step: Callable[[State, float, Arrays], tuple[float, float]],
    state: State,
    error: float,
    gradients: Arrays,
    first: tuple[str, ...],
) -> float:
    """Take a step, the weights of the first layer some rows at a time, and return E before it.

    They are most of the memory: all the new ones beside all the old ones would be twice as much.
    """
    least, most = _BLOCK_BYTES
    for name in first:
        W, slots, gradient = state.parameters[name], state.slots[name], gradients[name]
        rows = max(1, min(most, max(least, W.nbytes // _BLOCKS)) // max(1, W[:1].nbytes))
        for start in range(0, len(W), rows):
            block = slice(start, start + rows)
            part = State({name: W[block]}, {name: tuple(s[block] for s in slots)}, state.step)
            error += step(part, 0.0, {name: gradient[block]})[0]
            for old, new in zip((W, *slots), (part.parameters[name], *part.slots[name]), strict=True):
                old[block] = new
    rest = {name: g for name, g in gradients.items() if name not in first}
    if rest:
        others = State({name: state.parameters[name] for name in rest}, {n: state.slots[n] for n in rest}, state.step)
        error += step(others, 0.0, rest)[0]
        state.parameters = state.parameters | others.parameters
        state.slots = state.slots | others.slots
    state.step += 1
    return error
