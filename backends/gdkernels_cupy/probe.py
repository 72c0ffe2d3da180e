"""What the products of a device really do: an epilogue is believed once it did, here, what the traced function does."""

from __future__ import annotations

from functools import cache

import numpy as np

from gdkernels_cupy.device import Memory, device
from gdkernels_cupy.interpret import Interpreter
from gdkernels_cupy.operations import Buffer, Epilogue, Listing, Product, matrix, vector
from gdkernels_cupy.products import Matmul

__all__ = ["probed_products", "trusted_epilogues"]

_ROWS, _COLUMNS, _INNER = 48, 40, 24  # of a product that any algorithm takes
_ALLOWED = {"float64": 1e-12, "float32": 1e-5, "tf32": 1e-2, "bfloat16": 2e-2}


@cache
def trusted_epilogues(number: int, precision: str) -> tuple[str, ...]:
    """Return which of `EPILOGUES` the GPU of that number does as the interpreter does: NaN and zeros included."""
    found = []
    for kind, products in probed_products(precision).items():
        if all(_agrees(number, product, precision) for product in products):
            found.append(kind)
    return tuple(found)


def probed_products(precision: str) -> dict[str, list[Product]]:
    """Return small products that show each epilogue: a relu must pass NaN on, or training would not notice it."""
    real = "float64" if precision == "float64" else "float32"
    operand = "bfloat16" if precision == "bfloat16" else real

    def product(
        kind: str, *, gradient: bool = False, back: bool = False, mask: bool = False, **scalars: int
    ) -> Product:
        rows, columns = (_INNER, _COLUMNS) if not back else (_ROWS, _COLUMNS)
        left = matrix("left", _ROWS, _INNER, operand)
        right = matrix("right", *((_COLUMNS, _INNER) if back else (_INNER, _COLUMNS)), operand)
        if gradient:
            left, right = matrix("left", _ROWS, _INNER, operand), matrix("right", _ROWS, _COLUMNS, operand)
        out = matrix("out", rows if gradient else _ROWS, columns, real if gradient or kind == "bias" else operand)
        bias = vector("bias", _COLUMNS, out.storage) if kind in ("bias", "relu", "sums") else None
        bits = Buffer("mask", _ROWS, -(-_COLUMNS // 128) * 16, -(-_COLUMNS // 128) * 16, "uint8") if mask else None
        return Product(left, right, out, gradient, back, epilogue=Epilogue(kind, bias, bits), **scalars)

    return {
        "bias": [product("bias")],
        "relu": [product("relu"), product("relu", mask=True)],
        "drelu": [product("drelu", back=True, mask=True)],
        "sums": [product("sums", gradient=True), product("sums", gradient=True, alpha=2, beta=3)],
        "update": [product("", gradient=True, alpha=2, beta=3)],
    }


class _Both(Interpreter):
    """The buffers of a product on the host, and at the same offsets on the device."""

    control = sums_at = 0

    def __init__(self, product: Product, precision: str) -> None:
        e = product.epilogue
        self.buffers = [b for b in (product.left, product.right, product.out, e.bias, e.mask) if b is not None]
        super().__init__(Listing((), tuple(self.buffers), {}, {}, (), 4), precision)
        random = np.random.default_rng(0)
        for b in self.buffers:
            shape = (b.rows, b.columns)
            self.memory[self.offsets[b.name] :][: b.bytes] = 0
            if b.storage == "uint8":
                self.bits(b)[...] = random.integers(0, 256, shape)
            else:
                self.write(b, np.where(random.random(shape) < 0.2, 0.0, random.standard_normal(shape)))
        if not product.transpose_left:
            row = self.read(product.left).copy()
            row[3, 1] = np.nan
            self.write(product.left, row)
        self.numbers[:] = 0.0, 1.0, -0.25, 0.5
        self.there = Memory(self.memory.nbytes + 12 * len(self.numbers))

    def of(self, buffer: Buffer) -> int:
        return self.there.address + self.offsets[buffer.name]

    def number(self, place: int) -> int:
        return self.there.address + self.memory.nbytes + 8 * place

    def narrow_number(self, place: int) -> int:
        return self.number(len(self.numbers)) + 4 * place


def _agrees(number: int, product: Product, precision: str) -> bool:
    gpu = device(number)
    both = _Both(product, precision)
    numbers = np.concatenate([both.numbers.view(np.uint8), both.numbers.astype(np.float32).view(np.uint8)])
    gpu.upload(both.there.address, both.memory)
    gpu.upload(both.number(0), numbers)
    matmul = Matmul(product, precision, both)
    if not matmul.choose(gpu.handle, None):
        return False
    matmul(gpu.handle, gpu.workspace.address, gpu.stream.ptr)
    found = _Both.__new__(_Both)
    found.__dict__ = {**both.__dict__, "memory": np.empty_like(both.memory)}
    gpu.download(found.memory, both.there.address)
    with np.errstate(all="ignore"):
        both._product(product)
    return all(_alike(found, both, b, precision) for b in both.buffers)


def _alike(found: Interpreter, wanted: Interpreter, buffer: Buffer, precision: str) -> bool:
    a, b = found.read(buffer).astype(np.float64), wanted.read(buffer).astype(np.float64)
    if buffer.storage == "uint8":
        # Where the result is NaN the mask may say either: the loss is NaN then, and training ends.
        return bool(np.mean((a != b)[:, : _COLUMNS // 8]) < 0.05)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return False
    scale = float(np.nanmax(np.abs(b))) or 1.0
    return bool(np.nanmax(np.abs(a - b)) <= _ALLOWED[precision] * scale)
