"""What somebody gives for an argument that is no number: a name among some, a switch, a path."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from gdkernels.errors import FileError, InputError, keyword, shown, unknown_name

__all__ = ["checked_path", "checked_progress", "checked_switch", "is_one_of", "items_of", "one_of"]


def is_one_of(value: object, names: Iterable[str]) -> bool:
    """Return whether `value` is one of these names; an array is none, whatever its elements are."""
    return isinstance(value, str) and value in names


def one_of(name: str, value: Any, names: Iterable[str], *, hint: str = "") -> str:
    """Return the value of an argument that takes one of some names.

    Raises
    ------
    InputError
        For anything else; the message has the argument, the value and the names.
    """
    if not is_one_of(value, names):
        raise unknown_name(keyword(name), value, names, hint=hint)
    return str(value)


def checked_switch(name: str, value: Any) -> bool:
    """Return the value of an argument that is True or False; 1 and 0 are these as well.

    Raises
    ------
    InputError
        For anything else: the text "no" would be True, and an array would be neither.
    """
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, (int, np.integer)) and value in (0, 1)):
        return bool(value)
    raise InputError(f"{keyword(name)} must be True or False, got {shown(value)}")


def items_of(value: Any) -> tuple[Any, ...] | None:
    """Return what a list or another iterable holds; None where it is none, as text and a single number are."""
    try:
        return None if isinstance(value, (str, bytes)) else tuple(value)
    except TypeError:
        return None


def checked_progress(value: Any) -> bool | None:
    """Return whether to show a bar; None leaves it to the terminal.

    Raises
    ------
    InputError
        For anything but True, False and None.
    """
    if value is None:
        return None
    try:
        return checked_switch("progress", value)
    except InputError:
        raise InputError(f"{keyword('progress')} must be True, False or None, got {shown(value)}") from None


def checked_path(name: str, value: Any) -> str:
    """Return a path as text.

    Raises
    ------
    FileError
        For what is no path, and for a path that no file can have.
    """
    try:
        path = os.fspath(value)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise FileError(f"{name} must be a path, as text or a pathlib.Path, got {shown(value)}")
    if "\0" in path:
        raise FileError(f"{name} must be a path, and no path has the character NUL in it; got {shown(path)}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        raise FileError(
            f"{name}: {path!a} cannot be a path here, where names of files are in {encoding}: set PYTHONUTF8=1, or "
            "a locale of UTF-8 such as LC_ALL=C.UTF-8"
        ) from None
    return path
