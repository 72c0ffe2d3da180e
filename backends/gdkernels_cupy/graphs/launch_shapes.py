"""The shapes of launches: work is divided among threads by sizes alone, so that sums have one order."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACROSS", "ROW_COLUMNS", "THREADS", "LaunchShape", "chunks_of", "launch_shape_of"]

THREADS = 256  # in a block
ELEMENTS = 4  # neighbours in a row, which a thread takes at once
ACROSS = 32  # columns that a block sums, with THREADS / ACROSS threads each; and the side of what it transposes

_BLOCKS = 1024  # at most along each dimension: beyond it a thread takes more rows
_WARP = 32
ROW_COLUMNS = ELEMENTS * _WARP  # in one step of a warp
_CHUNKS, _CHUNK = 128, 1024  # rows are summed in at most so many parts, of at least so many rows


@dataclass(frozen=True)
class LaunchShape:
    """The threads of a launch: blocks along the rows and along the columns, threads of a block likewise."""

    grid: tuple[int, int]
    block: tuple[int, int]

    @property
    def blocks(self) -> int:
        return self.grid[0] * self.grid[1]


def launch_shape_of(rows: int, columns: int, *, row_wise: bool) -> LaunchShape:
    """Return the threads for a loop; a row whose values are reduced belongs to the lanes of one warp."""
    groups = -(-columns // ELEMENTS)
    across = min(1 << (groups - 1).bit_length(), _WARP if row_wise else THREADS)
    down = THREADS // across
    along = 1 if row_wise else min(-(-groups // across), _BLOCKS)
    # Where one row of blocks covers the columns in many blocks, as for a vector, rows need no more of them.
    return LaunchShape((min(-(-rows // down), max(1, _BLOCKS // along)), along), (across, down))


def chunks_of(rows: int) -> tuple[int, int]:
    """Return the rows of a part when columns are summed, and how many parts there are."""
    chunk = max(_CHUNK, -(-rows // _CHUNKS))
    return chunk, -(-rows // chunk)
