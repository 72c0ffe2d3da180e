"""AMX: the very instructions that run where it is, emulated where it is not."""

import numpy as np
import pytest
from bf16_kernels import Bf16Kernels, random_values
from bf16_reference import pairs_along_rows, product_of_tiles
from engine_runs import Data, assert_agrees, bits, compiled, needs_bf16, program
from few_cases import FEW_CASES
from gdkernels_numba import NumbaBackend
from gdkernels_numba.ceilings import write_bf16_ceiling
from gdkernels_numba.cpu import features, jit, threads
from gdkernels_numba.cpu.features import AMX_BF16, AVX512_BF16
from gdkernels_numba.ir.format import Format
from gdkernels_numba.kernels.matmul import write_products
from gdkernels_numba.kernels.pack import write_moves
from llvmlite import ir
from test_vectorised import calls, count, instructions

from gdkernels.definition import activations
from gdkernels.testing import BackendConformance

relu, tanh = activations.relu, activations.tanh

WIDTHS = (130, 70, 75, 10)


@pytest.mark.parametrize("shape", [(32, 32, 64), (1, 1, 1), (13, 70, 49), (66, 130, 64)], ids=str)
@pytest.mark.parametrize("goes_on", [0, 1])
def test_products_are_the_sums_of_the_reference(emulator, shape, goes_on):
    rows, depth, columns = shape
    kernel = Bf16Kernels(AMX_BF16)
    a, b, start = (random_values(s, k) for k, s in enumerate([(rows, depth), (depth, columns), (rows, columns)]))
    state = np.zeros(4, np.int64)
    kernel("float_state", state, 1)
    found = kernel.product(a, b, start, goes_on)
    kernel("float_state", state, 0)
    begun = np.pad(start, [(0, -n % 32) for n in start.shape]) if goes_on else 0
    wanted = product_of_tiles(pairs_along_rows(a), pairs_along_rows(b.T).T, begun)
    assert np.array_equal(found, wanted[:rows, :columns])


@pytest.mark.parametrize(
    "choices",
    [
        {"threads": 1},
        {"threads": 3, "tile_rows": 32},
        {"threads": 3, "depth_first": True, "tile_rows": 32},
        {"threads": 3, "by_units": True},
        {"threads": 2, "product_depth": 16, "sums_depth": 16},
    ],
    ids=str,
)
def test_every_plan_gives_the_result(emulator, choices, monkeypatch):
    monkeypatch.setattr(threads._ThreadJob, "spare", lambda self: None)  # every thread begins, also a late one
    wanted = program(relu, tanh, clip_norm=0.5)
    data, least = Data(wanted, WIDTHS, 150), Data(wanted, (1, 1, 1, 1), 5)
    executable = compiled(data.program, "bfloat16", **choices)
    smallest = compiled(least.program, "bfloat16", **choices)
    before = emulator.counts()
    assert_agrees(data, executable, 70, "bfloat16")
    assert executable.plan.choices["product_route"] == AMX_BF16
    assert_agrees(least, smallest, 2, "bfloat16")
    configured, released, multiplied = np.subtract(emulator.counts(), before)
    assert configured == released == 2 * choices["threads"], "once by every thread, in each of two runs"
    assert multiplied > 0


@pytest.mark.parametrize("name", FEW_CASES)
def test_training_is_the_definition(emulator, name):
    class Tiles(NumbaBackend):
        precisions = ("bfloat16",)

    suite = BackendConformance()
    suite.epochs = 1
    before = emulator.counts()
    suite.test_training_is_the_definition(Tiles(), "cpu", name)
    assert emulator.counts() > before


def test_each_route_repeats_its_own_bits(emulator):
    data = Data(program(relu, tanh), WIDTHS, 150)

    def run(route):
        return bits(data.run(compiled(data.program, "bfloat16", product_route=route), 70, "bfloat16")[1])

    assert run(AMX_BF16) == run(AMX_BF16)
    assert run(AMX_BF16) != run(AVX512_BF16), "they add in different orders"


def test_a_round_of_the_ceiling_is_four_products(emulator):
    module = ir.Module("ceilings")
    write_bf16_ceiling(module, Format("float32", 16, AMX_BF16))
    loaded = jit._link(jit._compile(str(module)))
    before = emulator.counts()
    jit.function_of(loaded, "multiply_bf16", 2)(3, 0)
    assert np.array_equal(np.subtract(emulator.counts(), before), (1, 1, 3 * 4))


def test_tiles_are_preferred_where_the_system_permits_them(emulator, monkeypatch):
    assert features.bf16_route() == AMX_BF16
    monkeypatch.setattr(features, "tiles_are_permitted", lambda: False)
    assert features.bf16_route() == AVX512_BF16


@pytest.mark.skipif("amx-tile" in features.features(), reason="this processor has AMX")
def test_a_system_does_not_permit_what_is_not_there():
    assert not features.tiles_are_permitted()


@needs_bf16
def test_a_product_loads_four_tiles_for_four_products(monkeypatch):
    has = features.features() | {"amx-tile", AMX_BF16}
    monkeypatch.setattr(features, "features", lambda: has)
    form = Format("float32", 16, AMX_BF16)
    lines = instructions(lambda module: write_products(module, form))["product"]
    # Four loads in the loop, and four before it for sums that go on.
    assert [count(lines, name, "tmm") for name in ("tdpbf16ps", "tileloadd")] == [4, 8]
    assert not calls(lines)
    state = instructions(lambda module: write_moves(module, form))["float_state"]
    for name in ("ldtilecfg", "tilerelease"):
        assert count(state, name, "") == 1, name
    assert count(state, "v?ldmxcsr", "") == 2
