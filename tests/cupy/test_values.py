"""What is computed of parameters alone on CUDA: beside the definition in float64, as lists and by the kernels."""

import itertools
from collections import Counter

import numpy as np
import pytest
from beside_float64 import compare_with_float64
from computed_weights import KINDS, SETTINGS, SHAPES, Computed, Table, least_of, program_for, program_of
from gdkernels_cupy import CuPyBackend
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.calls import calls_of
from gdkernels_cupy.graphs.epilogue_fusion import applicable
from gdkernels_cupy.graphs.interpret import Interpreter
from gdkernels_cupy.graphs.jobs import fixed_source
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.operations import OperationList, matrix
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS, kernel_name, preamble
from gdkernels_cupy.persistent.fitting import sources_of
from host_runs import OnHost
from interpreted import Interpreted
from programs import module
from test_kernels import aligned
from test_nvrtc import check
from twin import Twin

from gdkernels.backend import PRECISIONS, Plan
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import Block, Columns, Dense, Embedding, Mean, Parameter, Sequential
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import ScheduleError
from gdkernels.lowering.task import schedule_prediction, schedule_training

# How a batch is summed: (micro-batches, shards).
SUMMED = {"whole": (1, None), "in three parts": (3, None), "in five shards": (1, 5)}

# Each kind once in the gate, in everything else by turns; the product of all where time does not count.
OFTEN = [
    (
        kind,
        SHAPES[k % 3],
        list(SETTINGS)[k % 4],
        PRECISIONS[(k + k // 4) % 4],
        list(SUMMED)[(k + k // 3) % 3],
        k % 2 == 0,
    )
    for k, kind in enumerate(KINDS)
]
ALL = itertools.product(KINDS, SHAPES, SETTINGS, PRECISIONS, SUMMED, (False, True))
RARELY = [pytest.param(*case, marks=pytest.mark.slow) for case in ALL if case not in OFTEN]


@pytest.mark.parametrize(("kind", "shape", "setting", "precision", "summed", "fused"), OFTEN + RARELY)
def test_each_kind_as_a_list(kind, shape, setting, precision, summed, fused):
    inputs, units, records, batch = shape
    program, (pieces, shards) = program_of(kind, setting, inputs, units), SUMMED[summed]
    backend = Interpreted(applicable(precision) if fused else (), pieces, shards=shards)
    executable = backend.compile(program, Plan("interpreted", "cpu", precision))
    compare_with_float64(executable, program, precision, records, batch, rate=1e-4, least=least_of(precision))


@pytest.mark.parametrize(
    ("setting", "precision", "summed"),
    [("Adam, clipped", "float32", "whole"), ("penalty in the loss", "float64", "in five shards"),
     ("momentum", "bfloat16", "in three parts"), ("weights", "tf32", "whole")],
)  # fmt: skip
def test_rows_of_computed_tables_are_looked_up(setting, precision, summed):
    tables = [(0, Table(37, 19)), (1, Table(5, 1)), (2, Embedding(23, 3))]
    network = Sequential(Columns(tables, rest="passthrough"), Dense(3))
    program, (pieces, shards) = program_for(network, setting, 4), SUMMED[summed]
    executable = Interpreted(applicable(precision), pieces, shards=shards).compile(
        program, Plan("interpreted", "cpu", precision)
    )
    compare_with_float64(executable, program, precision, 131, 50, rate=1e-4)


# ---- by the kernels


def side_by_side(kinds, setting, inputs, units):
    """Return a program of some kinds: one module has all their kernels."""
    ways = [Sequential(Computed(kind, units), Dense(3)) for kind in kinds]
    return program_for(Sequential(Dense(inputs + 2, "tanh"), Mean(*ways)), setting, inputs)


WIDE = (300, 257, 700, 512)
PARTS = [list(KINDS)[k::4] for k in range(4)]
RUNS = [
    (part, PRECISIONS[(k + turn) % 4], list(SETTINGS)[(k + 2 * turn) % 4], (*SHAPES, WIDE)[(k + 3 * turn) % 4])
    for turn in range(2)
    for k, part in enumerate(PARTS)
]


def compare_kernels(backend, kinds, precision, setting, shape):
    inputs, units, records, batch = shape
    program, choices = side_by_side(kinds, setting, inputs, units), {"kernel": "graphs"}
    executable = backend.compile(program, Plan("cupy", "cuda:0", precision, choices))
    where = {"put": lambda a: backend.asarray(a, dtype=str(a.dtype), device="cuda:0"), "to_numpy": backend.to_numpy}
    compare_with_float64(executable, program, precision, records, batch, rate=1e-4, least=least_of(precision), **where)
    assert executable.plan.choices["kernel"] == "graphs"


@pytest.mark.slow  # to compile them takes longer than the rest; some are in the conformance suite
@pytest.mark.parametrize(("kinds", "precision", "setting", "shape"), RUNS)
def test_the_kernels_on_the_host(host, kinds, precision, setting, shape):
    backend = OnHost()
    backend.precisions = (precision,)
    compare_kernels(backend, kinds, precision, setting, shape)


@pytest.mark.gpu
@pytest.mark.parametrize(("kinds", "precision", "setting", "shape"), RUNS)
def test_the_kernels_on_a_gpu(kinds, precision, setting, shape):
    compare_kernels(CuPyBackend(), kinds, precision, setting, shape)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_120"])
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_the_kernels_compile(nvrtc, precision, architecture):
    loops = {}
    for kind in KINDS:
        program = program_of(kind, "Adam, clipped", 9, 5)
        for task in (schedule_training(program, CUDA_FUNCTIONS), schedule_prediction(program, CUDA_FUNCTIONS)):
            listed = lower(task, task.sizes_with(16), precision, [16], applicable(precision)).operations
            loops |= {kernel_name(op.kernel): op.kernel for op in listed if isinstance(op, ops.LoopPass)}
    check(nvrtc, loops.values(), architecture)


def transposed(text, made, storage, rows, columns):
    """Return by how many numbers a transpose of random ones is wrong."""
    source, target = matrix("source", rows, columns, storage), matrix("target", columns, rows, storage)
    op = ops.Transpose(source, target)
    memory = Interpreter(OperationList((op,), (source, target), {}, {}, (), 2), storage)
    memory.memory = aligned(memory.memory)
    values = np.random.default_rng(0).standard_normal((rows, columns))
    memory.write(source, values)

    class At:
        control = 0

        @staticmethod
        def of(buffer):
            return memory.memory.ctypes.data + memory.offsets[buffer.name]

    (call,) = calls_of(op, memory.op_list, 1, At)
    Twin(text, made)(call.name, call.shape.grid, call.shape.block, call.arguments)
    return int((memory.read(target) != values.T.astype(storage)).sum())


@pytest.mark.parametrize("storage", ["float32", "float64"])
def test_matrices_of_any_size_are_transposed(made, storage):
    for rows, columns in ((2, 2), (32, 32), (70, 45), (3, 100), (33, 64)):
        assert transposed(module(storage), made, storage, rows, columns) == 0


@pytest.mark.slow
def test_a_transpose_that_does_not_wait_is_caught(made):
    text = preamble() + fixed_source()
    before = "            square[k][at.x] = from[(row + k) * from_pitch + column + at.x];\n    __syncthreads();\n"
    assert text.count(before) == 1
    without = text.replace(before, before.replace("    __syncthreads();\n", ""))
    assert transposed(without, made, "float32", 70, 45) > 0


def test_the_persistent_kernel_declines_by_name():
    program = program_of("square", "momentum", 6, 5)
    with pytest.raises(ScheduleError, match="it takes parameters as weights, and none that are computed of them"):
        next(sources_of(program, "tf32", 1 << 20))


# ---- what a list has


def operations(block, inputs=6, optimizer=None, precision="float32"):
    program = Program(block, inputs, Objective(losses.sse), optimizer or SGD())
    task = schedule_training(program, CUDA_FUNCTIONS)
    return lower(task, task.sizes_with(8), precision, (8,), applicable(precision))


def test_products_transpose_what_they_read():
    """Of V Vᵀ V and its pull-back, no kernel transposes anything."""
    found = Counter(type(op) for op in operations(Sequential(Computed("gram", 5), Dense(3))).operations)
    assert found[ops.Transpose] == 0
    assert found[ops.MatrixProduct] == 2 + 4 + 5, "those of parameters, of the way back to them, and of the batch"
    turned = operations(Sequential(Computed("symmetric", 5), Dense(3))).operations
    assert sum(isinstance(op, ops.Transpose) for op in turned) == 1, "of what a loop adds"


def test_what_stands_for_weights_is_no_parameter():
    found = operations(Sequential(Dense(7, "tanh"), Computed("low rank", 5), Dense(3)), precision="bfloat16")
    assert set(found.parameters) == {"W0", "b0", "A1", "B1", "c1", "W2", "b2"}
    assert set(found.copies) == {"W0", "W2"}, "those of computed weights are made in every step"
    assert not {b.name for b in found.lasting} & {"=0", "=1"}


class Once(Block):
    """a V + tanh(a) V²: the weights are read as they are, and others are computed of them."""

    def parameters(self, inputs):
        return {"V": Parameter((inputs, 5), lambda shape, random: random.normal(size=shape))}

    def outputs(self, inputs):
        return 5

    def __call__(self, p, a, *, xp, random=None):
        return xp.matmul(a, p["V"]) + xp.matmul(xp.tanh(a), p["V"] ** 2)


def test_parameters_that_others_are_computed_of_move_after_the_way_back():
    """An update in a product would be too early for a gradient that is pulled back at the parameter as it was."""
    listed = operations(Sequential(Once(), Dense(3))).operations
    writes = [k for k, op in enumerate(listed) if any(name == "V0" for name, _ in op.access().writes)]
    reads = [k for k, op in enumerate(listed) if "V0" in op.access().reads]
    assert writes == [max(reads)]
