"""The binding of cublasLt against its header and library, and its descriptors executed on host memory."""

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest
import standin
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.cuda.cublaslt import Descriptor, DescriptorAttribute, LayoutAttribute, MatrixLayout, Preference
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.interpret import Interpreter
from gdkernels_cupy.graphs.operations import MatrixProduct, OperationList, ProductEpilogue, matrix, vector
from gdkernels_cupy.graphs.products import Matmul

from gdkernels.lowering.allocation import ALIGNMENT

PREFIXES = {
    cublaslt.Compute: "CUBLAS_COMPUTE_",
    cublaslt.Epilogue: "CUBLASLT_EPILOGUE_",
    cublaslt.PointerMode: "CUBLASLT_POINTER_MODE_",
    cublaslt.DescriptorAttribute: "CUBLASLT_MATMUL_DESC_",
    cublaslt.LayoutAttribute: "CUBLASLT_MATRIX_LAYOUT_",
    cublaslt.PreferenceAttribute: "CUBLASLT_MATMUL_PREF_",
}
SPELLED = {"F32": "32F", "F32_FAST_TF32": "32F_FAST_TF32", "F64": "64F"}


@pytest.fixture(scope="module", autouse=True)
def library():
    pytest.importorskip("cuda.pathfinder", reason="cuda-pathfinder is not installed: it comes with CuPy")
    try:
        return cublaslt.loaded_library()
    except cublaslt.CublasLtError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def header():
    from cuda.pathfinder import load_nvidia_dynamic_lib

    folder = Path(load_nvidia_dynamic_lib("cublasLt").abs_path).parent.parent / "include"
    if not (folder / "cublasLt.h").exists():
        pytest.skip(f"no cublasLt.h in {folder}")
    return "".join((folder / name).read_text() for name in ("cublas_api.h", "cublasLt.h"))


def test_every_number_is_the_header_s(header):
    known = {}
    for name, text in re.findall(r"\b((?:CUBLAS|CUBLASLT)_\w+)\s*=\s*([^,}/\n]+)", header):
        if not text.strip().startswith("CUDA_"):  # in a header that the package does not bring
            known[name] = eval(text.strip(), {}, known)
    compared = 0
    for kind, prefix in PREFIXES.items():
        for member in kind:
            name = prefix + (SPELLED[member.name] if kind is cublaslt.Compute else member.name)
            assert known[name] == member, name
            compared += 1
    assert compared >= 25


@pytest.mark.parametrize(
    "make", [lambda: Descriptor(cublaslt.Compute.F32), lambda: MatrixLayout(0, 8, 3, 8), Preference]
)
def test_every_attribute_has_the_size_that_the_library_wants(library, make):
    made = make()
    for attribute, kind in made.types.items():
        written = ctypes.c_size_t()
        get = getattr(library, f"cublasLt{made.kind}GetAttribute")
        assert get(made.handle, attribute, None, 0, ctypes.byref(written)) == 0
        assert written.value == ctypes.sizeof(kind), attribute


def test_structures_have_the_sizes_of_the_header():
    assert ctypes.sizeof(cublaslt.Algorithm) == 64
    assert ctypes.sizeof(cublaslt.HeuristicResult) == 64 + 8 + 4 + 4 + 16
    algorithm = cublaslt.Algorithm((ctypes.c_uint64 * 8)(*range(8)))
    assert bytes(cublaslt.Algorithm.from_hex(algorithm.hex())) == bytes(algorithm)


def test_attributes_come_back():
    d, layout = Descriptor(cublaslt.Compute.F32), MatrixLayout(cublaslt.DataType.R_16BF, 5, 3, 8)
    for key, value in {
        DescriptorAttribute.EPILOGUE: cublaslt.Epilogue.DRELU,
        DescriptorAttribute.BIAS_POINTER: 0x7F0000001000,
        DescriptorAttribute.EPILOGUE_AUX_LD: 128,
        DescriptorAttribute.POINTER_MODE: cublaslt.PointerMode.DEVICE,
    }.items():
        d[key] = value
        assert d[key] == value
    assert (layout[LayoutAttribute.ROWS], layout[LayoutAttribute.COLS], layout[LayoutAttribute.LD]) == (5, 3, 8)


