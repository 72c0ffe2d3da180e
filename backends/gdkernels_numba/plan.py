"""The choices of a plan: how to cut up a step, by its sizes and the caches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gdkernels.errors import InputError
from gdkernels_numba.cpu.features import Caches, bf16_routes
from gdkernels_numba.ir.format import GRANULE, Format, padded

__all__ = ["GRAIN", "StepChoices", "StepFootprint", "check", "choose", "shared_pieces"]

# The least work of a step, in floating-point operations, for which a second thread pays. Threads that meet a few times
# in a step and fetch each other's results lose some 8 µs. With private gradients they fetch little, and lose 5 µs. For
# a run of a single step they have to be woken as well. Other work counts as the operations that take as long.
_BREAK_EVEN = 1.2e6
_BREAK_EVEN_PRIVATE = 0.8e6
_BREAK_EVEN_ALONE = 20e6
_PER_BYTE = 4.0  # of weights: the update moves them, whatever the batch, and threads without rows help
_PER_ROW_BYTE = 3.0  # that a row leaves: they are gathered or computed, one element after another
# The most rows in a batch for which threads share the units and not the rows. With more rows, products take longer than
# reading the weights. Threads that share rows each read all weights, which takes long if both layouts of the weights
# overflow the caches.
_ROWS_ALONE = 12
_ROWS_OF_A_THREAD = 32
_ROWS_BEYOND_CACHES = 48
# Each thread sums the gradients of its own rows if the weights take at most this share of what those rows leave.
# Threads then fetch gradients from each other, and not rows. Near the limit that costs 3 % on cores that share a cache,
# and saves more on cores that do not. The second limit is for few rows, where the alternative is to share units.
_PRIVATE = 0.4
_PRIVATE_FEW_ROWS = 0.75
# The limit in bfloat16: gradients take as much memory as in float32, and rows leave half as much. But rows that no
# other thread reads are shared evenly, and not in whole squares. Private gradients are therefore faster up to this
# limit, and about as fast up to twice as much.
_PRIVATE_BF16 = 1.5
# If rows are shared in whole squares, the busiest thread keeps the others waiting. Beyond this share of the time that
# even shares would take, and beyond this many operations in the meantime, threads share the units instead.
_UNEVEN = 0.2
_UNEVEN_FLOPS = 10e6
# Choices that change bits are made as for so many threads, whatever a machine has: then bits follow from sizes and
# caches alone, and a single thread adds up what two would have added up.
_TOGETHER = 2
# More pieces serve more threads, and a thread whose core is taken holds up less. The least rows of a piece, of up to
# `_FEW_PIECES` and of more. Where every piece sums gradients of its own, those are added up, which takes 1 to 2 % of a
# step with these rows. In bfloat16 every piece has memory of its own for what it rounds. No more than two pieces have
# less work than that of the last number.
_FEW_PIECES = 4
_ROWS_OF_PIECE = 32, 64
_ROWS_OF_SUMS = 64, 256
_ROWS_OF_PIECE_BF16 = 128, 256
_LEAST_WORK_OF_PIECE = 4e6
_COLUMNS_OF_PIECE = 512  # of the widest layer, where pieces are units and there are more than two
# A step of more than `_LONG`, some 2 ms of a thread, has a piece for so much work at least.
_LONG = 200e6
_WORK_OF_PIECE = 40e6
_MOST_PIECES = 16
_MOST_PIECES_ALONE = 128  # of a prediction, which sums nothing: the fewer rows a late thread still has, the better
_ROWS_TO_TRANSPOSE = 8  # from so many on, it saves more time than it takes to transpose a block
_MOST = 1 << 20  # that a plan may ask for, of anything
_ROW_BLOCK = 12  # a multiple of the rows of the usual micro-kernels
GRAIN = 4  # rows of a thread, and of a tile, are a multiple of this: even shares count for more than full kernels


@dataclass(frozen=True)
class StepFootprint:
    """The size of a step, in the numbers that the choices depend on.

    Attributes
    ----------
    flops
        Floating-point operations of the products in a step.
    row_bytes
        Bytes that a row of the batch leaves for the gradients.
    widest_bytes
        Bytes of a row of the widest layer.
    weight_bytes
        Bytes of the weights that products read, and of their transposes.
    moved_bytes
        Bytes of the tables that the update moves besides.
    alone
        Whether a run is a single step, as a prediction is.
    """

    batch: int
    flops: float
    row_bytes: int
    widest_bytes: int
    weight_bytes: int
    moved_bytes: int = 0
    alone: bool = False


@dataclass(frozen=True)
class StepChoices:
    """The choices that can change the bits of a result, or its time.

    Attributes
    ----------
    pieces
        Into how many pieces the rows of a batch are cut, each with sums of its own, which are added in a fixed order.
        Bits depend on them, and not on the threads that compute them.
    tree_sums
        Whether pieces are the leaves of the tree in `gdkernels.groups.tree`, by which a batch is cut and summed. In
        plans of old, which have no such choice, sums of pieces are added one after the other, and products over the
        whole batch are not cut.
    tile_rows
        Rows that go forward and back together.
    tile_local_gradients
        Whether every tile adds to the gradients of its piece at once, so that its activations never leave the cache;
        otherwise those of the whole batch are kept, and gradients are computed from all of it.
    column_parallel
        Whether the pieces are of the units of every layer instead of the rows of the batch, and weights are kept once.
    product_depth, sums_depth
        How many terms, or pairs of them in bfloat16, are summed in registers at a time, along the units and along the
        batch.
    vector_width
        float32 numbers in a vector.
    product_route
        What multiplies bfloat16; empty in other precisions.
    transposed_back
        Whether blocks of weights are transposed on the way back where pieces are units. Plans of old have them read by
        rows, which sums in another order. Other plans have no such choice.
    sums_by_piece
        Whether the sums of tile-local gradients are computed from the whole batch, piece by piece: so one thread has
        the bits of several, and no gradients of pieces to add up. No choice of a plan, as it changes no bits.
    """

    threads: int
    pieces: int
    tile_rows: int
    tile_local_gradients: bool
    column_parallel: bool
    product_depth: int
    sums_depth: int
    vector_width: int
    product_route: str = ""
    transposed_back: bool = False
    sums_by_piece: bool = False
    tree_sums: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the choices by the names that plans and checkpoints have for them."""
        told = dict(vars(self))
        told["tile_local_gradients"] |= told.pop("sums_by_piece")
        for name in ("transposed_back", "tree_sums"):
            if not told[name]:
                del told[name]  # plans of old have no such choice
        return {_STORED.get(name, name): value for name, value in told.items()}


