"""A lost vectorisation costs a factor and changes no result: the generated instructions are looked at."""

import platform
import re
import threading

import numpy as np
import pytest
from engine_runs import needs_bf16, write_functions
from gdkernels_numba import ceilings
from gdkernels_numba.ceilings import write_ceilings
from gdkernels_numba.compilation import loop_name
from gdkernels_numba.cpu import jit
from gdkernels_numba.cpu.features import AVX512_BF16, bf16_route, cores, features, float_lanes
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.functions import FUNCTIONS
from gdkernels_numba.kernels.bfloat16 import write_bf16_packing
from gdkernels_numba.kernels.elementwise import write_loop
from gdkernels_numba.kernels.matmul import PRODUCTS, write_products
from gdkernels_numba.kernels.pack import write_moves
from llvmlite import ir

from gdkernels.lowering.elementwise import ROW
from gdkernels.lowering.steps import NUMBER
from gdkernels.lowering.task import schedule_training
from gdkernels.testing.cases import CASES

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or "fma" not in features(),
    reason="reads x86 with fused multiply-adds",
)

REGISTERS = {16: "zmm", 8: "ymm", 4: "xmm"}
WIDTHS = [lanes for lanes in REGISTERS if lanes <= float_lanes()]
FORMATS = [Format("float32", lanes) for lanes in WIDTHS] + [Format("float64", lanes // 2) for lanes in WIDTHS]

# What a kernel may call: sine and cosine leave numbers beyond the reduction to the C library.
LIBRARY = {"sin", "cos"}

UNROLLED = 8  # rows of a loop at a time, at most


def instructions(write):
    """Return, by function, the lines of the machine code of what `write` adds to a module."""
    module = ir.Module("kernels")
    write(module)
    machine = jit._target()
    found, lines = {}, []
    for line in machine.emit_assembly(jit._optimised(str(module), machine)).splitlines():
        label = re.match(r"(\w+):", line)
        if label:
            lines = found.setdefault(label[1], [])
        elif line.startswith("\t") and not line.startswith("\t."):
            lines.append(line.strip())
    return found


def recipes_of(program):
    recipes = dict.fromkeys(schedule_training(program, FUNCTIONS.keys()).recipes.values())
    return {recipe: loop_name(k) for k, recipe in enumerate(recipes)}


def vector_width(form):
    return REGISTERS[form.lanes * form.size // 4]


def count(lines, operation, register):
    return sum(bool(re.match(operation, line)) and register in line for line in lines)


def calls(lines):
    return [line for line in lines if line.startswith("call")]


def scalar(lines):
    """Return arithmetic on single numbers: sums across lanes at the end need a few, a loop would need many."""
    return [line for line in lines if re.match(r"v?(f\w*(add|sub)\w*|add|sub|mul|div|sqrt|max|min)s[sd]\b", line)]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_products_are_fused_multiply_adds_on_vectors(form):
    kernels = instructions(lambda module: write_products(module, form))
    packed = "vfn?m(add|sub)" + r"\w*p" + ("s" if form.bits == 32 else "d")
    assert kernels.keys() == PRODUCTS.keys()
    for name, lines in kernels.items():
        least = 2 * form.lanes if name == "product_by_rows" else 5  # a sum a lane, twice
        assert count(lines, packed, vector_width(form)) >= least, name
        assert not calls(lines), name
        # Each inner product ends in a sum of two numbers: four rows at a time, and one.
        assert len(scalar(lines)) <= (5 if name == "dots" else 0), name


@needs_bf16
def test_products_in_bfloat16_are_sums_of_pairs_on_vectors():
    form = Format("float32", 16, AVX512_BF16)
    lines = instructions(lambda module: write_products(module, form))["product"]
    assert count(lines, "vdpbf16ps", "zmm") >= 6 * 4, "as many sums as a block has vectors"
    assert not calls(lines)
    assert not scalar(lines)
    for name, lines in instructions(lambda module: write_bf16_packing(module, form)).items():
        assert count(lines, "vcvtne2ps2bf16", "zmm") >= 16, name
        assert count(lines, "vmovnt", "zmm") == ((2 if "rows" in name else 3) * 16 if "distant" in name else 0), name
        assert not calls(lines), name
        assert not scalar(lines), name


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_moves_are_vectors(form):
    kernels = instructions(lambda module: write_moves(module, form))
    for name in ("rows_in", "rows_out", "transpose", "column_sums", "add"):
        assert count(kernels[name], "v?mov[au]p", vector_width(form)) >= 1, name
        assert not calls(kernels[name]), name


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_loops_are_vectors(precision):
    """Of everything built in: as wide as the machine goes, and no call for an element.

    But for the sine and cosine of `Periodic`, which are those of the C library, element by element.
    """
    form = Format(precision, float_lanes() if precision == "float32" else float_lanes() // 2)
    recipes = {recipe for case in CASES.values() for recipe in recipes_of(case.program)}
    called = {recipe for recipe in recipes if not {i.op for i in recipe.code}.isdisjoint(("sin", "cos"))}
    written = [recipe for recipe in recipes - called if recipe.kind != NUMBER]
    assert 0 < len(called) < len(written) / 10

    def write(module):
        for k, recipe in enumerate(written):
            write_loop(module, f"loop{k}", recipe, form)

    kernels = instructions(write)
    for k, recipe in enumerate(written):
        lines = kernels[f"loop{k}"]
        assert not calls(lines), recipe
        called = {i.op for i in recipe.code} & FUNCTIONS.keys()
        if called:
            assert count(lines, r"vfn?m(add|sub)\w*p", vector_width(form)) >= 5 * len(called), recipe
        assert count(lines, "v", vector_width(form)) >= len(recipe.outputs), recipe
        # What is one number, or one a row, is computed as that; a sum ends in a few steps on one number.
        once = sum(i.rate <= ROW and i.op not in ("load", "constant") for i in recipe.code)
        assert len(scalar(lines)) <= UNROLLED * (once + 3 * len(recipe.reductions)), recipe


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_functions_are_vectors(form):
    kernels = instructions(lambda module: write_functions(module, form))
    for name in FUNCTIONS:
        lines = kernels[f"vector_{name}"]
        register = "mm" if name == "pow" else vector_width(form)  # float32 is computed in float64
        assert count(lines, r"vfn?m(add|sub)\w*p", register) >= 5, name
        assert not scalar(lines), name
        assert len(calls(lines)) <= (name in LIBRARY), name


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_the_ceiling_is_one_of_registers(form):
    """As many multiply-adds in a round as there are sums, and nothing of memory."""
    lines = instructions(lambda module: write_ceilings(module, form))["multiply_add"]
    inner = [k for k, line in enumerate(lines) if re.match("vfmadd", line)]
    assert len(inner) >= ceilings._CHAINS
    assert not [line for line in lines[inner[0] : inner[-1] + 1] if "(%" in line]


def test_a_round_of_the_ceiling_is_counted_right(monkeypatch):
    form = FORMATS[0]
    module = ir.Module("ceilings")
    write_ceilings(module, form)
    loaded = jit._link(jit._compile(str(module)))
    result = np.full(form.lanes, 0.5, form.dtype)
    jit.function_of(loaded, "multiply_add", 2)(3, result.ctypes.data)
    sums = np.arange(ceilings._CHAINS, dtype=form.dtype)
    for _ in range(3):
        sums = sums * 0.5 + 0.5
    assert np.allclose(result, sums.sum())
    monkeypatch.setattr(ceilings, "_REPEATS", 3)
    assert ceilings.fma_rate(1) > 0
    assert ceilings.update_rate(1) > 0
    assert ceilings.turns_seconds(1) is None
    assert (ceilings.bf16_rate(1) or 0) > 0 or not bf16_route()


def test_threads_that_take_turns_wait_for_each_other(monkeypatch):
    take = jit.function_of(ceilings._code(Format("float32", float_lanes())), "take_turns", 4)
    word = np.zeros(16, np.int64)
    other = threading.Thread(target=take, args=(3, 1, 2, word.ctypes.data), daemon=True)
    other.start()
    other.join(0.05)
    assert other.is_alive()
    take(3, 0, 2, word.ctypes.data)
    other.join(20)
    assert not other.is_alive()
    assert word[0] == 0  # ready for the next time
    for name, few in (("_REPEATS", 3), ("_TURNS", 10)):  # a measurement needs more, to show that there is one does not
        monkeypatch.setattr(ceilings, name, few)
    assert cores() < 2 or ceilings.turns_seconds(2) > 0
