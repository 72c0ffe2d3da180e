"""The instructions on blocks of a matrix, and those between the parts of a step and before and after a run.

Blocks are of one panel by one panel; strided addresses go to the block below and to the one beside.
"""

from typing import Annotated, NamedTuple

from gdkernels_numba.vm.fields import StridedAddress

__all__ = [
    "AddBlock", "AddByCode", "AddEntries", "AddToResult", "Barrier", "ChangeBlocks", "ClearByCode", "ClearEntries",
    "CopyColumnsOfValue", "ForBlocks", "LoadParameter", "LoopOverBlock", "LoopOverNumbers", "LoopOverValue",
    "MultiplyBack", "MultiplyValues", "PackBlock", "StoreParameter", "SumColumns", "SumColumnsOfValue",
    "SumGradient", "SumOverPieces", "TakeBlock", "TransposeBlock",
]  # fmt: skip


class ForBlocks(NamedTuple):
    """Run the body on some blocks of a matrix, which are numbered along each row of blocks."""

    rows: Annotated[int, "rows of the matrix"]
    columns: Annotated[int, "columns of the matrix"]
    first: Annotated[int, "the first block"]
    stop: Annotated[int, "the block after the last one"]
    body: Annotated[int, "words of the instructions that are run on each block"] = 0


class ChangeBlocks(NamedTuple):
    """Run the body on this piece's blocks of a matrix; what follows `TakeBlock` in it is done once, by one thread."""

    rows: Annotated[int, "rows of the matrix"]
    columns: Annotated[int, "columns of the matrix"]
    bounds: Annotated[int, "where the first block of each piece is, and the block after the last one"]
    body: Annotated[int, "words of the instructions that are run on each block"] = 0


class TakeBlock(NamedTuple):
    """Change the block from here on; the body ends here if another thread goes on with this piece."""


class MultiplyBack(NamedTuple):
    """Multiply by a block of weights from the other side, and add that to the result: c = (c +) d wᵀ."""

    kernel: Annotated[int, "`product`, or `product_by_rows` where the weights are read as they are"]
    transpose: Annotated[int, "`transpose`, or 0 where the weights are read as they are"]
    transposed: Annotated[int, "room for a transposed block"]
    d: Annotated[StridedAddress, "the left operand"]
    d_pitch: Annotated[int, "bytes from row to row of it"]
    w: Annotated[StridedAddress, "the weights"]
    w_pitch: Annotated[int, "bytes from row to row of them"]
    c: Annotated[int, "the result, one panel for all blocks"]
    c_pitch: Annotated[int, "bytes from row to row of it"]


class SumGradient(NamedTuple):
    """Compute a block of the gradient of a weight matrix from the whole batch: aᵀ d."""

    kernel: Annotated[int, "`product_transposed`, or `product` of packed operands"]
    a: Annotated[StridedAddress, "the first factor, of the first row of the batch"]
    a_pitch: Annotated[int, "what the kernel takes for `a_row`"]
    a_panel: Annotated[int, "what the kernel takes for `a_panel`"]
    a_term: Annotated[int, "bytes from one term of the sum to the next in it"]
    d: Annotated[StridedAddress, "the second factor, of the first row of the batch"]
    d_pitch: Annotated[int, "bytes from one term of the sum to the next in it"]
    to: Annotated[StridedAddress, "the gradient"]
    to_pitch: Annotated[int, "bytes from row to row of it"]
    strip: Annotated[int, "bytes of `STRIP` rows of a symmetric matrix in the first factor; 0 for others"]
    room: Annotated[int, "room for dᵀ a, which is transposed then; 0 where a block is computed as it is"] = 0
    transpose: Annotated[int, "`transpose`"] = 0
    operands: Annotated[int, "how many strided addresses follow: what is written next, and brought near meanwhile"] = 0


class SumColumns(NamedTuple):
    """Compute a block of the gradient of a bias from the whole batch."""

    kernel: Annotated[int, "`column_sums`"]
    d: Annotated[StridedAddress, "what is summed"]
    d_pitch: Annotated[int, "bytes from row to row of it"]
    to: Annotated[StridedAddress, "the gradient"]


