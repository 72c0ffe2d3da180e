"""Networks of blocks on the CPU engine: every block on every plan, beside the definition in float64."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from beside_float64 import PLANS, PRECISIONS, check_beside_float64
from gdkernels_numba.cpu.features import why_no_bf16

from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import (
    Activated,
    Block,
    Columns,
    Dense,
    Dropout,
    Embedding,
    Gated,
    LayerNorm,
    Mean,
    Parameter,
    Periodic,
    PiecewiseLinear,
    Residual,
    Scale,
    Sequential,
)
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam, AdamW
from gdkernels.testing.cases import Bilinear, Tied


@dataclass(frozen=True)
class SharedTable(Block):
    """The rows of a table by code, and their products with all its rows: one parameter in two places."""

    rows: int

    def parameters(self, inputs):
        return {"E": Parameter((self.rows, 5), lambda shape, random: random.normal(size=shape))}

    def outputs(self, inputs):
        return self.rows

    def __call__(self, p, a, *, xp, random=None):
        return xp.matmul(xp.tanh(xp.take(p["E"], xp.astype(a[:, 0], xp.int32), axis=0)), xp.matrix_transpose(p["E"]))


NETWORKS = {
    "residual": (Dense(33, "relu"), Residual(Dense(33, "tanh")), Residual(Dense(70, "relu"), Dense(33)), Dense(3)),
    "layer norm": (Dense(33), Activated(LayerNorm(), "gelu"), LayerNorm(affine=False), Dense(17, "tanh"), Dense(3)),
    "pre-norm residual": (Dense(40), *(Residual(LayerNorm(), Dense(40, "relu")),) * 3, LayerNorm(), Dense(3)),
    "gated": (Gated(33), Gated(17, "silu"), Gated(3)),
    "scale": (Scale(), Dense(33, "softplus"), Scale(0.5), Dense(1)),
    "mean": (Dense(20, "tanh"), Mean(Sequential(Dense(9, "relu"), Dense(2)), Dense(2), Dense(2))),
    "equal widths": (Dense(19, "tanh"), Dense(19, "relu"), Residual(Dense(19)), Dense(19)),
    "one unit": (Dense(1, "tanh"), Residual(Dense(1, "tanh")), Dense(1)),
    "user's": (Dense(33, "tanh"), Bilinear(), Dense(3)),
    "periodic": (Dense(4), Periodic(9, 0.2), Dense(3)),
    "piecewise linear": (Dense(3), PiecewiseLinear(((-1.0, 0.0, 0.4, 2.0),) * 3), Dense(3)),
    "tied": (Dense(33, "tanh"), Tied(17), Dense(3)),
    "dropout": (Dropout(0.2), Dense(33, "tanh"), Residual(Dense(33, "relu"), Dropout(0.5)), Dropout(0.1), Dense(3)),
    "embeddings": (
        Columns([(0, Embedding(7, 5)), (-1, Embedding(130, 1)), (0, Dense(3, "tanh"))], rest=Dense(9, "tanh")),
        Dense(3),
    ),
    "wide embedding": (Columns({-1: Embedding(200, 70)}, rest="drop"), LayerNorm(), Dense(3)),
    "nothing but embeddings": (Embedding(4, 2),),
    "columns inside": (
        Dense(20, "tanh"),
        Columns({range(7): Dense(4, "relu"), (9, 3, 12): Gated(5), -1: Periodic(3, 0.2)}, rest="passthrough"),
        Residual(Columns([((5, 4), Dense(2)), (slice(6, 10), "passthrough")], rest=LayerNorm())),
        Dense(3),
    ),
    "a table in two places": (SharedTable(70), Dense(3)),
    "softmax inside": (Dense(9, "softmax"), Residual(Dense(9, "softmax")), Dense(4)),
}
SETTINGS = {
    "momentum": {"optimizer": SGD(momentum=0.9)},
    "Adam, clipped": {"optimizer": Adam(), "clip_norm": 0.1, "gradient_norm": True},
    "decay": {"optimizer": AdamW(weight_decay=0.1)},
    "penalty in the loss": {"optimizer": SGD(momentum=0.9), "l2": 0.1, "l2_in_loss": True, "clip_norm": 0.5},
    "weights": {"optimizer": SGD(momentum=0.9), "weighted": True, "gradient_norm": True},
    "huber": {"optimizer": Adam(), "loss": losses.huber, "l2": 0.05},
}
SHAPES = ((19, 50, 16), (5, 7, 7), (1, 9, 1), (67, 131, 130))  # inputs, records, batch
FACTORS = (tuple(NETWORKS), tuple(PLANS), (1, 2, 3), tuple(SETTINGS), PRECISIONS, SHAPES)


def covering(factors):
    """Return rows in which every two values of different factors meet, as few as a greedy choice finds."""
    open_pairs = {
        (i, a, j, b)
        for i, j in itertools.combinations(range(len(factors)), 2)
        for a in range(len(factors[i]))
        for b in range(len(factors[j]))
    }
    random, rows = np.random.default_rng(0), []
    while open_pairs:
        i, a, j, b = min(open_pairs)
        tries = []
        for _ in range(60):
            row = [int(random.integers(len(f))) for f in factors]
            row[i], row[j] = a, b
            met = {(m, row[m], n, row[n]) for m, n in itertools.combinations(range(len(row)), 2)} & open_pairs
            tries.append((len(met), row, met))
        _, row, met = max(tries, key=lambda t: t[0])
        open_pairs -= met
        rows.append(tuple(f[k] for f, k in zip(factors, row, strict=True)))
    return rows


def program(name, settings, inputs):
    given = dict(settings)
    objective = Objective(given.pop("loss", losses.sse))
    of_objective = {name: given.pop(name) for name in ("clip_norm", "l2", "l2_in_loss") if name in given}
    return Program(Sequential(*NETWORKS[name]), inputs, objective=replace(objective, **of_objective), **given)


def check(name, plan, threads, setting, precision, shape):
    inputs, records, batch = shape
    check_beside_float64(program(name, SETTINGS[setting], inputs), plan, threads, precision, records, batch)


@pytest.mark.parametrize(("name", "plan", "threads", "setting", "precision", "shape"), covering(FACTORS))
def test_every_two_of_block_plan_setting_and_precision(name, plan, threads, setting, precision, shape):
    check(name, plan, threads, setting, precision, shape)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_all_of_them(name, setting):
    for plan, threads, precision, shape in itertools.product(PLANS, (1, 2, 3), PRECISIONS, SHAPES):
        print(plan, threads, precision, shape)  # the last is what failed; a test for each would take seconds to collect
        if precision != "bfloat16" or why_no_bf16() is None:
            check(name, plan, threads, setting, precision, shape)
