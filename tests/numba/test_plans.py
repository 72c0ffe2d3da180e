"""Every way of cutting a step up gives the definition's result, whatever the sizes."""

from collections import OrderedDict
from functools import lru_cache

import numpy as np
import pytest
from engine_runs import BOTH, Data, assert_agrees, bits, compiled, compiled_by_default, needs_bf16, program
from few_cases import FUSED_CASES
from gdkernels_numba.bytecode.kept_steps import KeptSteps
from gdkernels_numba.cpu.features import AVX512_BF16, Caches

from gdkernels.backend import Plan, verification
from gdkernels.definition import activations
from gdkernels.definition.optimizers import Adam
from gdkernels.errors import InputError
from gdkernels.testing.cases import CASES

# Many plans of one program: the definition runs once for all.
shared = lru_cache(maxsize=32)(Data)

relu, tanh, softmax = activations.relu, activations.tanh, activations.softmax

# Beyond one panel and one chunk in every direction, and no multiples of anything.
WIDE = (130, 70, 333, 10)
ONE_OUTPUT = (70, 333, 130, 1)  # the weights of a layer of one unit are kept as a row
CHOICES = {
    "as planned": {},
    "one thread": {"threads": 1},
    "two threads": {"threads": 2},
    "five threads": {"threads": 5},
    "small tiles": {"threads": 2, "tile_rows": 7},
    "depth first": {"threads": 1, "depth_first": True, "tile_rows": 24},
    "depth first on three threads": {"threads": 3, "depth_first": True, "tile_rows": 24},
    "by units": {"threads": 1, "by_units": True},
    "by units on three threads": {"threads": 3, "by_units": True},
    "short chunks": {"product_depth": 64, "sums_depth": 16},
}


LEFT = [case.values[0] for case in FUSED_CASES if not isinstance(case, str)]
# In both precisions where there is time: each activation and each loss stands in several of these pairs.
LEFT = [
    pytest.param(name, precision, marks=[pytest.mark.slow] if (k + turn) % 2 else [])
    for k, name in enumerate(LEFT)
    for turn, precision in enumerate(("float32", "float64"))
]


@pytest.mark.parametrize(("name", "precision"), LEFT)
def test_what_is_built_in_compiles(name, precision):
    """Also what the conformance suite, which has everything compiled that it trains, leaves to where there is time."""
    compiled(CASES[name].program, precision)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "line",
    [
        lambda z, *, xp: xp.sin(z),
        lambda z, *, xp: z + 0.5 * xp.sin(2.0 * z) ** 2,
        lambda z, *, xp: xp.cos(3.0 * z) * xp.exp(-z * z),
        lambda z, *, xp: (xp.abs(z) + 0.1) ** 0.3,
        lambda z, *, xp: xp.pow(1.5 + xp.tanh(z), z),
    ],
    ids=["sine", "snake", "wavelet", "a power", "a power of a power"],
)
def test_lines_of_users(line, precision):
    data = Data(program(line, tanh), (9, 70, 17, 3), 50)
    assert_agrees(data, compiled(data.program, precision), 24, precision)


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("batch_size", [96, 200, 1000])
@pytest.mark.parametrize("precision", BOTH)
def test_every_plan_gives_the_result(choices, batch_size, precision):
    for widths in (WIDE, ONE_OUTPUT):
        data = shared(program(relu, tanh), widths, 200)
        assert_agrees(data, compiled(data.program, precision, **choices), batch_size, precision)


@pytest.mark.parametrize("by_units", [False, True])
@pytest.mark.parametrize("lanes", [16, 8, 4])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_vector_width_gives_the_result(lanes, precision, by_units):
    wanted = program(relu, softmax, clip_norm=0.5, gradient_norm=True, optimizer=Adam())
    for widths, batch_size in ((WIDE, 96), ((1, 1, 1, 1), 3), ((5, 17, 33, 2), 1)):
        data = shared(wanted, widths, 2 * batch_size + 1)
        executable = compiled(data.program, precision, vector_width=lanes, by_units=by_units, threads=2)
        assert_agrees(data, executable, batch_size, precision)


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("precision", BOTH)
def test_the_norm_is_known_before_the_update(choices, precision):
    wanted = program(relu, tanh, clip_norm=0.1, gradient_norm=True)
    data = shared(wanted, WIDE, 200)
    assert_agrees(data, compiled(data.program, precision, **choices), 96, precision)


@needs_bf16
@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_in_bfloat16_operands_of_products_are_rounded_and_nothing_else(choices):
    data = shared(program(tanh, tanh), WIDE, 200)
    found = data.run(compiled(data.program, "bfloat16", **choices), 96, "bfloat16")[1]
    rounded, exact = (dict(verification.named_arrays(data.run_on_numpy(96, p)[1])) for p in ("bfloat16", "float64"))
    for name, a in verification.named_arrays(found):
        if "." in name:  # the slots have moved as far as the gradients are long
            own = verification.relative_error(rounded[name], exact[name])
            assert 10 * verification.relative_error(a, rounded[name]) <= own, name