class AddBlock(NamedTuple):
    """Add a block of another piece's gradient, if that piece had rows."""

    kernel: Annotated[int, "`add`"]
    source: Annotated[StridedAddress, "the other piece's gradient"]
    target: Annotated[StridedAddress, "the first piece's gradient"]
    pitch: Annotated[int, "bytes from row to row of both"]
    piece: Annotated[int, "the other piece"]


class LoopOverBlock(NamedTuple):
    """Run an elementwise loop on a block: the change of a parameter."""

    kernel: Annotated[int, "the loop, compiled for this program"]
    pitch: Annotated[int, "bytes from row to row of every matrix"]
    operands: Annotated[int, "how many strided addresses follow: what it reads, writes and reduces into"] = 0


class TransposeBlock(NamedTuple):
    """Copy a block of weights into their transpose."""

    kernel: Annotated[int, "`transpose`"]
    source: Annotated[StridedAddress, "the weights"]
    source_pitch: Annotated[int, "bytes from row to row of them"]
    target: Annotated[StridedAddress, "the transpose"]
    target_pitch: Annotated[int, "bytes from row to row of it"]


class PackBlock(NamedTuple):
    """Round a block of weights to bfloat16 in each form that a product reads; a form at 0 is not wanted."""

    kernel: Annotated[int, "`pack_bf16_weights` or `pack_bf16_distant_weights`"]
    source: Annotated[StridedAddress, "the weights in float32"]
    source_pitch: Annotated[int, "bytes from row to row of them"]
    right: Annotated[StridedAddress, "the form of a right operand"]
    right_pitch: Annotated[int, "bytes from pair of rows to pair of rows of it"]
    back: Annotated[StridedAddress, "the form of a right operand that is transposed"]
    back_pitch: Annotated[int, "bytes from pair of columns to pair of columns of it"]


# ---- on the rows of a table that the batch has looked up, in blocks of this piece


class AddByCode(NamedTuple):
    """Add each row of the batch to the row of a table's gradient that its code names, in the order of the batch."""

    kernel: Annotated[int, "`add_by_code`"]
    columns: Annotated[int, "columns of the gradient"]
    low: Annotated[int, "this piece's first number, counted row after row"]
    high: Annotated[int, "the number after its last one"]
    first: Annotated[int, "its first block"]
    stop: Annotated[int, "the block after its last one"]
    codes: Annotated[int, "the codes of the batch"]
    d: Annotated[StridedAddress, "the matrix of which rows are added"]
    shift: Annotated[int, "the column in it from which on they are"]
    to: Annotated[StridedAddress, "the gradient"]


class ClearByCode(NamedTuple):
    """Set the rows of a table's gradient to 0 that the codes of the batch name: all others are 0."""

    kernel: Annotated[int, "`clear_by_code`"]
    columns: Annotated[int, "columns of the gradient"]
    low: Annotated[int, "this piece's first number, counted row after row"]
    high: Annotated[int, "the number after its last one"]
    first: Annotated[int, "its first block"]
    stop: Annotated[int, "the block after its last one"]
    codes: Annotated[int, "the codes of the batch"]
    to: Annotated[StridedAddress, "the gradient"]


class AddEntries(NamedTuple):
    """Add a block's part of xᵀ d to a gradient, x being known by its entries, in the order of the batch."""

    kernel: Annotated[int, "`add_entries`"]
    columns: Annotated[int, "columns of the gradient"]
    low: Annotated[int, "this piece's first number, counted row after row"]
    high: Annotated[int, "the number after its last one"]
    first: Annotated[int, "its first block"]
    stop: Annotated[int, "the block after its last one"]
    starts: Annotated[int, "where the caller's rows begin among the entries; set for every run"]
    numbers: Annotated[int, "the columns of the entries; set for every run"]
    values: Annotated[int, "the entries; set for every run"]
    d: Annotated[StridedAddress, "the second factor"]
    shift: Annotated[int, "the column in it from which on it is taken"]
    to: Annotated[StridedAddress, "the gradient"]


class ClearEntries(NamedTuple):
    """Set the rows of a gradient to 0 that the batch has entries for: all others are 0."""

    kernel: Annotated[int, "`clear_entries`"]
    columns: Annotated[int, "columns of the gradient"]
    low: Annotated[int, "this piece's first number, counted row after row"]
    high: Annotated[int, "the number after its last one"]
    first: Annotated[int, "its first block"]
    stop: Annotated[int, "the block after its last one"]
    starts: Annotated[int, "where the caller's rows begin among the entries; set for every run"]
    numbers: Annotated[int, "the columns of the entries; set for every run"]
    to: Annotated[StridedAddress, "the gradient"]


