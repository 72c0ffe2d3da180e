"""How the CTAs of a kernel share out models: all of them have one, or each has its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gdkernels_cupy.persistent.memory import bias_word, weights_word

__all__ = ["SHARED_MODEL", "CtaSharing", "OwnModel"]


class CtaSharing(Protocol):
    """The words of a kernel that depend on who else has the model.

    Attributes
    ----------
    cta, ctas
        The number of this CTA among those of its model, and how many these are.
    sync
        The statement after which the CTAs of a model read what the others wrote.
    tiles
        What declares the number of tiles of a step, and of the CTAs that have one where that matters.
    """

    @property
    def cta(self) -> str: ...

    @property
    def ctas(self) -> str: ...

    @property
    def sync(self) -> str: ...

    @property
    def tiles(self) -> str: ...

    def gradient_sum(self, first: str, stride: int) -> str:
        """Return the sum of what the CTAs left at a place of their gradients; `stride` lies between two of them."""

    def totals_to(self, phase: int, before: int, count: int) -> str:
        """Return where this CTA leaves its `count` totals of a phase, after those of earlier phases."""

    def totals(self, phase: int, before: int, count: int, *, needed: bool) -> list[str]:
        """Return what makes totals of all CTAs of them; not `needed` are those that no CTA but the first reads."""

    def array(self, place: int) -> str:
        """Return where the parameter or slot with this place in the order is."""

    def new_weight(self, name: str, offset: int, columns: int, value: str) -> str:
        """Return what makes a weight, at row i and column j, an operand of the next step's products."""

    def new_bias(self, name: str, value: str) -> list[str]:
        """Return what has the next step read another bias."""


class _SharedModel:
    cta, ctas, sync = "cta()", "ctas()", "grid_sync(barrier, phase);"
    tiles = "const int tiles = (rows + ROWS - 1) / ROWS, active = tiles < ctas() ? tiles : ctas();"

    def gradient_sum(self, first: str, stride: int) -> str:
        return f"ordered_sum({first}, active, {stride})"

    def totals_to(self, phase: int, before: int, count: int) -> str:
        return f"{self._base(before)} + (long long)cta() * {count}"

    def totals(self, phase: int, before: int, count: int, *, needed: bool) -> list[str]:
        ctas = "ctas()" if phase else "active"
        call = f"total_of_grid<{count}>(totals{phase}, {self._base(before)}, {ctas});"
        return [call if needed else f"if (cta() == 0) {call}"]

    @staticmethod
    def _base(before: int) -> str:
        return f"totals + (long long)ctas() * {before}" if before else "totals"

    def array(self, place: int) -> str:
        return f"state[{place}]"

    def new_weight(self, name: str, offset: int, columns: int, value: str) -> str:
        return f"weights[{offset} + i * {columns} + j] = rounded({value});"

    def new_bias(self, name: str, value: str) -> list[str]:
        return []  # every step fetches them


@dataclass(frozen=True)
class OwnModel:
    """A CTA with a model of its own: weights, biases and totals stay on the chip from step to step.

    Attributes
    ----------
    on_chip
        Where parameters and slots are on the chip, in bytes, by their place in the order; none where they are off it.
    """

    on_chip: Sequence[int] = ()
    cta = "0"
    ctas = "1"
    sync = "cta_sync();"
    tiles = "const int tiles = (rows + ROWS - 1) / ROWS;"

    def gradient_sum(self, first: str, stride: int) -> str:
        return f"*({first})"

    def totals_to(self, phase: int, before: int, count: int) -> str:
        return f"totals{phase}"

    def totals(self, phase: int, before: int, count: int, *, needed: bool) -> list[str]:
        return []

    def array(self, place: int) -> str:
        return f"((float*)(shared() + {self.on_chip[place]}))" if self.on_chip else f"state[{place}]"

    def new_weight(self, name: str, offset: int, columns: int, value: str) -> str:
        return f"*::at<{columns}>({weights_word(name)}, i, j) = rounded({value});"

    def new_bias(self, name: str, value: str) -> list[str]:
        return [f"{bias_word(name)}[at] = {value};"]


SHARED_MODEL: CtaSharing = _SharedModel()
