"""The progress bar of a fit, with loss and samples/s."""

from gdkernels.system.progress import progress_bar
from gdkernels.training.history import Epoch

__all__ = ["Progress"]


class Progress:
    """Shows the epochs of a fit as they end: on stderr, or in a notebook below the cell.

    Parameters
    ----------
    epochs
        The largest number of epochs.
    show
        Whether to show the bar, and to leave it there in the end. None shows it on a terminal and in a notebook, until
        the fit is done.
    """

    def __init__(self, epochs: int, show: bool | None) -> None:
        self._bar = progress_bar(show, total=epochs, unit="epoch")

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
        if epoch.damping is not None:
            figures.append(f"damping {epoch.damping:.2g}")
        if epoch.effective_parameters is not None:
            figures.append(f"{epoch.effective_parameters:.1f} effective parameters")
        figures.append(f"{epoch.samples_per_second:,.0f} samples/s")
        try:
            self._bar.set_postfix_str(", ".join(figures), refresh=False)
            self._bar.update()
        except OSError:  # the terminal has gone: training, and its checkpoint, must not go with it
            self._bar = None
