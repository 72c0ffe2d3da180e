"""Blocks whose weights are computed of parameters, on the CPU engine: beside the definition in float64."""

import itertools

import numpy as np
import pytest
from arranged_units import ARRANGED
from beside_float64 import PLANS, PRECISIONS, check_beside_float64
from computed_weights import KINDS, SETTINGS, SHAPES, Computed, Table, least_of, program_for
from gdkernels_numba import NumbaBackend

from gdkernels.backend import Plan, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.definition.blocks import Columns, Dense, Embedding, Mean, Sequential
from gdkernels.definition.blocks.block import initial_values

# Each kind once in the gate, four of them side by side; by itself on all shapes where time does not count.
TOGETHER = [tuple(KINDS)[k : k + 4] for k in range(0, len(KINDS), 4)]


def cases(groups):
    for k, (kinds, shape) in enumerate(groups):
        plan, setting = list(PLANS)[k % 3], list(SETTINGS)[(k + k // 4) % 4]
        yield kinds, plan, 1 + (k // 3) % 3, setting, PRECISIONS[(k + k // 3) % 3], shape


OFTEN = list(cases(zip(TOGETHER, itertools.cycle(SHAPES), strict=False)))
RARELY = [
    pytest.param(*case, marks=pytest.mark.slow) for case in cases(itertools.product([(k,) for k in KINDS], SHAPES))
]


def program_with(kinds, setting, inputs, units):
    ways = Mean(*(Computed(kind, units) for kind in kinds))
    return program_for(Sequential(Dense(inputs + 2, "tanh"), ways, Dense(3)), setting, inputs)


@pytest.mark.parametrize(("kinds", "plan", "threads", "setting", "precision", "shape"), OFTEN + RARELY)
def test_computed_weights_are_compiled_and_agree_with_float64(kinds, plan, threads, setting, precision, shape):
    inputs, units, records, batch = shape
    program = program_with(kinds, setting, inputs, units)
    least = least_of(precision)
    check_beside_float64(program, plan, threads, precision, records, batch, rate=1e-4, least=least)


@pytest.mark.parametrize(("plan", "threads", "setting", "precision"), [
    ("rows", 3, "Adam, clipped", "bfloat16"), ("tiles", 2, "penalty in the loss", "float64"),
    ("units", 2, "momentum", "float64"), ("rows", 1, "weights", "float32"),
])  # fmt: skip
def test_rows_of_computed_tables_are_looked_up(plan, threads, setting, precision):
    tables = [(0, Table(37, 19)), (1, Table(5, 1)), (2, Embedding(23, 3))]
    network = Sequential(Columns(tables, rest="passthrough"), Dense(3))
    check_beside_float64(program_for(network, setting, 4), plan, threads, precision, 131, 50, rate=1e-4)


@pytest.mark.slow  # blocks that are drawn have most of these functions, in tests/blocks/test_random_blocks.py
@pytest.mark.parametrize(("plan", "threads", "setting", "precision"), [
    ("tiles", 2, "Adam, clipped", "float64"), ("units", 3, "momentum", "float32"), ("rows", 1, "weights", "bfloat16"),
])  # fmt: skip
def test_functions_that_are_made_of_others(plan, threads, setting, precision):
    check_beside_float64(program_for(ARRANGED, setting, 5), plan, threads, precision, 50, 16, rate=1e-3)


def test_bits_do_not_depend_on_threads():
    program = program_with(["by column", "side by side"], "Adam, clipped", 19, 33)
    random = np.random.default_rng(0)
    start = initial_values(program.parameters, random)
    given = random.standard_normal((130, 19)), random.standard_normal((130, 3)), random.permutation(130), 64
    found = []
    for threads in (1, 2, 3):
        plan = Plan("numba", "cpu", "float64", {"threads": threads, "pieces": 2})
        state = verification.start(program, start, np.array)
        bind(NumbaBackend(), program, plan).run(state, *given, np.full(3, 1e-2))
        found.append(b"".join(a.tobytes() for _, a in verification.named_arrays(state)))
    assert found[0] == found[1] == found[2]
