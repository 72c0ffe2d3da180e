"""Blocks that nobody has thought of: random operations, their derived gradients, and the engine beside float64."""

from dataclasses import dataclass

import numpy as np
import pytest
from gdkernels_numba import NumbaBackend
from hypothesis import given, settings
from hypothesis import strategies as st

from gdkernels.backend import Plan, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import Block, Dense, InitialWeights, Parameter, Sequential
from gdkernels.definition.blocks.block import initial_values
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD

UNITS = 6
ONE = {
    "tanh": lambda a, xp: xp.tanh(a),
    "relu": lambda a, xp: xp.where(a <= 0, 0.0, a),
    "bell": lambda a, xp: xp.exp(-a * a),
    "root": lambda a, xp: xp.sqrt(a * a + 0.5),
    "centred": lambda a, xp: a - xp.mean(a, axis=-1, keepdims=True),
    # Of numbers that are never all the same: there a deviation has a corner.
    "of one variance": lambda a, xp: (
        a / (0.5 + xp.std(xp.concat([a[:, :5], a[:, :1] + 1.0], axis=1), axis=-1, correction=1, keepdims=True))
    ),
    "softmax": lambda a, xp: xp.exp(xp.tanh(a)) / xp.sum(xp.exp(xp.tanh(a)), axis=-1, keepdims=True),
    "scaled": lambda a, xp: 0.5 * a,
    "turned": lambda a, xp: xp.concat([a[:, 2:], a[:, :2]], axis=1),
    "by the first": lambda a, xp: xp.tanh(a) * a[:, :1],
    "from the largest": lambda a, xp: a - xp.max(a, axis=-1, keepdims=True),
    "flipped": lambda a, xp: xp.flip(a, axis=1),
    "so far": lambda a, xp: xp.roll(xp.cumulative_sum(a, axis=1) / 6.0, 1, axis=1),
    "products so far": lambda a, xp: xp.cumulative_prod(xp.cos(a), axis=-1),
    "every second": lambda a, xp: xp.repeat(a[:, ::2] * a[:, 1::2], 2, axis=1),
    "in groups": lambda a, xp: xp.reshape(
        in_pairs(a, xp) / (1.0 + xp.sum(in_pairs(a, xp) ** 2, axis=2, keepdims=True)), a.shape
    ),
    "whether": lambda a, xp: a * xp.astype(a > 0.1, a.dtype),
    "stretched": lambda a, xp: xp.concat(
        [a[:, 1:2] * a[:, 2:5], xp.stack([a[:, 0], xp.exp(-(a[:, 5] ** 2)), a[:, 3]], axis=1)], axis=1
    ),
}


def in_pairs(a, xp):
    return xp.reshape(a, (-1, 3, 2))


