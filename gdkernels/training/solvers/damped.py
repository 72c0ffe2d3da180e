"""Levenberg–Marquardt on a network: its normal equations where it computes, the memory that they take, the records."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Plan
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.backend.least_squares import Normal, NormalEquations
from gdkernels.backend.least_squares.products import Products
from gdkernels.backend.program import Program
from gdkernels.data.records import Records
from gdkernels.data.stored.windows import Windows
from gdkernels.definition.solvers import LevenbergMarquardt
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import InputError, ScheduleError, TraceError, keyword
from gdkernels.network import BoundNetwork
from gdkernels.system import memory as system_memory
from gdkernels.system.lapack import PositiveSystem
from gdkernels.system.memory import gigabytes
from gdkernels.training.settings import Settings
from gdkernels.training.solvers.least_squares import damped_iteration
from gdkernels.training.solvers.likeliest import of_these_records
from gdkernels.training.solvers.method import penalties_of, rounded
from gdkernels.training.solvers.outcome import Memory, Outcome, Vector
from gdkernels.training.solvers.value import check_draws_nothing

__all__ = ["DampedLeastSquares", "workspace_of"]

_log = logging.getLogger("gdkernels")

_MANY = 1500  # parameters, beyond which an iteration takes longer than it gains
_NOTHING = 1e-2  # effective parameters of a network that is constant
_LARGE = 31 << 20  # bytes; glibc's idea does not rise above 32 MiB
# Beyond it, fits of tanh networks to targets of that size ended with saturated units; inputs a thousand times smaller
# left them as good as linear.
_FAR = 200.0
_LINEAR = 2  # arrays of parameters that a linear model has, which nothing saturates
_SMALL = 190  # parameters, up to which OpenBLAS factorises on one thread, whatever the number is
_ALONE = 1_000_000  # FLOPs of a product that runs on one thread


def workspace_of(parameters: int, tile_bytes: int) -> int:
    """Return the bytes of an iteration: JᵀJ, the sum of a tile, the damped system and LAPACK's copy, and a tile."""
    return 32 * parameters * parameters + tile_bytes


