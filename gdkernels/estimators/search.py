"""scikit-learn's searches, whose fits of networks share what they can."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

from joblib import parallel_config
from sklearn import model_selection
from sklearn.base import clone

from gdkernels.dispatch.shared_executables import Executables, shared, sharing
from gdkernels.estimators.base import BaseMLP
from gdkernels.estimators.prefixes import Prefixes

__all__ = ["GridSearchCV", "RandomizedSearchCV"]


class _Batching:
    """A search whose fits share code, memory and the first steps of pipelines.

    scikit-learn's own code does all of it. It is given clones of the estimator whose `fit` shares.
    """

    estimator: Any
    n_batched_: int

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit the candidates on the folds, as scikit-learn's search does, and return self."""
        own, self.n_batched_ = self.estimator, 0
        if not _has_networks(own):
            return super().fit(X, y, **params)  # type: ignore[misc,no-any-return]
        self._fits = fits = _Fits(own)
        self.estimator = fits.prototype()
        try:
            # Threads share; processes would each compile, and fit the first steps of pipelines.
            with parallel_config(backend="threading"), sharing(fits.executables()):
                return super().fit(X, y, **params)  # type: ignore[misc,no-any-return]
        finally:
            _make_plain(self.estimator)  # which the scorer refers to
            self.estimator = own
            del self._fits

    def _format_results(self, *args: Any, **kwargs: Any) -> Any:
        if fits := vars(self).get("_fits"):
            self.n_batched_ = fits.batched
        return super()._format_results(*args, **kwargs)  # type: ignore[misc]


class _Fits:
    """The fits of one search.

    Attributes
    ----------
    batched
        How many so far were trained by executables that are shared.
    """

    def __init__(self, estimator: Any) -> None:
        self.batched = 0
        self._estimator, self._prefixes = estimator, Prefixes()
        self._lock, self._of_thread = threading.Lock(), threading.local()

    def executables(self) -> Executables:
        """Return those of this thread."""
        found: Executables | None = getattr(self._of_thread, "executables", None)
        if found is None:
            found = self._of_thread.executables = Executables()
        return found

    def prototype(self) -> Any:
        """Return a clone of the estimator whose `fit` shares, and whose clones are such, too."""
        made = clone(self._estimator)
        made.__sklearn_clone__ = self.prototype
        made.fit = partial(self._fit, made)
        return made

    def _fit(self, estimator: Any, *args: Any, **params: Any) -> Any:
        _make_plain(estimator)
        executables = self.executables()
        before = executables.trained
        with ExitStack() as stack:
            if shared() is not executables:  # on a thread of joblib
                stack.enter_context(sharing(executables))
            stack.enter_context(self._prefixes.remembering(estimator))
            estimator.fit(*args, **params)
        with self._lock:
            self.batched += executables.trained > before
        return estimator


def _has_networks(estimator: Any) -> bool:
    """Return whether an estimator is one of ours, or made of one, such as a pipeline."""
    if isinstance(estimator, type):  # which scikit-learn refuses
        return False
    parts = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    return any(isinstance(part, BaseMLP) for part in (estimator, *parts))


def _make_plain(estimator: Any) -> None:
    """Make an estimator like any other of what a prototype has made."""
    for name in ("fit", "__sklearn_clone__"):
        vars(estimator).pop(name, None)


class GridSearchCV(_Batching, model_selection.GridSearchCV):  # type: ignore[misc]
    """`sklearn.model_selection.GridSearchCV`, whose fits of networks share what they can.

    Parameters, attributes and results are scikit-learn's: scores, predictions and the best setting are those of its own
    search with the same estimator, to the bit. It pays where the estimator is an `MLPClassifier` or an `MLPRegressor`,
    or made of one, such as a pipeline: candidates that differ in numbers have one code and one memory, and the first
    steps of a pipeline are fitted once for each fold and setting of theirs. Other estimators are fitted as in
    scikit-learn.

    `n_jobs` counts threads, not processes.

    Attributes
    ----------
    n_batched_
        How many of the fits, of a candidate on a fold, have shared. The others were fitted one by one.
    """


class RandomizedSearchCV(_Batching, model_selection.RandomizedSearchCV):  # type: ignore[misc]
    """`sklearn.model_selection.RandomizedSearchCV`, whose fits of networks share what they can: see `GridSearchCV`.

    Attributes
    ----------
    n_batched_
        How many of the fits, of a candidate on a fold, have shared. The others were fitted one by one.
    """
