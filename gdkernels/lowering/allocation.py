"""Places for values in one piece of memory: values whose lives do not overlap share a place."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["ALIGNMENT", "MemoryAccess", "allocate"]

ALIGNMENT = 256  # bytes: the alignment of CUDA's own allocations and of the widest vector loads


@dataclass(frozen=True)
class MemoryAccess:
    """The values that one operation of a list reads and writes.

    Attributes
    ----------
    reads
        Names of values.
    writes
        Names of values, with their bytes; those that are new to the list begin to live here.
    in_place
        Pairs (read, written) where the second may take the place of the first if that dies here: an operation that
        works element by element reads each before it writes it.
    """

    reads: tuple[str, ...]
    writes: tuple[tuple[str, int], ...]
    in_place: tuple[tuple[str, str], ...] = ()


def allocate(accesses: Sequence[MemoryAccess], lasting: Sequence[tuple[str, int]] = ()) -> tuple[dict[str, int], int]:
    """Return the offset in bytes of every value, and the bytes of all together.

    Parameters
    ----------
    accesses
        The operations in the order in which they run.
    lasting
        Values that are there before the first and after the last operation, with their bytes.
    """
    memory = _FreeMemory()
    offsets: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for name, size in lasting:
        offsets[name] = memory.take(size)
    kept = set(offsets)
    last = {name: at for at, access in enumerate(accesses) for name in (*access.reads, *(n for n, _ in access.writes))}
    for at, access in enumerate(accesses):
        dying = {n for n in access.reads if last[n] == at and n not in kept}
        heirs = {new: old for old, new in reversed(access.in_place) if old in dying and new not in offsets}
        for name, size in access.writes:
            if name in offsets:
                continue
            old = heirs.get(name)
            if old in dying and sizes[old] == size:
                offsets[name] = offsets[old]
                dying.remove(old)
            else:
                offsets[name] = memory.take(size)
            sizes[name] = size
        dying |= {n for n, _ in access.writes if last[n] == at and n not in kept}
        for name in dying:
            memory.give(offsets[name], sizes[name])
    return offsets, memory.size


@dataclass
class _FreeMemory:
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
            # The free memory at the very end grows.
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