# ---- between the parts of a step, and before and after a run


class Barrier(NamedTuple):
    """End a piece of a tile: the next one begins when all pieces have come as far."""


class LoopOverNumbers(NamedTuple):
    """Compute single numbers from others, such as the factor of clipping."""

    kernel: Annotated[int, "the loop, compiled for this program"]
    operands: Annotated[int, "how many strided addresses follow; only their bases count"] = 0


class SumOverPieces(NamedTuple):
    """Add up the parts of a total that the pieces of a phase have found, always in the same order."""

    source: Annotated[int, "the first part; the next is `partial_bytes` further"]
    sums: Annotated[int, "how many sums of parts are added up"]
    parts: Annotated[int, "how many parts each of them has"]
    target: Annotated[int, "the total"]


class AddToResult(NamedTuple):
    """Add a number to one that the run returns."""

    source: Annotated[int, "the number"]
    target: Annotated[int, "what the run returns"]


class LoadParameter(NamedTuple):
    """Copy rows of a parameter or slot of the caller's into panels."""

    kernel: Annotated[int, "`rows_in`"]
    rows: Annotated[int, "how many rows are copied"]
    columns: Annotated[int, "how many columns they have"]
    plain: Annotated[int, "the caller's array, from the first of these rows on; set for every run"]
    plain_row: Annotated[int, "bytes from row to row of it"]
    panels: Annotated[StridedAddress, "the panels, from the first of these rows on"]


class StoreParameter(NamedTuple):
    """Copy panels into rows of a parameter or slot of the caller's."""

    kernel: Annotated[int, "`rows_out`"]
    rows: Annotated[int, "how many rows are copied"]
    columns: Annotated[int, "how many columns they have"]
    plain: Annotated[int, "the caller's array, from the first of these rows on; set for every run"]
    plain_row: Annotated[int, "bytes from row to row of it"]
    panels: Annotated[StridedAddress, "the panels, from the first of these rows on"]


class LoopOverValue(NamedTuple):
    """Run an elementwise loop on a matrix or a vector that is computed of parameters, panel by panel."""

    kernel: Annotated[int, "the kernel of the loop"]
    rows: Annotated[int, "rows of the matrix; 1 of a vector"]
    columns: Annotated[int, "columns of it"]
    pitch: Annotated[int, "bytes from row to row of its operands"]
    operands: Annotated[int, "how many strided addresses follow"] = 0


class MultiplyValues(NamedTuple):
    """Multiply two matrices that are parameters, or are computed of them: c = a b."""

    kernel: Annotated[int, "`product`"]
    rows: Annotated[int, "rows of the result"]
    depth: Annotated[int, "terms of each sum"]
    columns: Annotated[int, "columns of the result"]
    a: Annotated[StridedAddress, "the left operand"]
    b: Annotated[StridedAddress, "the right operand"]
    c: Annotated[StridedAddress, "the result"]


class CopyColumnsOfValue(NamedTuple):
    """Copy columns of a matrix that is computed of parameters, or is one, into another."""

    kernel: Annotated[int, "`copy_columns_of_value`"]
    rows: Annotated[int, "rows of both"]
    columns: Annotated[int, "how many columns are copied"]
    source: Annotated[StridedAddress, "the panels that they come from"]
    source_pitch: Annotated[int, "bytes from row to row of these"]
    source_column: Annotated[int, "the first column there"]
    to: Annotated[StridedAddress, "the panels that they go to"]
    pitch: Annotated[int, "bytes from row to row of these"]
    column: Annotated[int, "the first column there"]


class SumColumnsOfValue(NamedTuple):
    """Sum the columns of a matrix that is computed of parameters."""

    kernel: Annotated[int, "`column_sums`"]
    rows: Annotated[int, "rows of the matrix"]
    columns: Annotated[int, "columns of it"]
    source: Annotated[StridedAddress, "the matrix"]
    to: Annotated[StridedAddress, "the sums"]
