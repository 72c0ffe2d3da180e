"""A schedule keeps some values, computes others again, and divides the work into phases."""

import pytest

from gdkernels.backend.program import Program
from gdkernels.definition import activations, losses
from gdkernels.definition.blocks import Dense, LayerNorm, Residual, Sequential
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.errors import ScheduleError
from gdkernels.lowering.schedule import PREDICTION, schedule
from gdkernels.lowering.steps import Accumulation, Gather, Loop, Product, kind_of
from gdkernels.lowering.task import schedule_training
from gdkernels.testing.cases import chained, varied


def scheduled(*functions, **options):
    plain = chained(functions, (5, 7, 6, 3)[: len(functions) + 1], objective=Objective(losses.sse), optimizer=SGD())
    traced = varied(plain, **options).trace()
    totals = [traced.error] if traced.norm is None else [traced.error, traced.norm]
    return schedule(traced.graph, traced.batch, traced.results, totals)


def kept(result):
    return [str(b.width) for b in result.buffers if b.kept]


relu, tanh, gelu, identity = activations.relu, activations.tanh, activations.gelu, activations.identity


def test_the_steps_of_a_network_in_their_order():
    result = scheduled(relu, identity)
    kinds = [type(s) for s in result.tile]
    assert kinds[:2] == [Gather, Gather]
    assert kinds[2:6] == [Product, Loop, Product, Loop]
    assert kinds.count(Product) == 3, "two forward, one back"
    assert kinds.count(Accumulation) == 4, "two weight matrices, two biases"
    assert len(result.updates) == 1
    assert list(result.updates[0]) == ["W0", "b0", "W1", "b1"]


@pytest.mark.parametrize("f", [relu, tanh, activations.leaky_relu, activations.identity])
def test_what_the_way_back_needs_follows_from_the_output(f):
    result = scheduled(f, identity)
    # x, the hidden layer's output and its gradient, and the gradient at the output
    assert sorted(kept(result)) == ["n5", "n6", "n7", "n7"]
    assert sum(str(b.width) == "n7" for b in result.buffers) == 2, "z and its output share memory"


def test_what_is_costly_is_stored_and_the_rest_computed_again():
    result = scheduled(gelu, identity)
    stored = [n.op for n in result.stored.values() if str(n.shape[-1]) == "n7"]
    assert stored.count("tanh") == 1
    assert len(stored) == 5, "z, tanh, the output, and what comes back before and after the slope"


def test_softmax_reduces_along_the_units_stage_by_stage():
    result = scheduled(relu, identity, loss=losses.cross_entropy)
    assert next(n.op for n in result.columns) == "max"
    assert len(result.columns) > 2
    stages = [s.stage for s in result.tile if isinstance(s, Loop) and s.reductions]
    assert stages == sorted(stages)


def test_clipping_makes_a_second_phase():
    assert len(scheduled(relu, identity, clip_norm=1.0).updates) == 2
    assert len(scheduled(relu, identity, gradient_norm=True).updates) == 2
    assert len(scheduled(relu, identity, optimizer=Adam()).updates) == 1


def test_slots_are_written_with_their_parameter():
    result = scheduled(relu, identity, optimizer=Adam())
    assert result.written["W1"] == ("W1", "W1.0", "W1.1")
    assert [len(loop.outputs) for loop in result.updates[0].values()] == [3] * 4


def test_a_prediction_is_scheduled_without_an_update():
    traced = chained((relu, activations.softmax), (5, 7, 3)).trace_forward()
    result = schedule(traced.graph, traced.batch, {PREDICTION: traced.output})
    assert not result.updates
    assert not any(b.kept for b in result.buffers)
    assert traced.output.id in result.buffer_of


def test_prediction_buffers_are_used_again():
    for widths, count in (((2, 3, 4, 5, 6, 7, 8), 7), ((5, 5, 5, 5, 5, 5, 5), 2)):
        traced = chained((tanh,) * 6, widths).trace_forward()
        result = schedule(traced.graph, traced.batch, {PREDICTION: traced.output})
        assert len(result.buffers) == count, "one for each width, and for a product another than its operand's"


def test_shapes_that_have_no_place_are_named():
    traced = chained((relu, identity), (5, 7, 3), objective=Objective(losses.sse), optimizer=SGD()).trace()
    graph = traced.graph
    turned = graph.expand_dims(graph.sum(next(n for n in graph.nodes if n.attribute == "x"), axis=1), axis=0)
    with pytest.raises(ScheduleError, match="has a shape"):
        kind_of(turned, traced.batch)


@pytest.mark.parametrize("depth", [2, 12])
def test_a_loop_of_a_residual_network_reads_no_more_where_it_is_deeper(depth):
    block = Sequential(Dense(7), *[Residual(LayerNorm(), Dense(7, "relu"))] * depth, Dense(3))
    program = Program(block, 5, Objective(losses.sse), SGD())
    task = schedule_training(program, {"exp", "tanh"})
    matrices = [
        [n for n in loop.reads if len(n.shape) == 2 and n.shape[0] is task.batch] for loop in task.schedule.loops
    ]
    assert max(map(len, matrices)) <= 6
    assert len(set(task.recipes.values())) <= 25  # the blocks share their loops
