"""The losses of a fit's epochs, as a schedule is given them: an epoch costs the same however many came before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any, TypeVar, overload

__all__ = ["Losses", "fold"]

Fold = TypeVar("Fold")


@dataclass
class _Shared:
    """The part that the losses of all the epochs of a fit share: the numbers, and how far each rule has read them."""

    numbers: list[float]
    folded: dict[Callable[[Any, float], Any], tuple[int, Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Losses(Sequence[float]):
    """The losses of the epochs so far, one for each, in order.

    It never changes, so a schedule may keep it. What `then` returns shares its numbers with it: a tuple for each epoch
    would cost a fit the square of its epochs.
    """

    shared: _Shared
    length: int

    @classmethod
    def of(cls, losses: Iterable[float] = ()) -> Losses:
        """Return these losses."""
        numbers = list(losses)
        return cls(_Shared(numbers), len(numbers))

    def then(self, *losses: float) -> Losses:
        """Return these losses and some more."""
        if len(self.shared.numbers) > self.length:  # another went on from here before
            return Losses.of([*self, *losses])
        self.shared.numbers.extend(losses)
        return Losses(self.shared, self.length + len(losses))

    def fold(self, rule: Callable[[Fold, float], Fold], start: Fold) -> Fold:
        """Return what `rule` makes of all the losses, from `start` on, looking at each once in the whole fit."""
        value: Fold
        done, value = self.shared.folded.get(rule, (0, start))
        if done > self.length:
            done, value = 0, start
        value = reduce(rule, islice(self.shared.numbers, done, self.length), value)
        self.shared.folded[rule] = self.length, value
        return value

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[float, ...]: ...
    def __getitem__(self, index: int | slice) -> float | tuple[float, ...]:
        places = range(self.length)[index]
        numbers = self.shared.numbers
        return numbers[places] if isinstance(places, int) else tuple(numbers[k] for k in places)

    def __iter__(self) -> Iterator[float]:
        return islice(self.shared.numbers, self.length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))


def fold(rule: Callable[[Fold, float], Fold], losses: Sequence[float], start: Fold) -> Fold:
    """Return what `rule` makes of losses, from `start` on; of `Losses`, it only looks at those that are new."""
    return losses.fold(rule, start) if isinstance(losses, Losses) else reduce(rule, losses, start)