TWO = {
    "sum": lambda a, b, xp: a + b,
    "difference": lambda a, b, xp: a - b,
    "product": lambda a, b, xp: a * xp.tanh(b),
    "larger": lambda a, b, xp: xp.maximum(a, b),
    "quotient": lambda a, b, xp: a / (1.0 + b * b),
    "either": lambda a, b, xp: xp.where(a[:, :1] > 0, a, b),
    "either by unit": lambda a, b, xp: xp.where(xp.logical_or(a > b, (a < 0)[:, 1:2]), 0.5 * b, a),
    "parts": lambda a, b, xp: xp.concat([a[:, :3], b[:, 3:]], axis=1),
    "masked": lambda a, b, xp: xp.where(xp.concat([a, b], axis=1)[:, 4:10] > 0, a, -b),
    "along": lambda a, b, xp: xp.tanh(a) * xp.sum(a * xp.tanh(b), axis=-1, keepdims=True) / 6.0,
}
# Weights of UNITS by UNITS that are computed of some of those so far, M and V, and of a vector v.
WEIGHTS = {
    "normed": lambda M, V, v, xp: M * (v / xp.sqrt(xp.sum(M * M, axis=0) + 0.1)),
    "normed by row": lambda M, V, v, xp: M / xp.sqrt(0.1 + xp.mean(V * V, axis=1, keepdims=True)),
    "of tanh": lambda M, V, v, xp: xp.tanh(M),
    "of softmax": lambda M, V, v, xp: xp.exp(M) / xp.sum(xp.exp(M), axis=1, keepdims=True),
    "times another": lambda M, V, v, xp: M @ xp.tanh(V),
    "plus an outer": lambda M, V, v, xp: M + v[:, None] * (v / (1.0 + v * v)),
    "symmetric": lambda M, V, v, xp: M + M.T,
    "rolled": lambda M, V, v, xp: xp.concat([M[:, 2:], V[:, :2]], axis=1),
    "in other rows": lambda M, V, v, xp: xp.reshape(xp.reshape(M, (9, 4)) * V[0, :4], M.shape),
    "of two vectors": lambda M, V, v, xp: xp.linalg.outer(v, xp.diff(M[2], prepend=v[:1])) + xp.prod(V[1:3], axis=0),
    "piled": lambda M, V, v, xp: xp.concat([V[3:], 0.5 * M[:2], v[None, :]]),
    "with a number of its own": lambda M, V, v, xp: M * v[1] + 0.1 * V[0, 2],
    "where it is larger": lambda M, V, v, xp: xp.where(M > V, M, 0.5 * V),
    "from its largest": lambda M, V, v, xp: M - 0.1 * xp.max(V, axis=0),
    "by its sum": lambda M, V, v, xp: M / (1.0 + xp.sum(V * V)),
    "of columns": lambda M, V, v, xp: xp.stack([v, V[:, 1], xp.exp(M[:, 5]), M[0], v * v, V[:, 0]], axis=1),
}
TAKEN = ("matmul", "turned product", "as vectors", "as a bias", "looked up")
CORNERS = {
    "where it is larger",
    "from its largest",
    "relu",
    "larger",
    "from the largest",
    "whether",
    "either",
    "either by unit",
    "masked",
}


@dataclass(frozen=True)
class Drawn(Block):
    """A program of operations on values so far, the first of which is the input, and on weights so far.

    Products and vectors have parameters of their own, and so have weights, which are computed of others too.
    """

    steps: tuple[tuple[str, int, int], ...]

    def parameters(self, inputs):
        found = {"V": Parameter((UNITS, UNITS), InitialWeights())}
        for k, (op, _, _) in enumerate(self.steps):
            if op in TAKEN:
                found[f"W{k}"] = Parameter((UNITS, UNITS), InitialWeights())
            elif op in ("shift", "stretch") or op in WEIGHTS:
                found[f"v{k}"] = Parameter((UNITS,), 0.0 if op == "shift" else 1.0, decays=False)
        return found

    def __call__(self, p, a, *, xp, random=None):
        values, weights = [a], [p["V"]]
        for k, (op, i, j) in enumerate(self.steps):
            first, second = values[i % len(values)], values[j % len(values)]
            M, V = weights[i % len(weights)], weights[j % len(weights)]
            if op in TAKEN:
                weights.append(p[f"W{k}"])
                W = M if i > j else p[f"W{k}"]
                values.append(first * by_code(W, a, xp) if op == "looked up" else taken(op, first, second, W, xp))
            elif op in WEIGHTS:
                weights.append(WEIGHTS[op](M, V, p[f"v{k}"], xp))
                values.append(first @ weights[-1])
            elif op in ("shift", "stretch"):
                values.append(first + p[f"v{k}"] if op == "shift" else first * p[f"v{k}"])
            else:
                values.append(ONE[op](first, xp) if op in ONE else TWO[op](first, second, xp))
        return values[-1] + a


def taken(op, a, b, W, xp):
    """Return a product with weights, in one of the ways to write it, or something else that takes them."""
    if op == "matmul":
        return xp.matmul(a, W)
    if op == "turned product":
        return (W.T @ a.T * xp.tanh(b).T + W[0][:, None]).T
    if op == "as vectors":
        return b * (a @ W[:, 1])[:, None] + W[2] @ W
    return a + xp.mean(W, axis=1) - W[3, 1]


