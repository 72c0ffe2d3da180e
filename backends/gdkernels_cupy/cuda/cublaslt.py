"""A thin binding of cublasLt by ctypes: products with explicit stream and workspace, so that they can be captured.

Names and numbers are those of cublasLt.h; a test compares every one with the header.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from gdkernels.errors import BackendError

__all__ = [
    "NOT_SUPPORTED",
    "WORKSPACE",
    "Algorithm",
    "Compute",
    "CublasLtError",
    "DataType",
    "Descriptor",
    "DescriptorAttribute",
    "Epilogue",
    "Handle",
    "HeuristicResult",
    "LayoutAttribute",
    "MatrixLayout",
    "PointerMode",
    "Preference",
    "PreferenceAttribute",
    "algorithms",
    "can_run",
    "matmul",
]


WORKSPACE = 32 << 20  # bytes; what cuBLAS itself takes on Hopper


class DataType(enum.IntEnum):
    R_32F, R_64F, R_16BF = 0, 1, 14


class Compute(enum.IntEnum):
    F32, F32_FAST_TF32, F64 = 68, 77, 70


class Epilogue(enum.IntEnum):
    DEFAULT, BIAS, BGRADA = 1, 4, 256
    RELU, RELU_BIAS, RELU_AUX, RELU_AUX_BIAS, DRELU, DRELU_BGRAD = 2, 6, 130, 134, 136, 152
    GELU, GELU_BIAS, GELU_AUX, GELU_AUX_BIAS, DGELU, DGELU_BGRAD = 32, 36, 160, 164, 192, 208


class PointerMode(enum.IntEnum):
    HOST, DEVICE = 0, 1


class DescriptorAttribute(enum.IntEnum):
    COMPUTE_TYPE, SCALE_TYPE, POINTER_MODE, TRANSA, TRANSB, EPILOGUE, BIAS_POINTER = 0, 1, 2, 3, 4, 7, 8
    EPILOGUE_AUX_POINTER, EPILOGUE_AUX_LD, BIAS_DATA_TYPE = 11, 12, 26
    BIAS_BATCH_STRIDE, EPILOGUE_AUX_BATCH_STRIDE = 10, 13


class LayoutAttribute(enum.IntEnum):
    TYPE, ORDER, ROWS, COLS, LD, BATCH_COUNT, STRIDED_BATCH_OFFSET = 0, 1, 2, 3, 4, 5, 6


class PreferenceAttribute(enum.IntEnum):
    MAX_WORKSPACE_BYTES = 1


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t: opaque, and the same for the same shape, library and device."""

    _fields_: ClassVar = [("data", ctypes.c_uint64 * 8)]

    def hex(self) -> str:
        return bytes(self).hex()

    @classmethod
    def from_hex(cls, text: str) -> Algorithm:
        """Return what `hex` wrote; anything else is a ValueError."""
        return cls.from_buffer_copy(bytes.fromhex(text))