def test_a_refusal_is_an_error_with_its_name():
    descriptor, cell = Descriptor(cublaslt.Compute.F32), ctypes.c_int64(1)
    with pytest.raises(cublaslt.CublasLtError, match="cublasLtMatmulDescSetAttribute: an unsupported value"):
        cublaslt.call("cublasLtMatmulDescSetAttribute", descriptor.handle, 7, ctypes.byref(cell), 8)


# ---- the descriptors say what the interpreter does


class Memory(Interpreter):
    """The buffers of one product, with addresses."""

    control = sums_at = 0

    def __init__(self, product, precision, seed=0):
        buffers = {b.name: b for b in (product.left, product.right, product.out) if b is not None}
        e = product.epilogue
        buffers |= {b.name: b for b in (e.bias, e.auxiliary) if b is not None}
        super().__init__(OperationList((), tuple(buffers.values()), {}, {}, (), 8), precision)
        size, room = self.memory.nbytes, np.full(self.memory.nbytes + ALIGNMENT, 0xFF, np.uint8)
        self.memory = room[-room.ctypes.data % ALIGNMENT :][:size]
        random = np.random.default_rng(seed)
        for b in buffers.values():
            values = random.standard_normal((b.rows, b.columns))
            self.bits(b)[...] = random.integers(0, 255, (b.rows, b.columns)) if b.storage == "uint8" else 0
            if b.storage != "uint8":
                self.write(b, values)
        self.numbers[:] = 0.0, 1.0, *random.standard_normal(6)
        self.float32_numbers = self.numbers.astype(np.float32)
        self.buffers = buffers

    def of(self, buffer):
        return self.memory.ctypes.data + self.offsets[buffer.name]

    def number(self, cell):
        return self.numbers.ctypes.data + 8 * cell

    def float32_number(self, cell):
        return self.float32_numbers.ctypes.data + 4 * cell


