"""A probe of the products of a device: an epilogue is used if it does there what the traced function does."""

from __future__ import annotations

import logging
import os
from functools import cache

import numpy as np

from gdkernels_cupy.cuda.cublaslt import CublasLtError
from gdkernels_cupy.cuda.device import CudaDevice, device
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES, applicable
from gdkernels_cupy.graphs.interpret import Interpreter
from gdkernels_cupy.graphs.operations import DeviceBuffer, MatrixProduct, OperationList, ProductEpilogue, matrix, vector
from gdkernels_cupy.graphs.products import Matmul

__all__ = ["MAY_LOSE_NAN", "probed", "probed_products", "trusted_epilogues"]

_log = logging.getLogger("gdkernels")

_ROWS, _COLUMNS, _INNER = 48, 40, 24  # of a product that any algorithm takes

# Of one plus the wanted value. The operands are such that every precision multiplies and sums them exactly; what is
# left are gelu and its slope, in which float32 itself loses 1e-5 where they bend, tf32 and bfloat16 as much as they
# round operands, and the storage of the result. Another formula for gelu is off by 5e-4.
_ALLOWED = {"float64": 1e-12, "float32": 4e-5, "tf32": 1e-3, "bfloat16": 4e-3}


# Whoever sets it prefers speed: where a product makes a number of NaN, training does not see NaN in a hidden layer.
MAY_LOSE_NAN = "GDKERNELS_MAY_LOSE_NAN"


def trusted_epilogues(number: int, precision: str) -> tuple[str, ...]:
    """Return which of `EPILOGUES` the GPU of that number does as the interpreter does: NaN and zeros included.

    Those that only lose NaN are among them where the user says so.
    """
    right, losing = probed(number, precision)
    if not losing:
        return right
    allowed = os.environ.get(MAY_LOSE_NAN) == "1"
    _tell_of_nan(number, precision, losing, allowed=allowed)
    return tuple(e for e in EPILOGUES if e in right or (allowed and e in losing))


