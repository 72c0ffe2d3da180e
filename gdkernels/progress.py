"""A progress bar with loss and samples/s on long work; none off a terminal."""

import sys
from typing import Any

from gdkernels.history import Epoch

__all__ = ["Progress", "RecordCount"]

_DELAY_SECONDS = 1.0  # what is done sooner needs no bar


class Progress:
    """Shows the epochs of a fit on stderr as they end.

    Parameters
    ----------
    epochs
        How many there will be at most.
    show
        Whether to show it, and to leave it there when done; None shows it where stderr is a terminal, until it is done.
    """

    def __init__(self, epochs: int, show: bool | None) -> None:
        self._bar: Any = None
        if _wanted(show):
            from tqdm import tqdm

            self._bar = tqdm(total=epochs, unit="epoch", delay=0 if show else _DELAY_SECONDS, leave=bool(show))

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
    """Counts records as they are done, and shows how many, and how many a second, on stderr.

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
            from tqdm import tqdm

            delay = 0 if show else _DELAY_SECONDS
            self._bar = tqdm(desc=doing, unit=" records", unit_scale=True, delay=delay, leave=bool(show))

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
    """Return whether to show a bar: where it is left open, on a terminal."""
    return show or (show is None and sys.stderr is not None and sys.stderr.isatty())
