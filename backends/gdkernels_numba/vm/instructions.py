"""The instruction set: every instruction and the context of a thread, each declared once.

A stream is a list of 64-bit integers. An instruction in it is a `Header`, then its fields in the order of its class.
The writer makes an instance of the class, so that a missing or unknown field is an error. The reader takes the offsets
of the fields, which are made from the same class and are constants in the compiled interpreter: nobody types an offset.

A field `operands` is the number of strided addresses that follow the instruction. A field `body` is the number of words
of other instructions that follow it, and that run for each of its panels or blocks.
"""

from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from gdkernels_numba.ir.vector import LINE
from gdkernels_numba.vm.fields import STRIDED, WORD, StridedAddress, fields_of, offsets_of

_Fields = TypeVar("_Fields", bound=tuple[Any, ...])

STRIP = 16  # rows of a block on the diagonal of a symmetric matrix that are computed at a time, up to the diagonal
INTERPRETER = "gdkernels_interpreter"  # what the compiled interpreter is called
TOTALS = 2  # of an epoch: E and the norm of the gradient
END = 0  # stands after the last instruction of a stream, in place of an opcode


class Header(NamedTuple):
    """The beginning of every instruction."""

    opcode: Annotated[int, "which instruction it is; `END` after the last one"]
    length: Annotated[int, "how many words it has with its header and its operands, without its body"]


class InstructionLayout(NamedTuple, Generic[_Fields]):
    """An instruction as the reader sees it.

    Attributes
    ----------
    size
        How many words its header and its fields have; its operands or its body follow.
    at
        For each field, how many words it stands behind the beginning of the instruction.
    """

    opcode: int
    size: int
    at: _Fields


INSTRUCTIONS: dict[type[tuple[Any, ...]], InstructionLayout[Any]] = {}


def _instruction(kind: type[_Fields]) -> InstructionLayout[_Fields]:
    """Return the next instruction of the set."""
    start = len(Header._fields)
    size = start + sum(field.words for field in fields_of(kind))
    made = InstructionLayout(len(INSTRUCTIONS) + 1, size, offsets_of(kind, start))
    INSTRUCTIONS[kind] = made
    return made


# ---- on the rows of a tile; strided addresses go from row to row and from panel to panel


class GatherPanels(NamedTuple):
    """Copy rows of an array of the caller's, in the order of the run, into panels."""

    kernel: Annotated[int, "`rows_in`"]
    columns: Annotated[int, "how many columns are copied"]
    plain: Annotated[int, "the caller's array, from the first of these columns on; set for every run"]
    plain_row: Annotated[int, "bytes from row to row of the caller's array"]
    to: Annotated[StridedAddress, "the panels"]
    pitch: Annotated[int, "bytes from row to row of a panel"]


class GatherColumn(NamedTuple):
    """Copy one number for each row of the tile, which the caller has put in the order of the run."""

    kernel: Annotated[int, "`rows_in`"]
    plain: Annotated[int, "the caller's array; set for every run"]
    plain_row: Annotated[int, "bytes from number to number of it"]
    to: Annotated[int, "where the numbers go, side by side"]


class MultiplyTile(NamedTuple):
    """Multiply the rows of a tile by weights, panel by panel: c = a b; then run the body on the panel."""

    kernel: Annotated[int, "`product`"]
    depth: Annotated[int, "terms of a sum: numbers, or pairs of bfloat16"]
    columns: Annotated[int, "columns of the result"]
    a: Annotated[StridedAddress, "the left operand"]
    a_pitch: Annotated[int, "bytes from row to row of it"]
    b: Annotated[StridedAddress, "the weights"]
    c: Annotated[StridedAddress, "the result"]
    c_pitch: Annotated[int, "bytes from row to row of it"]
    body: Annotated[int, "words of the instructions that are run on each panel of the result"] = 0


