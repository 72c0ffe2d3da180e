"""Where in the user's own code a recorded operation was written."""

import linecache
import os
import sys

__all__ = ["user_line"]

_HERE = os.path.dirname(os.path.abspath(__file__))


def user_line() -> str:
    """Return `` (in f, file:line: `text`)`` for the innermost caller outside of this package, or an empty string."""
    frame = sys._getframe(1)
    while frame is not None and os.path.dirname(frame.f_code.co_filename) == _HERE:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return ""
    code = frame.f_code
    text = linecache.getline(code.co_filename, frame.f_lineno).strip()
    shown = f": `{text}`" if text else ""
    return f" (in {code.co_name}, {code.co_filename}:{frame.f_lineno}{shown})"
