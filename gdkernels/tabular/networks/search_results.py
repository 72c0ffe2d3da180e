"""What a search has tried, for results and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Search", "TriedSetting"]


@dataclass(frozen=True)
class TriedSetting:
    """A setting that was tried.

    Attributes
    ----------
    hidden
        The units of its hidden layers.
    encoded
        Whether numbers are encoded.
    loss
        That of its networks on the rows that each was trained without; infinite if one diverged.
    epochs
        The most that a network of it was trained.
    weight
        How often it counts in the ensemble; 0 for most.
    """

    hidden: tuple[int, ...]
    encoded: bool
    dropout: float
    learning_rate: float
    l2: float
    batch_size: int
    loss: float
    epochs: int
    weight: int = 0

    def __str__(self) -> str:
        shape = "-".join(map(str, self.hidden)) or "no hidden layer"
        more = f", dropout {self.dropout:g}" if self.dropout else ""
        return f"{shape}, rate {self.learning_rate:.2g}, l2 {self.l2:.2g}, batches of {self.batch_size}{more}"


@dataclass(frozen=True)
class Search:
    """What a search has tried.

    Attributes
    ----------
    tried
        The settings in the order in which they were drawn, the default first.
    loss
        The loss of the ensemble on the rows left out.
    seconds
        The time that it took.
    """

    tried: tuple[TriedSetting, ...]
    loss: float
    seconds: float

    @property
    def best(self) -> TriedSetting:
        """The one with the lowest loss."""
        return min(self.tried, key=lambda one: one.loss)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        tried = [asdict(one) | {"loss": one.loss if np.isfinite(one.loss) else None} for one in self.tried]
        return {"tried": tried, "loss": self.loss, "seconds": self.seconds}

    def as_text(self) -> str:
        """Return a line."""
        members = sum(one.weight > 0 for one in self.tried)
        failed = sum(not np.isfinite(one.loss) for one in self.tried)
        together = f"{members} of them predict together" if members > 1 else "it predicts alone"
        return (
            f"of {len(self.tried)} settings, tried in {self.seconds:.0f} s, the lowest loss on rows left out, "
            f"{self.best.loss:.4g}, has {self.best}; the default has {self.tried[0].loss:.4g}. {together}, with "
            f"{self.loss:.4g}{f'; {failed} diverged' if failed else ''}"
        )
