"""Reading tables: files of several kinds, told apart by content, folders of them, built-in data sets, and frames."""

import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from gdkernels.errors import FileError, InputError, keyword, shown
from gdkernels.system.progress import RecordCount
from gdkernels.system.ranges import whole
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, finding_of
from gdkernels.tables.column.evidence import Evidence
from gdkernels.tables.column.meaning import column_of, read_as
from gdkernels.tables.column.reading import TEXT, Finding, compared
from gdkernels.tables.formats.arrays import read_npy, read_npz
from gdkernels.tables.formats.builtin import BUILT_IN, read_built_in
from gdkernels.tables.formats.frames import ARROW, PARQUET, read_frame
from gdkernels.tables.formats.located import files_of
from gdkernels.tables.formats.objects import SOURCE, paths_of, table_of
from gdkernels.tables.formats.refused import refuse_other_kinds
from gdkernels.tables.formats.text import TextOptions, read_text
from gdkernels.tables.table.column_names import column_names
from gdkernels.tables.table.joining import joined, settled_table
from gdkernels.tables.table.table import Table, UnreadTable

__all__ = ["Data", "Paths", "findings_in", "parts", "read", "source_of"]

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
# Frames are of libraries that need not be there.
Data = Paths | Table | Mapping[str, Any] | Any

PART = 65_536  # records read at a time: enough for the work to be in C, little enough for any memory


def read(data: Data, *, header: bool | None = None, skip_rows: int = 0, progress: bool | None = None) -> Table:
    """Return the table in `data`, told apart by content: CSV and the like, Parquet, Arrow or Feather, NPY or NPZ.

    What the text in a column means is decided once, over all of its cells: ``1.234,5`` or ``01/02/2020`` in one record
    tells how the others are read. Where it cannot be decided, the column stays text, and training refuses it.

    Parameters
    ----------
    data
        A file, also compressed by gzip or zstd; a folder of files with the same columns; several of these; the name of
        a built-in data set (``./digits`` is a file of that name); or what is in memory already: a frame of pandas,
        polars, pyarrow or Dask, a dict of columns, a list of dicts, an array [records, columns].
    header
        Whether text files begin with the names of the columns; None refuses a first line that looks like a record.
    skip_rows
        The number of lines of a text file before that.
    progress
        Whether to count the records on stderr; None means on a terminal, when it takes longer than a second.

    Raises
    ------
    FileError
        If a file cannot be read.
    InputError
        If its content cannot be used; the message names the place.
    """
    if (paths := paths_of(data)) is None:
        return joined([table_of(data)], source_of(data))
    try:
        read_parts = []
        with RecordCount("reading", progress) as bar:
            for part in _raw_parts(paths, PART, TextOptions(header, skip_rows)):
                read_parts.append(part)
                bar.update(len(part))
        return settled_table(read_parts, source_of(data))
    except MemoryError:
        raise InputError(f"{source_of(data)} does not fit into memory") from None


def parts(
    data: Data,
    records: int = PART,
    *,
    findings: Mapping[str, Finding] | None = None,
    options: TextOptions | None = None,
    used: Collection[str] = (),
) -> Iterator[Table]:
    """Yield the table in `data` in parts of at most so many records, so that any size can be gone through.

    Parameters
    ----------
    findings
        The meaning of each column's cells; text of others stays as it is. None decides it over all the parts, which
        goes through the data twice.
    options
        The form of text files.
    used
        The columns that are wanted, if not all are: of what is in memory already, others are left out.
    """
    if not whole(1).has(records):
        raise InputError(f"records must be {whole(1).wanted}, got {shown(records)}")
    known = findings is None or isinstance(findings, Mapping)
    if not known or not all(isinstance(finding, Finding) for finding in (findings or {}).values()):
        raise InputError(
            f"findings must be a mapping from names of columns to a Finding, or None, got {shown(findings)}"
        )
    if options is not None and not isinstance(options, TextOptions):
        raise InputError(f"options must be TextOptions or None, got {shown(options)}")
    used = column_names("used", used)
    if (paths := paths_of(data)) is None:
        table = table_of(data, findings, used)
        if findings is not None:
            columns = {n: read_as(c, findings[n].reading) if n in findings else c for n, c in table.columns.items()}
            table = Table(columns, table.source, table.targets, table.first)
        yield from _parts_of_table(table, records)
        return
    options = options or TextOptions()
    if findings is None:
        first_two = list(islice(_raw_parts(paths, records, options), 2))
        if len(first_two) < 2:
            yield from (_as_found(part, _findings(first_two)) for part in first_two)
            return
        findings = findings_in(data, options=options)
    for part in _raw_parts(paths, records, options):
        yield _as_found(part, findings)


def findings_in(
    data: Data,
    *,
    missing: Collection[str] = (),
    records: int = PART,
    options: TextOptions | None = None,
    progress: bool | None = None,
) -> dict[str, Finding]:
    """Go through all of a table, and return what the cells of each column mean that are text.

    Parameters
    ----------
    missing
        Spellings of a gap, besides those that always count.
    records
        The largest number in memory at a time.
    options
        The form of text files.
    """
    if (paths := paths_of(data)) is None:
        return {name: finding_of(column) for name, column in table_of(data).columns.items()}
    with RecordCount("looking", progress) as bar:
        return _findings(_raw_parts(paths, records, options or TextOptions(), only_text=True), missing, bar)