class DotRows(NamedTuple):
    """Multiply the rows of a tile by the weights of a layer of one unit; then run the body on the result."""

    kernel: Annotated[int, "`dots`"]
    depth: Annotated[int, "terms of a sum"]
    a: Annotated[StridedAddress, "the left operand"]
    a_pitch: Annotated[int, "bytes from row to row of it"]
    w: Annotated[int, "the weights, side by side"]
    c: Annotated[StridedAddress, "the result"]
    c_pitch: Annotated[int, "bytes from row to row of it"]
    body: Annotated[int, "words of the instructions that are run on the result"] = 0


class CopyColumns(NamedTuple):
    """Copy columns of a matrix of the tile into another."""

    kernel: Annotated[int, "`copy_columns`"]
    columns: Annotated[int, "how many columns are copied"]
    source: Annotated[StridedAddress, "the panels that they come from"]
    source_pitch: Annotated[int, "bytes from row to row of these"]
    source_column: Annotated[int, "the first column there"]
    to: Annotated[StridedAddress, "the panels that they go to"]
    pitch: Annotated[int, "bytes from row to row of these"]
    column: Annotated[int, "the first column there"]


class LookUpRows(NamedTuple):
    """Copy, for each row of the tile, the row of a table whose number stands there, and keep the number."""

    kernel: Annotated[int, "`look_up`"]
    columns: Annotated[int, "columns of the table"]
    last: Annotated[int, "the last row of the table"]
    numbers: Annotated[StridedAddress, "the number of the first row"]
    numbers_pitch: Annotated[int, "bytes from row to row of the matrix in which it is a column"]
    table: Annotated[StridedAddress, "the table"]
    to: Annotated[StridedAddress, "the panels that the rows go to"]
    pitch: Annotated[int, "bytes from row to row of these"]
    column: Annotated[int, "the column there that the first one becomes"]
    kept: Annotated[int, "where the numbers of the whole batch are kept as integers, or 0"]


class MultiplyRows(NamedTuple):
    """Multiply, for each row of the tile, all its numbers in a matrix with all those in another, side by side."""

    kernel: Annotated[int, "`multiply_rows`"]
    left_columns: Annotated[int, "columns of the first matrix"]
    right_columns: Annotated[int, "columns of the other, whose products with one number stand side by side"]
    left: Annotated[StridedAddress, "the first matrix"]
    left_pitch: Annotated[int, "bytes from row to row of it"]
    right: Annotated[StridedAddress, "the other"]
    right_pitch: Annotated[int, "bytes from row to row of it"]
    to: Annotated[StridedAddress, "the panels that the products go to"]
    pitch: Annotated[int, "bytes from row to row of these"]
    column: Annotated[int, "the column there that the first product becomes"]


class MultiplyEntries(NamedTuple):
    """Multiply the rows of a tile, of which the entries are known that are not 0, by weights: c = x w."""

    kernel: Annotated[int, "`multiply_entries`"]
    columns: Annotated[int, "columns of the result"]
    starts: Annotated[int, "where the caller's rows begin among the entries; set for every run"]
    numbers: Annotated[int, "the columns of the entries; set for every run"]
    values: Annotated[int, "the entries; set for every run"]
    w: Annotated[StridedAddress, "the weights"]
    c: Annotated[StridedAddress, "the result"]
    c_pitch: Annotated[int, "bytes from row to row of it"]


class LoopOverTile(NamedTuple):
    """Run an elementwise loop on matrices of the tile, panel by panel."""

    kernel: Annotated[int, "the loop, compiled for this program"]
    columns: Annotated[int, "columns that it runs over"]
    pitch: Annotated[int, "bytes from row to row of every matrix"]
    operands: Annotated[int, "how many strided addresses follow: what it reads, writes and reduces into"] = 0


class PackTile(NamedTuple):
    """Round a value to bfloat16, panel by panel, in each form that a product reads; a form at 0 is not wanted."""

    kernel: Annotated[int, "`pack_bf16_rows` or `pack_bf16_distant_rows`"]
    columns: Annotated[int, "columns of the value"]
    source: Annotated[StridedAddress, "the value in float32"]
    pitch: Annotated[int, "bytes from row to row of it"]
    left: Annotated[StridedAddress, "the form of a left operand"]
    right: Annotated[StridedAddress, "the form of a right operand"]
    right_pitch: Annotated[int, "bytes from pair of rows to pair of rows of it"]
    transposed: Annotated[StridedAddress, "the form of a left operand that is transposed"]


