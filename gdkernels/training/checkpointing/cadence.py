"""The cadence of checkpoints: "5min", "10 epochs", "1000 steps"."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from gdkernels.errors import InputError, keyword, shown

__all__ = ["USUAL", "Cadence"]

USUAL = "5min"

_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
_COUNTED = {"epoch": "epochs", "epochs": "epochs", "step": "steps", "steps": "steps"}


@dataclass(frozen=True)
class Cadence:
    """After so much time, or so many epochs or steps; `unit` is "seconds", "epochs" or "steps"."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Cadence:
        """Read "30s", "5min", "2h", "10 epochs" or "1000 steps".

        Raises
        ------
        InputError
            For anything else.
        """
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        amount, unit = (float(found[1]), found[2]) if found and float(found[1]) < math.inf else (0.0, "")
        if amount > 0 and unit in _SECONDS:
            return cls(amount * _SECONDS[unit], "seconds")
        if amount >= 1 and amount == int(amount) and unit in _COUNTED:
            return cls(amount, _COUNTED[unit])
        raise InputError(
            f"{keyword('every')}, how often to write a checkpoint, must be as in "
            f'"30s", "5min", "2h", "10 epochs" or "1000 steps", got {shown(text)}'
        )

    def due(self, *, seconds: float, epochs: int, steps: int) -> bool:
        """Return whether a checkpoint is due, so much after the last one."""
        return {"seconds": seconds, "epochs": epochs, "steps": steps}[self.unit] >= self.amount