def _findings(
    tables: Iterable[UnreadTable], missing: Collection[str] = (), bar: RecordCount | None = None
) -> dict[str, Finding]:
    evidence: dict[str, Evidence] = {}
    done = 0
    for table in tables:
        for name, column in table.columns.items():
            if isinstance(column, Cells):
                found = evidence.setdefault(name, Evidence(column.delimiter, missing))
                first = done
                for block in column.blocks():
                    found.add(block, first)
                    first += len(block)
        done += len(table)
        if bar is not None:
            bar.update(len(table))
    return dict(compared({name: found.finding() for name, found in evidence.items()}))


def _as_found(table: UnreadTable, findings: Mapping[str, Finding]) -> Table:
    """Return records whose text is read as it was found to be; text of other columns stays as it is."""
    columns: dict[str, Column] = {}
    for name, column in table.columns.items():
        finding = findings.get(name)
        if isinstance(column, Cells):
            columns[name] = column_of(column, finding or Finding(TEXT))
        else:
            columns[name] = column if finding is None else read_as(column, finding.reading)
    return Table(columns, table.source, table.targets, table.first)


def _raw_parts(
    paths: Sequence[str], records: int, options: TextOptions, *, only_text: bool = False
) -> Iterator[UnreadTable]:
    """Yield the parts of files, of the last one no more than the first where only text is asked for and it has none."""
    names: tuple[str, ...] | None = None
    files = files_of(paths)
    for number, path in enumerate(files, 1):
        for part in _parts_of_file(path, records, options):
            if names is None:
                names = tuple(part.columns)
            if missing := sorted(set(names) ^ set(part.columns)):
                which = "lacks" if missing[0] in names else "has besides the others'"
                raise InputError(f"{path} {which} the column {missing[0]!r}; files of one table have the same columns")
            columns = {name: part.columns[name] for name in names}
            yield UnreadTable(columns, part.source, part.targets, part.first)
            if only_text and number == len(files) and not any(isinstance(c, Cells) for c in columns.values()):
                return


def _parts_of_table(table: Table, records: int) -> Iterator[Table]:
    if len(table) <= records:
        yield table
        return
    for first in range(0, len(table), records):
        part = table.take(slice(first, first + records))
        yield Table(part.columns, table.source, table.targets, table.first + first)


def _parts_of_file(path: Path, records: int, options: TextOptions) -> Iterator[UnreadTable]:
    if isinstance(path, str):
        _check_options(options, f"{path}, a built-in data set,")
        yield read_built_in(path)
        return
    state = _state(path)
    try:
        yield from _parts_of_kind(path, records, options)
    except Exception as error:  # whatever it is, it comes of that
        if _state(path) == state:
            raise
        raise _changed(path) from error
    if _state(path) != state:
        raise _changed(path)


def _state(path: Path) -> tuple[int, ...]:
    """Return a state that changes when something writes to the file or replaces it; empty if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _changed(path: Path) -> FileError:
    return FileError(f"{path} was changed while it was read; read it again when nothing writes to it any more")


def _parts_of_kind(path: Path, records: int, options: TextOptions) -> Iterator[UnreadTable]:
    refuse_other_kinds(path)
    start = _start(path)
    if not start:
        raise InputError(f"{path} is empty")
    try:
        if start.startswith((b"\x93NUMPY", b"PK", PARQUET, ARROW)):
            _check_options(options, str(path))
        if start.startswith(b"\x93NUMPY"):
            yield from read_npy(path, records)
        elif start.startswith(b"PK"):
            yield from read_npz(path, records)
        elif start.startswith((PARQUET, ARROW)):
            yield from read_frame(path, records)
        else:
            yield from read_text(path, records, options)
    except (OSError, EOFError) as error:  # EOFError: a compressed file that is cut short
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"cannot read {path}: {reason[:1].lower()}{reason[1:]}") from error
    except Exception as error:
        if isinstance(error, zlib.error) or type(error).__name__ == "ZstdError":
            raise InputError(f"cannot read {path}: it is damaged ({error})") from None
        raise


def _check_options(options: TextOptions, what: str) -> None:
    """Refuse options for text files where they would do nothing."""
    if options.skip_rows or options.header is False:
        said = keyword("skip_rows", options.skip_rows) if options.skip_rows else keyword("header", False)
        raise InputError(f"{said} is for text files, and {what} is none: leave it out")


def _start(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise FileError(f"cannot read {path}: it is not a file but a device or a pipe")
        with path.open("rb") as file:
            return file.read(8)
    except FileNotFoundError:
        raise FileError(
            f"there is no file {path}, and the built-in data sets are {', '.join(sorted(BUILT_IN))}"
        ) from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def source_of(data: Data) -> str:
    """Return how messages name it."""
    paths = paths_of(data)
    if paths is None:
        return data.source if isinstance(data, Table) else SOURCE
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
