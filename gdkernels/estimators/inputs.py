"""The records of an estimator, checked: arrays of any library, frames, sparse matrices; and validation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _check_sample_weight, validate_data

from gdkernels.data.batches import Batches, parts
from gdkernels.data.sparse import SparseRows
from gdkernels.dispatch.array_api import to_host
from gdkernels.dispatch.binding import all_finite, namespace_of

__all__ = [
    "Given",
    "Passes",
    "beside",
    "checked_inputs",
    "checked_records",
    "checked_weights",
    "host_weights",
    "is_source",
    "rows_of",
    "split_rows",
]

_SMALL = 1 << 20  # bytes; a sparse matrix that is no larger when it is dense is made dense at once
_DTYPES = (np.float64, np.float32)
_FLOATS = tuple(map(np.dtype, _DTYPES))


@dataclass(frozen=True)
class Given:
    """The records of a fit: X, y as it was given, what the network is to put out for it, and how much each counts."""

    x: Any
    y: Any
    targets: Any
    sample_weight: Any = None

    @property
    def records(self) -> int:
        return int(self.x.shape[0])

    @property
    def rows(self) -> Any:
        """X as `gdkernels.Trainer` takes it."""
        return rows_of(self.x)

    @property
    def weighted(self) -> bool:
        return self.sample_weight is not None

    def total_weight(self) -> float:
        """Return the sum of the weights; the number of records where they have none."""
        return float(self.records) if self.sample_weight is None else float(host_weights(self.sample_weight).sum())

    def as_training(self) -> dict[str, Any]:
        """Return what `gdkernels.Trainer.fit` takes."""
        return {"X": self.rows, "Y": self.targets, "sample_weight": self.sample_weight}

    def take(self, rows: npt.NDArray[Any]) -> Given:
        return Given(*(_rows(a, rows) for a in (self.x, self.y, self.targets, self.sample_weight)))

    def as_validation(self) -> tuple[Any, ...]:
        """Return what `gdkernels.Trainer.fit` takes for its `validation`."""
        return (
            (self.rows, self.targets) if self.sample_weight is None else (self.rows, self.targets, self.sample_weight)
        )


class Passes:
    """Batches that the user makes, checked one by one as an epoch goes through them.

    Parameters
    ----------
    source
        As for `gdkernels.Trainer.fit`.
    check
        Returns the `Given` of (X, y, sample_weight).
    epochs
        How often it is gone through.

    Attributes
    ----------
    sample, first
        The first batch, as it comes and checked.
    sizes
        How many records each batch of the last pass had, and the sum of their weights.
    """

    first: Given

    def __init__(self, source: Any, check: Callable[[Any, Any, Any], Given], epochs: int) -> None:
        batches = Batches(source, max(epochs, 2))
        self.sample = batches.sample
        self.sizes: list[tuple[int, float]] = []
        self._source, self._check = source, check

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        """Go through the batches as they come, without weights as (X, y, None)."""
        for batch in self._source() if callable(self._source) else self._source:
            yield parts(batch, "a batch")

    @property
    def records(self) -> int:
        """The number of records in the last pass."""
        return sum(records for records, _ in self.sizes)

    @property
    def weighted(self) -> bool:
        return self.first.weighted

    def as_training(self) -> dict[str, Any]:
        """Return what `gdkernels.Trainer.fit` takes."""
        return {"X": self._checked}

    def _checked(self) -> Iterator[tuple[Any, ...]]:
        self.sizes = []
        for x, y, weights in self:
            given = self._check(x, y, weights)
            self.sizes.append((given.records, given.total_weight()))
            yield given.as_validation()


def is_source(X: Any) -> bool:
    """Return whether X is a source of batches rather than data."""
    data = any(hasattr(X, name) for name in ("shape", "__array__", "__arrow_c_stream__"))
    if callable(X) or data or not isinstance(X, Iterable):
        return callable(X)
    first = X[0] if isinstance(X, (list, tuple)) and X else ([],)
    return isinstance(first, (tuple, list)) and any(np.ndim(part) for part in first)


def checked_inputs(estimator: Any, X: Any) -> Any:
    """Return X [records, features] to predict for, checked against what the estimator was fitted on."""
    if _has_nothing_to_say(estimator, X):
        return X
    xp = namespace_of(X)
    if xp is not None:
        return _checked_array(estimator, X, xp, reset=False)
    return _dense(validate_data(estimator, X, accept_sparse=["csr", "csc"], reset=False))


def _has_nothing_to_say(estimator: Any, X: Any) -> bool:
    """Return whether scikit-learn would return X as it is, without a word.

    It takes four times as long to look at a row as a network to predict from it.
    """
    plain = type(X) is np.ndarray and X.dtype in _FLOATS and X.ndim == 2 and X.shape[0] > 0
    own = vars(estimator)
    fits = plain and "feature_names_in_" not in own and X.shape[1] == own.get("n_features_in_")
    return fits and X.size > 0 and all_finite(X, xp=np)


def checked_records(estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool) -> tuple[Any, Any]:
    """Return X [records, features] and y [records] or [records, outputs].

    Parameters
    ----------
    reset
        Whether the number and the names of the features are taken from X, or X is checked against them.
    numeric
        Whether y has to hold numbers.
    """
    xp = namespace_of(X)
    y = beside(X, y)
    if xp is None:
        X, y = validate_data(
            estimator,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=numeric,
            dtype=_DTYPES,
            reset=reset,
        )
        return _dense(X), column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
    X = _checked_array(estimator, X, xp, reset=reset)
    if y.shape[0] != X.shape[0]:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {[X.shape[0], y.shape[0]]}")
    return X, y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def checked_weights(X: Any, sample_weight: Any) -> Any:
    """Return the weights [records], or None."""
    if sample_weight is None:
        return None
    sample_weight = beside(X, sample_weight)
    return _check_sample_weight(sample_weight, X) if namespace_of(X) is None else sample_weight


def host_weights(weights: Any) -> npt.NDArray[np.float64]:
    """Return weights as they are summed: on the host, in float64."""
    return np.asarray(weights if namespace_of(weights) is None else to_host(weights), np.float64)


def beside(X: Any, a: Any) -> Any:
    """Return `a` in the place of X: an array of its library on its device; text stays on the host."""
    xp, own = namespace_of(X), namespace_of(a)
    if xp is None:
        return a if own is None else to_host(a)
    if xp is own:
        import array_api_compat

        return array_api_compat.to_device(a, X.device)
    found = np.asarray(a) if own is None else to_host(a)
    return xp.asarray(found, device=X.device) if found.dtype.kind in "biuf" else found


def split_rows(
    records: int, share: float, random: np.random.RandomState, stratify: Any
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the rows to train on and those to validate on, as scikit-learn's MLP splits them."""
    rows = np.arange(records)
    train, held_out = train_test_split(rows, random_state=random, test_size=share, stratify=stratify)
    if len(held_out) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return train, held_out


