"""The instruction set: the number of every instruction, and where its fields are.

A stream is a list of 64-bit integers. An instruction in it is a `Header`, then its fields in the order of its class.
The writer makes an instance of the class, so that a missing or unknown field is an error. The reader takes the offsets
of the fields, which are made from the same class and are constants in the compiled interpreter: nobody types an offset.

A field `operands` is the number of strided addresses that follow the instruction. A field `body` is the number of words
of other instructions that follow it, and that run for each of its panels or blocks.
"""

from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from gdkernels_numba.vm.block_instructions import (
    AddBlock,
    AddByCode,
    AddEntries,
    AddToResult,
    Barrier,
    ChangeBlocks,
    ClearByCode,
    ClearEntries,
    CopyColumnsOfValue,
    ForBlocks,
    LoadParameter,
    LoopOverBlock,
    LoopOverNumbers,
    LoopOverValue,
    MultiplyBack,
    MultiplyValues,
    PackBlock,
    StoreParameter,
    SumColumns,
    SumColumnsOfValue,
    SumGradient,
    SumOverPieces,
    TakeBlock,
    TransposeBlock,
)
from gdkernels_numba.vm.fields import STRIDED, fields_of, offsets_of
from gdkernels_numba.vm.shared_words import (
    ATTEMPT_BITS,
    BLOCK_BITS,
    COUNT_BITS,
    HOLDER_BITS,
    PROGRESS,
    TURN_BYTES,
    TURN_WORDS,
    WORDS_OF_THREAD,
)
from gdkernels_numba.vm.thread_context import CONTEXT
from gdkernels_numba.vm.tile_instructions import (
    AddTileGradient,
    AddTileSums,
    CopyColumns,
    DotRows,
    GatherColumn,
    GatherPanels,
    LookUpRows,
    LoopOverColumn,
    LoopOverTile,
    MultiplyEntries,
    MultiplyMatrices,
    MultiplyRows,
    MultiplyTile,
    PackTile,
    ScatterRows,
)

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


# What moves by number comes first. Its kernels read the fields themselves, and so it is told by its opcode alone.
COPY_COLUMNS = _instruction(CopyColumns)
LOOK_UP_ROWS = _instruction(LookUpRows)
MULTIPLY_ROWS = _instruction(MultiplyRows)
MULTIPLY_MATRICES = _instruction(MultiplyMatrices)
MULTIPLY_ENTRIES = _instruction(MultiplyEntries)
ADD_BY_CODE = _instruction(AddByCode)
CLEAR_BY_CODE = _instruction(ClearByCode)
ADD_ENTRIES = _instruction(AddEntries)
CLEAR_ENTRIES = _instruction(ClearEntries)
COPY_COLUMNS_OF_VALUE = _instruction(CopyColumnsOfValue)
LAST_MOVE = len(INSTRUCTIONS)
MOVES_BY_NUMBER: dict[str, InstructionLayout[Any]] = {
    "copy_columns": COPY_COLUMNS,
    "look_up": LOOK_UP_ROWS,
    "multiply_rows": MULTIPLY_ROWS,
    "multiply_matrices": MULTIPLY_MATRICES,
    "multiply_entries": MULTIPLY_ENTRIES,
    "add_by_code": ADD_BY_CODE,
    "clear_by_code": CLEAR_BY_CODE,
    "add_entries": ADD_ENTRIES,
    "clear_entries": CLEAR_ENTRIES,
    "copy_columns_of_value": COPY_COLUMNS_OF_VALUE,
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
CHANGE_BLOCKS = _instruction(ChangeBlocks)
TAKE_BLOCK = _instruction(TakeBlock)
BARRIER = _instruction(Barrier)
LOOP_OVER_NUMBERS = _instruction(LoopOverNumbers)
SUM_OVER_PIECES = _instruction(SumOverPieces)
ADD_TO_RESULT = _instruction(AddToResult)
LOAD_PARAMETER = _instruction(LoadParameter)
STORE_PARAMETER = _instruction(StoreParameter)
LOOP_OVER_VALUE = _instruction(LoopOverValue)
MULTIPLY_VALUES = _instruction(MultiplyValues)
SUM_COLUMNS_OF_VALUE = _instruction(SumColumnsOfValue)

HEADER = offsets_of(Header)


def generated_constants() -> str:
    """Return all offsets as text: what the interpreter is compiled with beside its own source."""
    words = (
        STRIP,
        COUNT_BITS,
        ATTEMPT_BITS,
        HOLDER_BITS,
        BLOCK_BITS,
        PROGRESS,
        TURN_BYTES,
        TURN_WORDS,
        WORDS_OF_THREAD,
        TOTALS,
    )
    return repr((INSTRUCTIONS, LAST_MOVE, HEADER, CONTEXT, STRIDED, words))
