"""A program that runs as CUDA graphs: the contract, sizes, and what is kept between runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Plan, State, storage_dtype
from gdkernels.backend.arguments import arrays_by_name, check_prediction, check_run, keys_of_run
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels.errors import ScheduleError
from gdkernels.lowering.scalars import known_of_steps
from gdkernels.lowering.task import ScheduledTask, schedule_prediction, schedule_training
from gdkernels.randomness import KeyedOrder
from gdkernels_cupy.cuda.device import check_device, describe, device, free_bytes
from gdkernels_cupy.cuda.keyed_order import ready_order
from gdkernels_cupy.cuda.pinned import is_on_host
from gdkernels_cupy.graphs.kept_sessions import KeptSessions, table_of
from gdkernels_cupy.graphs.keyed_rows import with_keys
from gdkernels_cupy.graphs.memory_plan import bytes_of, shares
from gdkernels_cupy.graphs.session import GraphSession
from gdkernels_cupy.graphs.session_maker import SessionKey, TrainingRun
from gdkernels_cupy.graphs.session_memory import DeviceArray
from gdkernels_cupy.graphs.shared_steps import SharedSteps
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS

__all__ = ["CudaGraphExecutable"]

_PREDICTED_ROWS = 1 << 16  # at a time
_MOST_NUMBERS = 500  # that a kernel takes, each by its address: of the 4096 bytes of arguments that every device has


@dataclass(frozen=True)
class MadeGraphs:
    """What executables share whose programs differ in numbers alone.

    Attributes
    ----------
    kept
        The sessions of the sizes used last.
    """

    training: ScheduledTask | None
    prediction: ScheduledTask
    kept: KeptSessions

    @classmethod
    def of(cls, program: Program, plan: Plan, number: int, ranks: SharedSteps | None) -> MadeGraphs:
        """Return those of a program, with nothing made yet for sizes."""
        prediction = schedule_prediction(program, CUDA_FUNCTIONS)
        training = schedule_training(program, CUDA_FUNCTIONS) if program.optimizer is not None else None
        for task in (prediction, training):
            if task is not None:
                task.refuse_row_products("the engine of CUDA graphs")
        most = max((len(n.reads) for n in training.schedule.numbers if n is not None), default=0) if training else 0
        if most > _MOST_NUMBERS:
            raise ScheduleError(
                f"one kernel would take {most} numbers, as the norm of a gradient has one for each parameter, and "
                f"takes {_MOST_NUMBERS} at most"
            )
        return cls(training, prediction, KeptSessions(plan, number, ranks))


class CudaGraphExecutable(Executable):
    """Whole runs as CUDA graphs on one GPU.

    What depends on sizes is made when they are first seen, and kept for the sizes used last.

    Parameters
    ----------
    ranks
        The ranks that share each batch; of an order, only the rows of this rank's shards are then looked at, and the
        others are -1.
    """

    origin = "compiled"

    def __init__(
        self,
        program: Program,
        plan: Plan,
        number: int,
        *,
        ranks: SharedSteps | None = None,
        made: MadeGraphs | None = None,
    ) -> None:
        self.plan, self._shared = plan, ranks is not None
        self._program, self._number = program, number
        self._made = made or MadeGraphs.of(program, plan, number, ranks)
        self._training, self._prediction = self._made.training, self._made.prediction
        self._dtype = np.dtype(storage_dtype(plan.precision))
        self._kept = self._made.kept
        self._maker, self._sessions = self._kept.maker, self._kept.sessions
        self._wished = plan
        self._widths: tuple[int, ...] | None = None

    def with_program(self, program: Program) -> CudaGraphExecutable | None:
        if self._shared or program.without_numbers != self._program.without_numbers:
            return None
        return CudaGraphExecutable(program, self._wished, self._number, made=self._made)

    # ---- the contract

    takes_keyed_orders = True

    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64] | KeyedOrder,
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        widths = self._program.widths
        order = ready_order(order, np.int64)
        with device(self._number).lock, self._on_device():
            arrays = {"x": self._contiguous(x), "y": self._contiguous(y)}
            if sample_weight is not None:
                arrays["sample_weight"] = self._contiguous(sample_weight)
            x, y, weights = map(arrays.get, ("x", "y", "sample_weight"))
            if not self._shared:  # their executable has looked at it
                check_run(self._program, state.parameters, x, y, order, batch_size, learning_rates, weights)
            assert self._training is not None, "what has an optimizer has a step"
            keys = keys_of_run(self._program, state, len(order), batch_size)
            if keys is not None:
                arrays, order = with_keys(arrays, np.asarray(order), keys, self._dtype)
            steps, numbers = len(learning_rates), self._program.numbers
            batch = min(batch_size, len(order))
            streamed = any(map(is_on_host, arrays.values()))
            parameters = {name: self._contiguous(a) for name, a in state.parameters.items()}
            slots = {name: tuple(map(self._contiguous, moved)) for name, moved in state.slots.items()}
            named = arrays_by_name(parameters, slots)
            sources = {name: DeviceArray(a.data.ptr, a.shape[0]) for name, a in arrays.items()}
            known = known_of_steps(learning_rates, done=state.step, records=len(order), batch=batch, numbers=numbers)

            def table(session: GraphSession) -> npt.NDArray[np.float64]:
                return table_of(session, known)

            def timed(session: GraphSession) -> float:
                return session.seconds(named, sources, order, table(session))

            shape = SessionKey(self._training, widths, batch, streamed)
            training = TrainingRun(len(order), steps, timed)
            total, norms = self._kept.retrying(
                shape,
                lambda: (session := self._trained_by(shape, training)).run(named, sources, order, table(session)),
            )
            state.parameters, state.slots = parameters, slots
        state.step += steps
        return total, norms / steps if self._program.gradient_norm else None

    def predict(self, parameters: Arrays, x: Any) -> Any:
        import cupy

        widths = self._program.widths
        with device(self._number).lock, self._on_device():
            x = self._contiguous(x)
            check_prediction(self._program, parameters, x)
            output = cupy.empty((x.shape[0], self._program.outputs), self._dtype)
            if x.shape[0]:
                rows = self._rows_at_a_time(widths, x.shape[0])
                session = self._kept.predicted_by(SessionKey(self._prediction, widths, rows))
                table = table_of(session, {"B": float(rows)})
                plain = {name: self._contiguous(a) for name, a in parameters.items()}
                session.predict(
                    arrays_by_name(plain), DeviceArray(x.data.ptr, x.shape[0]), self._program.inputs, output, table
                )
        return output

    def _rows_at_a_time(self, widths: tuple[int, ...], records: int) -> int:
        """Return how many rows are predicted at once: a power of two, so that few sessions serve any number of them."""
        rows = min(1 << (records - 1).bit_length(), _PREDICTED_ROWS)
        known = [s.batch for s in self._sessions if s.task is self._prediction and s.widths == widths]
        free = free_bytes()
        while rows not in known:
            need = bytes_of(self._prediction, widths, (rows,), self.plan.precision, self._maker.predicting())
            if need <= free or rows == 1:
                break
            rows //= 2
        return rows

    @property
    def algorithms(self) -> dict[str, str]:
        """The algorithms of cublasLt's for each product so far, by what they were chosen for."""
        return self._maker.algorithms

    def workspace(self, batch_size: int) -> int:
        if self._widths is None or self._training is None:
            return 0  # not known before the first run
        parts = min(batch_size, int(self.plan.choices["micro_batches"]))
        epilogues = self.plan.choices["epilogues"]
        return bytes_of(self._training, self._widths, shares(batch_size, parts), self.plan.precision, epilogues)

    # ---- sizes

    def _trained_by(self, shape: SessionKey, training: TrainingRun) -> GraphSession:
        """Return what runs steps of a shape."""
        session = self._kept.trained_by(shape, training)
        self._widths = shape.widths
        self._note(session)
        return session

    def _note(self, session: GraphSession) -> None:
        """Let the plan say what runs."""
        choices = {
            "kernel": "graphs",
            "epilogues": session.offered,
            "micro_batches": len(session.pieces),
            "algorithms": dict(self._maker.algorithms),
        }
        self.plan = replace(self.plan, choices={**self.plan.choices, **choices})

    def identity(self) -> list[Any]:
        """Return what JSON can hold, and what the results of the last run depend on."""
        session = next(s for key, s in reversed(self._sessions.items()) if key.task is self._training)
        return ["graphs", describe(self._number), session.identity()]

    # ---- arrays

    def _on_device(self) -> Any:
        import cupy

        return cupy.cuda.Device(self._number)

    def _contiguous(self, a: Any) -> Any:
        import cupy

        if isinstance(a, cupy.ndarray):
            check_device(a.device.id, self._number)
        return cupy.ascontiguousarray(a, self._dtype)
