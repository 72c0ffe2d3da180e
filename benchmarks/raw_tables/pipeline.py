"""scikit-learn's MLP as a careful person sets it up for a raw table: gaps, categories, scales, a logarithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.tables import Table, Text

__all__ = ["PIPELINES", "pipeline", "plain", "scaled"]

PIPELINES: dict[str, dict[str, Any]] = {"default": {}, "early stopping": {"early_stopping": True}}


def plain(table: Table, names: list[str]) -> npt.NDArray[Any]:
    """Return columns as scikit-learn's imputers take them: numbers and text as objects, NaN for gaps."""
    return np.column_stack([_objects(table, name) for name in names])


def _objects(table: Table, name: str) -> npt.NDArray[Any]:
    column = table.columns[name]
    if isinstance(column, Text):
        return np.asarray(column.lookup(np.array([*column.levels, None], object)[:-1], np.nan))
    return np.asarray(column, object)


def scaled(text: Sequence[bool]) -> Any:
    """Return the preparation of columns: the median for gaps, and scales; for those of `text`, a column a level."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")
    )
    is_text, places = np.array(text, bool), np.arange(len(text))
    return ColumnTransformer([("numbers", numbers, places[~is_text]), ("categories", categories, places[is_text])])


def pipeline(
    text: Sequence[bool], *, classes: bool, log: bool, bounds: tuple[float, float], seed: int, **more: Any
) -> Any:
    """Return the estimator, for columns as `plain` returns them.

    Parameters
    ----------
    text
        Of each column, whether it is text.
    log
        Whether to learn the logarithm of the target; predictions are then clipped to `bounds`.
    more
        Further arguments of the MLP; it trains up to 1,000 epochs, because its default of 200 ends too soon.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    settings = {"max_iter": 1000, "random_state": seed, **more}
    if classes:
        return make_pipeline(scaled(text), MLPClassifier(**settings))
    target = (
        make_pipeline(FunctionTransformer(np.log, _exponential(bounds), check_inverse=False), StandardScaler())
        if log
        else None
    )
    mlp = TransformedTargetRegressor(
        MLPRegressor(**settings), transformer=target or StandardScaler(), check_inverse=False
    )
    return make_pipeline(scaled(text), mlp)


def _exponential(bounds: tuple[float, float]) -> Any:
    def restored(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with np.errstate(over="ignore"):
            return np.asarray(np.clip(np.exp(values), *bounds))

    return restored