@needs_bf16
@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_forms_that_are_written_past_the_caches_give_the_same_bits(choices, monkeypatch):
    data = Data(program(relu, tanh), WIDE, 200)
    found = []
    for size in (1 << 40, 1):
        monkeypatch.setattr("gdkernels_numba.bytecode.packed.caches", lambda size=size: Caches(second=size, last=size))
        monkeypatch.setattr(KeptSteps, "_idle", OrderedDict())  # which know nothing of these sizes
        executable = compiled(data.program, "bfloat16", **choices)
        found.append(data.run(executable, 96, "bfloat16", 2))
        (bound,) = executable._bound.by_use.values()
        words = {word for stream in bound.writers[0].streams for word in stream.words}
        for what, distant in (("weights", size == 1), ("rows", size == 1 and not bound.choices.tile_local_gradients)):
            assert (bound.kernels.address[f"pack_bf16_distant_{what}"] in words) == distant, what
    (error, state), distant = found
    assert distant[0] == error
    assert bits(distant[1]) == bits(state)


@needs_bf16
def test_the_smallest_steps_in_bfloat16():
    for widths, batch_size in (((1, 1, 1), 3), ((33, 17, 2), 1), ((31, 64, 65), 33)):
        data = Data(program(relu), widths, 2 * batch_size + 1)
        assert_agrees(data, compiled(data.program, "bfloat16"), batch_size, "bfloat16")


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("precision", BOTH)
def test_the_same_plan_gives_the_same_bits(choices, precision):
    data = Data(program(relu, tanh), WIDE, 200)
    first, second = (data.run(compiled(data.program, precision, **choices), 96, precision, 2) for _ in range(2))
    assert first[0] == second[0]
    assert bits(first[1]) == bits(second[1])


def test_the_plan_says_what_was_chosen_and_repeats_it():
    data = Data(program(relu, tanh), WIDE, 200)
    executable = compiled_by_default(data.program, threads=2)
    assert executable.plan == Plan("numba", "cpu", "float32", {"threads": 2})
    data.run(executable, 96)
    assert executable.plan.choices["threads"] == 2
    assert {"tile_rows", "depth_first", "vector_width"} <= executable.plan.choices.keys()
    again = compiled(data.program, **executable.plan.choices)
    assert bits(data.run(again, 96)[1]) == bits(data.run(executable, 96)[1])


@pytest.mark.parametrize(
    ("widths", "batch_size", "threads", "by_units"),
    [
        ((300, 700, 300), 64, 2, True),
        ((300, 700, 300), 65, 2, False),
        ((300, 700, 300), 4, 1, True),
        ((30, 70, 30), 4, 1, False),
    ],
)
def test_few_rows_and_many_weights_are_shared_by_units(widths, batch_size, threads, by_units, monkeypatch):
    monkeypatch.setattr("gdkernels_numba.executable.caches", Caches)
    data = Data(program(tanh), widths, batch_size + 1)
    executable = compiled(data.program, threads=threads)
    assert_agrees(data, executable, batch_size)
    assert executable.plan.choices["by_units"] == by_units


@pytest.mark.parametrize(
    ("widths", "batch_size", "threads", "private", "tile_rows"),
    [
        ((32, 64, 64, 1), 64, 2, True, 32),
        ((32, 64, 64, 1), 64, 1, False, 64),
        ((64, 128, 128, 10), 128, 2, True, 64),
        ((64, 128, 128, 10), 40, 2, False, 40),  # as many weights as the rows leave: by units
        ((64, 128, 128, 10), 500, 2, True, 84),  # of 250 rows: even heights
        ((20, 3, 1), 7, 3, True, 4),
        ((300, 700, 10), 300, 2, False, 76),  # of 150 rows
    ],
)
def test_threads_sum_the_gradients_of_their_own_rows_where_weights_are_few(
    widths, batch_size, threads, private, tile_rows, monkeypatch
):
    monkeypatch.setattr("gdkernels_numba.executable.caches", lambda: Caches(second=1 << 20))
    data = Data(program(*[tanh] * (len(widths) - 2)), widths, 2 * batch_size + 1)
    executable = compiled(data.program, threads=threads)
    assert_agrees(data, executable, batch_size)
    assert executable.plan.choices["depth_first"] == private
    assert executable.plan.choices["tile_rows"] == tile_rows


@needs_bf16
@pytest.mark.parametrize(
    ("widths", "batch_size", "private", "tile_rows"),
    [
        ((43, 34), 132, True, 96),  # 68 and 64, in squares it would be 96 and 36
        ((98, 93), 67, True, 64),
        ((64, 128, 128, 10), 60, True, 32),
        ((64, 128, 128, 10), 40, False, 32),  # more gradients than the rows leave
        ((300, 700, 10), 300, False, 96),
    ],
)
def test_in_bfloat16_rows_of_which_others_read_nothing_are_shared_evenly(
    widths, batch_size, private, tile_rows, monkeypatch
):
    monkeypatch.setattr("gdkernels_numba.executable.caches", lambda: Caches(second=1 << 20))
    data = Data(program(*[tanh] * (len(widths) - 2)), widths, 2 * batch_size + 1)
    # Where there is AMX too, its tiles are higher: the heights here are those of the vectors' route.
    executable = compiled(data.program, "bfloat16", threads=2, product_route=AVX512_BF16)
    assert_agrees(data, executable, batch_size, "bfloat16")
    assert executable.plan.choices["depth_first"] == private
    assert executable.plan.choices["tile_rows"] == tile_rows