class HeuristicResult(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_: ClassVar = [
        ("algorithm", Algorithm),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


NOT_SUPPORTED = 15  # cublasStatus_t: this product in this way is none of the library's; everything else still works


class CublasLtError(BackendError):
    """A call that cublasLt refused, with the number of its status; 0 where it could not even be loaded."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_REFERENCE = ctypes.POINTER(ctypes.c_void_p)

_SIGNATURES: dict[str, list[Any]] = {
    "cublasLtCreate": [_REFERENCE],
    "cublasLtDestroy": [_POINTER],
    "cublasLtMatmulDescCreate": [_REFERENCE, _INT, _INT],
    "cublasLtMatmulDescDestroy": [_POINTER],
    "cublasLtMatmulDescSetAttribute": [_POINTER, _INT, _POINTER, _SIZE],
    "cublasLtMatmulDescGetAttribute": [_POINTER, _INT, _POINTER, _SIZE, ctypes.POINTER(_SIZE)],
    "cublasLtMatrixLayoutCreate": [_REFERENCE, _INT, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64],
    "cublasLtMatrixLayoutDestroy": [_POINTER],
    "cublasLtMatrixLayoutSetAttribute": [_POINTER, _INT, _POINTER, _SIZE],
    "cublasLtMatrixLayoutGetAttribute": [_POINTER, _INT, _POINTER, _SIZE, ctypes.POINTER(_SIZE)],
    "cublasLtMatmulPreferenceCreate": [_REFERENCE],
    "cublasLtMatmulPreferenceDestroy": [_POINTER],
    "cublasLtMatmulPreferenceSetAttribute": [_POINTER, _INT, _POINTER, _SIZE],
    "cublasLtMatmulPreferenceGetAttribute": [_POINTER, _INT, _POINTER, _SIZE, ctypes.POINTER(_SIZE)],
    "cublasLtMatmulAlgoGetHeuristic": [_POINTER] * 7 + [_INT, ctypes.POINTER(HeuristicResult), ctypes.POINTER(_INT)],
    "cublasLtMatmulAlgoCheck": [_POINTER] * 6 + [ctypes.POINTER(Algorithm), ctypes.POINTER(HeuristicResult)],
    "cublasLtMatmul": [_POINTER] * 12 + [ctypes.POINTER(Algorithm), _POINTER, _SIZE, _POINTER],
}


@cache
def loaded_library() -> Any:
    """Load cublasLt where cuda.pathfinder finds it.

    Raises
    ------
    CublasLtError
        Where it is not installed.
    """
    from cuda.pathfinder import load_nvidia_dynamic_lib

    try:
        path = load_nvidia_dynamic_lib("cublasLt").abs_path
    except Exception as error:  # its kinds differ from release to release
        raise CublasLtError(f"cuBLAS is not found ({error}): pip install nvidia-cublas") from error
    try:
        loaded = ctypes.CDLL(path)
    except OSError as error:
        raise CublasLtError(f"cuBLAS is found but cannot be loaded ({error}): pip install -U nvidia-cublas") from error
    for name, arguments in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    loaded.cublasLtGetStatusString.argtypes, loaded.cublasLtGetStatusString.restype = [_INT], ctypes.c_char_p
    loaded.cublasLtGetVersion.argtypes, loaded.cublasLtGetVersion.restype = [], _SIZE
    return loaded


def call(name: str, *arguments: Any) -> None:
    check(name, getattr(loaded_library(), name)(*arguments))


def check(name: str, status: int) -> None:
    """Raise what a status says, unless it says that all is well."""
    if status:
        raise CublasLtError(f"{name}: {loaded_library().cublasLtGetStatusString(status).decode()}", status)


class _Object:
    """An object of cublasLt with attributes, freed with its owner."""

    kind: ClassVar[str]
    types: ClassVar[Mapping[int, Any]]

    def __init__(self, *arguments: Any) -> None:
        self.handle = ctypes.c_void_p()
        call(f"cublasLt{self.kind}Create", ctypes.byref(self.handle), *arguments)

    def __setitem__(self, key: enum.IntEnum, value: int) -> None:
        cell = self.types[key](value)
        call(f"cublasLt{self.kind}SetAttribute", self.handle, key, ctypes.byref(cell), ctypes.sizeof(cell))

    def __getitem__(self, key: enum.IntEnum) -> int:
        cell, written = self.types[key](), ctypes.c_size_t()
        size = ctypes.sizeof(cell)
        call(f"cublasLt{self.kind}GetAttribute", self.handle, key, ctypes.byref(cell), size, ctypes.byref(written))
        return int(cell.value or 0)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            call(f"cublasLt{self.kind}Destroy", self.handle)


class Descriptor(_Object):
    """cublasLtMatmulDesc_t: what is computed."""

    kind = "MatmulDesc"
    types: ClassVar = {
        **dict.fromkeys(DescriptorAttribute, ctypes.c_int32),
        DescriptorAttribute.EPILOGUE: ctypes.c_uint32,
        DescriptorAttribute.BIAS_POINTER: ctypes.c_void_p,
        DescriptorAttribute.EPILOGUE_AUX_POINTER: ctypes.c_void_p,
        DescriptorAttribute.EPILOGUE_AUX_LD: ctypes.c_int64,
        DescriptorAttribute.BIAS_BATCH_STRIDE: ctypes.c_int64,
        DescriptorAttribute.EPILOGUE_AUX_BATCH_STRIDE: ctypes.c_int64,
    }

    def __init__(self, compute: Compute) -> None:
        super().__init__(compute, DataType.R_64F if compute == Compute.F64 else DataType.R_32F)


class MatrixLayout(_Object):
    """cublasLtMatrixLayout_t of a column-major matrix."""

    kind = "MatrixLayout"
    types: ClassVar = {
        LayoutAttribute.TYPE: ctypes.c_uint32,
        LayoutAttribute.ORDER: ctypes.c_int32,
        LayoutAttribute.ROWS: ctypes.c_uint64,
        LayoutAttribute.COLS: ctypes.c_uint64,
        LayoutAttribute.LD: ctypes.c_int64,
        LayoutAttribute.BATCH_COUNT: ctypes.c_int32,
        LayoutAttribute.STRIDED_BATCH_OFFSET: ctypes.c_int64,
    }

    def __init__(self, dtype: DataType, rows: int, columns: int, pitch: int) -> None:
        super().__init__(dtype, rows, columns, pitch)


class Preference(_Object):
    """cublasLtMatmulPreference_t: what an algorithm may use."""

    kind = "MatmulPreference"
    types: ClassVar = {PreferenceAttribute.MAX_WORKSPACE_BYTES: ctypes.c_uint64}


class Handle:
    """cublasLtHandle_t of the current device."""

    def __init__(self) -> None:
        self.handle = ctypes.c_void_p()
        call("cublasLtCreate", ctypes.byref(self.handle))

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            call("cublasLtDestroy", self.handle)


def algorithms(
    handle: Handle,
    descriptor: Descriptor,
    layouts: tuple[MatrixLayout, MatrixLayout, MatrixLayout],
    workspace: int,
    count: int = 8,
) -> list[HeuristicResult]:
    """Return algorithms for a product, the one that should be fastest first; none if the library has none.

    Raises
    ------
    CublasLtError
        Where the library fails, which says nothing of the product.
    """
    preference = Preference()
    preference[PreferenceAttribute.MAX_WORKSPACE_BYTES] = workspace
    results, found = (HeuristicResult * count)(), ctypes.c_int()
    a, b, d = layouts
    objects = [o.handle for o in (descriptor, a, b, d, d, preference)]
    status = loaded_library().cublasLtMatmulAlgoGetHeuristic(
        handle.handle, *objects, count, results, ctypes.byref(found)
    )
    if status == NOT_SUPPORTED:
        return []
    check("cublasLtMatmulAlgoGetHeuristic", status)
    return [r for r in results[: found.value] if r.state == 0]


def can_run(
    handle: Handle,
    descriptor: Descriptor,
    layouts: tuple[MatrixLayout, MatrixLayout, MatrixLayout],
    algorithm: Algorithm,
    workspace: int,
) -> bool:
    """Return whether an algorithm, perhaps of another device or version, does a product here."""
    a, b, d = layouts
    objects = [o.handle for o in (descriptor, a, b, d, d)]
    result = HeuristicResult()
    check = loaded_library().cublasLtMatmulAlgoCheck
    status = check(handle.handle, *objects, ctypes.byref(algorithm), ctypes.byref(result))
    return bool(status == 0 and result.workspace <= workspace)


def matmul(
    handle: Handle,
    descriptor: Descriptor,
    layouts: tuple[MatrixLayout, MatrixLayout, MatrixLayout],
    addresses: tuple[int, int, int],
    scalars: tuple[int, int],
    algorithm: Algorithm,
    workspace: tuple[int, int],
    stream: int,
) -> None:
    """Compute D = epilogue(α·A·B + β·D) on `stream`.

    Parameters
    ----------
    addresses
        Of A, B and D.
    scalars
        The addresses of α and β.
    workspace
        Address and bytes.
    """
    (a, b, d), (la, lb, ld), (alpha, beta) = addresses, (o.handle for o in layouts), scalars
    call(
        "cublasLtMatmul", handle.handle, descriptor.handle, alpha, a, la, b, lb, beta, d, ld, d, ld,
        ctypes.byref(algorithm), *workspace, stream,
    )  # fmt: skip
