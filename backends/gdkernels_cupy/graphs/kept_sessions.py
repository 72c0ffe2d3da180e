"""The sessions of a plan on one GPU: made when sizes are first seen, and kept for those that were used last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Plan
from gdkernels_cupy.cuda.device import device
from gdkernels_cupy.cuda.errors import DeviceMemoryError, as_backend_errors
from gdkernels_cupy.graphs.products import UnsupportedProductError
from gdkernels_cupy.graphs.session import GraphSession
from gdkernels_cupy.graphs.session_maker import SessionKey, SessionMaker, TrainingRun
from gdkernels_cupy.graphs.shared_steps import SharedSteps

__all__ = ["KeptSessions", "table_of"]

_ATTEMPTS = 5  # if memory that the plan took for free is not available
_KEPT = 3  # numbers of rows whose memory is kept, such as those of the validation and the test records

Result = TypeVar("Result")


class KeptSessions:
    """Makes and keeps sessions.

    Parameters
    ----------
    ranks
        The ranks that share each batch of training.

    Attributes
    ----------
    maker
        What makes them.
    sessions
        Those of the sizes used last.
    """

    def __init__(self, plan: Plan, number: int, ranks: SharedSteps | None = None) -> None:
        self._device, self._number = plan.device, number
        self.maker = SessionMaker(plan, number, ranks)
        self.sessions: dict[SessionKey, GraphSession] = {}

    def predicted_by(self, shape: SessionKey) -> GraphSession:
        """Return what runs predictions of a shape."""
        if shape not in self.sessions:
            for old in [s for s in self.sessions if s.task is shape.task][: 1 - _KEPT]:
                del self.sessions[old]
            self.sessions[shape] = self.maker.for_prediction(shape)
        return self.sessions[shape]

    def trained_by(self, shape: SessionKey, training: TrainingRun) -> GraphSession:
        """Return what runs steps of a shape, with a last batch as small as this run's."""
        rest, session = training.records % shape.batch, self.sessions.get(shape)
        try:
            with device(self._number).working():
                there = session is not None and (not rest or session.add(self.maker.rest(rest, session.pieces)))
        except UnsupportedProductError:  # an epilogue that this last batch cannot have: then no batch has it
            there = False
        if not there:
            del session
            for old in [s for s in self.sessions if s.task is shape.task]:
                del self.sessions[old]
            self.sessions[shape] = self.maker.for_training(shape, training)
        return self.sessions[shape]

    def retrying(self, shape: SessionKey, run: Callable[[], Result]) -> Result:
        """Return what a run returns; where memory is short, make room and try again.

        A run that fails has changed nothing: parameters are put back at its end.
        """
        for left in reversed(range(_ATTEMPTS)):
            try:
                with as_backend_errors(self._device):
                    return run()
            except DeviceMemoryError as error:
                if not left:
                    raise
                said = str(error)
            # Not before: the error's traceback holds the memory that is to be freed.
            self.sessions.clear()
            device(self._number).release()
            if not self.maker.split_further(shape, said):
                raise DeviceMemoryError(said)
        raise AssertionError("the last attempt raises")


def table_of(session: GraphSession, known: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return zero, one, and the numbers that the host knows, for each step."""
    sizes = {name: float(n) for name, n in session.task.sizes.items()}
    steps = max(np.size(v) for v in known.values())
    found = session.scalars.values({**sizes, **known}, steps)
    return np.concatenate([np.broadcast_to([0.0, 1.0], (steps, 2)), found], axis=1)
