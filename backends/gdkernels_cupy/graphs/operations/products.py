"""Operations that multiply matrices, and what a product does with its result before it stores it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdkernels.lowering.allocation import MemoryAccess
from gdkernels_cupy.graphs.operations.buffers import DeviceBuffer

__all__ = ["MatrixProduct", "ProductEpilogue"]


@dataclass(frozen=True)
class ProductEpilogue:
    """The operation that a product applies to its result before storing it.

    Attributes
    ----------
    kind
        "" for nothing; "bias" adds `bias`; "relu" and "gelu" add it if there is one, take that function, and write into
        `auxiliary`, if there is one, what its slope needs: where relu's argument was positive, in bits, and gelu's
        argument itself; "drelu" and "dgelu" make of the derivative by the function's value that by its argument, and
        write the sums of its columns into `bias`, if there is one; "sums" writes there those of the right operand.
    """

    kind: str = ""
    bias: DeviceBuffer | None = None
    auxiliary: DeviceBuffer | None = None

    @property
    def is_slope(self) -> bool:
        return self.kind in ("drelu", "dgelu")


@dataclass(frozen=True)
class MatrixProduct:
    """`out` = epilogue(`alpha` · left · right + `beta` · out), either operand transposed if so said.

    Attributes
    ----------
    alpha, beta
        Numbers, or the places of two numbers among those of the step.
    """

    left: DeviceBuffer
    right: DeviceBuffer
    out: DeviceBuffer
    transpose_left: bool = False
    transpose_right: bool = False
    alpha: float | int = 1.0
    beta: float | int = 0.0
    epilogue: ProductEpilogue = field(default_factory=ProductEpilogue)

    @property
    def accumulates(self) -> bool:
        return isinstance(self.beta, int) or self.beta != 0.0

    def access(self) -> MemoryAccess:
        e = self.epilogue
        reads = [self.left, self.right, *([self.out] if self.accumulates else [])]
        writes = [self.out]
        if e.bias is not None:
            (writes if e.is_slope or e.kind == "sums" else reads).append(e.bias)
        if e.auxiliary is not None:
            (reads if e.is_slope else writes).append(e.auxiliary)
        return MemoryAccess(tuple(b.name for b in reads), tuple((b.name, b.bytes) for b in writes))
