"""Raw tables with gaps and categories: real ones of scikit-learn, penguins, houses, and some made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.tables import Table, Text, read
from gdkernels.tables.preparation.target_columns import with_targets

__all__ = ["RawTable", "raw_tables"]

Columns = Mapping[str, Sequence[Any]]

GAPS = (0.05, 0.1, 0.2, 0.3)  # half of the columns have gaps, of one of these shares
# Nobody would put these into a pipeline made by hand: names, remarks, dates.
PENGUINS_LEFT_OUT = ("studyName", "Sample Number", "Individual ID", "Comments", "Date Egg", "Region", "Stage")


@dataclass(frozen=True)
class RawTable:
    """A table and its target; for each seed, another table of the same source.

    Attributes
    ----------
    columns
        The columns, by the seed.
    left_out
        Columns that the pipeline made by hand does not use.
    large
        Whether it takes minutes.
    """

    name: str
    columns: Callable[[int], Columns]
    target: str
    left_out: tuple[str, ...] = ()
    large: bool = False


def raw_tables(ames: str | None) -> Iterator[RawTable]:
    """Yield all the tables; those of the houses where their file is given."""
    for name, source, target in (
        ("iris, species", "iris", None),
        ("iris, petal length", "iris", "petal length (cm)"),
        ("iris, sepal width", "iris", "sepal width (cm)"),
        ("wine, cultivar", "wine", None),
        ("wine, colour", "wine", "color_intensity"),
        ("breast cancer", "breast_cancer", None),
        ("diabetes", "diabetes", None),
        ("diabetes, body mass", "diabetes", "bmi"),
        ("digits", "digits", None),
    ):
        yield RawTable(name, partial(_packaged, source, target), target or "target")
    for name, target in (("species", "Species"), ("mass", "Body Mass (g)"), ("flipper", "Flipper Length (mm)")):
        table = with_targets(read("penguins"), target)
        yield RawTable(f"penguins, {name}", partial(_part, table, target, None, None), target, PENGUINS_LEFT_OUT)
    if ames is not None:
        houses = read(ames)
        for name, target, rows, share in (
            ("price", "SalePrice", None, None),
            ("price, 300 rows", "SalePrice", 300, None),
            ("price, 20 columns", "SalePrice", None, 0.25),
            ("lot", "Lot Area", 600, 0.5),
            ("year built", "Year Built", 1000, 0.3),
            ("style", "House Style", 400, 0.3),
            ("kitchen", "Kitchen Qual", 1000, 0.4),
        ):
            columns = partial(_part, houses, target, rows, share)
            yield RawTable(f"houses, {name}", columns, target, ("Order", "PID"))
    yield RawTable("made up, 500 rows", partial(_friedman, 500), "target")
    yield RawTable("made up, 20,000 rows", partial(_friedman, 20_000), "target", large=True)
    yield RawTable("made up, 5 classes", _classes, "target", large=True)
    yield RawTable("a photograph", _photograph, "target", large=True)


def _packaged(source: str, target: str | None, seed: int) -> Columns:
    """Return a set of scikit-learn, raw: its target, or one of its columns in place of it."""
    from sklearn import datasets

    data = getattr(datasets, f"load_{source}")(**({"scaled": False} if source == "diabetes" else {}))
    names, values = [str(name) for name in data.feature_names], data.data
    if target is None:
        labels = data.target_names[data.target] if source in ("iris", "wine", "breast_cancer") else data.target
        return _raw(values, names, seed) | {"target": labels.tolist()}
    place = names.index(target)
    rest = [name for name in names if name != target]
    return _raw(np.delete(values, place, axis=1), rest, seed) | {target: values[:, place].tolist()}


def _raw(values: npt.NDArray[Any], names: Sequence[str], seed: int) -> dict[str, list[Any]]:
    """Return numbers as people keep them: every fourth column in classes with names, half of the columns with gaps."""
    draw = np.random.default_rng(seed)
    columns = {}
    for k, name in enumerate(names):
        column: list[Any] = values[:, k].tolist()
        if k % 4 == 1 and len(set(column)) > 5:
            bounds = np.quantile(values[:, k], np.linspace(0, 1, 4 + k % 3)[1:-1])
            column = [f"class {'ABCDEF'[j]}" for j in np.digitize(values[:, k], bounds)]
        if draw.random() < 0.5:
            gaps = draw.random(len(column)) < draw.choice(GAPS)
            column = [None if gap else value for gap, value in zip(gaps, column, strict=True)]
        columns[name] = column
    return columns


def _part(table: Table, target: str, rows: int | None, share: float | None, seed: int) -> Columns:
    """Return a table as it is, or `rows` of it, or about a `share` of its columns."""
    draw = np.random.default_rng(seed)
    names = [name for name in table.names if name == target or share is None or draw.random() < share]
    part = table if rows is None else table.take(np.sort(draw.permutation(len(table))[:rows]))
    return {name: _values(part, name) for name in names}


def _values(table: Table, name: str) -> list[Any]:
    column = table.columns[name]
    if isinstance(column, Text):
        return [column.levels[code] if code >= 0 else None for code in column.codes]
    return [None if np.isnan(value) else value for value in column.tolist()]


def _friedman(rows: int, seed: int) -> Columns:
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(rows, 10, noise=1.0, random_state=seed)
    return _raw(x, [f"x{k}" for k in range(10)], seed) | {"target": y.tolist()}


def _classes(seed: int) -> Columns:
    from sklearn.datasets import make_classification

    shape = {"n_informative": 10, "n_redundant": 4, "n_classes": 5, "flip_y": 0.05}
    x, y = make_classification(20_000, 20, random_state=seed, **shape)
    return _raw(x, [f"x{k}" for k in range(20)], seed) | {"target": [f"class {label}" for label in y]}


def _photograph(seed: int) -> Columns:
    """Return the green of a point of scikit-learn's flower by the colours of six points around it."""
    from sklearn.datasets import load_sample_image

    image = load_sample_image("flower.jpg").astype(float)
    draw = np.random.default_rng(seed)
    rows, columns = (draw.integers(2, size - 2, 30_000) for size in image.shape[:2])
    around = ((-2, -2), (-2, 2), (2, -2), (2, 2), (0, 2), (2, 0))
    colours = [image[rows + down, columns + right] for down, right in around]
    names = [f"{colour} {down} {right}" for down, right in around for colour in ("red", "green", "blue")]
    return _raw(np.hstack(colours), names, seed) | {"target": image[rows, columns, 1].tolist()}