# The names of choices in plans and checkpoints, which are a format, where they are not those of the fields.
_STORED = {"tile_local_gradients": "depth_first", "column_parallel": "by_units"}
_TILE_LOCAL_GRADIENTS, _COLUMN_PARALLEL = _STORED["tile_local_gradients"], _STORED["column_parallel"]


def check(wished: Mapping[str, Any], format: Format) -> None:
    """Reject choices that a plan cannot have. A plan may come from a file, and compiled code checks nothing itself.

    Raises
    ------
    InputError
        It names the choice.
    """
    steps = {"product_depth": format.left_panel, "sums_depth": format.left_panel if format.bf16 else 1}
    known = ("threads", "pieces", "tile_rows", "product_depth", "sums_depth", "vector_width", "blas_threads")
    for name, value in wished.items():
        if name in (*_STORED.values(), "transposed_back", "tree_sums"):
            sound = isinstance(value, bool)
        elif name == "product_route":
            sound = value == format.route or (format.bf16 and value in bf16_routes())
        else:
            sound = name in known and type(value) is int and 1 <= value <= _MOST and value % steps.get(name, 1) == 0
        if name == "vector_width":
            sound = sound and value in ((format.lanes,) if format.bf16 else (4, 8, 16))
        if not sound:
            raise InputError(f"a plan of the numba backend cannot have {name}={value!r:.40} here")
    if wished.get(_COLUMN_PARALLEL) and wished.get(_TILE_LOCAL_GRADIENTS):
        raise InputError(f"a plan of the numba backend cannot have both {_COLUMN_PARALLEL} and {_TILE_LOCAL_GRADIENTS}")


