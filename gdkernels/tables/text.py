"""Tables of numbers from CSV files: a header, then a record a line.

NumPy's C parser reads; where it stops, the csv module reads again, slowly, to say exactly which cell was wrong.
"""

import csv
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gdkernels.errors import FileError, InputError
from gdkernels.tables.table import Floats, Table, missing_target, take_target

__all__ = ["read_text"]

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}


def read_text(path: Path, target: str | None) -> Table:
    """Return the table of a CSV file in which the column named `target` is to be predicted."""
    try:
        delimiter, names = _header(path)
        if target not in names:
            raise missing_target(target, names, str(path))
        return take_target(_values(path, delimiter, names), names, target, str(path))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is neither text in UTF-8 (byte {error.start:,} is not), nor an NPY or NPZ file"
        ) from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _header(path: Path) -> tuple[str, list[str]]:
    """Return the delimiter, that which divides the first line into most names, and the names."""
    best: tuple[str, list[str]] = (",", [])
    problem = "it must hold the names of the columns"
    for delimiter in DELIMITERS:
        with path.open(encoding="utf-8-sig", newline="") as file:
            try:
                names = [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
            except csv.Error as error:  # a long line that this delimiter does not divide is longer than a cell may be
                problem = str(error)
                continue
        best = max(best, (delimiter, names), key=lambda found: len(found[1]))
    names = best[1]
    if not names:
        raise InputError(f"the first line of {path} is no header: {problem}")
    if all(_is_number(name) for name in names):
        raise InputError(
            f"the first line of {path} holds numbers where the names of the columns belong; put a header line before it"
        )
    seen: dict[str, int] = {}
    for k, name in enumerate(names, 1):
        if not name:
            raise InputError(f"column {k} of {path} has no name; name every column in the first line")
        if name in seen:
            raise InputError(f"columns {seen[name]} and {k} of {path} are both named {name!r}; give each its own name")
        seen[name] = k
    return best


def _values(path: Path, delimiter: str, names: Sequence[str]) -> Floats:
    with path.open(encoding="utf-8-sig", newline="") as file:
        next(csv.reader(file, delimiter=delimiter))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "input contained no data" is said below, better
                values = np.loadtxt(file, delimiter=delimiter, comments=None, quotechar='"', ndmin=2)
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            problem = str(error)
        else:
            if not values.size:
                raise InputError(f"{path} has a header and no records")
            if values.shape[1] == len(names) and np.isfinite(values).all():
                return values
            problem = "the records do not fit the header"
    raise _first_problem(path, delimiter, names) or InputError(f"cannot read {path}: {' '.join(problem.split())}")


def _first_problem(path: Path, delimiter: str, names: Sequence[str]) -> InputError | None:
    """Return the error for the first cell, or the first line, that is wrong."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        next(reader)
        try:
            for row in reader:
                if not row:
                    continue
                place = f"line {reader.line_num:,} of {path}"
                if len(row) != len(names):
                    return InputError(
                        f"{place} has {len(row)} {'cell' if len(row) == 1 else 'cells'}, the header {len(names)} names "
                        f"(delimiter: {DELIMITERS[delimiter]}); give it as many"
                    )
                for name, cell in zip(names, row, strict=True):
                    problem = _problem(cell)
                    if problem:
                        return InputError(f"{place}, column {name!r}: {problem}")
        except csv.Error as error:
            return InputError(f"line {reader.line_num:,} of {path}: {error}")
    return None


def _problem(cell: str) -> str | None:
    """Return what is wrong with a cell that should hold a number."""
    if not cell.strip():
        return "the cell is empty; only numbers can be read"
    shown = repr(cell if len(cell) <= 40 else cell[:40] + "…")
    if not _is_number(cell):
        comma = " (a number needs a decimal point, not a comma)" if _is_number(cell.replace(",", ".", 1)) else ""
        return f"{shown} is not a number{comma}"
    return None if math.isfinite(float(cell)) else f"{shown} is not a finite number"


def _is_number(cell: str) -> bool:
    # float() takes 1_000 and digits of other scripts, which the C parser does not.
    if "_" in cell or not cell.isascii():
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True
