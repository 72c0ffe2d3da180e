"""Ways of computing a program, the fastest first, of which each is believed once it does what the definition does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from gdkernels.backend import Backend, Executable, Plan, storage_dtype
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.backend.program import Program
from gdkernels.checking.check import Call, SelfCheck
from gdkernels.definition.network import Arrays
from gdkernels.errors import BackendError, keyword

__all__ = ["KnownProblems", "Way", "Ways"]

KnownProblems = dict[tuple[Hashable, ...], str | None]

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class Way:
    """A way of computing a program.

    Attributes
    ----------
    name
        In words.
    executable
        The executable that runs it.
    checked
        The executables that are compared with the definition in its place: of one kernel, with its work divided
        differently.
    batch
        The records of a checked step at least.
    identity
        As for `SelfCheck.problem`.
    """

    name: str
    executable: Executable
    checked: tuple[Executable, ...]
    batch: int = 1
    identity: Callable[[], Any] | None = None


class Ways:
    """Believes the first of several ways that does what the definition does; below them all is the definition itself.

    Parameters
    ----------
    check
        Compares a way with the definition.
    last
        The choices of a plan by which the definition runs.
    fatal
        Errors that are not a way's own: they end the search.
    known
        What was found out already, of a program that differs in numbers alone; what is found out is added.

    Attributes
    ----------
    passed_over
        The reasons against the ways that are not used, by their names.
    """

    def __init__(
        self,
        check: SelfCheck,
        backend: Backend,
        program: Program,
        plan: Plan,
        *,
        last: Mapping[str, Any],
        fatal: tuple[type[Exception], ...] = (),
        known: KnownProblems | None = None,
    ) -> None:
        self._check, self._backend, self._program, self._plan = check, backend, program, plan
        self._last, self._fatal = last, fatal
        self._problems = {} if known is None else known
        self._predicts: dict[int, Executable] = {}
        self.passed_over: dict[str, str] = {}

    def believed(self, ways: Iterable[Way], call: Call, kind: Hashable = None) -> Executable:
        """Return the first way that does what the definition does, for calls like this one.

        Parameters
        ----------
        kind
            What a problem depends on besides the batch.

        Raises
        ------
        BackendError
            If none does, and the definition does not know the precision.
        """
        problems: list[str] = []
        for way in ways:
            key = (way.name, call.batch, kind)
            if key not in self._problems:
                self._problems[key] = self._problem(way, call)
            problem = self._problems[key]
            if problem is None:
                return way.executable
            problems.append(self._is_not_used(way, problem))
        return self.definition(problems)

    def prediction(self, ways: Iterable[Way], parameters: Arrays, x: Any) -> Any:
        """Return the prediction of the first way that predicts what the definition does.

        Raises
        ------
        BackendError
            As for `believed`.
        """
        key = int(x.shape[0]).bit_length()
        if key in self._predicts:
            return self._predicts[key].predict(parameters, x)
        problems = []
        for way in ways:
            output = way.executable.predict(parameters, x)
            problem = self._check.wrong_prediction(parameters, x, output)
            if problem is None:
                self._predicts[key] = way.executable
                return output
            problems.append(self._is_not_used(way, problem))
        self._predicts[key] = self.definition(problems)
        return self._predicts[key].predict(parameters, x)

    def definition(self, problems: list[str]) -> Executable:
        """Return the definition, where everything else has these problems.

        Raises
        ------
        BackendError
            If products of arrays do not know the precision.
        """
        precision = self._plan.precision
        if precision != storage_dtype(precision):
            raise BackendError(
                f"nothing computes this network rightly in {precision} on {self._plan.device} ({'; '.join(problems)}): "
                f"choose {keyword('precision', 'float32')}, or another backend"
            )
        return DefinitionExecutable(self._backend, self._program, replace(self._plan, choices=self._last))

    def _problem(self, way: Way, call: Call) -> str | None:
        try:
            enlarged = replace(call, batch=max(call.batch, way.batch))
            return self._check.problem(way.checked, way.identity, enlarged)
        except self._fatal:
            raise
        except BackendError as error:
            return f"it fails here ({error})"

    def _is_not_used(self, way: Way, problem: str) -> str:
        shape, precision = "-".join(map(str, self._program.widths)), self._plan.precision
        _warn_once(f"{way.name} is not used for {shape} in {precision} on {self._plan.device}: {problem}")
        self.passed_over[way.name] = problem
        return f"{way.name}: {problem}"


@cache
def _warn_once(message: str) -> None:
    _log.warning("%s", message)