def by_code(W, a, xp):
    """Return rows by the first column of the inputs, which then are those of the network."""
    return xp.take(W, xp.astype(a[:, 0], xp.int32), axis=0)


OPERATIONS = st.sampled_from([*ONE, *TWO, *WEIGHTS, *TAKEN, "matmul", "shift", "stretch"])
BLOCKS = st.lists(st.tuples(OPERATIONS, st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=7).map(
    lambda steps: Drawn(tuple(steps))
)


def random_program(block, **objective):
    coded = any(op == "looked up" for op, _, _ in block.steps)
    network = Sequential(*(() if coded else (Dense(UNITS, "tanh"),)), block, Dense(2))
    return Program(
        network, UNITS if coded else 5, Objective(losses.sse, **objective), SGD(momentum=0.9), gradient_norm=True
    )


def drawn(program):
    random = np.random.default_rng(0)
    start = {
        n: a + 0.2 * random.standard_normal(a.shape) for n, a in initial_values(program.parameters, random).items()
    }
    x, y, order = random.standard_normal((11, program.inputs)), random.standard_normal((11, 2)), random.permutation(11)
    for column, categories in program.codes.items():
        x[:, column] = random.integers(0, categories, 11)
    return start, x, y, order


CASES = {"block": BLOCKS, "threads": st.sampled_from([1, 2, 3]), "clipped": st.booleans()}


def test_nine_of_ten_drawn_blocks_are_compiled_and_agree_with_float64():
    compiled = []

    @settings(max_examples=30)
    @given(**CASES)
    def examples(block, threads, clipped):
        compiled.append(check(block, threads, clipped))

    examples()
    assert len(compiled) >= 25
    assert np.mean(compiled) >= 0.9


@pytest.mark.slow
@settings(max_examples=300, derandomize=False)
@given(**CASES)
def test_many_drawn_blocks(block, threads, clipped):
    check(block, threads, clipped)


def check(block, threads, clipped):
    """Return whether a block is compiled; assert that it then agrees with float64."""
    program = random_program(block, clip_norm=0.1 if clipped else None)
    start, x, y, order = drawn(program)
    executable = bind(NumbaBackend(), program, Plan("numba", "cpu", "float64", {"threads": threads}))
    if executable.origin != "compiled":
        return False
    rates = np.full(3, 1e-3)
    found, wanted = (verification.start(program, start, np.array) for _ in range(2))
    loss, norm = executable.run(found, x, y, order, 4, rates)
    loss64, norm64 = verification.continue_on_numpy(program, wanted, x, y, order, 4, rates)
    np.testing.assert_allclose([loss, norm], [loss64, norm64], rtol=1e-10)
    for name, a64 in verification.named_arrays(wanted):
        array = dict(verification.named_arrays(found))[name]
        assert verification.relative_error(array, a64) <= 1e-9 or np.abs(a64).max() < 1e-12, name
    return True


@settings(max_examples=40)
@given(block=BLOCKS)
def test_a_drawn_block_has_the_gradient_of_finite_differences(block):
    program = random_program(block)
    start, x, y, _ = drawn(program)
    from gdkernels.definition.network import forward, gradient

    smooth = CORNERS.isdisjoint(op for op, _, _ in block.steps)  # no corner lies between two points then

    def total(parameters):
        return float(np.sum(losses.sse(forward(program.block, parameters, x, xp=np), y, xp=np)))

    error, slopes = gradient(
        program.block, start, x, y, trained=program.trained, loss=losses.sse, reduction="sum", xp=np
    )
    assert np.isclose(error, total(start), rtol=1e-12)
    random, h = np.random.default_rng(1), 1e-6
    direction = {n: random.standard_normal(a.shape) for n, a in start.items()}
    ends = [total({n: a + sign * h * direction[n] for n, a in start.items()}) for sign in (1, -1)]
    found = sum(float(np.sum(slopes[n] * d)) for n, d in direction.items())
    if smooth:
        assert np.isclose(found, (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-6)
