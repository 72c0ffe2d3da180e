"""Where values live in one piece of memory: those whose lives do not overlap share a place."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["ALIGNMENT", "Use", "place"]

ALIGNMENT = 256  # bytes; what CUDA's own allocations and the widest vector loads ask for


@dataclass(frozen=True)
class Use:
    """What one operation of a list reads and writes.

    Attributes
    ----------
    reads
        Names of values.
    writes
        Names of values, with their bytes; those that are new to the list begin to live here.
    successions
        Pairs (read, written) where the second may take the place of the first if that dies here: an operation that
        works element by element reads each before it writes it.
    """

    reads: tuple[str, ...]
    writes: tuple[tuple[str, int], ...]
    successions: tuple[tuple[str, str], ...] = ()


def place(uses: Sequence[Use], lasting: Sequence[tuple[str, int]] = ()) -> tuple[dict[str, int], int]:
    """Return the offset in bytes of every value, and how many bytes there are in all.

    Parameters
    ----------
    uses
        The operations in the order in which they run.
    lasting
        Values that are there before the first and after the last operation, with their bytes.
    """
    arena = _Arena()
    offsets: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for name, size in lasting:
        offsets[name] = arena.take(size)
    kept = set(offsets)
    last = {name: at for at, use in enumerate(uses) for name in (*use.reads, *(n for n, _ in use.writes))}
    for at, use in enumerate(uses):
        dying = {n for n in use.reads if last[n] == at and n not in kept}
        heirs = {new: old for old, new in reversed(use.successions) if old in dying and new not in offsets}
        for name, size in use.writes:
            if name in offsets:
                continue
            old = heirs.get(name)
            if old in dying and sizes[old] == size:
                offsets[name] = offsets[old]
                dying.remove(old)
            else:
                offsets[name] = arena.take(size)
            sizes[name] = size
        dying |= {n for n, _ in use.writes if last[n] == at and n not in kept}
        for name in dying:
            arena.give(offsets[name], sizes[name])
    return offsets, arena.size


@dataclass
class _Arena:
    """Memory from which pieces are taken, the smallest gap that fits first."""

    size: int = 0
    gaps: dict[int, int] = field(default_factory=dict)  # bytes by offset

    def take(self, size: int) -> int:
        size = _rounded(size)
        fitting = [(gap, at) for at, gap in self.gaps.items() if gap >= size]
        if fitting:
            gap, at = min(fitting)
            del self.gaps[at]
        else:
            # What is free at the very end grows.
            at = next((at for at, gap in self.gaps.items() if at + gap == self.size), self.size)
            gap = max(size, self.gaps.pop(at, 0))
            self.size = at + gap
        if gap > size:
            self.gaps[at + size] = gap - size
        return at

    def give(self, at: int, size: int) -> None:
        size = _rounded(size)
        before = next((a for a, gap in self.gaps.items() if a + gap == at), None)
        if before is not None:
            at, size = before, size + self.gaps.pop(before)
        self.gaps[at] = size + self.gaps.pop(at + size, 0)


def _rounded(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
