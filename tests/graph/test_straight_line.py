"""A graph as Python code, and predictions of a few records by it: to the bit what the definition computes."""

import threading

import numpy as np
import pytest
from gdkernels_numpy import NumPyBackend

import gdkernels as gd
from gdkernels.backend import Plan
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.backend.few_records import FewRecords
from gdkernels.backend.program import Program
from gdkernels.definition import blocks
from gdkernels.definition.blocks.block import initial_values
from gdkernels.errors import TraceError
from gdkernels.graph.straight_line import straight_line
from tests.record_wise_blocks import BLOCKS, Own

OFTEN = 40  # predictions after which the code is there

ACTIVATIONS = {
    **{name: name for name in ("relu", "sigmoid", "tanh", "gelu", "silu", "softplus", "elu", "leaky_relu", "softmax")},
    "whether": lambda z, *, xp: z * xp.astype(z > 0.1, z.dtype),
    "kept": lambda z, *, xp: xp.where(z > 0, z, 0.0) + z,  # z is read after the choice that could overwrite it
    "powers": lambda z, *, xp: xp.abs(z) ** 0.5 + z**2 - 1.5 * z**3.0,
    "of one variance": lambda z, *, xp: z / (0.5 + xp.std(z, axis=-1, correction=1, keepdims=True)),
    "too large": lambda z, *, xp: xp.minimum(z, 1e300) + (z + 1e300) * 0.0,
}


def values(program, dtype, seed=0):
    generator = np.random.default_rng(seed)
    made = initial_values(program.parameters, generator)
    return {name: (a + 0.1 * generator.normal(size=a.shape)).astype(dtype) for name, a in made.items()}


def records(count, inputs, dtype):
    generator = np.random.default_rng(count)
    x = generator.normal(size=(count, inputs)) * 10.0 ** generator.uniform(-3, 3, (count, 1))
    x[0, 0] = 0.0
    return x.astype(dtype)


def check_bits(block, inputs, dtype, rows=(1, 2, 17, 64), made=records):
    program, xp = Program(block, inputs), NumPyBackend().xp
    parameters = values(program, dtype)
    written = straight_line(program.trace_forward().output, xp=xp, dtype=dtype)
    for count in rows:
        x = made(count, inputs, dtype)
        with np.errstate(all="ignore"):
            expected = program.forward(parameters, x, xp=xp)
            found = written(parameters, x)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations(activation, dtype):
    check_bits(blocks.Sequential(blocks.Dense(6, activation), blocks.Dense(3)), 5, dtype)


def with_codes(count, inputs, dtype):
    x = records(count, inputs, dtype)
    x[:, 0] = np.arange(count) % 3
    return x


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name):
    check_bits(BLOCKS[name], 3, "float32", made=with_codes)


def test_a_choice_does_not_overwrite_what_a_column_shows():
    def shown(p, a, *, xp):
        opposite = -a
        first = opposite[:, :1]
        return xp.where(a > 0, 5.0, opposite) + first

    check_bits(Own({}, shown, 3), 3, "float32")


def test_infinities_and_what_is_no_number():
    def strange(count, inputs, dtype):
        return np.array([[np.nan, 1.0], [np.inf, -1.0], [-np.inf, 0.0], [-0.0, 0.0]], dtype)

    check_bits(blocks.Sequential(blocks.Dense(4, "relu"), blocks.Dense(2, "silu")), 2, "float32", (4,), strange)


def test_what_is_given_stays_as_it_is():
    program, xp = Program(blocks.Sequential(blocks.Dense(4, "relu", bias=False), blocks.Scale()), 3), NumPyBackend().xp
    parameters, x = values(program, "float32"), records(4, 3, "float32")
    for a in (*parameters.values(), x):
        a.flags.writeable = False
    first = straight_line(program.trace_forward().output, xp=xp, dtype="float32")
    kept = first(parameters, x)
    before = kept.copy()
    first(parameters, -x)
    np.testing.assert_array_equal(kept, before)


