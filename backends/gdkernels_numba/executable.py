"""A program that runs as fused code on the CPU."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Job, Plan, State
from gdkernels.backend.arguments import arrays_by_name, check_epochs, check_prediction, keys_of_run
from gdkernels.backend.entries import Entries
from gdkernels.backend.executable import EpochsExecutable
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels.errors import ScheduleError
from gdkernels.lowering.elementwise import as_loaded
from gdkernels.lowering.scalars import known_of_steps
from gdkernels.lowering.steps import EntryProduct, Product
from gdkernels.lowering.task import ScheduledTask
from gdkernels.randomness import SeededOrders
from gdkernels.system.cached_property import cached_property
from gdkernels_numba.bytecode.arena import pitch_of
from gdkernels_numba.bytecode.bound_step import BoundStep
from gdkernels_numba.bytecode.kept_steps import KeptSteps
from gdkernels_numba.bytecode.prepared_run import PreparedRun
from gdkernels_numba.compilation import Compiled, compile_program
from gdkernels_numba.cpu.features import caches, cores
from gdkernels_numba.orders import RunOrders
from gdkernels_numba.plan import StepChoices, StepFootprint, choose, shared_pieces

__all__ = ["FusedExecutable"]

_log = logging.getLogger("gdkernels")

_PREDICTED_ROWS = 1 << 20  # at a time
# Rows that are copied sooner than their address is found: so many, or more if they are so many numbers.
_FEW, _MORE, _NUMBERS = 16, 64, 4096
_KEPT_FOOTPRINTS = 64
_KEPT_PREDICTIONS = 4  # sizes whose instruction streams are kept, such as those of the validation and the test records

Array = npt.NDArray[Any]


class FusedExecutable(EpochsExecutable):
    """An executable that does whole runs in one call of compiled code.

    It binds a step when it first sees its sizes, and keeps the bound steps of the sizes used last.
    """

    origin = "compiled"

    def __init__(self, program: Program, compiled: Compiled, plan: Plan) -> None:
        self.plan = plan
        self._program, self._compiled = program, compiled
        self._dtype = np.dtype(compiled.kernels.format.dtype)
        self._wished = dict(plan.choices)
        self._bound = KeptSteps()
        self._planned_by: BoundStep | None = None

    # ---- the contract

    @property
    def takes_entries(self) -> bool:
        return self._by_entries is not None

    @property
    def takes_seeded_orders(self) -> bool:
        return True

    @cached_property
    def _by_entries(self) -> Compiled | None:
        """The code where x is known by its entries; None where the network needs all of x, or products round it."""
        form = self._compiled.kernels.format
        if form.bf16:
            return None
        try:
            return compile_program(self._program, form, entries=True)
        except ScheduleError as error:
            _log.info("sparse rows are made dense: %s", error)
            return None

    def _code(self, x: Any) -> Compiled:
        if not isinstance(x, Entries):
            return self._compiled
        assert self._by_entries is not None, "entries come where they are taken"
        return self._by_entries

    def run_epochs(
        self,
        state: State,
        x: Any,
        y: Any,
        orders: npt.NDArray[np.int64] | SeededOrders,
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> list[tuple[float, float | None]]:
        run = self._prepared(state, x, y, orders, batch_size, learning_rates, sample_weight)
        orders = run.orders.drawn(run.bound.kernels.draw_orders)
        return run.ended(run.bound.run(run.arrays, orders, run.records, run.times, run.scalars))

    def run_many(self, jobs: Iterable[Job], threads: int = 1) -> Iterator[list[tuple[float, float | None]]]:
        from gdkernels_numba.many import run_jobs

        return run_jobs(jobs, threads, _prepared)

    def prepared(self, job: Job) -> PreparedRun:
        """Return a job of this executable with its arguments checked, and with where it runs."""
        given = job.state, job.x, job.y, job.orders, job.batch_size, job.learning_rates
        return self._prepared(*given, job.sample_weight)

    def _prepared(
        self,
        state: State,
        x: Any,
        y: Any,
        orders: npt.NDArray[np.int64] | SeededOrders,
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any,
    ) -> PreparedRun:
        if not isinstance(orders, SeededOrders):
            orders = np.ascontiguousarray(orders, np.int64)
        code, y = self._code(x), self._contiguous(y)
        x = x if isinstance(x, Entries) else self._contiguous(x)
        weights = None if sample_weight is None else self._contiguous(sample_weight)
        check_epochs(self._program, state.parameters, x, y, orders, batch_size, learning_rates, weights)
        task = code.step
        assert task is not None, "what has an optimizer has a step"
        (epochs, steps), records = learning_rates.shape, orders.shape[1]
        # By the full batch, also where these rows are only the last and smaller one: the plan of a fit stays one plan.
        bound = self._bind(code, task, batch_size, x)

        trained = {name: self._writable(state.parameters[name]) for name in self._program.trained}
        state.parameters = {**state.parameters, **trained}
        state.slots = {name: tuple(map(self._writable, slots)) for name, slots in state.slots.items()}
        draw = code.kernels.draw_orders
        rows_of_run = RunOrders.of(orders, draw)
        of_x = x.arrays("x") if isinstance(x, Entries) else {"x": x}
        arrays = {**of_x, "y": y, **arrays_by_name(state.parameters, state.slots)}
        if weights is not None:
            arrays["sample_weight"] = weights[rows_of_run.drawn(draw).ravel()]
        keys = keys_of_run(self._program, state, records, batch_size, epochs)
        if keys is not None:
            arrays["row_keys"] = as_loaded(keys, self._dtype)
        rates, numbers = np.ravel(learning_rates), self._program.numbers
        scalars = known_of_steps(rates, done=state.step, records=records, batch=batch_size, numbers=numbers)
        times, with_norm = (epochs, steps), self._program.gradient_norm
        return PreparedRun(bound, state, arrays, rows_of_run, records, times, scalars, with_norm)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        code, x = self._code(x), x if isinstance(x, Entries) else self._contiguous(x)
        check_prediction(self._program, parameters, x)
        if not isinstance(x, Entries) and 0 < x.shape[0] <= (_MORE if x.size <= _NUMBERS else _FEW):
            bound = self._bind(code, code.prediction, 1 << (x.shape[0] - 1).bit_length(), x)
            return bound.predict({name: self._contiguous(a) for name, a in parameters.items()}, x)
        output = np.empty((x.shape[0], self._program.outputs), self._dtype)
        if x.shape[0]:
            # A power of two, so that a few sets of instruction streams serve any number of rows.
            rows = min(1 << (x.shape[0] - 1).bit_length(), _PREDICTED_ROWS)
            bound = self._bind(code, code.prediction, rows, x)
            contiguous, dtype = np.ascontiguousarray, self._dtype
            arrays = {name: contiguous(a, dtype) for name, a in parameters.items()}
            for start in range(0, x.shape[0], rows):
                stop = min(start + rows, x.shape[0])
                if isinstance(x, Entries):
                    arrays |= x.rows(start, stop).arrays("x")
                else:
                    arrays["x"] = x[start:stop]
                arrays["prediction"] = output[start:stop]
                bound.run(arrays, None, stop - start, (1, 1), {"B": float(stop - start)})
        return output

    def with_program(self, program: Program) -> FusedExecutable | None:
        if program.without_numbers != self._program.without_numbers:
            return None
        other = object.__new__(type(self))
        # With the code, the bound steps and what is known of both; `copy` takes ten times as long, for each model.
        vars(other).update(vars(self), _program=program)
        return other

    def workspace(self, batch_size: int) -> int:
        task = self._compiled.step
        if task is None:
            return 0
        sizes = task.sizes_with(batch_size)
        choices = self._choose(self._compiled, task, sizes, batch_size)
        return BoundStep.measure(task, self._compiled.kernels, sizes, choices)

    # ---- sizes

    def shard_choices(self, batch: int, shards: int) -> StepChoices:
        """Return the choices for a shard of a batch, which one thread computes alone.

        Where all pieces of the batch can be dealt to the shards, each shard has its own: then bits are those of one
        process. Plans that say how high tiles are also say how many pieces a shard has.
        """
        task = self._compiled.step
        assert task is not None, "what has an optimizer has a step"
        alone = {"threads": 1, "by_units": False}
        self._wished |= {**alone, "pieces": 1}
        told, rows = {**self.plan.choices, **alone}, -(-batch // shards)
        if "tile_rows" not in told:
            whole = self._choose(self._compiled, task, task.sizes_with(batch), batch, wished=told)
            told |= shared_pieces(whole, shards)
        return self._choose(self._compiled, task, task.sizes_with(rows), rows, wished=told)

    @property
    def has_whole_gradients(self) -> bool:
        """Whether each gradient can have a place of its own, from which it is exchanged; those of tables have none."""
        return self._compiled.step is not None and not self._compiled.step.schedule.row_sums

    @property
    def compiled(self) -> Compiled:
        """The code of the program."""
        return self._compiled

    def _bind(self, code: Compiled, task: ScheduledTask, batch: int, x: Any) -> BoundStep:
        training, entries = task.output is None, x.per_row if isinstance(x, Entries) else 0.0
        key = (training, isinstance(x, Entries), batch)
        known = self._bound.by_use
        bound = known.get(key)
        if bound is None:
            sizes = task.sizes_with(batch)
            alike = [k for k in known if k[0] == training]
            for old in alike if training else alike[: 1 - _KEPT_PREDICTIONS]:
                del known[old]  # before the new one takes its memory
            choices = self._choose(code, task, sizes, batch, entries)
            bound = KeptSteps.bound(task, code.kernels, sizes, choices)
            known[key] = bound
        if training and self._planned_by is not bound:
            self.plan = replace(self.plan, choices={**self._wished, **bound.choices.as_dict()})
            self._planned_by = bound
        return bound

    def _choose(
        self,
        code: Compiled,
        task: ScheduledTask,
        sizes: Mapping[str, int],
        batch: int,
        entries: float = 0.0,
        *,
        wished: Mapping[str, Any] | None = None,
    ) -> StepChoices:
        wished = self._wished if wished is None else wished
        key = task.output is None, batch, entries
        footprint = code.footprints.get(key)
        if footprint is None:
            if len(code.footprints) >= _KEPT_FOOTPRINTS:
                code.footprints.clear()
            footprint = code.footprints[key] = self._footprint(task, sizes, batch, entries)
        if code is not self._compiled:
            wished = {**wished, "by_units": False}  # each thread has its rows
        most = 1 if "threads" in wished else cores()  # many fits ask, and each says that it has one
        return choose(footprint, self._compiled.kernels.format, caches(), most, wished)

    def _footprint(self, task: ScheduledTask, sizes: Mapping[str, int], batch: int, entries: float) -> StepFootprint:
        """Return the size of a step in the numbers that choices depend on."""
        form = self._compiled.kernels.format
        tile, shapes = task.schedule.tile, {name: p.shape for name, p in self._program.parameters.items()}
        of_products = {s.weights.attribute: s.weights.shape for s in tile if isinstance(s, Product)}
        products = set(of_products)
        by_entry = {s.weights.attribute for s in tile if isinstance(s, EntryProduct)}
        weights = sum(math.prod(sizes[str(n)] for n in shape) for shape in of_products.values())
        moved = sum(math.prod(shape) for name, shape in shapes.items() if len(shape) == 2 and name not in products)
        multiplied = weights + sum(entries * shapes[name][1] for name in by_entry)
        training = task.output is None
        kept = [b for b in task.schedule.buffers if b.kept]
        row_bytes = sum(-(-sizes[b.width.name] // form.panel) * pitch_of(sizes[b.width.name], form) for b in kept)
        narrower = 2 if form.bf16 else 1  # what products read
        return StepFootprint(
            batch=batch,
            flops=(6.0 if training else 2.0) * multiplied * batch,
            row_bytes=row_bytes // narrower,
            widest_bytes=max(self._program.widths) * form.size,
            weight_bytes=weights * form.size * (2 if training else 1) // narrower,
            moved_bytes=moved * form.size if training else 0,
            alone=not training,
        )

    # ---- arrays

    def _contiguous(self, a: Any) -> Array:
        return np.ascontiguousarray(a, self._dtype)

    def _writable(self, a: Any) -> Array:
        fits = isinstance(a, np.ndarray) and a.dtype == self._dtype and a.flags.c_contiguous and a.flags.writeable
        return a if fits else np.array(a, self._dtype, order="C")


def _prepared(job: Job) -> PreparedRun | None:
    """Return a job ready to run, or None if it is none for this engine."""
    return job.executable.prepared(job) if isinstance(job.executable, FusedExecutable) else None
