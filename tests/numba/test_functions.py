"""exp, sin, powers and their kin on vectors: within 4 units in the last place over the whole range."""

import numpy as np
import pytest
from engine_runs import write_functions
from gdkernels_numba.cpu import jit
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.functions import FUNCTIONS
from llvmlite import ir

WORST = 4.0
COUNT = 1 << 15


def code_for(form):
    module = ir.Module("functions")
    write_functions(module, form)
    text = str(module)
    return jit.load(jit.digest(text), lambda: text, "functions")


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


def exponents(dtype, x):
    """Return exponents for these numbers, most of them so that the power is neither zero nor infinite."""
    random = np.random.default_rng(1)
    with np.errstate(all="ignore"):
        largest = np.abs(np.log(np.finfo(dtype).max) / np.log(np.abs(x)))
        y = (random.uniform(-1.1, 1.1, x.size) * np.where(np.isfinite(largest), largest, 1.0)).astype(dtype)
    y[::3] = np.clip(np.rint(y[::3]), -40, 40)
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -3.0, 0.5, 1e30], dtype)
    return np.where(random.uniform(size=x.size) < 0.05, random.choice(edges, x.size), y)


@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_within_four_units_in_the_last_place(dtype, lanes):
    loaded = code_for(Format(dtype, lanes if dtype == "float32" else lanes // 2))
    with np.errstate(all="ignore"):
        x = samples(dtype)
        y = exponents(dtype, x)
    least = np.finfo(dtype).tiny
    for name in FUNCTIONS:
        found = np.empty_like(x)
        jit.function_of(loaded, f"vector_{name}", 4)(len(x), x.ctypes.data, y.ctypes.data, found.ctypes.data)
        with np.errstate(all="ignore"):
            wide = [a.astype(np.longdouble) for a in ((x, y) if name == "pow" else (x,))]
            exact = getattr(np, {"pow": "power"}.get(name, name))(*wide)
            rounded = exact.astype(dtype)
            units = np.abs(found.astype(np.longdouble) - exact) / np.spacing(np.abs(rounded)).astype(np.longdouble)
            flushed = (np.abs(x) < least) | ((np.abs(exact) < least) & (np.abs(found) <= least))
        right = (found == rounded) | (np.isnan(found) & np.isnan(rounded)) | flushed
        worst = np.where(right, 0.0, np.where(np.isnan(units), np.inf, units))
        k = int(np.argmax(worst))
        assert worst[k] <= WORST, f"{name}({x[k]!r}, {y[k]!r}) is {found[k]!r}, it should be {rounded[k]!r}"


def test_the_yardstick_is_finer_than_float64():
    assert np.finfo(np.longdouble).eps < np.finfo(np.float64).eps / 100
