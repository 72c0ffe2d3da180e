"""A program that runs as CUDA graphs: the contract, sizes, and what is kept between runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Plan, State, storage_dtype
from gdkernels.definition.network import Layers, map_layers
from gdkernels.errors import BackendError, InputError
from gdkernels.graph.scalars import scalar_table
from gdkernels.program import Program
from gdkernels_cupy.device import device
from gdkernels_cupy.needs import bytes_of, shares, split
from gdkernels_cupy.operations import Listing
from gdkernels_cupy.pinned import is_on_host
from gdkernels_cupy.probe import trusted_epilogues
from gdkernels_cupy.routes import EPILOGUES
from gdkernels_cupy.session import Session, Source, UnsupportedProductError
from gdkernels_cupy.tasks import Task, prediction_of, training_of

__all__ = ["CudaExecutable"]

_log = logging.getLogger("gdkernels")

_PREDICTED_ROWS = 1 << 16  # at a time
_KEPT = 3  # numbers of rows whose memory is kept, such as those of the validation and the test records


class CudaExecutable(Executable):
    """Whole runs as CUDA graphs on one GPU.

    What depends on sizes is made when they are first seen, and kept for the sizes used last.
    """

    origin = "compiled"

    def __init__(self, program: Program, plan: Plan, number: int) -> None:
        self.plan = plan
        self._program, self._number = program, number
        self._training = training_of(program) if program.optimizer is not None else None
        self._prediction = prediction_of(program)
        self._dtype = np.dtype(storage_dtype(plan.precision))
        self._epilogues = tuple(plan.choices["epilogues"]) if "epilogues" in plan.choices else None
        self._wished = plan.choices.get("micro_batches")
        self._algorithms = dict(plan.choices.get("algorithms", {}))
        self._sessions: dict[tuple[Any, ...], Session] = {}
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
        assert self._training is not None, "a program that only predicts has no step"
        widths = _widths(state.parameters)
        order = np.ascontiguousarray(order, np.int64)
        rates = np.ascontiguousarray(learning_rates, np.float64)
        with device(self._number).lock, self._on_device():
            arrays = {"x": self._contiguous(x), "y": self._contiguous(y)}
            if sample_weight is not None:
                arrays["sample_weight"] = self._contiguous(sample_weight)
            self._check(arrays, order, widths)
            steps = len(rates)
            if steps == 0:
                return 0.0, 0.0 if self._program.gradient_norm else None
            batch = min(batch_size, len(order))
            streamed = any(map(is_on_host, arrays.values()))
            session = self._session(self._training, widths, batch, len(order) % batch, streamed=streamed)
            state.parameters = map_layers(self._writable, state.parameters)
            state.slots = map_layers(lambda slots: tuple(map(self._writable, slots)), state.slots)
            table = self._table(self._training, session.listing, widths, {
                "learning_rate": rates,
                "t": np.arange(state.step + 1.0, state.step + steps + 1.0),
                "B": np.minimum(batch, len(order) - batch * np.arange(float(steps))),
                "l2": self._program.l2,
            })  # fmt: skip
            sources = {name: Source(a.data.ptr, a.shape[0]) for name, a in arrays.items()}
            total, norms = session.run(_named(state.parameters, state.slots), sources, order, table)
        state.step += steps
        return total, norms / steps if self._program.gradient_norm else None

    def predict(self, parameters: Layers, x: Any) -> Any:
        import cupy

        widths = _widths(parameters)
        with device(self._number).lock, self._on_device():
            x = self._contiguous(x)
            if x.shape[1] != widths[0]:
                raise InputError(f"x has {x.shape[1]} columns, the network {widths[0]} inputs")
            output = cupy.empty((x.shape[0], widths[-1]), self._dtype)
            if x.shape[0]:
                rows = self._rows_at_a_time(widths, x.shape[0])
                session = self._session(self._prediction, widths, rows, 0)
                table = self._table(self._prediction, session.listing, widths, {"B": float(rows)})
                plain = map_layers(self._contiguous, parameters)
                session.predict(_named(plain, ()), Source(x.data.ptr, x.shape[0]), widths[0], output, table)
        return output

    def _rows_at_a_time(self, widths: tuple[int, ...], records: int) -> int:
        """Return how many rows are predicted at once: a power of two, so that few sessions serve any number of them."""
        rows = min(1 << (records - 1).bit_length(), _PREDICTED_ROWS)
        known = [k[2] for k in self._sessions if k[:2] == (False, widths)]
        free = _free_bytes()
        while rows not in known:
            need = bytes_of(self._prediction, widths, (rows,), self.plan.precision, self._trusted())
            if need <= free or rows == 1:
                break
            rows //= 2
        return rows

    def _trusted(self) -> tuple[str, ...]:
        if self._epilogues is None:
            self._epilogues = trusted_epilogues(self._number, self.plan.precision)
        return self._epilogues

    def workspace(self, batch_size: int) -> int:
        if self._widths is None or self._training is None:
            return 0  # not known before the first run
        parts = min(batch_size, int(self.plan.choices["micro_batches"]))
        epilogues = self._epilogues or EPILOGUES
        return bytes_of(self._training, self._widths, shares(batch_size, parts), self.plan.precision, epilogues)

    # ---- sizes

    def _session(
        self, task: Task, widths: tuple[int, ...], batch: int, rest: int, *, streamed: bool = False
    ) -> Session:
        training = task is self._training
        key = (training, widths, batch, rest, streamed)
        if key not in self._sessions:
            alike = [k for k in self._sessions if k[0] == training]
            for old in alike if training else alike[: 1 - _KEPT]:
                del self._sessions[old]
            self._sessions[key] = self._new_session(task, widths, batch, rest, streamed=streamed)
            if training:
                self._widths = widths
        return self._sessions[key]

    def _new_session(self, task: Task, widths: tuple[int, ...], batch: int, rest: int, *, streamed: bool) -> Session:
        epilogues = self._trusted()
        while True:
            pieces = self._pieces(task, widths, batch, epilogues, streamed=streamed)
            if len(pieces) > 1:
                epilogues = tuple(e for e in epilogues if e not in ("update", "sums"))
            lists = [pieces, *([shares(rest, min(rest, len(pieces)))] if rest else [])]
            try:
                session = Session(
                    device(self._number),
                    task,
                    widths,
                    self.plan.precision,
                    lists,
                    epilogues,
                    self._algorithms,
                    streamed=streamed,
                )
                break
            except UnsupportedProductError as error:
                kind = error.product.epilogue.kind or ("update" if isinstance(error.product.alpha, int) else "")
                if kind not in epilogues:
                    raise
                epilogues = tuple(e for e in epilogues if e != kind)
        if task is self._training:
            choices = {
                "kernel": "graphs",
                "epilogues": epilogues,
                "micro_batches": len(pieces),
                "algorithms": dict(self._algorithms),
            }
            self.plan = replace(self.plan, choices={**self.plan.choices, **choices})
        return session

    def _pieces(
        self, task: Task, widths: tuple[int, ...], batch: int, epilogues: tuple[str, ...], *, streamed: bool
    ) -> tuple[int, ...]:
        if task is self._prediction:
            return (batch,)
        wished = self._wished
        if wished is not None:
            return shares(batch, min(batch, int(wished)))
        free = _free_bytes()
        pieces = split(task, widths, batch, self.plan.precision, epilogues, free, streamed=streamed)
        if len(pieces) > 1:
            _log.warning(
                "a batch of %d does not fit into the %.2f GB that are free on cuda:%d: each step is done in %d "
                "micro-batches, with the same result",
                batch,
                free / 1e9,
                self._number,
                len(pieces),
            )
        return pieces

    def _table(
        self, task: Task, listing: Listing, widths: tuple[int, ...], known: Mapping[str, Any]
    ) -> npt.NDArray[np.float64]:
        """Return zero, one, and the numbers that the host knows, for each step."""
        sizes = {name: float(n) for name, n in task.sizes(widths, 0).items()}
        steps = max(np.size(v) for v in known.values())
        found = scalar_table(listing.scalars, {**sizes, **known}, steps)
        return np.concatenate([np.broadcast_to([0.0, 1.0], (steps, 2)), found], axis=1)

    # ---- arrays

    def _on_device(self) -> Any:
        import cupy

        return cupy.cuda.Device(self._number)

    def _contiguous(self, a: Any) -> Any:
        import cupy

        if isinstance(a, cupy.ndarray) and a.device.id != self._number:
            raise BackendError(
                f"an array is on cuda:{a.device.id}, but the work is on cuda:{self._number}: copy it there, or work "
                f"on cuda:{a.device.id} with device='cuda:{a.device.id}'"
            )
        return cupy.ascontiguousarray(a, self._dtype)

    def _writable(self, a: Any) -> Any:
        return self._contiguous(a)

    def _check(self, arrays: Mapping[str, Any], order: npt.NDArray[np.int64], widths: tuple[int, ...]) -> None:
        """Refuse what compiled code would read beyond: it checks nothing itself."""
        x, y, weights = arrays["x"], arrays["y"], arrays.get("sample_weight")
        records = x.shape[0]
        if x.shape != (records, widths[0]) or y.shape != (records, widths[-1]):
            raise InputError(f"x {x.shape} and y {y.shape} do not fit a network of {widths[0]} to {widths[-1]} units")
        if self._program.weighted != (weights is not None) or (weights is not None and weights.shape != (records,)):
            wanted = f"takes sample_weight [{records}]" if self._program.weighted else "takes no sample_weight"
            raise InputError(f"this program {wanted}, got {None if weights is None else list(weights.shape)}")
        if order.size == 0:
            raise InputError("there are no records to train on")
        if order.min() < 0 or order.max() >= records:
            raise InputError(f"the order names row {order.min()} to {order.max()} of {records} rows")


def _free_bytes() -> int:
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    return int(free + cupy.get_default_memory_pool().free_bytes())


def _widths(parameters: Layers) -> tuple[int, ...]:
    return (parameters[0].W.shape[0], *(layer.W.shape[1] for layer in parameters))


def _named(parameters: Layers, slots: Layers) -> dict[str, Any]:
    """Return the arrays by the names that a trace gives them."""
    named: dict[str, Any] = {}
    for k, layer in enumerate(parameters):
        named |= {f"{letter}{k}": a for letter, a in zip("Wb", layer, strict=True) if a is not None}
    for k, layer in enumerate(slots):
        for letter, arrays in zip("Wb", layer, strict=True):
            named |= {f"{letter}{k}.{s}": a for s, a in enumerate(arrays or ())}
    return named