class LoopOverColumn(NamedTuple):
    """Run an elementwise loop on one number for each row of the tile."""

    kernel: Annotated[int, "the loop, compiled for this program"]
    operands: Annotated[int, "how many strided addresses follow; only their bases count"] = 0


class ScatterRows(NamedTuple):
    """Copy panels into rows of an array of the caller's: predictions."""

    kernel: Annotated[int, "`rows_out`"]
    columns: Annotated[int, "how many columns are copied"]
    plain: Annotated[int, "the caller's array; set for every run"]
    plain_row: Annotated[int, "bytes from row to row of it"]
    source: Annotated[StridedAddress, "the panels"]
    pitch: Annotated[int, "bytes from row to row of a panel"]


class AddTileGradient(NamedTuple):
    """Add the tile's part to the gradient of a weight matrix: aᵀ d, block by block."""

    kernel: Annotated[int, "`product_transposed`, or `product` of packed operands"]
    depth: Annotated[int, "rows of the gradient"]
    columns: Annotated[int, "columns of the gradient"]
    a: Annotated[StridedAddress, "the first factor; across: to the next block of its units"]
    a_pitch: Annotated[int, "what the kernel takes for `a_row`"]
    a_panel: Annotated[int, "what the kernel takes for `a_panel`"]
    d: Annotated[StridedAddress, "the second factor"]
    d_pitch: Annotated[int, "bytes from one term of the sum to the next in it"]
    to: Annotated[StridedAddress, "the gradient"]


class AddTileSums(NamedTuple):
    """Add the tile's part to the gradient of a bias: sums of columns."""

    kernel: Annotated[int, "`column_sums`"]
    columns: Annotated[int, "how many columns are summed"]
    d: Annotated[StridedAddress, "what is summed"]
    d_pitch: Annotated[int, "bytes from row to row of it"]
    to: Annotated[int, "the gradient, a row of panels"]


# ---- on blocks of a matrix, of one panel by one panel; strided addresses go to the block below and to the one beside


class ForBlocks(NamedTuple):
    """Run the body on some blocks of a matrix, which are numbered along each row of blocks."""

    rows: Annotated[int, "rows of the matrix"]
    columns: Annotated[int, "columns of the matrix"]
    first: Annotated[int, "the first block"]
    stop: Annotated[int, "the block after the last one"]
    body: Annotated[int, "words of the instructions that are run on each block"] = 0


class MultiplyBack(NamedTuple):
    """Multiply by a block of weights from the other side, and add that to the result: c = (c +) d wᵀ."""

    kernel: Annotated[int, "`product_by_rows`"]
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


