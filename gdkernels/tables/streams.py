"""Text from files as they are: compressed or not, in the encoding that they are in."""

import codecs
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
    """Open `path` as text, decompressed, with the line ends as they are."""
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="")


def encoding_of(path: Path) -> str:
    """Return the encoding of a text file: by its mark, UTF-8 if all of it is, or else Windows-1252, which is said.

    Raises
    ------
    InputError
        Where it is no text.
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
    done = 0
    with open_bytes(path) as file:
        while True:
            block = file.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return max(0, done + error.start)
            if "\0" in text:
                return done + max(0, block.find(b"\0"))
            if not block:
                return None
            done += len(block)
