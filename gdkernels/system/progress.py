"""Progress bars on long work, on a terminal and in a notebook; none elsewhere."""

import logging
import sys
from importlib.util import find_spec
from typing import Any

from gdkernels.system.libraries import first_line
from gdkernels.system.notebook import in_notebook

__all__ = ["RecordCount", "progress_bar"]

_log = logging.getLogger("gdkernels")

_DELAY_SECONDS = 1.0  # what is done sooner needs no bar


def progress_bar(show: bool | None, **options: Any) -> Any:
    """Return a bar of tqdm with these options, or None where none is wanted.

    Parameters
    ----------
    show
        Whether to show it, and to leave it there when done; None shows it on a terminal and in a notebook, until it is
        done.
    """
    if not _wanted(show):
        return None
    try:
        tqdm = _tqdm()
    except Exception as error:  # a broken library that only shows how far the work is must not end it
        _log.info("no progress is shown: tqdm cannot be imported (%s)", first_line(error))
        return None
    return tqdm(delay=0 if show else _DELAY_SECONDS, leave=bool(show), **options)


class RecordCount:
    """Counts records as they are done, and shows how many, and how many a second.

    Parameters
    ----------
    doing
        What is done with them, in a word.
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
        """Count so many records more."""
        self.done += records
        if self._bar is not None:
            try:
                self._bar.update(records)
            except OSError:  # the terminal has gone: the work goes on
                self._bar = None


def _wanted(show: bool | None) -> bool:
    """Return whether to show a bar: where it is left open, on a terminal and in a notebook."""
    return show or (show is None and (in_notebook() or (sys.stderr is not None and sys.stderr.isatty())))


def _tqdm() -> Any:
    """Return what makes a bar: of widgets in a notebook that has them; without them, tqdm.auto would warn."""
    if in_notebook() and find_spec("ipywidgets") is not None:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm
