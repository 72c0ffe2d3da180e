"""The shape of a narrow network on the chip: padded widths, shares of the warps, and the limits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = [
    "BF16",
    "FEW_STEPS",
    "FLOAT32",
    "FORMATS",
    "TF32",
    "WIDEST",
    "GradientSplit",
    "OperandFormat",
    "most_sums",
    "padded",
    "split_gradient",
]

WIDEST = 64  # units in a layer
FEW_STEPS = 2  # of a product that are unrolled where its left operand comes from a tile

# Sums of weight gradients that a thread keeps in registers, of 255, by the warps; with more the compiler spills.
_MOST_SUMS = {"bfloat16": {8: 112, 4: 128}, "tf32": {8: 64, 4: 96}, "float32": {8: 64, 4: 96}}


@dataclass(frozen=True)
class OperandFormat:
    """Operands of matrix instructions.

    Attributes
    ----------
    header
        The primitives for them.
    size
        Bytes of an element.
    depth
        Terms that a matrix instruction sums.
    at_once
        Steps of a gradient that are unrolled, by the warps: the more, the more registers are wanted.
    in_parts
        Whether a product multiplies a high and a low part of each operand: three times, in place of once.
    """

    precision: str
    header: str
    size: int
    depth: int
    at_once: Mapping[int, int]
    in_parts: bool = False

    @property
    def instructions(self) -> int:
        """The number of matrix instructions for a block of a product."""
        return 3 if self.in_parts else 1

    def pitch(self, columns: int) -> int:
        """Return the elements from row to row of a matrix on the chip, as ``pitch`` in the header does."""
        return columns if self.size == 2 else -(-columns // 32) * 32


BF16 = OperandFormat("bfloat16", "bf16.cuh", 2, 16, {8: 4, 4: 1})
TF32 = OperandFormat("tf32", "tf32.cuh", 4, 8, {8: 2, 4: 2})
FLOAT32 = OperandFormat("float32", "tf32.cuh", 4, 8, {8: 1, 4: 1}, in_parts=True)
FORMATS = {f.precision: f for f in (BF16, TF32, FLOAT32)}


def padded(width: int) -> int:
    """Return the columns of a matrix on the chip: matrix instructions take 16 at a time."""
    return -(-width // 16) * 16


@dataclass(frozen=True)
class GradientSplit:
    """The division of a weight gradient among warps: `up` × `across` groups of blocks, `shares` of the rows.

    Attributes
    ----------
    rows, columns
        Of the gradient, padded.
    """

    rows: int
    columns: int
    up: int
    across: int
    shares: int

    @property
    def blocks(self) -> int:
        """The largest number of blocks of 16 × 16 that a warp has."""
        return -(-self.rows // 16 // self.up) * -(-self.columns // 16 // self.across)

    @property
    def slots(self) -> int:
        """The number of sums that a thread keeps."""
        return 8 * self.blocks

    @property
    def text(self) -> str:
        """The type of what a thread keeps, as ``tile.cuh`` has it."""
        return f"Gradient<{self.rows}, {self.columns}, {self.up}, {self.across}>"

    @property
    def positions(self) -> int:
        """The number of places in one share, with those of blocks that do not exist."""
        return self.slots * 32 * self.up * self.across


def split_gradient(rows: int, columns: int, warps: int, most_slots: int) -> GradientSplit:
    """Return the split with the fewest matrix instructions among those that need at most so many registers.

    Where none needs so few, it is the one with the fewest registers.
    """

    def cost(split: GradientSplit) -> tuple[bool, int, int, int]:
        steps = split.up * split.across  # of the same number of rows
        loads = -(-rows // 16 // split.up) + -(-columns // 16 // split.across)
        too_many = split.slots > most_slots
        return too_many, split.slots if too_many else split.blocks * steps, split.slots, loads * steps

    return min(_splits(rows, columns, warps), key=cost)


def _splits(rows: int, columns: int, warps: int) -> Iterator[GradientSplit]:
    for up in (1, 2, 4):
        for across in (1, 2, 4):
            if up * across <= warps and up < 2 * (rows // 16) and across < 2 * (columns // 16):
                yield GradientSplit(rows, columns, up, across, warps // (up * across))


def most_sums(form: OperandFormat, warps: int) -> int:
    """Return how many sums of weight gradients a thread can keep."""
    return _MOST_SUMS[form.precision][warps]
