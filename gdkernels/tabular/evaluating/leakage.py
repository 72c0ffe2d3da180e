"""A hint at leakage: a column, or two that are added up or multiplied, that gives the target almost alone.

Such a column is often made from the target, or written down after it, and will not be known when you predict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import keyword
from gdkernels.randomness import generator
from gdkernels.tables import Preparation, Table
from gdkernels.tables.column.column_data import Floats
from gdkernels.tables.column.meaning import read_as
from gdkernels.tables.features.columns import Category, Number
from gdkernels.tables.table.checked import as_labels, numbers_of

__all__ = ["leaks"]

_ROWS, _CELLS, _FEWEST, _BINS, _PAIRED = 5000, 10**6, 50, 100, 200
# On rows that were not looked at. Petal width tells 0.93 of iris; benzene was computed from a sensor that tells 0.99.
_ALONE, _TOGETHER = 0.98, 0.999

Array = npt.NDArray[Any]


def leaks(table: Table, preparation: Preparation, rows: npt.NDArray[np.int64], seed: int = 0) -> list[str]:
    """Return a sentence for each column, and for the pair, from which the target of the training `rows` follows."""
    if len(preparation.targets) > 1 or len(rows) < _FEWEST:
        return []
    random = generator(seed, "leaks")
    most = min(_ROWS, max(500, _CELLS // len(table.columns)))
    chosen = np.sort(random.permutation(rows)[:most])
    part = table.take(chosen)
    looked_at = random.permutation(len(part)) < len(part) // 2
    if preparation.classes is None:
        y = preparation.target_values(part)
        found = [(n, _explained(x, y, looked_at)) for n, x in _columns(part, preparation)] if np.ptp(y) else []
    else:
        y = preparation.transform_targets(part)
        found = [(n, _classified(x, y, looked_at)) for n, x in _columns(part, preparation)]
    what = "R²" if preparation.classes is None else "share of the errors of the most frequent class avoided"
    alone = [(name, share) for name, share in found if share >= _ALONE]
    said = [
        f"{name!r} gives the target almost alone ({what} {share:.4g}): if you will not know it when you predict, say "
        f"{keyword('ignore', [name])}"
        for name, share in alone
    ]
    if preparation.classes is None and np.ptp(y):
        numbers = [(n, x) for n, x in _columns(part, preparation) if x.dtype.kind == "f"]
        said += _sum_of_two(numbers, y) or _product_of_two(numbers, y)
    return said


def _columns(table: Table, preparation: Preparation) -> Iterator[tuple[str, Array]]:
    """Yield the columns that are used: numbers as they are, names as codes."""
    for kind in preparation.columns:
        if isinstance(kind, Number):
            yield kind.name, numbers_of(table, kind.name, kind.reading)
        elif isinstance(kind, Category):
            yield kind.name, as_labels(read_as(table.columns[kind.name], kind.reading)).codes


def _bins(x: Array, looked_at: Array) -> npt.NDArray[np.int64]:
    """Return the bin of each record: of numbers between quantiles, of names their codes; gaps have their own."""
    if x.dtype.kind != "f":
        return x.astype(np.int64) + 1
    present = x[looked_at & ~np.isnan(x)]
    if not len(present):
        return np.zeros(len(x), np.int64)
    edges = np.unique(np.quantile(present, np.linspace(0, 1, _BINS + 1)[1:-1], method="higher"))
    return np.where(np.isnan(x), 0, 1 + np.searchsorted(edges, x, side="right"))


def _explained(x: Array, y: Floats, looked_at: Array) -> float:
    """Return R² on the other records, of the mean by bin, between those of numbers by a straight line."""
    bins = _bins(x, looked_at)
    counts = np.bincount(bins[looked_at], minlength=int(bins.max()) + 1)
    sums = np.bincount(bins[looked_at], y[looked_at], minlength=len(counts))
    known = counts > 0
    means = np.where(known, sums / np.maximum(counts, 1), y[looked_at].mean())
    told = means[bins]
    if x.dtype.kind == "f" and known[1:].sum() > 1:
        filled = np.where(np.isnan(x), 0.0, x)
        centres = np.bincount(bins[looked_at], filled[looked_at], minlength=len(counts)) / np.maximum(counts, 1)
        inner = np.flatnonzero(known[1:]) + 1
        told = np.where(np.isnan(x), told, np.interp(filled, centres[inner], means[inner]))
    other = ~looked_at
    spread = float(np.var(y[other]))
    return 1 - float(np.mean((y[other] - told[other]) ** 2)) / spread if spread else 0.0


def _classified(x: Array, y: Array, looked_at: Array) -> float:
    """Return by how much of the errors of the most frequent class the most frequent one by bin errs less."""
    bins, classes = _bins(x, looked_at), int(y.max()) + 1
    counts = np.zeros((int(bins.max()) + 1, classes))
    np.add.at(counts, (bins[looked_at], y[looked_at]), 1)
    total = counts.sum(axis=0)
    told = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), total.argmax())[bins]
    other = ~looked_at
    errors = float(np.mean(y[other] != total.argmax()))
    return 1 - float(np.mean(y[other] != told[other])) / errors if errors else 0.0


def _product_of_two(numbers: list[tuple[str, Array]], y: Floats) -> list[str]:
    """Return a sentence for the pair of columns whose product, with powers, is the target, if one is."""
    if not y.min() > 0:
        return []
    positive = [(name, np.log(x)) for name, x in numbers if np.nanmin(x, initial=np.inf) > 0]
    return _sum_of_two(positive, np.log(y), product=True)


def _sum_of_two(numbers: list[tuple[str, Array]], y: Floats, *, product: bool = False) -> list[str]:
    """Return a sentence for the pair of columns whose weighted sum is the target, if one is.

    Parameters
    ----------
    product
        Whether all are logarithms: then it is said of the product.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        varied = [(name, np.where(np.isnan(x), np.nanmean(x), x)) for name, x in numbers if np.nanstd(x) > 0]
    if len(varied) < 2:
        return []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        correlations = np.corrcoef(np.array([x for _, x in varied] + [y]))
        order = np.argsort(-np.abs(np.nan_to_num(correlations[-1, :-1])))[:_PAIRED]
        to_y, between = correlations[-1, order], correlations[np.ix_(order, order)]
        shared = 1 - between**2
        explained = (to_y[:, None] ** 2 + to_y**2 - 2 * np.outer(to_y, to_y) * between) / shared
    explained[~(shared > 1e-6)] = 0
    one_will_do = to_y**2 >= _TOGETHER
    explained[one_will_do] = explained[:, one_will_do] = 0
    first, second = np.unravel_index(int(np.argmax(np.nan_to_num(explained))), explained.shape)
    if not explained[first, second] >= _TOGETHER:
        return []
    (one, a), (other, b) = (varied[order[k]] for k in (first, second))
    weights = np.linalg.lstsq(np.column_stack([a, b, np.ones(len(y))]), y, rcond=None)[0]
    if product:
        powers = [
            name + (f" ** {weight:.3g}" if f"{weight:.3g}" != "1" else "")
            for name, weight in ((repr(one), weights[0]), (repr(other), weights[1]))
        ]
        formula = f"{np.exp(weights[2]):.3g} × {powers[0]} × {powers[1]}"
    else:
        formula = f"{weights[0]:.3g} × {one!r} {'+' if weights[1] >= 0 else '−'} {abs(weights[1]):.3g} × {other!r}"
    leave_out = " ".join(keyword("ignore", [name]) for name in (one, other))
    return [
        f"{one!r} and {other!r} give the target almost alone, as {formula} (R² {explained[first, second]:.5g}): if you "
        f"will not know them when you predict, say {leave_out}"
    ]