class ThreadContext(NamedTuple):
    """A context: the places of streams and of the memory that they use, and the cut of a run."""

    thread: Annotated[int, "the thread that a run with this context is"]
    threads: Annotated[int, "how many threads there are"]
    contexts: Annotated[int, "where the addresses of all contexts are, those of the second bank after the first's"]
    in_bank: Annotated[int, "how many contexts a bank has"]
    banks: Annotated[int, "2 if what a phase of rows writes is there twice, so that another thread can repeat it"]
    turns: Annotated[int, "where `TURN_WORDS` are, then those of each thread, then the claims"]
    claims: Annotated[int, "where the claims are"]
    watched: Annotated[int, "where the turn is, or 0: this phase of rows is over when it is another than `turn`"]
    float_state: Annotated[int, "the kernel that flushes denormals, and configures tiles of AMX, or undoes that"]
    saved_state: Annotated[int, "where it keeps what it found"]
    panel: Annotated[int, "columns of a panel, and rows of a block"]
    lanes_log2: Annotated[int, "the logarithm of how many numbers a vector register holds"]
    product_depth: Annotated[int, "terms that a product sums in registers at a time"]
    product_panels: Annotated[int, "panels of the left operand that those are"]
    sums_depth: Annotated[int, "terms that a gradient sums in registers at a time, along the batch"]
    bf16: Annotated[int, "1 if a term of a sum is a pair of bfloat16 numbers, else 0"]
    batch: Annotated[int, "rows of a full batch"]
    tile_rows: Annotated[int, "rows of a full tile"]
    grain: Annotated[int, "a batch is cut into multiples of so many rows"]
    all_rows: Annotated[int, "1 if every piece is some columns of all rows of the batch, else 0"]
    row_pieces: Annotated[int, "into how many pieces a batch is cut"]
    tiles: Annotated[int, "how many tiles of a piece are claimed one by one; 1 if a piece is claimed whole"]
    by_piece: Annotated[int, "1 if each piece of the rows has its own context, 0 if each thread has"]
    segments: Annotated[int, "how many phases of rows a step has: one more than `Barrier`"]
    update_pieces: Annotated[int, "into how many pieces an update is cut, and what comes before and after a run"]
    updates: Annotated[int, "how many phases of updates a step has"]
    operands: Annotated[int, "where the addresses are put that a loop runs on"]
    scalar_count: Annotated[int, "how many numbers differ from step to step"]
    numbers: Annotated[int, "this context's single numbers; those that differ from step to step come first"]
    partials: Annotated[int, "this context's parts of the totals"]
    partial_bytes: Annotated[int, "bytes to the next one's"]
    partial_count: Annotated[int, "how many totals there are"]
    found: Annotated[int, "the parts of the totals that the first piece of the rows has found"]
    gradient_bytes: Annotated[int, "bytes from a piece's gradients to those of the next"]
    before: Annotated[int, "the stream that is run once, before all others"]
    transposes: Annotated[int, "the stream that is run once when that is done"]
    tile: Annotated[int, "the stream that is run on every tile"]
    update: Annotated[int, "the stream that is run on every batch when all its rows are done"]
    second_update: Annotated[int, "the stream that is run when that is done, or 0"]
    after: Annotated[int, "the stream that is run once, in the end"]
    totals: Annotated[int, "the sums of E and of the gradient's norm over the steps of an epoch"]
    order: Annotated[int, "the numbers of the rows to use, or 0 for all in turn; set for every run"] = 0
    records: Annotated[int, "how many rows are used; set for every run"] = 0
    steps: Annotated[int, "how many steps are done; set for every run"] = 0
    scalars: Annotated[int, "for each step, the numbers that differ from step to step; set for every run"] = 0
    epochs: Annotated[int, "how often so many rows are used, each time by the next numbers; set for every run"] = 1
    results: Annotated[int, "where the totals of each epoch go; set for every run"] = 0
    start: Annotated[int, "the place in the order where the batch begins; set for every step"] = 0
    gradient_shift: Annotated[int, "bytes from the first piece's gradients to this one's; set for every piece"] = 0
    turn: Annotated[int, "the turn in which this phase of rows runs; set for every piece"] = 0
    resume: Annotated[int, "where the next segment of the tile begins; set by every one"] = 0


class TurnWords(NamedTuple):
    """The offsets, in bytes, of the words that all threads share; those that change often have lines for themselves."""

    turn: int
    given_up: int
    repeated: int
    alone_until: int
    together_until: int
    leader: int
    patience: int
    rate: int
    threads: int


class WordsOfThread(NamedTuple):
    """The offsets, in bytes, of the words of a thread."""

    inside: int
    spent: int
    lost: int
    phases: int
    began: int
    phase: int
    clock: int