def product(m, n, k, storage, transposes, epilogue="", result=None, alpha=1.0, beta=0.0, auxiliary=False, bias=True):
    left_shape, right_shape = (m, k)[:: -1 if transposes[0] else 1], (k, n)[:: -1 if transposes[1] else 1]
    result = result or ("float32" if storage == "bfloat16" else storage)
    vectors = vector("bias", n, result) if epilogue and bias else None
    left = ops.DeviceBuffer("auxiliary", m, -(-n // 128) * 16, -(-n // 128) * 16, "uint8") if auxiliary else None
    left = matrix("auxiliary", m, n, result) if auxiliary and "gelu" in epilogue else left
    return MatrixProduct(
        matrix("left", *left_shape, storage),
        matrix("right", *right_shape, storage),
        matrix("out", m, n, result),
        *transposes,
        alpha,
        beta,
        ProductEpilogue(epilogue, vectors, left),
    )


SHAPES = [(5, 3, 7), (1, 1, 1), (64, 64, 64), (13, 130, 33)]
KINDS = {
    "forward": {"transposes": (False, False)},
    "forward with bias": {"transposes": (False, False), "epilogue": "bias"},
    "forward with relu": {"transposes": (False, False), "epilogue": "relu"},
    "forward with relu and its bits": {"transposes": (False, False), "epilogue": "relu", "auxiliary": True},
    "forward with relu, no bias": {"transposes": (False, False), "epilogue": "relu", "auxiliary": True, "bias": False},
    "relu without bias or bits": {"transposes": (False, False), "epilogue": "relu", "bias": False},
    "back": {"transposes": (False, True)},
    "back through relu": {"transposes": (False, True), "epilogue": "drelu", "auxiliary": True, "bias": False},
    "back through relu, with sums": {"transposes": (False, True), "epilogue": "drelu", "auxiliary": True},
    "forward with gelu": {"transposes": (False, False), "epilogue": "gelu"},
    "forward with gelu, no bias": {"transposes": (False, False), "epilogue": "gelu", "bias": False},
    "forward with gelu and its argument": {"transposes": (False, False), "epilogue": "gelu", "auxiliary": True},
    "back through gelu": {"transposes": (False, True), "epilogue": "dgelu", "auxiliary": True, "bias": False},
    "back through gelu, with sums": {"transposes": (False, True), "epilogue": "dgelu", "auxiliary": True},
    "gradient": {"transposes": (True, False)},
    "gradient of a micro-batch": {"transposes": (True, False), "beta": 1.0},
    "gradient with sums": {"transposes": (True, False), "epilogue": "sums"},
    "update": {"transposes": (True, False), "alpha": 5, "beta": 1.0},
    "update with decay and sums": {"transposes": (True, False), "alpha": 4, "beta": 6, "epilogue": "sums"},
}


@pytest.mark.parametrize("precision", ["float64", "float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_descriptors_do_what_the_list_says(kind, precision):
    storage = {"tf32": "float32"}.get(precision, precision)
    for m, n, k in SHAPES:
        for result in {None, "bfloat16" if storage == "bfloat16" and "lu" in kind else None}:
            p = product(m, n, k, storage, result=result, **KINDS[kind])
            wanted, found = Memory(p, precision), Memory(p, precision)
            wanted.multiply(p)
            call = Matmul(p, precision, found)
            standin.matmul(None, call.descriptor, call.layouts, call.addresses, call.scalars, None, None, 0)
            for buffer in wanted.buffers.values():
                a, b = wanted.read(buffer), found.read(buffer)
                if buffer.storage == "uint8":
                    count = p.out.columns
                    a, b = (np.unpackbits(v, axis=1, count=count, bitorder="little") for v in (a, b))
                scale = np.abs(a).max() or 1.0
                off = np.abs(a.astype(float) - b).max() / scale
                allowed = 1e-13 if storage == "float64" else 8e-3 if buffer.storage == "bfloat16" else 2e-6
                assert off <= allowed, (buffer.name, m, n, k)


MUTANTS = {
    "the left operand's transpose": lambda call: call.descriptor.__setitem__(DescriptorAttribute.TRANSB, 0),
    "the right operand's transpose": lambda call: call.descriptor.__setitem__(DescriptorAttribute.TRANSA, 1),
    "a leading dimension": lambda call: call.layouts[0].__setitem__(LayoutAttribute.LD, 16),
    "no epilogue": lambda call: call.descriptor.__setitem__(DescriptorAttribute.EPILOGUE, 1),
    "another alpha": lambda call: setattr(call, "scalars", (call.at.float32_number(3), call.scalars[1])),
    "no accumulation": lambda call: setattr(call, "scalars", (call.scalars[0], call.at.float32_number(0))),
    "operands not exchanged": lambda call: setattr(call, "addresses", (call.addresses[1], call.addresses[0], 0)),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_a_wrong_descriptor_is_seen(what):
    p = product(5, 5, 5, "float32", (True, False), alpha=4, beta=6, epilogue="sums")
    wanted, found = Memory(p, "float32"), Memory(p, "float32")
    wanted.multiply(p)
    call = Matmul(p, "float32", found)
    MUTANTS[what](call)
    if what == "operands not exchanged":
        call.addresses = (*call.addresses[:2], found.of(p.out))
    standin.matmul(None, call.descriptor, call.layouts, call.addresses, call.scalars, None, None, 0)
    same = [np.allclose(wanted.read(b), found.read(b), rtol=1e-3) for b in wanted.buffers.values()]
    assert not all(same)
