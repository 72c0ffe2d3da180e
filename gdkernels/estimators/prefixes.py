"""The steps before an estimator in a pipeline, fitted once for all that would fit them to the same rows."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
from sklearn.pipeline import Pipeline

from gdkernels.system.memory import room

__all__ = ["Prefixes"]

_SHARE = 0.25  # of the memory that is free, for what the steps put out


class Prefixes:
    """A `memory` for pipelines that keeps in this process what their steps have learned and put out.

    It knows transformers by their parameters, and rows by their content.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        free = room()
        self._most = _SHARE * (1 << 30 if free is None else free.bytes)

    def cache(self, fit_transform: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """Return `fit_transform`, a function of a transformer, X and y, with a memory."""

        def known(transformer: Any, X: Any, y: Any = None, **others: Any) -> Any:
            key = _key(transformer, X, y, others.get("params"))
            if key is None:
                return fit_transform(transformer, X, y, **others)
            with self._lock:
                lock = self._locks.setdefault(key, threading.Lock())
            with lock:  # another thread may be at it
                if key not in self._kept:
                    found = fit_transform(transformer, X, y, **others)
                    self._keep(key, found)
                else:
                    found = self._taken(key)
            return _copied(found[0]), found[1]

        return known

    def _taken(self, key: str) -> Any:
        with self._lock:
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def _keep(self, key: str, found: Any) -> None:
        size = int(getattr(found[0], "nbytes", 0) or getattr(getattr(found[0], "data", None), "nbytes", 0))
        with self._lock:
            self._kept[key] = found, size
            while len(self._kept) > 1 and sum(taken for _, taken in self._kept.values()) > self._most:
                self._kept.popitem(last=False)

    @contextmanager
    def remembering(self, estimator: Any) -> Iterator[None]:
        """Use it in the pipelines that an estimator is, unless they have a memory of their own."""
        found = [pipeline for pipeline in _pipelines(estimator) if pipeline.memory is None]
        for pipeline in found:
            pipeline.memory = self
        try:
            yield
        finally:
            for pipeline in found:
                pipeline.memory = None


def _pipelines(estimator: Any) -> Iterator[Pipeline]:
    while isinstance(estimator, Pipeline) and estimator.steps:
        yield estimator
        estimator = estimator.steps[-1][1]


def _copied(rows: Any) -> Any:
    """Return a copy for the next step, which may write into it; of an array in its own order, by which sums round."""
    return copy.copy(rows) if isinstance(rows, np.ndarray) or not hasattr(rows, "copy") else rows.copy()


def _key(transformer: Any, X: Any, y: Any, params: Any) -> str | None:
    """Return what tells apart one fit of a transformer from another; None where nothing does."""
    try:
        parameters = transformer.get_params(deep=True)
        own = [(name.rpartition("__")[2], value) for name, value in parameters.items()]
        if any(name == "random_state" and value is None for name, value in own):
            return None  # each fit draws other numbers
        if any(name == "copy" and value is False for name, value in own):
            return None  # it writes into the rows that it is given
        return str(joblib.hash((type(transformer).__name__, transformer, X, y, params)))
    except Exception:  # a function that cannot be pickled, or a stranger's transformer, which may raise anything
        return None