@needs_bf16
@pytest.mark.parametrize(
    ("widths", "batch_size", "threads", "by_units"),
    [
        ((300, 700, 300), 31, 2, True),  # one thread would have all
        ((300, 700, 300), 31, 1, False),
        ((300, 700, 300), 50, 2, True),  # 32 and 18
        ((30, 70, 30), 50, 2, False),  # that is over before threads have met a few times
        ((300, 700, 300), 61, 2, False),
        ((300, 700, 300), 129, 2, True),  # 96 and 33
        ((300, 700, 300), 190, 2, False),
    ],
)
def test_squares_of_rows_are_not_shared_unevenly(widths, batch_size, threads, by_units, monkeypatch):
    monkeypatch.setattr("gdkernels_numba.executable.caches", lambda: Caches(second=1 << 20))
    data = Data(program(tanh), widths, batch_size)
    executable = compiled(data.program, "bfloat16", threads=threads)
    assert_agrees(data, executable, batch_size, "bfloat16")
    assert executable.plan.choices["by_units"] == by_units


def test_threads_follow_the_work(monkeypatch):
    monkeypatch.setattr("gdkernels_numba.executable.cores", lambda: 2)
    deep = program(relu, tanh)
    for widths, batch_size, threads in (
        ((8, 32, 32, 1), 32, 1),  # a step is over before two have met
        ((64, 128, 128, 10), 128, 2),
        ((8, 8, 8, 8), 4096, 2),  # hardly any products, but many rows
        ((2000, 8, 8, 8), 1, 1),
        ((2000, 500, 8, 8), 1, 2),  # many weights to change
    ):
        data = Data(deep, widths, batch_size)
        executable = compiled(data.program)
        data.run(executable, batch_size)
        assert executable.plan.choices["threads"] == threads, widths


def test_one_executable_serves_all_batches_and_one_code_all_sizes():
    data = Data(program(relu, tanh), WIDE, 100)
    executable = compiled(data.program)
    for batch_size in (96, 7, 50, 96):
        assert_agrees(data, executable, batch_size)
    others = [Data(program(relu, tanh), widths, 100) for widths in ((3, 4, 5, 6), (7, 7, 7, 7), (1, 1, 1, 1))]
    code = {tuple(map(id, compiled(d.program)._compiled.kernels.owner)) for d in (data, *others)}
    assert len(code) == 1


def test_no_stale_weights_are_used():
    data = Data(program(relu, tanh), (5, 7, 6, 3), 40)
    executable = compiled(data.program)
    state = data.start("float32")
    before = bits(state)
    executable.run(state, data.x, data.y, data.order, 8, data.rates(8))
    kept = executable.predict(state.parameters, data.x)
    for name, start in data.parameters.items():  # restored in place
        state.parameters[name][...] = start
        state.slots[name][0][...] = 0.0
    assert bits(state) == before
    executable.run(state, data.x, data.y, data.order, 8, data.rates(8))
    assert np.array_equal(executable.predict(state.parameters, data.x), kept)


def test_a_large_prediction_is_cut_up():
    data = Data(program(relu, tanh), (5, 7, 6, 3), 10_000)
    executable = compiled(data.program, threads=2)
    whole = executable.predict(data.parameters, data.x)
    for rows in (1, 2, 3, 5, 100, 5000):  # more sizes than are kept
        assert np.array_equal(whole[17 : 17 + rows], executable.predict(data.parameters, data.x[17 : 17 + rows]))


def test_workspace_grows_with_the_batch():
    data = Data(program(relu, tanh), (5, 7, 6, 3), 40)
    executable = compiled(data.program)
    data.run(executable, 8)
    assert 0 < executable.workspace(8) < executable.workspace(64)


@pytest.mark.parametrize(
    "choices",
    [
        {"threads": 0}, {"threads": True}, {"threads": 2**70}, {"threads": "two"}, {"tile_rows": -1},
        {"depth_first": 1}, {"by_units": None}, {"product_depth": 65}, {"product_depth": 64.0}, {"sums_depth": 0},
        {"vector_width": 3}, {"vector_width": [16]}, {"colour": 1}, {"by_units": True, "depth_first": True},
    ],
)  # fmt: skip
def test_what_no_plan_can_ask_for(choices):
    with pytest.raises(InputError, match=f"a plan of the numba backend cannot have .*{next(iter(choices))}"):
        compiled_by_default(program(relu), **choices)
