"""What a network expects of records; whether records are so, `gdkernels.data.validation` finds out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gdkernels.data.frames import ColumnNames
from gdkernels.definition.losses import Loss

__all__ = ["RecordSpec"]


@dataclass(frozen=True)
class RecordSpec:
    """The records that a network expects.

    Attributes
    ----------
    inputs, outputs
        Columns of X, and of the network's output.
    widest
        The most numbers that a record becomes on its way through the network.
    loss
        The loss that Y is for.
    names
        The columns of the frames that the network was trained on, if any.
    codes
        For the inputs that are codes of categories, by their number, how many categories there are.
    """

    inputs: int
    outputs: int
    widest: int
    loss: Loss
    names: ColumnNames
    codes: Mapping[int, int] = field(default_factory=dict)