@cache
def probed(number: int, precision: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the epilogues that a GPU does rightly, and those of which that is so but for NaN, which become numbers."""
    right, losing = [], []
    for kind, products in probed_products(precision).items():
        if all(_agrees(number, product, precision) for product in products):
            right.append(kind)
        elif all(_agrees(number, product, precision, with_nan=False) for product in products):
            losing.append(kind)
    return tuple(right), tuple(losing)


@cache
def _tell_of_nan(number: int, precision: str, losing: tuple[str, ...], *, allowed: bool) -> None:
    names = ", ".join(losing)
    if allowed:
        _log.warning(
            "products on cuda:%d take over %s in %s, though they make numbers of NaN: that is not seen in a hidden "
            "layer before a loss or a parameter is NaN (%s=1)",
            number, names, precision, MAY_LOSE_NAN,
        )  # fmt: skip
        return
    _log.warning(
        "products on cuda:%d could take over %s in %s, and make numbers of NaN there, so kernels of their own do that: "
        "up to two launches more a step for each hidden layer. %s=1 lets products do it; training may then not see NaN",
        number, names, precision, MAY_LOSE_NAN,
    )  # fmt: skip


def probed_products(precision: str) -> dict[str, list[MatrixProduct]]:
    """Return small products that show each epilogue, of those that can be right in this precision.

    Relu and gelu must pass NaN on, or training would not notice it.
    """
    real = "float64" if precision == "float64" else "float32"
    operand = "bfloat16" if precision == "bfloat16" else real

    def product(
        kind: str, *, bias: bool = False, auxiliary: bool = False, gradient: bool = False, **scalars: int
    ) -> MatrixProduct:
        back = kind.startswith("d")
        left = matrix("left", _ROWS, _INNER, operand)
        right = matrix("right", *((_COLUMNS, _INNER) if back else (_INNER, _COLUMNS)), operand)
        if gradient:
            right = matrix("right", _ROWS, _COLUMNS, operand)
        rows = _INNER if gradient else _ROWS
        out = matrix("out", rows, _COLUMNS, real if gradient or kind == "bias" else operand)
        left_behind = None
        if auxiliary or back:
            bits = -(-_COLUMNS // 128) * 16
            left_behind = matrix("auxiliary", _ROWS, _COLUMNS, operand)
            left_behind = left_behind if "gelu" in kind else DeviceBuffer("auxiliary", _ROWS, bits, bits, "uint8")
        vectors = vector("bias", _COLUMNS, out.storage) if bias else None
        return MatrixProduct(
            left, right, out, gradient, back, epilogue=ProductEpilogue(kind, vectors, left_behind), **scalars
        )

    products = {
        "bias": [product("bias", bias=True)],
        "drelu": [product("drelu")],
        "drelu sums": [product("drelu", bias=True)],
        "dgelu": [product("gelu", bias=with_bias, auxiliary=True) for with_bias in (True, False)] + [product("dgelu")],
        "dgelu sums": [product("dgelu", bias=True)],
        "sums": [
            product("sums", bias=True, gradient=True),
            product("sums", bias=True, gradient=True, alpha=2, beta=3),
        ],
        "update": [product("", gradient=True, alpha=2, beta=3)],
    }
    for kind in ("relu", "gelu"):
        products[kind] = [product(kind, bias=with_bias) for with_bias in (True, False)]
    products["bias rows"] = [product("relu")]
    products["relu"] += [product("relu", bias=with_bias, auxiliary=True) for with_bias in (True, False)]
    return {kind: products[kind] for kind in applicable(precision)}


class _Both(Interpreter):
    """The buffers of a product on the host, and at the same offsets on the device."""

    control = sums_at = 0

    def __init__(self, gpu: CudaDevice, product: MatrixProduct, precision: str, *, with_nan: bool = True) -> None:
        e = product.epilogue
        self.buffers = [b for b in (product.left, product.right, product.out, e.bias, e.auxiliary) if b is not None]
        super().__init__(OperationList((), tuple(self.buffers), {}, {}, (), 4), precision)
        random = np.random.default_rng(0)
        for b in self.buffers:
            shape = (b.rows, b.columns)
            self.memory[self.offsets[b.name] :][: b.bytes] = 0
            if b.storage == "uint8":
                self.bits(b)[...] = random.integers(0, 256, shape)
            else:
                values = random.integers(-8, 9, shape) / 4.0
                if b is e.auxiliary:  # where gelu bends, and beyond; but not where NaN is multiplied by its slope
                    values = 4.0 * values
                    values[3], values[5, 2] = 1.0, np.nan if with_nan else 2.0
                elif with_nan and b is product.left and not product.transpose_left and not (e.is_slope and e.bias):
                    values[3, 1] = np.nan
                self.write(b, values)
        self.numbers[:] = 0.0, 1.0, -0.25, 0.5
        self.there = gpu.allocate(self.memory.nbytes + 12 * len(self.numbers))

    def of(self, buffer: DeviceBuffer) -> int:
        return self.there.address + self.offsets[buffer.name]

    def number(self, cell: int) -> int:
        return self.there.address + self.memory.nbytes + 8 * cell

    def float32_number(self, cell: int) -> int:
        return self.number(len(self.numbers)) + 4 * cell


def _agrees(number: int, product: MatrixProduct, precision: str, *, with_nan: bool = True) -> bool:
    gpu = device(number)
    with gpu.working():
        both = _Both(gpu, product, precision, with_nan=with_nan)
        numbers = np.concatenate([both.numbers.view(np.uint8), both.numbers.astype(np.float32).view(np.uint8)])
        gpu.upload(both.there.address, both.memory)
        gpu.upload(both.number(0), numbers)
        try:
            if not Matmul(product, precision, both).settle(gpu.handle, None, gpu.workspace.address, gpu.stream.ptr):
                return False
        except CublasLtError as error:
            _log.warning("an epilogue of cuBLAS is not used on cuda:%d, where trying it failed: %s", number, error)
            return False
        found = both.with_memory(np.empty_like(both.memory))
        gpu.download(found.memory, both.there.address)
    with np.errstate(all="ignore"):
        both.multiply(product)
    return all(_alike(found, both, b, precision) for b in both.buffers)


def _alike(found: Interpreter, wanted: Interpreter, buffer: DeviceBuffer, precision: str) -> bool:
    a, b = found.read(buffer).astype(np.float64), wanted.read(buffer).astype(np.float64)
    if buffer.storage == "uint8":
        # Where the result is NaN the bits may say either: the loss is NaN then, and training ends.
        return bool(np.mean((a != b)[:, : _COLUMNS // 8]) < 0.05)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return False
    size = np.abs(b)
    size = size if buffer.rows > 1 else np.max(size, initial=0.0, where=~np.isnan(size))  # sums are off as their terms
    return not np.any(np.abs(a - b) > _ALLOWED[precision] * (1.0 + size))
