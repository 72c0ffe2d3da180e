"""What reading gives: records as numbers, with the names of their columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError

__all__ = ["Floats", "Table"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Records of numbers with what is to be predicted from them.

    Attributes
    ----------
    x
        Inputs [records, columns].
    y
        Targets [records], or [records, outputs] where there are several.
    columns
        A name for each column of `x`.
    target
        The name of what is to be predicted.
    source
        Where it was read from, for messages.
    """

    x: Floats
    y: Floats
    columns: tuple[str, ...]
    target: str
    source: str

    def __post_init__(self) -> None:
        if not self.x.shape[0]:
            raise InputError(f"{self.source} holds no records")
        if not self.x.shape[1]:
            raise InputError(
                f"{self.source} has no column besides the target {self.target!r}: nothing to predict it from"
            )


def take_target(values: Floats, names: Sequence[str], target: str, source: str) -> Table:
    """Return the table in which the column `target` of `values` is to be predicted from the others."""
    k = names.index(target)
    rest = (*names[:k], *names[k + 1 :])
    return Table(np.delete(values, k, axis=1), values[:, k].copy(), rest, target, source)


def missing_target(target: str | None, names: Sequence[str], source: str) -> InputError:
    """Return the error for a target that is not said or not there, closest names first."""
    listed = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    if target is None:
        return InputError(f"say which column of {source} is to be predicted: --target COLUMN; it has {listed}")
    lower = {name.lower(): name for name in reversed(names)}
    close = [lower[name] for name in get_close_matches(target.lower(), lower, n=3)]
    guess = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return InputError(f"{source} has no column {target!r}.{guess} It has {listed}")
