"""Predictions of a few records, as people ask for them one by one: without the definition's objects in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels.errors import TraceError
from gdkernels.graph import remembered
from gdkernels.graph.straight_line import straight_line

__all__ = ["FewRecords"]

_log = logging.getLogger("gdkernels")

_NUMBERS = 2048  # in the widest layer of all records together; beyond it, NumPy's own work takes most of the time
_WORTH_IT = 32  # predictions after which more of them are expected: writing the function costs as much as a hundred

Computed = Callable[[Mapping[str, Any], npt.NDArray[Any]], Any]


class FewRecords:
    """Predicts a few records of NumPy's arrays at a time, once it was asked for it often.

    Parameters
    ----------
    program
        Whose definition is meant, bit by bit.
    xp
        The namespace.

    Attributes
    ----------
    most
        The most records that are few.
    """

    def __init__(self, program: Program, xp: Any) -> None:
        self._program, self._xp = program, xp
        self.most = _NUMBERS // max(program.widths)
        self._asked = 0
        self._functions: dict[np.dtype[Any], Computed | None] = {}

    def forward(self, parameters: Arrays, x: npt.NDArray[Any]) -> Any:
        """Return what the program's definition does."""
        if self._asked < _WORTH_IT:
            self._asked += 1
            return self._program.forward(parameters, x, xp=self._xp)
        try:
            function = self._functions[x.dtype]
        except KeyError:
            function = self._functions[x.dtype] = self._function(parameters, x)
        return self._program.forward(parameters, x, xp=self._xp) if function is None else function(parameters, x)

    def _function(self, parameters: Arrays, x: npt.NDArray[Any]) -> Computed | None:
        """Return the function for arrays like these; None where the definition runs as it is."""
        if any(type(a) is not np.ndarray or a.dtype != x.dtype for a in parameters.values()):
            return None
        program = self._program
        written = _written(program.block, program.inputs, self._xp, x.dtype)
        if written is not None:
            # A namespace may round other than the graph's own composition of a function, such as a logarithm of a sum.
            for rows in (x, self._made_up(x)):
                if not _same(written(parameters, rows), program.forward(parameters, rows, xp=self._xp)):
                    _log.debug("a few records are predicted by the definition, whose bits are others than its graph's")
                    return None
        return written

    def _made_up(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return other records; columns of codes are those of x."""
        generator = np.random.default_rng(0)
        rows = min(self.most, 16)
        made = generator.standard_normal((rows, x.shape[1])) * np.exp2(generator.integers(-6, 6, (rows, 1)))
        codes = list(self._program.codes)
        made[:, codes] = x[:1, codes]
        return made.astype(x.dtype)


@remembered(64)
def _written(block: Any, inputs: int, xp: Any, dtype: np.dtype[Any]) -> Computed | None:
    try:
        return straight_line(Program(block, inputs).trace_forward().output, xp=xp, dtype=dtype)
    except (TraceError, AttributeError) as error:  # such as a function that the namespace does not have
        _log.debug("a few records are predicted by the definition: %s", error)
        return None


def _same(a: Any, b: Any) -> bool:
    """Return whether two results are the same, NaN included."""
    return (
        type(a) is type(b)
        and a.dtype == b.dtype
        and a.shape == b.shape
        and bool(np.array_equal(a, b, equal_nan=True))
        and bool(np.array_equal(np.signbit(a), np.signbit(b)))
    )