# What moves by number comes first. Its kernels read the fields themselves, and so it is told by its opcode alone.
COPY_COLUMNS = _instruction(CopyColumns)
LOOK_UP_ROWS = _instruction(LookUpRows)
MULTIPLY_ROWS = _instruction(MultiplyRows)
MULTIPLY_ENTRIES = _instruction(MultiplyEntries)
ADD_BY_CODE = _instruction(AddByCode)
CLEAR_BY_CODE = _instruction(ClearByCode)
ADD_ENTRIES = _instruction(AddEntries)
CLEAR_ENTRIES = _instruction(ClearEntries)
LAST_MOVE = len(INSTRUCTIONS)
MOVES_BY_NUMBER: dict[str, InstructionLayout[Any]] = {
    "copy_columns": COPY_COLUMNS,
    "look_up": LOOK_UP_ROWS,
    "multiply_rows": MULTIPLY_ROWS,
    "multiply_entries": MULTIPLY_ENTRIES,
    "add_by_code": ADD_BY_CODE,
    "clear_by_code": CLEAR_BY_CODE,
    "add_entries": ADD_ENTRIES,
    "clear_entries": CLEAR_ENTRIES,
}  # by the kernel
GATHER_PANELS = _instruction(GatherPanels)
GATHER_COLUMN = _instruction(GatherColumn)
MULTIPLY_TILE = _instruction(MultiplyTile)
DOT_ROWS = _instruction(DotRows)
LOOP_OVER_TILE = _instruction(LoopOverTile)
PACK_TILE = _instruction(PackTile)
LOOP_OVER_COLUMN = _instruction(LoopOverColumn)
SCATTER_ROWS = _instruction(ScatterRows)
ADD_TILE_GRADIENT = _instruction(AddTileGradient)
ADD_TILE_SUMS = _instruction(AddTileSums)
FOR_BLOCKS = _instruction(ForBlocks)
MULTIPLY_BACK = _instruction(MultiplyBack)
SUM_GRADIENT = _instruction(SumGradient)
SUM_COLUMNS = _instruction(SumColumns)
ADD_BLOCK = _instruction(AddBlock)
LOOP_OVER_BLOCK = _instruction(LoopOverBlock)
TRANSPOSE_BLOCK = _instruction(TransposeBlock)
PACK_BLOCK = _instruction(PackBlock)
BARRIER = _instruction(Barrier)
LOOP_OVER_NUMBERS = _instruction(LoopOverNumbers)
SUM_OVER_PIECES = _instruction(SumOverPieces)
ADD_TO_RESULT = _instruction(AddToResult)
LOAD_PARAMETER = _instruction(LoadParameter)
STORE_PARAMETER = _instruction(StoreParameter)

HEADER = offsets_of(Header)
CONTEXT = offsets_of(ThreadContext)

# What a turn is made of: the number of its phase; how often that was repeated, and the bank; and behind the turn, in
# the word that all read, how many of its pieces are done.
COUNT_BITS, ATTEMPT_BITS = 16, 16

# Apart, so that no processor fetches one with the other.
TURN_BYTES = 2 * LINE
# The turn with the number of pieces that are done in it; whether the run is given up; how many phases were repeated;
# until when one thread works alone, until when all work together, which one is alone, for how long what was faster
# is kept (negative if that was all together), and the speed of all together while one tries whether it is faster, else
# 0; then the words of each thread.
TURN_WORDS = TurnWords(
    turn=0,
    given_up=TURN_BYTES,
    repeated=TURN_BYTES + WORD,
    alone_until=2 * TURN_BYTES,
    together_until=2 * TURN_BYTES + WORD,
    leader=2 * TURN_BYTES + 2 * WORD,
    patience=2 * TURN_BYTES + 3 * WORD,
    rate=2 * TURN_BYTES + 4 * WORD,
    threads=3 * TURN_BYTES,
)
# In which bank it is, plus one; since it last decided, how long it has run and has waited for one that is late, in
# nanoseconds, and how many phases are done; when its turn began, and which phase that was; room for the system's clock.
WORDS_OF_THREAD = WordsOfThread(*(k * WORD for k in range(7)))


def generated_constants() -> str:
    """Return all offsets as text: what the interpreter is compiled with beside its own source."""
    words = (STRIP, COUNT_BITS, ATTEMPT_BITS, TURN_BYTES, TURN_WORDS, WORDS_OF_THREAD, TOTALS)
    return repr((INSTRUCTIONS, LAST_MOVE, HEADER, CONTEXT, STRIDED, words))