class DampedLeastSquares:
    """Iterations of Levenberg–Marquardt on a network.

    Parameters
    ----------
    network, settings
        As a trainer has them.
    solver
        How to solve.
    """

    def __init__(self, network: BoundNetwork, settings: Settings, solver: LevenbergMarquardt) -> None:
        self._network, self._settings, self._solver = network, settings, solver
        self._made: tuple[Binding, Program, NormalEquations, _Iterations] | None = None
        self._data: _Data | None = None
        self._alone = self._warned = self._warned_of_nothing = False

    @property
    def executable(self) -> Executable:
        assert self._made is not None
        return self._made[3]

    @property
    def workspace(self) -> int:
        assert self._made is not None
        equations = self._made[2]
        return workspace_of(equations.parameters, equations.workspace)

    def prepare(self, binding: Binding, workload: Workload, choices: Mapping[str, Any] | None) -> Executable:
        program = self._network.structure.program(self._settings.objective)
        if self._made is not None and self._made[0] is binding and self._made[1] == program:
            return self._made[3]
        check_draws_nothing(workload.program, "Levenberg–Marquardt")
        self._check_size()
        backend, loss = binding.backend, self._settings.objective.loss
        own = {"threads": 1} if self._alone else {}
        plan = Plan(backend.name, binding.device, binding.precision, {**(choices or {}), **own})
        products, remark = None, ""
        try:
            products = backend.compile_products(program, plan)
        except (TraceError, ScheduleError) as error:
            remark = f"the definition runs as it is, because it cannot be compiled: {error}"
            _log.info("%s", remark)
        equations = NormalEquations(backend, binding.device, program, loss, products)
        _keep_freed_memory()
        told = backend.choices()
        executable = _Iterations(backend, workload.program, replace(plan, choices=told), remark=remark)
        executable.follow(products)
        self._made = binding, program, equations, executable
        return executable

    def _check_size(self) -> None:
        """Warn of a network that is too large to be worth it, and refuse one that does not fit into memory."""
        count = self._network.parameter_count
        need, room = workspace_of(count, 1 << 23), system_memory.room()
        others = f"use {keyword('optimizer', 'adam')}, or {keyword('solver', 'lbfgs')}"
        if room is not None and need > room.bytes:
            raise InputError(
                f"Levenberg–Marquardt needs {gigabytes(need)} for the {count:,} parameters of this network, but only "
                f"{room} is available: {others}"
            )
        if count > _MANY and not self._warned:
            self._warned = True
            _log.warning(
                "%s parameters are many for Levenberg–Marquardt, whose iterations take %s and the cube of their number "
                "in time: beyond about %s, %s",
                f"{count:,}",
                gigabytes(need),
                f"{_MANY:,}",
                others,
            )

    def take(self, executable: Executable, binding: Binding, workload: Workload) -> None:
        alone = executable.plan.choices.get("threads") == 1
        if alone != self._alone:
            self._made, self._data, self._alone = None, None, alone

    def forget(self) -> None:
        self._made, self._data, self._alone = None, None, False

    def rest(self) -> None:
        self._data = None
        if self._made is not None:
            self._made[2].rest()

    def iterate(self, binding: Binding, data: Records | Windows, vector: Vector, memory: Memory) -> Outcome:
        assert self._made is not None
        if data.sparse:
            raise InputError("Levenberg–Marquardt takes dense X; pass X.toarray(), or use another solver or optimizer")
        _, program, equations, executable = self._made
        objective = self._settings.objective
        constants = {n: a for n, a in self._network.parameters.items() if n not in program.trained}
        others = self._data is None or self._data.of is not data  # than those of the iteration before
        if self._data is None or others:
            whole = data.total_weight
            self._data = _Data(data, equations, whole, penalties_of(program, objective, whole))
            if not memory:
                self._warn_of_scale(binding, data, squares=equations.takes_squares)
            if self._solver.bayes and whole < 1.0:
                raise InputError(
                    f"bayes=True takes a weight for so many records, and these add up to {whole:.2g} of one: multiply "
                    "sample_weight, so that it adds up to the number of records"
                )
        penalties = self._data.penalties
        targets = program.outputs if equations.takes_squares else None
        problem = _Problem(binding, equations, constants, self._data, targets)
        flops = _largest_product(equations, len(data))
        products = binding.backend.for_products(min(flops, _ALONE) if self._alone else flops)
        with binding.backend.on_device(binding.device), products:
            memory = of_these_records(memory, vector, problem) if others else memory
            outcome = damped_iteration(self._solver, problem, vector, memory)
        executable.follow(equations.products)
        told = outcome.figures.get("effective_parameters", 0.0)
        if not self._warned_of_nothing and outcome.stop is not None and 0 < told < _NOTHING:
            self._warned_of_nothing = True
            _log.warning(
                "the evidence finds that the data determine no parameter at all, and the penalty leaves a network that "
                "tells nothing: train from several starts, of which the evidence chooses one, or set l2 yourself"
            )
        if objective.l2_in_loss:
            outcome = replace(outcome, error=outcome.error + 0.5 * float(np.sum(penalties * outcome.vector**2)))
        return outcome

    def _warn_of_scale(self, binding: Binding, data: Records | Windows, *, squares: bool) -> None:
        """Warn of numbers far from those that units begin with: they saturate on the way there, or hardly move."""
        structure, first = self._network.structure, next(iter(data.parts()), None)
        if first is None or len(structure.trained) <= _LINEAR:
            return
        inputs = [k for k in range(first.x.shape[1]) if k not in structure.codes]
        x, y = (np.asarray(binding.to_numpy(a), np.float64) for a in (first.x, first.y))
        for what, columns in (("inputs", x[:, inputs]), ("targets", y if squares else y[:, :0])):
            scale = _scale_of(columns)
            if scale > _FAR or 0 < scale < 1 / _FAR:
                _log.warning(
                    "the %s are of the order of %.0e, and the units of a network begin near 1: Levenberg–Marquardt may "
                    "end early, %s; subtract the mean of each column and divide by its standard deviation, as "
                    "TabularPredictor does",
                    what,
                    scale,
                    "with units that are saturated" if scale > 1 else "where gradients and penalties say little",
                )


