"""A program that runs as CUDA graphs: the contract, sizes, and what is kept between runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Plan, State, storage_dtype
from gdkernels.backend.arguments import arrays_by_name, check_prediction, check_run, widths_of
from gdkernels.backend.program import Program
from gdkernels.definition.network import Layers, map_layers
from gdkernels.errors import BackendError
from gdkernels.lowering.scalars import known_of_steps, scalar_table
from gdkernels.lowering.task import DATA, ScheduledTask, schedule_prediction, schedule_training
from gdkernels_cupy.cuda.device import check_device, describe, device, free_bytes
from gdkernels_cupy.cuda.errors import DeviceMemoryError, as_backend_errors
from gdkernels_cupy.cuda.pinned import is_on_host
from gdkernels_cupy.graphs.epilogue_tuning import chosen, remember, remembered
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.memory_plan import bytes_of, shares, split
from gdkernels_cupy.graphs.operations import OperationList
from gdkernels_cupy.graphs.probe import trusted_epilogues
from gdkernels_cupy.graphs.products import UnsupportedProductError
from gdkernels_cupy.graphs.session import GraphSession
from gdkernels_cupy.graphs.session_memory import DeviceArray
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS
from gdkernels_cupy.graphs.step_text import step_text

__all__ = ["CudaGraphExecutable"]

_log = logging.getLogger("gdkernels")

_PREDICTED_ROWS = 1 << 16  # at a time
_ATTEMPTS = 5  # if memory that the plan took for free is not available
_KEPT = 3  # numbers of rows whose memory is kept, such as those of the validation and the test records


@dataclass(frozen=True)
class _SessionKey:
    """What a session is made for; smaller last batches are added to it as they come."""

    task: ScheduledTask
    widths: tuple[int, ...]
    batch: int
    streamed: bool = False


@dataclass(frozen=True)
class _Training:
    """A run of training steps.

    Attributes
    ----------
    records, steps
        How many it takes: their order and their numbers are on the device too.
    timed
        Returns the seconds of a step of a session.
    """

    records: int
    steps: int
    timed: Callable[[GraphSession], float]


class CudaGraphExecutable(Executable):
    """Whole runs as CUDA graphs on one GPU.

    What depends on sizes is made when they are first seen, and kept for the sizes used last.
    """

    origin = "compiled"

    def __init__(self, program: Program, plan: Plan, number: int) -> None:
        self.plan = plan
        self._program, self._number = program, number
        self._training = schedule_training(program, CUDA_FUNCTIONS) if program.optimizer is not None else None
        self._prediction = schedule_prediction(program, CUDA_FUNCTIONS)
        self._dtype = np.dtype(storage_dtype(plan.precision))
        self._wished_epilogues = plan.choices.get("epilogues")
        self._wished = plan.choices.get("micro_batches")
        self._algorithms = dict(plan.choices.get("algorithms", {}))
        self._least_parts = self._last_parts = 1
        self._sessions: dict[_SessionKey, GraphSession] = {}
        self._widths: tuple[int, ...] | None = None

    # ---- the contract

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
        widths = widths_of(state.parameters)
        order = np.ascontiguousarray(order, np.int64)
        with device(self._number).lock, self._on_device():
            arrays = {"x": self._contiguous(x), "y": self._contiguous(y)}
            if sample_weight is not None:
                arrays["sample_weight"] = self._contiguous(sample_weight)
            x, y, weights = map(arrays.get, DATA)
            check_run(self._program, state.parameters, x, y, order, batch_size, learning_rates, weights)
            assert self._training is not None, "what has an optimizer has a step"
            steps, l2 = len(learning_rates), self._program.l2
            batch = min(batch_size, len(order))
            streamed = any(map(is_on_host, arrays.values()))
            parameters = map_layers(self._contiguous, state.parameters)
            slots = map_layers(lambda slots: tuple(map(self._contiguous, slots)), state.slots)
            named = arrays_by_name(parameters, slots)
            sources = {name: DeviceArray(a.data.ptr, a.shape[0]) for name, a in arrays.items()}
            known = known_of_steps(learning_rates, done=state.step, records=len(order), batch=batch, l2=l2)

            def table(session: GraphSession) -> npt.NDArray[np.float64]:
                return self._table(session.task, session.op_list, widths, known)

            def timed(session: GraphSession) -> float:
                return session.seconds(named, sources, order, table(session))

            shape = _SessionKey(self._training, widths, batch, streamed)
            training = _Training(len(order), steps, timed)
            total, norms = self._retrying(
                shape,
                lambda: (session := self._trained_by(shape, training)).run(named, sources, order, table(session)),
            )
            state.parameters, state.slots = parameters, slots
        state.step += steps
        return total, norms / steps if self._program.gradient_norm else None

    def _retrying(self, shape: _SessionKey, run: Callable[[], tuple[float, float]]) -> tuple[float, float]:
        """Return what a run returns; where memory is short, make room and try again.

        A run that fails has changed nothing: parameters are put back at its end.
        """
        for left in reversed(range(_ATTEMPTS)):
            try:
                with as_backend_errors(self.plan.device):
                    return run()
            except DeviceMemoryError as error:
                if not left:
                    raise
                said = str(error)
            # Not before: the error's traceback holds the memory that is to be freed.
            if not self._make_room(shape, said):
                raise DeviceMemoryError(said)
        raise AssertionError("the last attempt raises")

    def predict(self, parameters: Layers, x: Any) -> Any:
        import cupy

        widths = widths_of(parameters)
        with device(self._number).lock, self._on_device():
            x = self._contiguous(x)
            check_prediction(parameters, x)
            output = cupy.empty((x.shape[0], widths[-1]), self._dtype)
            if x.shape[0]:
                rows = self._rows_at_a_time(widths, x.shape[0])
                session = self._predicted_by(_SessionKey(self._prediction, widths, rows))
                table = self._table(self._prediction, session.op_list, widths, {"B": float(rows)})
                plain = map_layers(self._contiguous, parameters)
                session.predict(arrays_by_name(plain), DeviceArray(x.data.ptr, x.shape[0]), widths[0], output, table)
        return output

    def _rows_at_a_time(self, widths: tuple[int, ...], records: int) -> int:
        """Return how many rows are predicted at once: a power of two, so that few sessions serve any number of them."""
        rows = min(1 << (records - 1).bit_length(), _PREDICTED_ROWS)
        known = [s.batch for s in self._sessions if s.task is self._prediction and s.widths == widths]
        free = free_bytes()
        while rows not in known:
            need = bytes_of(self._prediction, widths, (rows,), self.plan.precision, self._predicting())
            if need <= free or rows == 1:
                break
            rows //= 2
        return rows

    def _trusted(self) -> tuple[str, ...]:
        return trusted_epilogues(self._number, self.plan.precision)

    def _predicting(self) -> tuple[str, ...]:
        """Return the epilogues of predictions: all that are trusted, or none where the plan wants none."""
        return () if self._wished_epilogues == () else self._trusted()

    def workspace(self, batch_size: int) -> int:
        if self._widths is None or self._training is None:
            return 0  # not known before the first run
        parts = min(batch_size, int(self.plan.choices["micro_batches"]))
        epilogues = self.plan.choices["epilogues"]
        return bytes_of(self._training, self._widths, shares(batch_size, parts), self.plan.precision, epilogues)

    # ---- sizes

    def _predicted_by(self, shape: _SessionKey) -> GraphSession:
        """Return what runs predictions of a shape."""
        if shape not in self._sessions:
            for old in [s for s in self._sessions if s.task is shape.task][: 1 - _KEPT]:
                del self._sessions[old]
            self._sessions[shape] = self._fitting(shape, self._predicting(), self._algorithms)
        return self._sessions[shape]

    def _trained_by(self, shape: _SessionKey, training: _Training) -> GraphSession:
        """Return what runs steps of a shape, with a last batch as small as this run's."""
        rest, session = training.records % shape.batch, self._sessions.get(shape)
        try:
            with device(self._number).working():
                there = session is not None and (not rest or session.add(_rest_of(rest, session.pieces)))
        except UnsupportedProductError:  # an epilogue that this last batch cannot have: then no batch has it
            there = False
        if not there:
            del session
            for old in [s for s in self._sessions if s.task is shape.task]:
                del self._sessions[old]
            self._sessions[shape] = self._training_session(shape, training)
            self._widths = shape.widths
        self._note(self._sessions[shape])
        return self._sessions[shape]

    def _training_session(self, shape: _SessionKey, training: _Training) -> GraphSession:
        free = free_bytes()
        if self._wished_epilogues is None:
            epilogues = self._tuned_epilogues(shape, training)
        else:
            epilogues = tuple(e for e in self._wished_epilogues if e in self._trusted())
            if len(epilogues) < len(self._wished_epilogues):
                _log.warning(
                    "the plan's epilogues %s are missing or wrong on cuda:%d: bits may differ",
                    ", ".join(sorted({*self._wished_epilogues} - {*epilogues})),
                    self._number,
                )
        session = self._fitting(shape, epilogues, self._algorithms, training)
        if len(session.pieces) > 1 and self._wished is None:
            _log.warning(
                "a batch of %d does not fit into the %.2f GB that are free on cuda:%d: each step is done in %d "
                "micro-batches, with the same result",
                shape.batch,
                free / 1e9,
                self._number,
                len(session.pieces),
            )
        return session

    def _note(self, session: GraphSession) -> None:
        """Let the plan say what runs."""
        choices = {
            "kernel": "graphs",
            "epilogues": session.offered,
            "micro_batches": len(session.pieces),
            "algorithms": dict(self._algorithms),
        }
        self.plan = replace(self.plan, choices={**self.plan.choices, **choices})

    def _make_room(self, shape: _SessionKey, said: str) -> bool:
        """Free what can be freed, and let a batch be split into twice as many parts; return whether that is new."""
        self._sessions.clear()
        device(self._number).release()
        if self._wished is not None:
            return False  # a plan names its parts
        parts = min(2 * self._last_parts, shape.batch)
        if parts == self._last_parts:
            return False
        _log.warning("%s: a step is tried again in %d micro-batches", said, parts)
        self._least_parts = parts
        return True

    def _tuned_epilogues(self, shape: _SessionKey, training: _Training) -> tuple[str, ...]:
        """Return the epilogues that gain in steps of this shape: as they were timed before, or are now."""
        trusted, here = self._trusted(), describe(self._number)
        pieces = self._pieces(shape, trusted, training)
        operations = self._operations(shape, pieces, trusted)
        hardware = [here["device"], here["driver"], here["cublasLt"]]
        step = json.dumps([hardware, self.plan.precision, trusted, shape.streamed, step_text(operations)])
        known = remembered(step, trusted)
        if known is not None:
            return known
        if self._operations(shape, pieces, ()) == operations:
            return trusted
        _log.info("timing a step on cuda:%d, with and without each epilogue of its products", self._number)
        seen = set()

        def seconds(epilogues: tuple[str, ...]) -> float | None:
            found = self._operations(shape, pieces, epilogues)
            if found in seen:
                return None
            seen.add(found)
            try:
                session = self._fitting(shape, epilogues, dict(self._algorithms), training)
            except BackendError:  # memory is short without one of them
                return None
            return training.timed(session)

        epilogues = chosen(trusted, seconds)
        remember(step, epilogues)
        return epilogues

    def _operations(self, shape: _SessionKey, pieces: tuple[int, ...], epilogues: tuple[str, ...]) -> Any:
        sizes = shape.task.sizes(shape.widths, shape.batch)
        return lower(shape.task, sizes, self.plan.precision, pieces, epilogues).operations

    def _fitting(
        self,
        shape: _SessionKey,
        epilogues: tuple[str, ...],
        algorithms: dict[str, str],
        training: _Training | None = None,
    ) -> GraphSession:
        """Return a session with the epilogues given, less what cuBLAS has no algorithm for."""
        while True:
            pieces = self._pieces(shape, epilogues, training)
            rest = 0 if training is None else training.records % shape.batch
            gpu = device(self._number)
            try:
                with gpu.working():  # products are tried
                    return GraphSession(
                        gpu,
                        shape.task,
                        shape.widths,
                        self.plan.precision,
                        [pieces, *([_rest_of(rest, pieces)] if rest else [])],
                        epilogues,
                        algorithms,
                        streamed=shape.streamed,
                    )
            except UnsupportedProductError as error:
                if error.kind not in epilogues:
                    raise
                epilogues = tuple(e for e in epilogues if e != error.kind)

    def _pieces(
        self, shape: _SessionKey, epilogues: tuple[str, ...], training: _Training | None = None
    ) -> tuple[int, ...]:
        if training is None:
            return (shape.batch,)
        if self._wished is not None:
            return shares(shape.batch, min(shape.batch, int(self._wished)))
        pieces = split(
            shape.task,
            shape.widths,
            shape.batch,
            self.plan.precision,
            epilogues,
            free_bytes(),
            streamed=shape.streamed,
            records=training.records,
            steps=training.steps,
            least=self._least_parts,
        )
        self._last_parts = len(pieces)
        return pieces

    def identity(self) -> list[Any]:
        """Return what JSON can hold, and what the results of the last run depend on."""
        session = next(s for key, s in reversed(self._sessions.items()) if key.task is self._training)
        return ["graphs", describe(self._number), session.identity()]

    def _table(
        self, task: ScheduledTask, op_list: OperationList, widths: tuple[int, ...], known: Mapping[str, Any]
    ) -> npt.NDArray[np.float64]:
        """Return zero, one, and the numbers that the host knows, for each step."""
        sizes = {name: float(n) for name, n in task.sizes(widths, 0).items()}
        steps = max(np.size(v) for v in known.values())
        found = scalar_table(op_list.scalars, {**sizes, **known}, steps)
        return np.concatenate([np.broadcast_to([0.0, 1.0], (steps, 2)), found], axis=1)

    # ---- arrays

    def _on_device(self) -> Any:
        import cupy

        return cupy.cuda.Device(self._number)

    def _contiguous(self, a: Any) -> Any:
        import cupy

        if isinstance(a, cupy.ndarray):
            check_device(a.device.id, self._number)
        return cupy.ascontiguousarray(a, self._dtype)


def _rest_of(rest: int, pieces: tuple[int, ...]) -> tuple[int, ...]:
    """Return the micro-batches of a smaller last batch: as many as those of a full one."""
    return shares(rest, min(rest, len(pieces)))
