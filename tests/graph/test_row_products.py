"""Products of matrices that each record has of its own: values, slopes, FLOPs, Python code and the engine."""

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from beside_float64 import check_beside_float64
from gdkernels_numba import compilation
from gdkernels_numba.ir.functions import FUNCTIONS

from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import Block, Dense, InitialWeights, Parameter, Sequential
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Adam
from gdkernels.errors import ScheduleError, TraceError
from gdkernels.graph import Graph, interpret, vjps
from gdkernels.graph.cost import cost
from gdkernels.graph.straight_line import straight_line
from gdkernels.lowering.steps import RowProduct
from gdkernels.lowering.task import schedule_training

B, N, K, M = 3, 2, 4, 5
TURNED = list(product((False, True), repeat=2))


def recorded(turned):
    """Return a product on a graph, its operands, their numbers, and the matrices that these are."""
    graph, random = Graph(), np.random.default_rng(0)
    rows = graph.dim("B")
    operands = [graph.input(name, (rows, graph.dim(name, n))) for name, n in (("x", N * K), ("b", K * M))]
    matrices = random.standard_normal((B, N, K)), random.standard_normal((B, K, M))
    numbers = [flat(m, t) for m, t in zip(matrices, turned, strict=True)]
    return graph.row_product(*operands, (N, K, M), turned), operands, dict(zip("xb", numbers, strict=True)), matrices


def flat(matrices, turned):
    return (np.swapaxes(matrices, 1, 2) if turned else matrices).reshape(B, -1)


@pytest.mark.parametrize("turned", TURNED)
def test_values_and_slopes(turned):
    node, operands, point, (a, b) = recorded(turned)
    np.testing.assert_allclose(interpret([node], point, xp=np)[0], flat(a @ b, False))
    computed = straight_line(node, xp=np, dtype=np.float64)
    np.testing.assert_array_equal(computed({"b": point["b"]}, point["x"]), interpret([node], point, xp=np)[0])
    cotangent = np.random.default_rng(1).standard_normal((B, N, M))
    slopes = vjps(node, operands, node.graph.input("ct", node.shape))
    found = interpret(slopes, {**point, "ct": flat(cotangent, False)}, xp=np)
    np.testing.assert_allclose(found[0], flat(cotangent @ np.swapaxes(b, 1, 2), turned[0]))
    np.testing.assert_allclose(found[1], flat(np.swapaxes(a, 1, 2) @ cotangent, turned[1]))


def test_its_flops_are_those_of_a_product_for_each_record():
    node, *_ = recorded((False, False))
    assert (
        cost([node], {"B": B, "x": N * K, "b": K * M, f"n{N * M}": N * M}, itemsize=4).product_flops
        == 2 * B * N * K * M
    )


def test_operands_of_another_size_are_an_error():
    node, (a, b), *_ = recorded((False, False))
    with pytest.raises(TraceError, match="row_product takes numbers"):
        node.graph.row_product(a, b, (N, K, M + 1), (False, False))


@dataclass(frozen=True)
class Attention(Block):
    """Attention between more tokens than have operations of their own, each of some units."""

    units: int

    def parameters(self, inputs):
        return {n: Parameter((self.units, self.units), InitialWeights()) for n in ("Q", "K", "V")}

    def __call__(self, p, a, *, xp, random=None):
        tokens = xp.reshape(a, (-1, a.shape[1] // self.units, self.units))
        scores = xp.exp(xp.tanh(tokens @ p["Q"] @ xp.matrix_transpose(tokens @ p["K"])))
        mixed = scores / xp.sum(scores, axis=2, keepdims=True) @ (tokens @ p["V"])
        return a + xp.reshape(mixed + tokens @ (xp.matrix_transpose(mixed) @ tokens), a.shape)


@pytest.mark.parametrize(
    ("plan", "threads", "precision", "tokens", "units"),
    [("tiles", 2, "float64", 11, 7), ("units", 3, "float32", 9, 19)],
)
def test_many_groups_are_compiled_and_agree_with_float64(plan, threads, precision, tokens, units):
    network = Sequential(Attention(units), Dense(2))
    program = Program(network, tokens * units, Objective(losses.sse, clip_norm=1.0), Adam(), gradient_norm=True)
    check_beside_float64(program, plan, threads, precision, 23, 8, rate=1e-4)


def test_an_engine_can_leave_them_to_the_definition():
    program = Program(Sequential(Attention(4), Dense(2)), 44, Objective(losses.sse), Adam())
    with pytest.raises(ScheduleError, match=r"^it does not multiply many groups of a record by a matrix of its own$"):
        schedule_training(program, FUNCTIONS.keys()).refuse_row_products("it")
    few = Program(Sequential(Attention(4), Dense(2)), 16, Objective(losses.sse), Adam())
    schedule_training(few, FUNCTIONS.keys()).refuse_row_products("it")


@pytest.mark.parametrize(
    ("terms", "width", "fits"), [(2048, 1, True), (2049, 1, False), (128, 256, True), (128, 257, False)]
)
def test_a_matrix_of_a_record_has_its_place_on_the_stack_in_whole_vectors(terms, width, fits):
    graph = Graph()
    rows = graph.dim("B")
    a, b = (graph.input(name, (rows, graph.dim(name, n))) for name, n in (("x", 2 * terms), ("b", terms * width)))
    step = RowProduct(graph.row_product(a, b, (2, terms, width), (False, False)), a, b)
    with nullcontext() if fits else pytest.raises(ScheduleError, match=f"of {terms} by {width} numbers"):
        compilation._check_row_products([step])
