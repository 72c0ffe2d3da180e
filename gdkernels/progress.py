"""A progress bar with loss and samples/s on long work, on a terminal and in a notebook; none elsewhere."""

import sys
from importlib.util import find_spec
from typing import Any

from gdkernels.history import Epoch
from gdkernels.notebook import in_notebook

__all__ = ["Progress", "RecordCount"]

_DELAY_SECONDS = 1.0  # what is done sooner needs no bar


class Progress:
    """Shows the epochs of a fit as they end: on stderr, or in a notebook below the cell.

    Parameters
    ----------
    epochs
        How many there will be at most.
    show
        Whether to show it, and to leave it there when done; None shows it on a terminal and in a notebook, until it is
        done.
    """

    def __init__(self, epochs: int, show: bool | None) -> None:
        self._bar: Any = None
        if _wanted(show):
            self._bar = _tqdm()(total=epochs, unit="epoch", delay=0 if show else _DELAY_SECONDS, leave=bool(show))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, epoch: Epoch) -> None:
        """Show that `epoch` is done."""
        if self._bar is None:
            return
        figures = [f"loss {epoch.loss:.4g}"]
        if epoch.validation_loss is not None:
            figures.append(f"validation {epoch.validation_loss:.4g}")
        figures.append(f"{epoch.samples_per_second:,.0f} samples/s")
        self._bar.set_postfix_str(", ".join(figures), refresh=False)
        self._bar.update()


class RecordCount:
    """Counts records as they are done, and shows how many, and how many a second.

    Parameters
    ----------
    doing
        What is done with them, in a word.
    show
        As for `Progress`.
    """

    def __init__(self, doing: str, show: bool | None = None) -> None:
        self.done = 0
        self._bar: Any = None
        if _wanted(show):
            delay = 0 if show else _DELAY_SECONDS
            self._bar = _tqdm()(desc=doing, unit=" records", unit_scale=True, delay=delay, leave=bool(show))

    def __enter__(self) -> "RecordCount":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, records: int) -> None:
        """Count so many records more."""
        self.done += records
        if self._bar is not None:
            self._bar.update(records)


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