def rows_of(X: Any) -> Any:
    """Return X as `gdkernels.Trainer` takes it: a sparse matrix as rows that are made dense a piece at a time."""
    return SparseRows(X) if hasattr(X, "toarray") else X


def _dense(X: Any) -> Any:
    """Return a small sparse matrix as an array, and a larger one by rows."""
    if not hasattr(X, "toarray"):
        return X
    return X.toarray() if X.shape[0] * X.shape[1] * X.dtype.itemsize <= _SMALL else X.tocsr()


def _checked_array(estimator: Any, X: Any, xp: Any, *, reset: bool) -> Any:
    """Return X where it is, in a floating-point type; what is not finite is found when it is placed."""
    name = type(estimator).__name__
    if not xp.isdtype(X.dtype, ("bool", "integral", "real floating")):
        raise ValueError(f"{name} takes real numbers, but X holds {X.dtype}")
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got {X.ndim}D array instead: X has the shape {tuple(X.shape)}")
    if 0 in X.shape:
        raise ValueError(f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s); at least 1 is required")
    if reset:
        estimator.n_features_in_ = int(X.shape[1])
        vars(estimator).pop("feature_names_in_", None)
    elif X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {name} is expecting {estimator.n_features_in_} features as input."
        )
    return X if xp.isdtype(X.dtype, "real floating") else xp.astype(X, xp.float64)


def _rows(a: Any, rows: npt.NDArray[Any]) -> Any:
    """Return these rows of an array of any library, where it is; None of None."""
    if a is None:
        return None
    xp = namespace_of(a)
    return a[rows] if xp is None else xp.take(a, xp.asarray(rows, device=a.device), axis=0)
