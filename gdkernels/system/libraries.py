"""Libraries that need not be there: whether one is missing or broken, and how to mend either."""

from __future__ import annotations

__all__ = ["first_line", "is_missing", "lack_of"]

_LONGEST = 200


def is_missing(module: str, error: Exception) -> bool:
    """Return whether importing `module` failed because it, or the package that it is in, is not installed."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return name is not None and (module == name or module.startswith(f"{name}."))


def lack_of(module: str, error: Exception, install: str) -> str:
    """Return why `module` could not be imported, and the command that mends it: "which is not installed: run …".

    Parameters
    ----------
    error
        The error of the import: a library that is there may raise anything.
    install
        The command that installs it.
    """
    if is_missing(module, error):
        return f"which is not installed: run {install}"
    again = install.replace("pip install ", "pip install --upgrade ", 1)
    return f"which is installed but cannot be imported ({first_line(error)}): run {again}"


def first_line(error: Exception) -> str:
    """Return an error in a line: those of binary libraries come with pages of advice."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    whole = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}…"
