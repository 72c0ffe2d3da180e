"""The definition itself as an executable, on any backend's namespace."""

import logging
import math
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Executable, Plan, State
from gdkernels.backend.arguments import check_prediction, check_run, keys_of_run
from gdkernels.backend.few_records import FewRecords
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels.errors import InputError, ScheduleError, TraceError
from gdkernels.system.cached_property import cached_property

__all__ = ["DefinitionExecutable", "bind"]

_log = logging.getLogger("gdkernels")

# Numbers of the widest layer in one prediction. On the host, a block makes several such arrays, and few of them stay in
# a processor's cache; a device has room, and takes long to begin.
_ON_THE_HOST, _ON_A_DEVICE = 1 << 19, 1 << 24


class DefinitionExecutable(Executable):
    """Runs a program's definition batch by batch; every operation is one of the namespace."""

    origin = "definition"

    def __init__(self, backend: Backend, program: Program, plan: Plan, *, remark: str = "") -> None:
        self.plan, self.remark = plan, remark
        self._backend = backend
        self._program = program

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
        xp = self._backend.xp
        rows = self._backend.asarray(order, dtype="int64", device=self.plan.device)
        keys = keys_of_run(self._program, state, len(order), batch_size)
        if keys is not None:
            keys = self._backend.asarray(keys, dtype="int32", device=self.plan.device)
        # Summed on the device, in float64 where it has that, so that no step waits for the host.
        total: Any = 0.0
        norms: Any = 0.0
        # Overflow is reported once, when the loss of the epoch is checked, and not by warnings on the way.
        with self._backend.on_device(self.plan.device), self._products(batch_size), np.errstate(all="ignore"):
            for k, learning_rate in enumerate(learning_rates):
                # Slices end where the array does, because the standard does not define slices beyond the end.
                part = slice(k * batch_size, min((k + 1) * batch_size, len(order)))
                batch = rows[part]
                error, norm, parameters, slots = self._program.train_step(
                    state.parameters,
                    state.slots,
                    xp.take(x, batch, axis=0),
                    xp.take(y, batch, axis=0),
                    learning_rate=float(learning_rate),
                    t=float(state.step + 1),
                    sample_weight=None if sample_weight is None else xp.take(sample_weight, batch, axis=0),
                    row_keys=None if keys is None else keys[part],
                    xp=xp,
                )
                if k == 0:
                    self._check_dtypes(state.parameters, parameters)
                state.parameters, state.slots, state.step = parameters, slots, state.step + 1
                total = total + self._wide(error)
                if norm is not None:
                    norms = norms + self._wide(norm)
        return float(total), float(norms) / len(learning_rates) if self._program.gradient_norm else None

    def predict(self, parameters: Arrays, x: Any) -> Any:
        check_prediction(self._program, parameters, x)
        size, count, xp = self._rows_at_a_time, x.shape[0], self._backend.xp
        with self._backend.on_device(self.plan.device), self._products(min(size, count)), np.errstate(all="ignore"):
            if type(x) is np.ndarray and count <= self._few.most:
                return self._few.forward(parameters, x)
            if count <= size:
                return self._program.forward(parameters, x, xp=xp)
            parts = [
                self._program.forward(parameters, x[k : min(k + size, count), :], xp=xp) for k in range(0, count, size)
            ]
            return xp.concat(parts, axis=0)

    def _wide(self, a: Any) -> Any:
        xp = self._backend.xp
        return xp.astype(a, xp.float64) if "float64" in self._backend.precisions else a

    @cached_property
    def _few(self) -> FewRecords:
        return FewRecords(self._program, self._backend.xp)

    @cached_property
    def _rows_at_a_time(self) -> int:
        """The most rows that a prediction takes through the network together."""
        elements = _ON_THE_HOST if self.plan.device == "cpu" else _ON_A_DEVICE
        return max(1, elements // max(self._program.widths))

    @cached_property
    def _largest(self) -> int:
        """The most numbers that a parameter has."""
        return max((math.prod(p.shape) for p in self._program.parameters.values()), default=0)

    @cached_property
    def _longest(self) -> int:
        """The largest dimension of a matrix, but for the number of records."""
        return max(*self._program.widths, *(n for p in self._program.parameters.values() for n in p.shape))

    def _products(self, rows: int) -> AbstractContextManager[Any]:
        flops = max(2 * rows * self._largest, self._program.flops_before_records)
        return self._backend.for_layers(flops, max(rows, self._longest))

    def _check_dtypes(self, before: Arrays, after: Arrays) -> None:
        for name, old in before.items():
            if old.dtype != after[name].dtype:
                optimizer = type(self._program.optimizer).__name__
                raise InputError(
                    f"{optimizer} turned {old.dtype} weights into {after[name].dtype}: learning_rate and t are Python "
                    "numbers, so write (…)**0.5 for their roots rather than xp.sqrt, and use xp on arrays only"
                )


def bind(backend: Backend, program: Program, plan: Plan) -> Executable:
    """Return the backend's executable for `program`, or the definition itself if the backend compiles none."""
    lacks = [
        what
        for takes, needed, what in (
            (backend.compiles_weighted, program.weighted, "that are weighted"),
            (backend.compiles_drawing, program.draws, "that draw random numbers"),
            (backend.compiles_moving, program.moves, "that pick columns or look up rows"),
        )
        if needed and not takes
    ]
    remark = f"it compiles no programs {' or '.join(lacks)}" if lacks and backend.contract > 1 else ""
    compiled = None
    if not lacks:
        try:
            compiled = backend.compile(program, plan)
        except (TraceError, ScheduleError) as error:
            remark = f"it cannot be compiled: {error}"
    if compiled is not None:
        return compiled
    if remark:
        remark = f"the definition runs as it is, because {remark}"
        _log.info("%s", remark)
    return DefinitionExecutable(
        backend, program, replace(plan, choices={**plan.choices, **backend.choices()}), remark=remark
    )