def _scale_of(columns: npt.NDArray[np.float64]) -> float:
    """Return the largest root mean square of a column; squares of large numbers would overflow."""
    most = np.abs(columns).max(axis=0, initial=0.0)
    shares = columns / np.where(most > 0, most, 1.0)
    return float(np.max(most * np.sqrt(np.mean(np.square(shares), axis=0)), initial=0.0))


def _largest_product(equations: NormalEquations, records: int) -> int:
    """Return the FLOPs of the largest product of an iteration that BLAS computes."""
    count = equations.parameters
    if equations.products is None:
        return 2 * min(records, equations.rows("float32")) * count**2
    return count**3 // 3 if count > _SMALL else 0


class _Iterations(DefinitionExecutable):
    """What a history tells of iterations: their plan, and where they come from."""

    _told: tuple[Mapping[str, Any], str | None] | None = None

    def follow(self, products: Products | None) -> None:
        """Tell what there is to tell of the products: some choices, and whether they are right, show in the first."""
        if products is None or (told := (products.choices, products.problem)) == self._told:
            return  # as after most iterations
        self._told = told
        self.origin = "compiled" if products.problem is None else "definition"
        self.remark = self.remark if products.problem is None else f"the definition runs: {products.problem}"
        self.plan = replace(self.plan, choices={**self.plan.choices, **products.choices})


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep blocks of the size of a system when they are freed, for the next factorisation.

    glibc gives large blocks back to the system at once, and the first touch of a new one takes as long as half of its
    factorisation. A larger block, which nobody touches, raises its idea of what is large.
    """
    np.empty(_LARGE, np.uint8)


class _Data:
    """Records in tiles, which are made once where all records are in memory."""

    def __init__(self, of: Records | Windows, equations: NormalEquations, whole: float, penalties: Vector) -> None:
        self.of, self.total_weight, self.penalties = of, whole, penalties
        self._equations = equations
        self.system = PositiveSystem(equations.parameters)
        self._kept: tuple[str, list[tuple[Any, Any, Any]]] | None = None

    def tiles(self, dtype: str) -> Iterable[tuple[Any, Any, Any]]:
        """Return all the records, some at a time."""
        parts = ((part.x, part.y, part.weights) for part in self.of.parts())
        if isinstance(self.of, Windows):
            return self._equations.tiles(parts, dtype)
        if self._kept is None or self._kept[0] != dtype:
            self._kept = None  # before the others take their memory
            self._kept = dtype, list(self._equations.tiles(parts, dtype))
        return self._kept[1]


@dataclass(frozen=True)
class _Problem:
    """The points of a network, as the formulas want them."""

    binding: Binding
    equations: NormalEquations
    constants: Mapping[str, Any]
    data: _Data
    targets: int | None

    @property
    def records(self) -> int:
        return len(self.data.of)

    @property
    def total_weight(self) -> float:
        return self.data.total_weight

    @property
    def penalties(self) -> Vector:
        return self.data.penalties

    @property
    def system(self) -> PositiveSystem:
        return self.data.system

    @property
    def wide(self) -> bool:
        return "float64" in self.binding.backend.precisions

    def rounded(self, vector: Vector) -> Vector:
        return rounded(vector, self.binding.dtype)

    def normal(self, vector: Vector, dtype: str) -> Normal:
        return self.equations.at(vector, self.constants, self.data.tiles(dtype), dtype)

    def error(self, vector: Vector, dtype: str) -> float:
        return self.equations.error(vector, self.constants, self.data.tiles(dtype), dtype)

    def bend(self, vector: Vector, step: Vector, dtype: str) -> Vector:
        return self.equations.bend(vector, step, self.constants, self.data.tiles(dtype), dtype)
