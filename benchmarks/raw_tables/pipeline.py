"""scikit-learn's MLP as a careful person sets it up for a raw table: gaps, categories, scales, a logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.tables import Table, Text

__all__ = ["PIPELINES", "pipeline", "plain"]

PIPELINES: dict[str, dict[str, Any]] = {"default": {}, "early stopping": {"early_stopping": True}}


def plain(table: Table, names: list[str]) -> npt.NDArray[Any]:
    """Return columns as scikit-learn's imputers take them: numbers and text as objects, NaN for gaps."""
    return np.column_stack([_objects(table, name) for name in names])


def _objects(table: Table, name: str) -> npt.NDArray[Any]:
    column = table.columns[name]
    if isinstance(column, Text):
        return np.asarray(column.lookup(np.array([*column.levels, None], object)[:-1], np.nan))
    return np.asarray(column, object)


def pipeline(
    table: Table, names: list[str], *, classes: bool, log: bool, bounds: tuple[float, float], seed: int, **more: Any
) -> Any:
    """Return the estimator, for `plain(table, names)`.

    Parameters
    ----------
    log
        Whether to learn the logarithm of the target; predictions are then clipped to `bounds`.
    more
        Further arguments of the MLP; it trains up to 1,000 epochs, because its default of 200 ends too soon.
    """
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    text = [isinstance(table.columns[name], Text) for name in names]
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")
    )
    places = np.arange(len(names))
    prepared = ColumnTransformer(
        [("numbers", numbers, places[~np.array(text)]), ("categories", categories, places[text])]
    )
    settings = {"max_iter": 1000, "random_state": seed, **more}
    if classes:
        return make_pipeline(prepared, MLPClassifier(**settings))
    target = (
        make_pipeline(FunctionTransformer(np.log, _exponential(bounds), check_inverse=False), StandardScaler())
        if log
        else None
    )
    mlp = TransformedTargetRegressor(
        MLPRegressor(**settings), transformer=target or StandardScaler(), check_inverse=False
    )
    return make_pipeline(prepared, mlp)


def _exponential(bounds: tuple[float, float]) -> Any:
    def restored(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with np.errstate(over="ignore"):
            return np.asarray(np.clip(np.exp(values), *bounds))

    return restored
