"""The products of a list as calls of cublasLt.

Our matrices are row-major; to cublasLt, which counts columns first, each is its transpose. So out = left · right
becomes outᵀ = rightᵀ · leftᵀ: the operands change places, and what belongs to our columns (a bias for each unit)
belongs to its rows, which is where its epilogues put it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gdkernels.errors import BackendError
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.cuda.cublaslt import (
    Algorithm,
    Compute,
    CublasLtError,
    DataType,
    Descriptor,
    DescriptorAttribute,
    Epilogue,
    LayoutAttribute,
    PointerMode,
)
from gdkernels_cupy.graphs.calls import DeviceAddresses
from gdkernels_cupy.graphs.operations import BYTES, DeviceBuffer, MatrixProduct

__all__ = ["Matmul", "ProductBatch", "UnsupportedProductError", "shape_key"]

# Of the algorithms that cublasLt thinks fastest, so many are timed; in doubt its first stays, so that noise decides
# nothing.
_CANDIDATES, _FASTER = 4, 0.95

_TYPES = {"float64": DataType.R_64F, "float32": DataType.R_32F, "bfloat16": DataType.R_16BF}
_COMPUTE = {
    "float64": Compute.F64,
    "float32": Compute.F32,
    "tf32": Compute.F32_FAST_TF32,
    "bfloat16": Compute.F32,
}


def shape_key(product: MatrixProduct) -> str:
    """Return what an algorithm is chosen for."""
    p, kind = product, _epilogue(product)
    inner = p.left.rows if p.transpose_left else p.left.columns
    flags = f"{'t' if p.transpose_left else 'n'}{'t' if p.transpose_right else 'n'}"
    extras = "" if kind == Epilogue.DEFAULT else f" {kind.name.lower()}"
    extras += " into" if p.accumulates else ""
    pitches = f"{p.left.pitch},{p.right.pitch},{p.out.pitch}"
    return f"{p.out.rows}x{p.out.columns}x{inner} {flags} {p.left.storage}->{p.out.storage} {pitches}{extras}"


class UnsupportedProductError(BackendError):
    """The device has no product with this epilogue, whose `kind` is one of `EPILOGUES`."""

    def __init__(self, product: MatrixProduct, key: str) -> None:
        super().__init__(f"cuBLAS has no algorithm for the product {key}; update cuBLAS (pip install -U nvidia-cublas)")
        e = product.epilogue
        sums = " sums" if e.is_slope and e.bias is not None else ""
        self.kind = f"{e.kind}{sums}" or ("update" if isinstance(product.alpha, int) else "")


@dataclass(frozen=True)
class ProductBatch:
    """The same product for each of some models, in one call.

    Attributes
    ----------
    count
        How many models there are.
    apart
        The bytes from the memory of a model to that of the next.
    """

    count: int
    apart: int


@dataclass
class Matmul:
    """A product with its descriptors; `choose` gives it an algorithm, and `settle` one that runs.

    Parameters
    ----------
    precision
        Of the program: "tf32" lets float32 operands be rounded.
    at
        Where its matrices are: a bias is part of the descriptor.
    batch
        The models whose product it is; their memory begins with that of the first.
    """

    product: MatrixProduct
    precision: str
    at: DeviceAddresses
    batch: ProductBatch | None = None

    def __post_init__(self) -> None:
        p, at = self.product, self.at
        compute = _COMPUTE[self.precision]
        self.descriptor = d = Descriptor(compute)
        d[DescriptorAttribute.TRANSA], d[DescriptorAttribute.TRANSB] = int(p.transpose_right), int(p.transpose_left)
        d[DescriptorAttribute.EPILOGUE] = _epilogue(p)
        e = p.epilogue
        if e.bias is not None:
            d[DescriptorAttribute.BIAS_POINTER] = at.of(e.bias)
            d[DescriptorAttribute.BIAS_DATA_TYPE] = _TYPES[e.bias.storage]
        if e.auxiliary is not None:
            bits = e.auxiliary.storage == "uint8"
            d[DescriptorAttribute.EPILOGUE_AUX_POINTER] = at.of(e.auxiliary)
            d[DescriptorAttribute.EPILOGUE_AUX_LD] = e.auxiliary.pitch * (8 if bits else 1)
        if self.batch is not None:
            assert not isinstance(p.alpha, int), "all models of a batch have one α and one β"
            assert not isinstance(p.beta, int), "all models of a batch have one α and one β"
            if e.bias is not None:
                d[DescriptorAttribute.BIAS_BATCH_STRIDE] = self.batch.apart // BYTES[e.bias.storage]
            if e.auxiliary is not None:
                size = BYTES[e.auxiliary.storage]
                d[DescriptorAttribute.EPILOGUE_AUX_BATCH_STRIDE] = self.batch.apart * (8 if bits else 1) // size
        self.layouts = _layout(p.right, self.batch), _layout(p.left, self.batch), _layout(p.out, self.batch)
        self.addresses = (at.of(p.right), at.of(p.left), at.of(p.out))
        self.scalars = self._scalars(ctypes.c_double if compute == Compute.F64 else ctypes.c_float)
        self.algorithm: Algorithm | None = None
        self._others: list[Algorithm] = []

    def _scalars(self, kind: Any) -> tuple[int, int]:
        p = self.product
        if isinstance(p.alpha, int) or isinstance(p.beta, int):
            self.descriptor[DescriptorAttribute.POINTER_MODE] = PointerMode.DEVICE
            place = self.at.number if kind is ctypes.c_double else self.at.float32_number
            # Where only one of the two is a number of the step, zero or one of the step stands for the other.
            return place(int(p.alpha)), place(int(p.beta))
        self._cells = kind(p.alpha), kind(p.beta)
        return ctypes.addressof(self._cells[0]), ctypes.addressof(self._cells[1])

    def choose(self, handle: cublaslt.Handle, known: str | None) -> bool:
        """Take the `known` algorithm, or else the one that cublasLt thinks fastest; return whether there is one."""
        with suppress(TypeError, ValueError):
            self.algorithm = None if known is None else Algorithm.from_hex(known)
        problem = handle, self.descriptor, self.layouts
        if self.algorithm and cublaslt.can_run(*problem, self.algorithm, cublaslt.WORKSPACE):
            return True
        self._others = [result.algorithm for result in cublaslt.algorithms(*problem, cublaslt.WORKSPACE)]
        return self._next()

    def _next(self) -> bool:
        self.algorithm = self._others.pop(0) if self._others else None
        return self.algorithm is not None

    def settle(self, handle: cublaslt.Handle, known: str | None, workspace: int, stream: int) -> bool:
        """Take the first algorithm that also runs; return whether there is one. It writes to where the product does.

        A heuristic may name what cublasLt then refuses to run.

        Raises
        ------
        CublasLtError
            Where the library fails otherwise.
        """
        there = self.choose(handle, known)
        while there:
            try:
                self(handle, workspace, stream)
                return True
            except CublasLtError as error:
                if error.status != cublaslt.NOT_SUPPORTED:
                    raise
            # A known algorithm was asked for by itself: what else there is has not been asked yet.
            there = self._next() or (known is not None and self.choose(handle, None))
            known = None
        return False

    def take_fastest(self, run: Callable[[], None], seconds: Callable[[Callable[[], None]], float]) -> None:
        """Take the fastest of the first few algorithms, after `settle`; the first one stays unless another is faster.

        Parameters
        ----------
        run
            Runs the product once.
        seconds
            Returns what a run takes.
        """
        if not self._others:
            return
        assert self.algorithm is not None
        best, least = self.algorithm, seconds(run)
        for candidate in self._others[: _CANDIDATES - 1]:
            self.algorithm = candidate
            try:
                found = seconds(run)
            except CublasLtError as error:
                if error.status != cublaslt.NOT_SUPPORTED:
                    raise
                continue
            if found < _FASTER * least:
                best, least = candidate, found
        self.algorithm = best

    def __call__(self, handle: cublaslt.Handle, workspace: int, stream: int) -> None:
        assert self.algorithm is not None
        cublaslt.matmul(
            handle,
            self.descriptor,
            self.layouts,
            self.addresses,
            self.scalars,
            self.algorithm,
            (workspace, cublaslt.WORKSPACE),
            stream,
        )


def _layout(buffer: DeviceBuffer, batch: ProductBatch | None) -> cublaslt.MatrixLayout:
    layout = cublaslt.MatrixLayout(_TYPES[buffer.storage], buffer.columns, buffer.rows, buffer.pitch)
    if batch is not None:
        layout[LayoutAttribute.BATCH_COUNT] = batch.count
        layout[LayoutAttribute.STRIDED_BATCH_OFFSET] = batch.apart // BYTES[buffer.storage]
    return layout


def _epilogue(product: MatrixProduct) -> Epilogue:
    e = product.epilogue
    if e.kind in ("", "bias", "sums"):
        return {"": Epilogue.DEFAULT, "bias": Epilogue.BIAS, "sums": Epilogue.BGRADA}[e.kind]
    name = e.kind.upper()
    if e.is_slope:
        return Epilogue[name if e.bias is None else f"{name}_BGRAD"]
    return Epilogue[name + ("" if e.auxiliary is None else "_AUX") + ("" if e.bias is None else "_BIAS")]
