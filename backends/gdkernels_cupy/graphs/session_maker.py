"""Making sessions: with the epilogues that pay, split into what fits into memory, by known algorithms."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdkernels.backend import Plan
from gdkernels.errors import BackendError
from gdkernels.lowering.task import ScheduledTask
from gdkernels_cupy.cuda.device import describe, device, free_bytes
from gdkernels_cupy.graphs.epilogue_tuning import chosen, remember, remembered
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.memory_plan import shares, split
from gdkernels_cupy.graphs.probe import trusted_epilogues
from gdkernels_cupy.graphs.products import UnsupportedProductError
from gdkernels_cupy.graphs.session import GraphSession
from gdkernels_cupy.graphs.shared_steps import SharedSteps
from gdkernels_cupy.graphs.step_text import step_text

__all__ = ["SessionKey", "SessionMaker", "TrainingRun"]

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class SessionKey:
    """The sizes that a session is made for; smaller last batches are added to it as they come."""

    task: ScheduledTask
    widths: tuple[int, ...]
    batch: int
    streamed: bool = False


@dataclass(frozen=True)
class TrainingRun:
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


class SessionMaker:
    """Makes the sessions of a program's plan on one GPU.

    Parameters
    ----------
    ranks
        The ranks that share each batch of training.

    Attributes
    ----------
    algorithms
        Those of cublasLt's for each product, as the plan names them or as they were found.
    """

    def __init__(self, plan: Plan, number: int, ranks: SharedSteps | None = None) -> None:
        self._precision, self._number, self._ranks = plan.precision, number, ranks
        self._wished_epilogues = plan.choices.get("epilogues")
        self._wished = plan.choices.get("micro_batches")
        self.algorithms = dict(plan.choices.get("algorithms", {}))
        self._least_parts = self._last_parts = 1

    def trusted(self) -> tuple[str, ...]:
        """Return the epilogues that this device's library does rightly."""
        return trusted_epilogues(self._number, self._precision)

    def predicting(self) -> tuple[str, ...]:
        """Return the epilogues of predictions: all that are trusted, or none where the plan wants none."""
        return () if self._wished_epilogues == () else self.trusted()

    def for_prediction(self, shape: SessionKey) -> GraphSession:
        """Return what runs predictions of a shape."""
        return self._fitting(shape, self.predicting(), self.algorithms)

    def for_training(self, shape: SessionKey, training: TrainingRun) -> GraphSession:
        """Return what runs steps of a shape."""
        free = free_bytes()
        if self._ranks is not None:
            epilogues = self._ranks.epilogues(self._wished_epilogues, self.trusted())
        elif self._wished_epilogues is None:
            epilogues = self._tuned_epilogues(shape, training)
        else:
            epilogues = tuple(e for e in self._wished_epilogues if e in self.trusted())
            if len(epilogues) < len(self._wished_epilogues):
                _log.warning(
                    "the plan's epilogues %s are missing or wrong on cuda:%d: bits may differ",
                    ", ".join(sorted({*self._wished_epilogues} - {*epilogues})),
                    self._number,
                )
        session = self._fitting(shape, epilogues, self.algorithms, training)
        if len(session.pieces) > 1 and self._wished is None and self._ranks is None:
            _log.warning(
                "a batch of %d does not fit into the %.2f GB that are free on cuda:%d: each step is done in %d "
                "micro-batches, with the same result",
                shape.batch,
                free / 1e9,
                self._number,
                len(session.pieces),
            )
        return session

    def split_further(self, shape: SessionKey, said: str) -> bool:
        """Let a batch be split into twice as many parts from now on; return whether that is new."""
        if self._wished is not None or self._ranks is not None:
            return False  # a plan names its parts, and shards have no parts
        parts = min(2 * self._last_parts, shape.batch)
        if parts == self._last_parts:
            return False
        _log.warning("%s: a step is tried again in %d micro-batches", said, parts)
        self._least_parts = parts
        return True

    def _tuned_epilogues(self, shape: SessionKey, training: TrainingRun) -> tuple[str, ...]:
        """Return the epilogues that gain in steps of this shape: as they were timed before, or are now."""
        trusted, here = self.trusted(), describe(self._number)
        pieces = self.pieces(shape, trusted, training)
        operations = self._operations(shape, pieces, trusted)
        hardware = [here["device"], here["driver"], here["cublasLt"]]
        step = json.dumps([hardware, self._precision, trusted, shape.streamed, step_text(operations)])
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
                session = self._fitting(shape, epilogues, dict(self.algorithms), training)
            except BackendError:  # memory is short without one of them
                return None
            return training.timed(session)

        epilogues = chosen(trusted, seconds)
        remember(step, epilogues)
        return epilogues

    def _operations(self, shape: SessionKey, pieces: tuple[int, ...], epilogues: tuple[str, ...]) -> Any:
        sizes = shape.task.sizes_with(shape.batch)
        return lower(shape.task, sizes, self._precision, pieces, epilogues).operations

    def _fitting(
        self,
        shape: SessionKey,
        epilogues: tuple[str, ...],
        algorithms: dict[str, str],
        training: TrainingRun | None = None,
    ) -> GraphSession:
        """Return a session with the epilogues given, less what cuBLAS has no algorithm for."""
        while True:
            pieces = self.pieces(shape, epilogues, training)
            rest = 0 if training is None else training.records % shape.batch
            gpu = device(self._number)
            try:
                with gpu.working():  # products are tried
                    return GraphSession(
                        gpu,
                        shape.task,
                        shape.widths,
                        self._precision,
                        [pieces, *([self.rest(rest, pieces)] if rest else [])],
                        epilogues,
                        algorithms,
                        streamed=shape.streamed,
                        ranks=None if training is None else self._ranks,
                    )
            except UnsupportedProductError as error:
                if error.kind not in epilogues:
                    raise
                epilogues = tuple(e for e in epilogues if e != error.kind)

    def pieces(
        self, shape: SessionKey, epilogues: tuple[str, ...], training: TrainingRun | None = None
    ) -> tuple[int, ...]:
        if training is None:
            return (shape.batch,)
        if self._ranks is not None:
            return self._ranks.pieces(shape.batch)
        if self._wished is not None:
            return shares(shape.batch, min(shape.batch, int(self._wished)))
        pieces = split(
            shape.task,
            shape.widths,
            shape.batch,
            self._precision,
            epilogues,
            free_bytes(),
            streamed=shape.streamed,
            records=training.records,
            steps=training.steps,
            least=self._least_parts,
        )
        self._last_parts = len(pieces)
        return pieces

    def rest(self, rest: int, pieces: tuple[int, ...]) -> tuple[int, ...]:
        """Return the parts of a smaller last batch: as many micro-batches as those of a full one, or its shards."""
        return shares(rest, min(rest, len(pieces))) if self._ranks is None else self._ranks.pieces(rest)