def choose(
    footprint: StepFootprint, format: Format, caches: Caches, cores: int, wished: Mapping[str, Any]
) -> StepChoices:
    """Return the choices for a step, and keep those in `wished`. Of them all, only `threads` depends on `cores`."""
    of_old = "tile_rows" in wished and "pieces" not in wished  # such plans have as many pieces as threads
    together = int(wished.get("pieces", wished.get("threads", 1) if of_old else _TOGETHER))
    private = _private_gradients_pay(footprint, format, caches, together)
    updates = _PER_BYTE * (footprint.weight_bytes + footprint.moved_bytes)
    whole = footprint.flops + updates + _PER_ROW_BYTE * footprint.batch * footprint.row_bytes
    least = _BREAK_EVEN_ALONE if footprint.alone else _BREAK_EVEN_PRIVATE if private else _BREAK_EVEN
    most = max(1, footprint.batch) if updates < _BREAK_EVEN else _MOST
    is_free = not of_old and "pieces" not in wished
    pieces = together if not is_free else 1 if whole < least else min(together, most)

    tile_local = wished.get(_TILE_LOCAL_GRADIENTS)
    if tile_local is None:
        overflows = footprint.batch * footprint.row_bytes > pieces * caches.second
        pays = overflows or (private and pieces > 1)
        tile_local = pays and 2 * footprint.weight_bytes <= caches.second and not wished.get(_COLUMN_PARALLEL)
    column_parallel = wished.get(_COLUMN_PARALLEL)
    if column_parallel is None:
        pays = _is_uneven(footprint, pieces) if format.bf16 else _has_few_rows(footprint, caches, pieces)
        column_parallel = pays and footprint.batch * footprint.widest_bytes <= caches.second and not tile_local
    if is_free and pieces > 1 and column_parallel:
        pieces = _power_of_two(max(pieces, footprint.widest_bytes // format.size // _COLUMNS_OF_PIECE))
    elif is_free and pieces > 1:
        pieces = _more_pieces(footprint, format, pieces, whole, tile_local=bool(tile_local))
    transposes = column_parallel and not format.bf16 and footprint.batch >= _ROWS_TO_TRANSPOSE
    is_stored = "tile_rows" in wished  # what such a plan lacks was no choice when it was made
    back = bool(wished.get("transposed_back", transposes and not is_stored))
    tree_sums = bool(wished.get("tree_sums", not is_stored)) and pieces > 1 and not (footprint.alone or column_parallel)
    threads = 1 if whole < least else min(cores, most)
    if tile_local or column_parallel or format.bf16:
        threads = min(threads, pieces)  # others would have nothing to do
    threads = max(1, int(wished.get("threads", threads)))

    share = footprint.batch if pieces == 1 else padded(-(-footprint.batch // pieces), GRAIN)
    tile_rows = wished.get("tile_rows")
    if tile_rows is None:
        tile_rows = _rows_of_tile(footprint, format, caches, share, tile_local=bool(tile_local))
    tile_rows = footprint.batch if column_parallel else max(1, min(int(tile_rows), share))
    if format.bf16:  # whole squares are rounded
        tile_rows = padded(tile_rows, GRANULE)
    # A chunk of a panel takes two thirds of the first-level cache.
    rows_in_cache = max(1, caches.first * 2 // 3 // (format.panel * format.size))
    depth = max(format.panel, rows_in_cache // format.panel * format.panel)
    in_one_tile = tile_local and pieces > 1 and tile_rows == share and not format.bf16
    later = in_one_tile and threads == 1 and footprint.batch * footprint.row_bytes <= caches.second
    return StepChoices(
        threads=threads,
        pieces=pieces,
        tile_rows=tile_rows,
        tile_local_gradients=bool(tile_local) and not later,
        column_parallel=bool(column_parallel),
        product_depth=int(wished.get("product_depth", depth)),
        sums_depth=int(wished.get("sums_depth", max(format.panel, depth // 2))),
        vector_width=format.lanes * format.size // 4,
        product_route=format.route,
        transposed_back=back and bool(column_parallel),
        sums_by_piece=later,
        tree_sums=tree_sums,
    )


def shared_pieces(whole: StepChoices, shards: int) -> dict[str, Any]:
    """Return what a shard takes over of the choices for a whole batch: its pieces, if they can be dealt to shards.

    A shard needs as many as the others, and a power of two: then the tree over its pieces is a part of the whole tree.
    """
    pieces, rest = divmod(whole.pieces, shards)
    if not whole.tree_sums or rest or pieces & (pieces - 1) or whole.product_route:
        return {"pieces": 1}
    return {**whole.as_dict(), "pieces": pieces}


def _rows_of_tile(footprint: StepFootprint, format: Format, caches: Caches, share: int, *, tile_local: bool) -> int:
    """Return how high the tiles of a piece are: all are of equal height."""
    # Weights that leave the second-level cache are read again for every tile, so tiles are higher then; but the values
    # of a tile should stay in it. Products on tiles of AMX are so fast that reading takes longer.
    higher = 32 if format.amx else 12
    rows = _ROW_BLOCK * (8 if footprint.weight_bytes <= caches.second // 2 else higher)
    if tile_local:
        rows = max(4 * _ROW_BLOCK, min(8 * _ROW_BLOCK, caches.second // 2 // max(1, footprint.row_bytes)))
    return padded(-(-share // -(-share // rows)), GRAIN)


def _more_pieces(footprint: StepFootprint, format: Format, pieces: int, whole: float, *, tile_local: bool) -> int:
    """Return into how many pieces to cut a step that is worth `pieces`: a power of two, which threads share evenly."""
    few, many = _ROWS_OF_PIECE_BF16 if format.bf16 else _ROWS_OF_SUMS if tile_local else _ROWS_OF_PIECE
    most = max(min(_FEW_PIECES, footprint.batch // few), footprint.batch // many)
    if tile_local and whole > _LONG and not format.bf16:
        most = max(most, int(whole / _WORK_OF_PIECE))
    pieces = max(pieces, min(most, int(whole / _LEAST_WORK_OF_PIECE)))
    return _power_of_two(pieces, _MOST_PIECES_ALONE if footprint.alone and not format.bf16 else _MOST_PIECES)


def _power_of_two(pieces: int, most: int = _MOST_PIECES) -> int:
    return 1 << min(most, pieces).bit_length() - 1


def _private_gradients_pay(footprint: StepFootprint, format: Format, caches: Caches, threads: int) -> bool:
    """Return whether threads fetch less from each other if each sums the gradients of its own rows."""
    gradients = footprint.weight_bytes if format.bf16 else footprint.weight_bytes / 2
    most = (
        _PRIVATE_BF16 if format.bf16 else _PRIVATE_FEW_ROWS if _has_few_rows(footprint, caches, threads) else _PRIVATE
    )
    return not footprint.alone and gradients <= most * footprint.batch * footprint.row_bytes


def _has_few_rows(footprint: StepFootprint, caches: Caches, threads: int) -> bool:
    """Return whether a step takes as long as reading the weights."""
    limit = _ROWS_OF_A_THREAD * threads if threads > 1 else _ROWS_ALONE
    if footprint.weight_bytes > caches.last:
        limit = max(limit, _ROWS_BEYOND_CACHES)
    return footprint.batch <= limit and (threads > 1 or footprint.weight_bytes > caches.second)


def _is_uneven(footprint: StepFootprint, threads: int) -> bool:
    """Return whether threads that share squares of rows would wait too long for the one with the most."""
    most = min(footprint.batch, padded(-(-footprint.batch // threads), GRANULE))
    waits = most * threads / footprint.batch - 1.0
    return waits > _UNEVEN and waits * footprint.flops > _UNEVEN_FLOPS