def test_what_depends_on_the_number_of_records_is_refused():
    from gdkernels.graph.namespace import Graph

    graph = Graph()
    x = graph.input("x", (graph.dim("B"), graph.dim("n3", 3)))
    with pytest.raises(TraceError, match="number of records"):
        straight_line(x / x.shape[0], xp=NumPyBackend().xp, dtype="float32")


# ---- predictions


def few_of(block, inputs):
    """Return the predictions of a few records by a block, asked for often enough, and its program."""
    program = Program(block, inputs)
    few, parameters = FewRecords(program, NumPyBackend().xp), values(program, "float32")
    for k in range(OFTEN):
        few.forward(parameters, records(1 + k % 3, inputs, "float32"))
    return few, program, parameters


def calls_of(block, inputs):
    """Return how often a block is called for one more prediction."""
    calls = []

    class Counted(blocks.Block):
        def parameters(self, n):
            return block.parameters(n)

        def outputs(self, n):
            return block.outputs(n)

        def __call__(self, p, a, *, xp, random=None):
            calls.append(1)
            return block(p, a, xp=xp, random=random)

    few, program, parameters = few_of(Counted(), inputs)
    calls.clear()
    x = records(2, inputs, "float32")
    found = few.forward(parameters, x)
    count = len(calls)
    np.testing.assert_array_equal(found, program.forward(parameters, x, xp=NumPyBackend().xp))
    return count


def test_the_definitions_objects_are_not_called_any_more():
    assert calls_of(blocks.Sequential(blocks.Dense(4, "relu"), blocks.Dense(1)), 3) == 0


@pytest.mark.parametrize(
    "activation",
    [
        lambda z, *, xp: xp.logaddexp(z, 0.0),  # the graph composes it, and rounds other than NumPy's own
        lambda z, *, xp: xp.sort(z, axis=1),  # cannot be traced
        lambda z, *, xp: z if float(xp.max(z)) > 0 else -z,
    ],
    ids=["rounds otherwise", "unknown", "branches"],
)
def test_the_definition_goes_on_where_the_code_has_other_bits_or_cannot_be_written(activation):
    assert calls_of(Own({}, lambda p, a, *, xp: activation(a, xp=xp), 3), 3) == 1


def test_a_model_predicts_the_same_before_and_after():
    X = records(64, 5, "float32")
    mlp = gd.MLP([5, 16, 16, 2], activation="gelu", seed=0, backend="numpy")
    by_definition = DefinitionExecutable(
        NumPyBackend(), mlp.network.structure.program(), Plan("numpy", "cpu", "float32")
    )
    for count in (1, 3, 64):
        x = X[:count]
        with np.errstate(all="ignore"):
            expected = mlp.network.structure.program().forward(mlp.network.host_parameters(), x, xp=NumPyBackend().xp)
        for _ in range(OFTEN):
            np.testing.assert_allclose(mlp.predict(x), expected, rtol=0, atol=1e-5)
    expected = by_definition.predict(mlp.network.parameters, X[:3])
    np.testing.assert_array_equal(mlp.predict(X[:3]), expected)
    mlp.fit(X, X[:, :2], epochs=1)  # other parameters, and another executable or the same
    np.testing.assert_array_equal(mlp.predict(X[:3]), by_definition.predict(mlp.network.parameters, X[:3]))
    with pytest.raises(gd.InputError, match=r"must be \[records, 5\]"):
        mlp.predict(X[:1, :4])
    with pytest.raises(gd.InputError, match="row 0, column 1"):
        mlp.predict(np.array([[0, np.nan, 0, 0, 0]], np.float32))


def test_threads_predict_at_once():
    mlp = gd.MLP([5, 16, 2], activation="silu", seed=0, backend="numpy")
    X = records(8, 5, "float32")
    expected, wrong = [mlp.predict(X[k : k + 1]) for k in range(8)], []

    def work(k):
        wrong.extend(1 for _ in range(200) if not np.array_equal(mlp.predict(X[k : k + 1]), expected[k]))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
