"""Text from files as they are: compressed or not, in the encoding that they are in."""

import codecs
import csv
import gzip
import io
import logging
import sys
from pathlib import Path
from typing import IO, TextIO, cast

from gdkernels.errors import InputError
from gdkernels.system.libraries import is_missing, lack_of

__all__ = ["GZIP", "ZSTD", "encoding_of", "open_bytes", "open_text"]

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
INSTALL = 'run pip install "gdkernels[tables]"'

_BLOCK = 1 << 20
_LONGEST = 32 << 20  # bytes of a line: a million columns have less
_CHARACTER = 4  # bytes that a character takes at most, in any of the encodings
_LINE_ENDS, _DIVIDERS = (b"\n", b"\r"), (b",", b";", b"\t", b"|", b'"')
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_log = logging.getLogger("gdkernels")


def open_bytes(path: Path) -> IO[bytes]:
    """Open `path`, decompressed if its first bytes say that it is compressed.

    Raises
    ------
    InputError
        For zstd without the library; it says how to install it.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(GZIP):
        return cast("IO[bytes]", gzip.GzipFile(path))
    if start == ZSTD:
        try:
            from importlib import import_module

            # Part of Python from 3.14 on; unlike other libraries, it notices a file that is cut short.
            zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
        except Exception as error:  # a library that is broken raises anything
            if is_missing("backports.zstd", error):
                raise InputError(f"to read {path}, compressed with zstd, {INSTALL}") from None
            lack = lack_of("backports.zstd", error, "pip install backports.zstd")
            raise InputError(f"to read {path} takes backports.zstd, {lack}") from None
        stream: IO[bytes] = zstd.open(path, "rb")
        return stream
    return path.open("rb")


def open_text(path: Path, encoding: str) -> TextIO:
    """Open `path` as text, decompressed, with the line ends as they are.

    Reading raises `InputError` at a line that does not end, or a cell that is longer than the csv module takes, before
    either is in memory.
    """
    bounded = _BoundedLines(open_bytes(path), _Lines(path))
    return io.TextIOWrapper(cast("IO[bytes]", bounded), encoding=encoding, newline="")


class _Lines:
    """Looks at text as it comes, and refuses what no line of a table is: a few bytes may decompress to any number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._line = self._cell = 0  # bytes in all, and since a line, and a cell, has begun

    def look_at(self, block: bytes) -> None:
        """Go on with the next bytes.

        Raises
        ------
        InputError
            If a line or a cell is too long; it names the line.
        """
        self._seen += len(block)
        line_end = max(map(block.rfind, _LINE_ENDS))
        divider = max(line_end, *map(block.rfind, _DIVIDERS))
        self._line = len(block) - line_end - 1 + (self._line if line_end < 0 else 0)
        self._cell = len(block) - divider - 1 + (self._cell if divider < 0 else 0)
        if self._cell > _CHARACTER * (limit := csv.field_size_limit()):
            raise InputError(
                f"{self._place()}: field larger than field limit ({limit}): it is no table of cells, or lacks its line "
                "ends"
            )
        if self._line > _LONGEST:
            raise InputError(
                f"{self._place()} is longer than {_LONGEST >> 20} MiB: it is no table with a record a line, or lacks "
                "its line ends"
            )

    def _place(self) -> str:
        """Return how messages name the line: counted when there is something to say, as most files give no reason."""
        number, left = 1, self._seen
        with open_bytes(self._path) as file:
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                number += block.count(b"\n")
                left -= len(block)
        return f"line {number:,} of {self._path}"


class _BoundedLines(io.BufferedIOBase):
    """Bytes of a stream, each of which `_Lines` sees before it is kept."""

    def __init__(self, stream: IO[bytes], lines: _Lines) -> None:
        self._stream, self._lines = stream, lines

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        return self._seen(self._stream.read(-1 if size is None else size))

    def read1(self, size: int = -1, /) -> bytes:
        return self._seen(self._stream.read1(size))  # type: ignore[attr-defined]

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _seen(self, block: bytes) -> bytes:
        self._lines.look_at(block)
        return block


def encoding_of(path: Path) -> str:
    """Return the encoding of a text file: by its mark, UTF-8 if all of it is, or else Windows-1252, with a message.

    Raises
    ------
    InputError
        If it is no text, or has a line that does not end.
    """
    with open_bytes(path) as file:
        start = file.read(4)
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    wrong = _first_wrong(path, marked or "utf-8")
    if wrong is None:
        return marked or "utf-8"
    # What is older than UTF-8 is nearly always this; the bytes that it leaves open, and NUL, are in no text.
    if marked is not None or _first_wrong(path, "cp1252") is not None:
        raise InputError(
            f"{path} is neither text in UTF-8 or Windows-1252 (byte {wrong:,} is not), nor an NPY, NPZ, Parquet or "
            "Arrow file; save it as CSV in UTF-8"
        )
    _log.warning("%s is not UTF-8 (byte %s); it is read as Windows-1252", path, f"{wrong:,}")
    return "cp1252"


def _first_wrong(path: Path, encoding: str) -> int | None:
    """Return the position of the first byte that is not text in `encoding`, or None."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done, lines = 0, _Lines(path)
    with open_bytes(path) as file:
        while True:
            block = file.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return max(0, done + error.start)
            if "\0" in text:
                return done + max(0, block.find(b"\0"))
            lines.look_at(block)
            if not block:
                return None
            done += len(block)
