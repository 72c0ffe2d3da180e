"""exp and its kin on vectors: within 4 units in the last place over the whole range."""

import numpy as np
import pytest
from gdkernels_numba import code
from gdkernels_numba.emit import Function
from gdkernels_numba.functions import FUNCTIONS
from gdkernels_numba.vector import Format, Vectors
from llvmlite import ir

WORST = 4.0
COUNT = 1 << 15


def code_for(form):
    module = ir.Module("functions")
    for name, write in FUNCTIONS.items():
        function = Function(module, name, ("count", "source", "target"))
        vectors = Vectors(function, form)
        with function.loop(function.count, step=form.lanes) as k:
            offset = function.multiply(k, form.size)
            value = write(vectors, vectors.load(function.add(function.source, offset), align=form.size))
            function.builder.store(value, function.pointer(function.add(function.target, offset))).align = form.size
        function.finish()
    text = str(module)
    return code.load(code.digest(text), lambda: text, "functions")


def samples(dtype):
    random = np.random.default_rng(0)
    whole = np.uint32 if dtype == "float32" else np.uint64
    least, largest = np.finfo(dtype).tiny, np.finfo(dtype).max
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, least, -least, largest, -largest, -1.0 + 2.0**-20]
    exponents = [88.72, 88.73, 89.5, -87.3, -103.9, -104.5, 709.78, 709.79, 711.0, -708.4, -745.1, -746.5, 20.0, 9.01]
    return np.concatenate([
        random.integers(0, np.iinfo(whole).max, COUNT, dtype=whole).view(dtype),  # all bit patterns alike
        random.uniform(-110.0, 110.0, COUNT).astype(dtype),
        random.uniform(-2.0, 2.0, COUNT).astype(dtype),
        (random.standard_normal(COUNT) * 10.0 ** random.uniform(-20, 3, COUNT)).astype(dtype),
        (1.0 + random.standard_normal(COUNT) * 10.0 ** random.uniform(-8, 0, COUNT)).astype(dtype),
        np.resize(np.asarray([*edges, *exponents], dtype), 64),
    ])  # fmt: skip


@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_within_four_units_in_the_last_place(dtype, lanes):
    loaded = code_for(Format(dtype, lanes if dtype == "float32" else lanes // 2))
    with np.errstate(all="ignore"):
        x = samples(dtype)
    least = np.finfo(dtype).tiny
    for name in FUNCTIONS:
        found = np.empty_like(x)
        code.function_of(loaded, name, 3)(len(x), x.ctypes.data, found.ctypes.data)
        with np.errstate(all="ignore"):
            exact = getattr(np, name)(x.astype(np.longdouble))
            rounded = exact.astype(dtype)
            units = np.abs(found.astype(np.longdouble) - exact) / np.spacing(np.abs(rounded)).astype(np.longdouble)
            flushed = (np.abs(x) < least) | ((np.abs(exact) < least) & (np.abs(found) <= least))
        right = (found == rounded) | (np.isnan(found) & np.isnan(rounded)) | flushed
        worst = np.where(right, 0.0, np.where(np.isnan(units), np.inf, units))
        k = int(np.argmax(worst))
        assert worst[k] <= WORST, f"{name}({x[k]!r}) is {found[k]!r}, it should be {rounded[k]!r}"


def test_the_yardstick_is_finer_than_float64():
    assert np.finfo(np.longdouble).eps < np.finfo(np.float64).eps / 100
