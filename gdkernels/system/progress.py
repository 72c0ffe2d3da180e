"""Progress bars on long work, on a terminal and in a notebook; none elsewhere."""

import logging
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from gdkernels.system.given import checked_progress
from gdkernels.system.libraries import first_line
from gdkernels.system.notebook import in_notebook

__all__ = ["RecordCount", "announce", "progress_bar"]

_log = logging.getLogger("gdkernels")

_DELAY_SECONDS = 1.0  # shorter work needs no bar


def progress_bar(show: bool | None, **options: Any) -> Any:
    """Return a bar of tqdm with these options, or None if none is wanted.

    Parameters
    ----------
    show
        Whether to show the bar, and to leave it there in the end. None shows it on a terminal and in a notebook, until
        the work is done.
    """
    if not _wanted(show):
        return None
    try:
        tqdm = _tqdm()
    except Exception as error:  # a broken library that only shows how far the work is must not end it
        _log.info("no progress is shown: tqdm cannot be imported (%s)", first_line(error))
        return None
    return tqdm(delay=0 if show else _DELAY_SECONDS, leave=bool(show), **options)


def announce(line: str) -> None:
    """Say what is being done: on a terminal and in a notebook, where somebody waits, and in the log."""
    _log.info("%s", line)
    if _wanted(None):
        with suppress(OSError, ValueError):  # the terminal has gone: the work goes on
            print(f"gdkernels: {line}", file=sys.stderr, flush=True)


class RecordCount:
    """Counts finished records, and shows their number and their rate.

    Parameters
    ----------
    doing
        The work in a word.
    show
        As for `progress_bar`.
    """

    def __init__(self, doing: str, show: bool | None = None) -> None:
        self.done = 0
        self._bar = progress_bar(show, desc=doing, unit=" records", unit_scale=True)

    def __enter__(self) -> "RecordCount":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, records: int) -> None:
        """Count so many more records."""
        self.done += records
        if self._bar is not None:
            try:
                self._bar.update(records)
            except OSError:  # the terminal has gone: the work goes on
                self._bar = None


def _wanted(show: bool | None) -> bool:
    """Return whether to show a bar; None means on a terminal and in a notebook."""
    show = checked_progress(show)
    return show or (show is None and (in_notebook() or (sys.stderr is not None and sys.stderr.isatty())))


def _tqdm() -> Any:
    """Return the class of bars: widgets in a notebook that has them. Without them, tqdm.auto would warn."""
    if in_notebook() and find_spec("ipywidgets") is not None:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm
