"""The cost of a graph, against counts by hand."""

from itertools import pairwise

import pytest

from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.graph import Graph, cost
from gdkernels.testing.cases import chained


def outputs(step):
    return [step.error, *step.results.values()] + ([] if step.norm is None else [step.norm])


@pytest.mark.parametrize("widths", [[7, 3], [5, 11, 2], [4, 6, 6, 6, 3]])
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_a_training_step(widths, bias):
    # Forward and the gradients of the weights for every layer; the way back to the input for all but the first.
    batch = 13
    functions = (activations.tanh,) * (len(widths) - 1)
    step = chained(functions, widths, bias=bias, objective=Objective(losses.sse), optimizer=SGD()).trace()
    counted = cost(outputs(step), {**step.sizes, "B": batch}, itemsize=4)
    products = sum(m * n for m, n in pairwise(widths))
    assert counted.product_flops == 6 * batch * products - 2 * batch * widths[0] * widths[1]
    assert counted.flops == counted.product_flops + counted.other_flops


def test_everything_else_of_a_small_step_by_hand():
    # One layer, identity, sse, no bias: z = x @ W; error: e = z − y (BK), e·e (BK), sums over units (BK) and records
    # (B), ½ of each record (B). Back: the slope 2·½·(1/B)·e is (1/B)·e (BK); update: η·g and W − η·g (2 n K).
    B, n, K = 5, 3, 2
    settings = {"objective": Objective(losses.sse), "optimizer": SGD()}
    step = chained((activations.identity,), (n, K), bias=False, **settings).trace()
    counted = cost(outputs(step), {**step.sizes, "B": B}, itemsize=8)
    assert counted.product_flops == 2 * (2 * B * n * K)
    assert counted.other_flops == 4 * B * K + 2 * B + 2 * n * K
    # Read once: x, y, W; written once: the error and the new W.
    assert counted.bytes_least == 8 * (B * n + B * K + n * K + 1 + n * K)


def test_bytes_of_one_elementwise_chain():
    graph = Graph()
    b, n = graph.dim("B"), graph.dim("n0")
    z = graph.input("z", (b, n))
    positive = z > 0
    output = graph.where(positive, graph.tanh(z), 0.0)
    counted = cost([output], {"B": 10, "n0": 4}, itemsize=4)
    assert counted.product_flops == 0
    assert counted.other_flops == 40  # a tanh for each; comparing and choosing is free
    assert counted.bytes_least == 2 * 160
    # z → condition (160 + 40), z → tanh (160 + 160), condition and tanh → output (40 + 160 + 160).
    assert counted.bytes_unfused == 200 + 320 + 360
    assert counted.bytes_kept == 40 + 160 + 160


def test_scalars_and_changes_of_shape_are_free():
    graph = Graph()
    z = graph.input("z", (graph.dim("B"), graph.dim("n0")))
    free = cost([z.T, z[:, None], graph.lift(2.0) * 3.0, 1.0 / z.shape[0]], {"B": 10, "n0": 4}, itemsize=4)
    assert free.flops == 0
    assert free.bytes_unfused == free.bytes_kept == 0
    row = cost([graph.sum(z, axis=0)], {"B": 10, "n0": 4}, itemsize=4)
    assert row.other_flops == 40


def test_equal_outputs_are_written_once():
    graph = Graph()
    z = graph.input("z", (graph.dim("B"),))
    output = graph.tanh(z)
    assert cost([output, output], {"B": 3}, itemsize=8) == cost([output], {"B": 3}, itemsize=8)
    assert cost([output], {"B": 3}, itemsize=8).bytes_least == 48


def test_prediction_costs_the_forward_pass():
    step = chained((activations.relu,) * 2, (3, 5, 2)).trace_forward()
    counted = cost([step.output], {**step.sizes, "B": 7}, itemsize=4)
    assert counted.product_flops == 2 * 7 * (15 + 10)
    assert counted.other_flops == 7 * (5 + 2)  # the biases; relu is a choice


def test_adam_costs_more_than_descent():
    costs = []
    for optimizer in (SGD(), SGD(momentum=0.9), Adam()):
        step = chained((activations.identity,), (3, 2), objective=Objective(losses.sse), optimizer=optimizer).trace()
        costs.append(cost(outputs(step), {**step.sizes, "B": 4}, itemsize=4))
    assert costs[0].flops < costs[1].flops < costs[2].flops
    parameters = 4 * (3 * 2 + 2)
    assert costs[1].bytes_least - costs[0].bytes_least == 2 * parameters
    assert costs[2].bytes_least - costs[0].bytes_least == 4 * parameters
