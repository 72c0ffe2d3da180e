"""GDKERNELS_CHECK: whether compiled code is checked once, always or never."""

import os

from gdkernels.errors import unknown_name

__all__ = ["check_mode"]

_VARIABLE = "GDKERNELS_CHECK"
_MODES = ("once", "always", "never")


def check_mode() -> str:
    """Return "once", or what GDKERNELS_CHECK says: "always" ignores earlier findings, "never" checks nothing.

    Raises
    ------
    InputError
        If it says something else.
    """
    mode = os.environ.get(_VARIABLE) or _MODES[0]
    if mode not in _MODES:
        raise unknown_name(_VARIABLE, mode, _MODES)
    return mode
