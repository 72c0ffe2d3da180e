"""The line of your own code that recorded an operation."""

import linecache
import os
from types import FrameType

__all__ = ["user_line"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_line() -> str:
    """Return `` (in f, file:line: `text`)`` for the innermost caller outside of gdkernels, or an empty string."""
    from inspect import currentframe  # loads the half of the standard library

    frame: FrameType | None = currentframe()
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return ""
    code = frame.f_code
    text = linecache.getline(code.co_filename, frame.f_lineno).strip()
    shown = f": `{text}`" if text else ""
    return f" (in {code.co_name}, {code.co_filename}:{frame.f_lineno}{shown})"
