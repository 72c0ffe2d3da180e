"""Forms of tables that are not read, such as spreadsheets, JSON, archives and standard input, and what to do."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from zipfile import ZipFile

from gdkernels.errors import FileError, InputError
from gdkernels.tables.formats.streams import open_bytes

__all__ = ["refuse_other_kinds"]

_START = 65_536  # bytes, as much as is looked at to see whether it is JSON
_STDIN = {"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}
_AS_CSV = "save it as CSV in UTF-8, and give that file"
_WORKBOOK = f"open it in a spreadsheet program, {_AS_CSV.replace('save it', 'save the sheet')}"
# By the first bytes, what it is, and what to do.
_KINDS = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an Excel workbook (.xls, or .xlsx with a password)", _WORKBOOK),
    b"BZh": ("compressed by bzip2", "decompress it with bunzip2, or compress it with gzip or zstd"),
    b"\xfd7zXZ\0": ("compressed by xz", "decompress it with unxz, or compress it with gzip or zstd"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it, and give the table that is in it"),
    b"SQLite ": ("an SQLite database", "write the table or the query to a CSV file, and give that file"),
    b"%PDF": ("a PDF", "copy its table into a spreadsheet program, and save that as CSV"),
    b"\x89PNG": ("a picture", "write the table that it shows to a CSV file"),
    b"\xff\xd8\xff": ("a picture", "write the table that it shows to a CSV file"),
    b"\x89HDF": ("an HDF5 file", "save its table as CSV or Parquet, or its array as NPY"),
    b"MATLAB 5": ("a MATLAB file", "read it by scipy.io.loadmat, and pass its array"),
    b"<stata_d": ("a Stata file", "read it by pandas.read_stata, and pass that frame"),
    b"$FL2": ("an SPSS file", "read it by pandas.read_spss, and pass that frame"),
    b"HEADER R": ("a SAS transport file", "read it by pandas.read_sas, and pass that frame"),
    b"Obj\x01": ("an Avro file", "save its table as CSV or Parquet"),
}
_MARKUP = ("<!doctype html", "<html", "<?xml", "<table")


def refuse_other_kinds(path: Path) -> None:
    """Refuse files that people keep tables in but that are not read, and say what to do.

    Nothing is said of a path where there is no file.

    Raises
    ------
    FileError
        For standard input and other pipes.
    InputError
        For Excel and OpenDocument workbooks, JSON, web pages, archives, and compressed files and databases of other
        kinds.
    """
    if os.path.isfile(path):
        told = _kind(path)
        if told is not None:
            what, remedy = told
            raise InputError(f"{path} is {what}, which is not read as a table: {remedy}")
    elif str(path) in _STDIN or _is_pipe(path):
        name = "standard input" if str(path) in _STDIN else f"{path}, a pipe,"
        raise FileError(f"{name} cannot be a table, which is read more than once: write it to a file, and give that")


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def _kind(path: Path) -> tuple[str, str] | None:
    """Return the kind of a file and what to do, or None if it may be a table; a damaged file may be one."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(b"PK"):
            return _archive(path)
        for first, told in _KINDS.items():
            if start.startswith(first):
                return told
        with open_bytes(path) as file:
            return _text(file.read(_START))
    except Exception:  # from the depths of zipfile and the decompressors comes anything for damaged bytes
        return None


def _archive(path: Path) -> tuple[str, str] | None:
    with ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook (.xlsx)", _WORKBOOK
    if "content.xml" in names and "mimetype" in names:
        return "an OpenDocument file (.ods)", _WORKBOOK
    if names and not any(name.endswith(".npy") for name in names):
        inside = names[0] if len(names) == 1 else f"{len(names):,} files"
        return f"a ZIP archive of {inside}", "unpack it, and give the table or the folder"
    return None


def _text(start: bytes) -> tuple[str, str] | None:
    text = start.decode("utf-8-sig", errors="replace").lstrip()
    if text.startswith("version https://git-lfs"):
        return "a pointer of Git LFS in place of a table", "run git lfs pull, which brings the file itself"
    if text.lower().startswith("@relation"):
        return "an ARFF file", "replace all up to @data by one line of the names that it has, with commas between"
    if text.lower().startswith(_MARKUP):
        return "a web page or XML, whatever its name", f"open it in a browser or a spreadsheet program, {_AS_CSV}"
    if text[:1] in ("{", "[") and _is_json(text):
        return (
            "JSON",
            f"{_AS_CSV}, for instance by pandas.read_json, which has lines=True for JSON lines; or pass that frame",
        )
    return None


def _is_json(text: str) -> bool:
    """Return whether text that begins with a bracket is JSON, and no header as databases write it: ``[id],[name]``."""
    first_line, following = text.splitlines()[0].strip(), text[1:].lstrip()
    if first_line == text[0] or following[:1] in (('"', "}") if text[0] == "{" else ("{", "[")):
        return True
    try:
        return isinstance(json.loads(first_line), (list, dict))
    except (ValueError, RecursionError):
        return False
