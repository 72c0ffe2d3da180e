"""The format of numbers and vectors that kernels are written for, and the sizes that follow from it."""

from dataclasses import dataclass

from llvmlite import ir

from gdkernels_numba.cpu.features import AMX_BF16

__all__ = ["GRANULE", "LINE", "PANEL_BYTES", "Format", "padded"]

PANEL_BYTES = 256  # a panel's row: four vectors of AVX-512
LINE = 64  # bytes of a line of the cache

GRANULE = 32  # rows and columns that matrices of bfloat16 are padded to


def padded(count: int, multiple: int) -> int:
    """Return the next multiple that is no less than `count`."""
    return -(-count // multiple) * multiple


@dataclass(frozen=True)
class Format:
    """The format of numbers and vectors that kernels are generated for.

    Attributes
    ----------
    dtype
        The type of everything but the operands of products.
    lanes
        How many numbers a vector holds.
    route
        The instructions that multiply operands in bfloat16, as `features.bf16_route` names them. They take pairs that
        are neighbours along the inner dimension. If it is empty, operands are numbers of `dtype`.
    """

    dtype: str
    lanes: int
    route: str = ""

    @property
    def bits(self) -> int:
        return 64 if self.dtype == "float64" else 32

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return self.bits // 8

    @property
    def bytes(self) -> int:
        """Bytes of a vector."""
        return self.lanes * self.size

    @property
    def panel(self) -> int:
        """Columns of a panel."""
        return PANEL_BYTES // self.size

    @property
    def bf16(self) -> bool:
        """Whether an operand's 32 bits are a pair of bfloat16."""
        return self.route != ""

    @property
    def amx(self) -> bool:
        """Whether products use tiles, which the caller has configured."""
        return self.route == AMX_BF16

    @property
    def left_panel(self) -> int:
        """Columns of a panel of a product's left operand, in numbers or pairs."""
        return LINE // 4 if self.bf16 else self.panel

    @property
    def padding(self) -> int:
        """The number that rows and columns are padded to a multiple of, where whole vectors are computed."""
        return GRANULE if self.bf16 else self.lanes

    @property
    def scalar(self) -> ir.Type:
        return ir.DoubleType() if self.dtype == "float64" else ir.FloatType()
