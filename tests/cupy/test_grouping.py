"""Operations that run in one launch wait for nothing of each other, and do what they do alone."""

import re
from dataclasses import replace

import numpy as np
import pytest
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.calls import calls_of, module_text
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES, applicable
from gdkernels_cupy.graphs.grouping import OperationGroup, RecordedTotal, grouped
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.memory_plan import plan_memory
from gdkernels_cupy.graphs.operations import OperationList, matrix
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS
from programs import case_of, started
from test_kernels import Kernels
from twin import Twin

from benchmarks.gpu.typical import network
from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.lowering.task import schedule_training
from gdkernels.testing.cases import CASES

TRAINED = [name for name, case in CASES.items() if case.program.optimizer is not None]


def members(launch):
    return launch.members if isinstance(launch, OperationGroup) else (launch,)


def plainly(launches, backwards):
    """Return the operations one by one, those of a group in one order or the other."""
    for launch in launches:
        for member in members(launch)[:: -1 if backwards else 1]:
            yield from (member.total, member.record) if isinstance(member, RecordedTotal) else (member,)


def stepped(name, pieces=None, launches=None, epilogues=EPILOGUES):
    """Return what two steps leave, in the memory of these launches or of the operations one after the other."""
    interpreter, (arrays, rows, scalars) = started(name, "float64", pieces=pieces, epilogues=epilogues)
    before = interpreter.store()
    if launches is not None:
        interpreter.offsets, size = plan_memory(interpreter.op_list)
        interpreter.memory = np.full(size, 0xFF, np.uint8)
        interpreter.load(before)
        interpreter.op_list = replace(interpreter.op_list, operations=tuple(launches(interpreter.op_list)))
    for _ in range(2):
        interpreter.step(arrays, rows, scalars)
    return [interpreter.sums.tobytes(), *(a.tobytes() for a in interpreter.store().values())]


@pytest.mark.parametrize(("parts", "epilogues", "names"), [
    (1, EPILOGUES, TRAINED), (1, (), TRAINED[::2]), (3, EPILOGUES, TRAINED[1::3]),
], ids=["epilogues", "none", "micro-batches"])  # fmt: skip
def test_groups_do_the_same_in_whatever_order_their_members_run(parts, epilogues, names):
    for name in names:
        case = case_of(name)
        batch = min(case.batch_size, case.records)
        pieces = [batch // parts + (k < batch % parts) for k in range(parts)]
        if 0 in pieces:
            continue
        plain = stepped(name, pieces, epilogues=epilogues)
        for backwards in (False, True):
            together = stepped(name, pieces, lambda one, b=backwards: plainly(grouped(one), b), epilogues)
            assert together == plain, (name, backwards)


def test_every_operation_is_launched_once():
    for name in TRAINED:
        interpreter, _ = started(name, "float32")
        listed = list(plainly(grouped(interpreter.op_list), backwards=False))
        assert sorted(map(repr, listed)) == sorted(map(repr, interpreter.op_list.operations))


@pytest.mark.parametrize("name", ["wide", "adam", "wide norm"])
def test_a_group_is_to_the_bit_what_its_members_are(made, name):
    wanted, given = started(name, "float32", make=Kernels)
    found, _ = started(name, "float32", make=Kernels)
    launches = grouped(wanted.op_list)
    alone = [m for launch in launches for m in members(launch)]
    twin = Twin(module_text([launches, alone]), made)
    seen = 0
    for run in (wanted, found):
        run.twin = twin
        run.begin_step(*given)
    for launch in launches:
        if isinstance(launch, ops.MatrixProduct):
            wanted.multiply(launch)
            found.multiply(launch)
            continue
        for run, some in ((wanted, members(launch)), (found, (launch,))):
            for one in some:
                for call in calls_of(one, run.op_list, len(run._order), run):
                    twin(call.name, call.shape.grid, call.shape.block, call.arguments)
        seen += len(members(launch)) > 1
        assert np.array_equal(found.memory, wanted.memory)
        assert np.array_equal(found.numbers, wanted.numbers, equal_nan=True)
        assert np.array_equal(found.sums, wanted.sums)
        assert np.array_equal(found.cells[:2], wanted.cells[:2])
    assert seen >= 2
    assert found.cells[0] == 1, "the next step begins"


def test_kernels_have_no_more_arguments_than_every_device_takes():
    many = network(activations.relu, (8,) * 125, Adam())
    task = schedule_training(replace(many, gradient_norm=True), CUDA_FUNCTIONS)
    op_list = lower(task, task.sizes_with(64), "float32", (64,), EPILOGUES)
    launches = grouped(op_list)
    groups = [launch for launch in launches if isinstance(launch, OperationGroup)]
    assert len(groups) > 3
    nowhere = Kernels(op_list, "float32")
    nowhere.offsets, _ = plan_memory(op_list)
    groups += grouped_with_a_gather(nowhere.offsets)
    for group in groups:
        (call,) = calls_of(group, op_list, 64, nowhere)
        assert sum(a.nbytes for a in call.arguments) <= 4096


def grouped_with_a_gather(offsets):
    """Return the groups of much that waits for nothing, such as what many blocks compute of their parameters."""
    squares = [matrix(f"{name}{k}", 4, 4, "float32") for k in range(120) for name in "ab"]
    moves = [ops.Transpose(*pair) for pair in zip(squares[::2], squares[1::2], strict=True)]
    gather = ops.GatherRows("x", 0, 4, 4, matrix("x there", 4, 4, "float32"))
    lasting = (*squares, gather.target)
    offsets |= {buffer.name: 0 for buffer in lasting}
    groups = grouped(OperationList((ops.BeginStep(), *moves, gather), lasting, {}, {}, (), 2))
    assert gather in groups[0].members
    assert sum(len(group.members) for group in groups) == len(moves) + 2
    return list(groups)


# The nodes of a step of four square layers: operations, launches with all epilogues, launches with none.
NODES = {
    ("relu", "float32", SGD()): (21, 14, 21),
    ("relu", "tf32", Adam()): (25, 14, 21),
    ("gelu", "float64", Adam()): (25, 14, 21),
    ("tanh", "float32", SGD()): (27, 20, 21),
    ("relu", "bfloat16", Adam()): (29, 15, 21),
}


@pytest.mark.parametrize("setting", NODES, ids=str)
def test_how_many_nodes_a_step_has(setting):
    function, precision, optimizer = setting
    task = schedule_training(network(getattr(activations, function), (64,) * 5, optimizer), CUDA_FUNCTIONS)
    lists = [lower(task, task.sizes_with(1024), precision, (1024,), e) for e in (applicable(precision), ())]
    assert (len(lists[0].operations), *(len(grouped(one)) for one in lists)) == NODES[setting]


def test_gathers_of_streamed_data_stay_alone():
    interpreter, _ = started("wide", "float32")
    launches = grouped(interpreter.op_list, streamed=True)
    assert sum(isinstance(launch, ops.GatherRows) for launch in launches) == 2


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_groups_compile_and_nothing_spills(nvrtc, architecture):
    names, precision = (("adam", "wide norm"), "float32") if architecture == "sm_80" else (("softmax-mse",), "bfloat16")
    lists = [grouped(started(name, precision)[0].op_list) for name in names]
    _, ptx, log = nvrtc.compiled(module_text(lists), architecture)
    assert ptx.count(".entry group_") >= 2 * len(names)
    assert set(re.findall(r"(\d+) bytes spill (?:stores|loads)", log)) == {"0"}
    assert max(int(n) for n in re.findall(r"Used (\d+) registers", log)) <= 128
