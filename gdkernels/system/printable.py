"""Text that a terminal shows and does not obey: names in tables and files can hold anything."""

from __future__ import annotations

from typing import Any

__all__ = ["Printable", "one_line", "printable"]

# Control characters but for line ends and tabs, and those that change the direction or the lines of what follows.
_CONTROLS = (*range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0))
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPED = {c: f"\\x{c:02x}" for c in _CONTROLS} | {c: f"\\u{c:04x}" for c in _DIRECTIONS}


def printable(text: str) -> str:
    r"""Return `text` with what a terminal would obey spelled out: "\x1b[2J" becomes those six characters."""
    return text.translate(_ESCAPED)


def one_line(text: str) -> str:
    """Return `text` in one printable line."""
    return printable(" ".join(text.split()))


class Printable:
    """A stream of text to which everything is written as `printable` spells it; in all else it is the stream.

    Parameters
    ----------
    spelled
        False for what is data, which are written as they are.

    Attributes
    ----------
    raw
        The stream itself, for data that go to a file.
    """

    def __init__(self, raw: Any, *, spelled: bool = True) -> None:
        self.raw = raw
        self._spelled = spelled

    def write(self, text: str) -> int:
        """Write `text`.

        Raises
        ------
        OSError
            If it cannot be written; the file that it names is the stream.
        """
        try:
            return int(self.raw.write(printable(text) if self._spelled else text))
        except OSError as error:
            raise OSError(error.errno, error.strerror, getattr(self.raw, "name", None)) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)
