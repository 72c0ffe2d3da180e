"""The list of operations, run by its interpreter, is the definition: for everything that is compiled."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest
from few_cases import FEW_CASES
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES
from gdkernels_cupy.graphs.interpret import Interpreter
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.operations import OperationList, matrix, vector
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS
from interpreted import Interpreted

from gdkernels.backend import Plan, verification
from gdkernels.definition import activations
from gdkernels.definition.blocks import Block, Parameter
from gdkernels.definition.blocks.dense import InitialWeights
from gdkernels.definition.optimizers import SGD, AdamW
from gdkernels.lowering.task import schedule_training
from gdkernels.testing import BackendConformance
from gdkernels.testing.cases import CASES, compare, on_backend, on_numpy_once, varied

RELU = replace(CASES["wide"].program, optimizer=SGD())


class TestInterpreted(BackendConformance):
    epochs = 1

    @pytest.fixture
    def backend(self):
        return Interpreted()


@pytest.mark.parametrize("name", FEW_CASES)
def test_the_sum_over_shards_is_that_of_the_batch(name):
    """Five shards of which some are larger, and none has a row where the last batch is small."""
    found = on_backend(Interpreted(shards=5), "cpu", "float32", CASES[name], 1)
    own, wanted = (on_numpy_once(CASES[name], p, 1) for p in ("float32", "float64"))
    compare(found, [own], wanted, "float32")


SETTINGS = {
    "plain": {},
    "no bias": {"bias": False},
    "l2": {"l2": 0.1},
    "l2 in the loss": {"l2": 0.2, "l2_in_loss": True},
    "decay": {"optimizer": AdamW(weight_decay=0.1)},
    "clipped": {"clip_norm": 0.2},
    "sum": {"reduction": "sum"},
    "gelu": {"activations": (activations.gelu, activations.gelu, activations.identity)},
    "gelu before relu": {"activations": (activations.gelu, activations.relu, activations.identity)},
    "gelu at the end, no bias": {"activations": (activations.relu, activations.gelu, activations.gelu), "bias": False},
    "one activation for all": {"activations": (activations.relu,) * 3},
    "identity": {"activations": (activations.identity,) * 3},
}


ROUTES = [
    EPILOGUES, (), ("bias",), ("relu",), ("relu", "drelu"), ("relu", "drelu", "drelu sums"), ("gelu",),
    ("gelu", "dgelu"), ("gelu", "dgelu", "dgelu sums", "sums"), ("sums",), ("update",), ("relu", "bias rows"),
    ("relu", "bias rows", "drelu", "sums"),
]  # fmt: skip


WAYS = list(product((1, 3), ("float64", "float32", "bfloat16")))  # pieces and precision


@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(1, len(WAYS)))])
@pytest.mark.parametrize("epilogues", ROUTES)
def test_every_route_is_the_definition(epilogues, turn):
    """Every setting goes every route in one of the ways, by turns; in the others where there is time."""
    for k, changes in enumerate(SETTINGS.values(), start=ROUTES.index(epilogues) + turn):
        pieces, precision = WAYS[k % len(WAYS)]
        program = varied(RELU, **changes, widths=(9, 13, 11, 3))
        case = replace(CASES["narrow in, wide out"], program=program, steps=3)
        found = on_backend(Interpreted(epilogues, pieces), "cpu", precision, case, 1)
        compare(found, [on_numpy_once(case, precision, 1)], on_numpy_once(case, "float64", 1), precision)


def operations(program, epilogues=EPILOGUES, precision="float32", pieces=(8,), widths=(9, 13, 11, 3)):
    task = schedule_training(varied(program, widths=widths), CUDA_FUNCTIONS)
    return lower(task, task.sizes_with(sum(pieces)), precision, pieces, epilogues).operations


def test_plain_descent_with_relu_is_products_and_little_else():
    found = operations(RELU)
    products = [op for op in found if isinstance(op, ops.MatrixProduct)]
    assert [p.epilogue.kind for p in products] == ["relu", "relu", "", "drelu", "sums", "drelu", "", ""]
    sums = [p.epilogue.bias.name for p in products if p.epilogue.is_slope or p.epilogue.kind == "sums"]
    assert len(set(sums)) == 3, "each bias has its gradient from a product"
    updates = [p for p in products if isinstance(p.alpha, int)]
    assert [p.out.name for p in updates] == ["W2", "W1", "W0"]
    loops = [op for op in found if isinstance(op, ops.LoopPass)]
    assert [loop.kernel.recipe.kind for loop in loops].count("matrix") == 1, "the loss is the only pass over a matrix"


GELU = varied(RELU, activations=(activations.gelu, activations.gelu, activations.identity))


def test_gelu_leaves_its_argument_for_its_slope():
    found = operations(GELU)
    products = [op for op in found if isinstance(op, ops.MatrixProduct)]
    assert [p.epilogue.kind for p in products] == ["gelu", "gelu", "", "dgelu", "sums", "dgelu", "", ""]
    first, second, _, back, _, back_again, *_ = (p.epilogue.auxiliary for p in products)
    assert (back.name, back_again.name) == (second.name, first.name)
    assert (first.storage, first.pitch) == ("float32", 16)
    loops = [op for op in found if isinstance(op, ops.LoopPass)]
    assert [loop.kernel.recipe.kind for loop in loops].count("matrix") == 1, "the loss is the only pass over a matrix"


def test_gelu_without_its_slope_is_left_to_a_loop():
    """The loop keeps tanh for the way back, which the product would not."""
    for precision, epilogues in (("float32", ("bias", "gelu")), ("bfloat16", EPILOGUES)):
        found = operations(varied(GELU, bias=False), epilogues, precision)
        assert not [op for op in found if isinstance(op, ops.MatrixProduct) and "gelu" in op.epilogue.kind]


def test_an_activation_that_is_almost_gelu_is_not_taken():
    def almost(z, *, xp):
        return 0.5 * z * (1.0 + xp.tanh(0.7978845608028654 * (z + 0.0447 * z * z * z)))

    def mine(z, *, xp):
        return activations.gelu(z, xp=xp)

    for function, kinds in ((almost, set()), (mine, {"gelu", "dgelu"})):
        found = operations(varied(RELU, activations=(function, function, activations.identity)))
        assert {op.epilogue.kind for op in found if isinstance(op, ops.MatrixProduct)} & {"gelu", "dgelu"} == kinds


def added(a, z, V, *, xp):
    return xp.matmul(xp.matmul(a, V), V.T) + z


def multiplied(a, z, V, *, xp):
    return xp.matmul(a, V) + xp.matmul(z, V)


@dataclass(frozen=True)
class Past(Block):
    """A connection past an activation."""

    function: Any
    end: Any

    def parameters(self, inputs):
        weights = Parameter((inputs, inputs), InitialWeights())
        return {"W": weights, "V": weights}

    def __call__(self, p, a, *, xp, random=None):
        z = xp.matmul(a, p["W"])
        return self.end(self.function(z, xp=xp), z, p["V"], xp=xp)


@pytest.mark.parametrize("function", [activations.relu, activations.gelu])
@pytest.mark.parametrize("end", [added, multiplied])
def test_a_product_that_others_read_too_keeps_its_result(end, function):
    program = replace(RELU, block=Past(function, end), inputs=6)
    draw = np.random.default_rng(0).standard_normal
    parameters, x = {"W": draw((6, 6)), "V": draw((6, 6))}, draw((8, 6))
    found = Interpreted().compile(program, Plan("interpreted", "cpu", "float64")).predict(parameters, x)
    assert verification.relative_error(found, program.forward(parameters, x, xp=array_api_compat.numpy)) < 1e-12


def test_weights_move_after_the_last_product_that_needs_them():
    for program in (RELU, CASES["sgd"].program):
        found = operations(program)
        for at, op in enumerate(found):
            if isinstance(op, ops.MatrixProduct) and isinstance(op.alpha, int):
                later = [p for p in found[at + 1 :] if isinstance(p, ops.MatrixProduct) and p.right.name == op.out.name]
                assert not later


def test_a_norm_keeps_updates_out_of_products():
    for changes in ({"gradient_norm": True}, {"clip_norm": 1.0}, {"l2": 0.1, "l2_in_loss": True}):
        found = operations(varied(RELU, **changes))
        assert not [op for op in found if isinstance(op, ops.MatrixProduct) and isinstance(op.alpha, int)]


def test_bfloat16_sums_what_was_not_rounded_unless_a_product_takes_the_slope():
    found = operations(RELU, precision="bfloat16")
    products = [op for op in found if isinstance(op, ops.MatrixProduct)]
    assert [p.epilogue.kind for p in products] == ["relu", "relu", "", "drelu", "", "drelu", "sums", "sums"]
    slopes, sums = ([p for p in products if p.epilogue.kind == kind] for kind in ("drelu", "sums"))
    assert {p.out.storage for p in slopes} == {"bfloat16"}
    assert [p.right for p in sums] == [p.out for p in slopes], "the sum of what the gradient's product multiplies"
    assert {p.epilogue.bias.storage for p in sums} == {"float32"}
    assert [op.values.storage for op in found if isinstance(op, ops.ColumnSums)] == ["float32"], "of the outputs"
    without = [e for e in EPILOGUES if e != "sums"]
    for given in (operations(RELU, without, "bfloat16"), operations(RELU, EPILOGUES, "bfloat16", pieces=(4, 4))):
        kinds = {op.epilogue.kind for op in given if isinstance(op, ops.MatrixProduct)}
        assert kinds == {"relu", ""}, "sums that nobody makes of rounded values keep the slope out of products"
        assert {op.values.storage for op in given if isinstance(op, ops.ColumnSums)} == {"float32"}


def test_the_bits_of_a_slope_reach_over_the_ones():
    found = operations(RELU, precision="bfloat16", widths=(6, 126, 126, 3))
    products = [op for op in found if isinstance(op, ops.MatrixProduct) and op.epilogue.auxiliary is not None]
    first, second, *slopes = products
    assert (first.out.columns, first.epilogue.auxiliary.columns) == (136, 32), "126, three ones, and zeros"
    assert (second.out.columns, second.epilogue.auxiliary.columns) == (126, 16)
    assert [p.epilogue.auxiliary for p in slopes] == [second.epilogue.auxiliary, first.epilogue.auxiliary]


def test_the_bias_of_a_product_in_bfloat16_is_rows_of_its_weights():
    found = operations(RELU, precision="bfloat16")
    borders = [op for op in found if isinstance(op, ops.BiasRows)]
    first, second = [op for op in found if isinstance(op, ops.MatrixProduct) and op.epilogue.kind == "relu"]
    assert [b.ones for b in borders] == [True, False], "the last one multiplies with no bias in bfloat16"
    assert [p.right for p in (first, second)] == [b.weights for b in borders]
    assert first.left.columns == first.right.rows == first.left.pitch
    assert (first.out.name, first.out.columns) == (second.left.name, second.left.columns), "ones, for the next product"
    gather = next(op for op in found if isinstance(op, ops.GatherRows) and op.target.name == first.left.name)
    assert gather.border
    tanh = varied(RELU, activations=(activations.tanh, activations.relu, activations.identity))
    assert not [op for op in operations(tanh, precision="bfloat16") if isinstance(op, ops.BiasRows)], "nothing has ones"


def test_the_parts_of_a_bias_are_exact():
    op = ops.BiasRows(vector("b", 40, "float32"), matrix("W", 24, 48, "bfloat16"), 20, 40, True)
    interpreter = Interpreter(OperationList((op,), (op.bias, op.weights), {}, {}, (), 2), "bfloat16")
    random = np.random.default_rng(0)
    bias = (random.standard_normal(40) * 2.0 ** random.integers(-60, 60, 40)).astype(np.float32)
    bias[:3] = np.nan, np.inf, -np.inf
    interpreter.write(op.bias, bias)
    interpreter.write(op.weights, 7.0)
    interpreter.step({}, np.arange(0), np.zeros(0))
    found = interpreter.read(op.weights)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(found[20:23, :40].astype(np.float64).sum(axis=0), bias, equal_nan=True)
    assert (found[:20, :40] == 7.0).all(), "the weights are not its own"
    assert found[20, 40:].tolist() == [1.0] * 3 + [0.0] * 5
    assert not found[:20, 40:].any()
    assert not found[21:, 40:].any()
    assert not found[23, :40].any()


def test_bfloat16_without_biases_takes_relu_into_its_products():
    found = operations(varied(RELU, bias=False), precision="bfloat16")
    products = [op for op in found if isinstance(op, ops.MatrixProduct)]
    assert [p.epilogue.kind for p in products] == ["relu", "relu", "", "drelu", "", "drelu", "", ""]
    assert products[0].out.storage == products[3].out.storage == "bfloat16"


def test_micro_batches_need_less_memory_and_add_up():
    wide = (16, 512, 512, 4)
    whole, parts = (operations(RELU, pieces=p, widths=wide) for p in ((4096,), (1024,) * 4))
    sizes = [sum(b for op in found for _, b in op.access().writes) for found in (whole, parts)]
    assert sizes[0] < sizes[1], "each part has buffers of its own name"
    from gdkernels.lowering.allocation import allocate

    lasting = [(f"W{k}", 1) for k in range(3)] + [(f"b{k}", 1) for k in range(3)]
    placed = [allocate([op.access() for op in found], lasting)[1] for found in (whole, parts)]
    assert placed[1] < 0.5 * placed[0]
    assert np.array_equal([op.rows for op in parts if isinstance(op, ops.GatherRows)], [1024] * 8)
