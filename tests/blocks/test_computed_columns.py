"""Columns that a block computes: put beside others, and stretched to the width of others, also where a width is 1."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.definition.blocks import Block, Dense, Sequential

X = np.random.default_rng(0).normal(size=(75, 5))

FUNCTIONS = {
    "a product of columns beside them": lambda a, xp: xp.concat([a, a[:, 0:1] * a[:, 1:2]], axis=1),
    "a product of numbers beside them": lambda a, xp: xp.concat([a, (a[:, 0] * a[:, 1])[:, None]], axis=1),
    "nothing but products": lambda a, xp: xp.concat([a[:, 0:1] * a[:, 1:2], a[:, 2:3] + a[:, 3:4]], axis=1),
    "one product twice": lambda a, xp: xp.concat([xp.exp(a[:, 0:1])] * 2, axis=1),
    "stacked": lambda a, xp: xp.stack([a[:, 0] * a[:, 1], a[:, 2], xp.sin(a[:, 0])], axis=-1),
    "a length": lambda a, xp: xp.concat([a, xp.sqrt(xp.sum(a * a, axis=1, keepdims=True) + 1)], axis=1),
    "sums": lambda a, xp: xp.concat([xp.sum(a, axis=1, keepdims=True), a, xp.max(a, axis=1, keepdims=True)], axis=1),
    "a constant": lambda a, xp: xp.concat([a, a[:, 0:1] * 0 + 1], axis=1),
    "a condition": lambda a, xp: xp.concat([a[:, 1:], xp.where(a[:, 0:1] > 0, a[:, 0:1], 0.0)], axis=1),
    "a product of a part of a product": lambda a, xp: xp.concat(
        [xp.concat([a, a[:, 0:1] * a[:, 1:2]], axis=1)[:, 5:6] * a[:, 2:3], a], axis=1
    ),
    "a column that all are multiplied by": lambda a, xp: a * xp.exp(-a[:, 4:5]),
    "one column": lambda a, xp: a[:, 0:1] * a[:, 1:2],
}


@dataclass(frozen=True)
class Computed(Block):
    name: str

    def outputs(self, inputs: int) -> int:
        return self(None, np.zeros((1, inputs)), xp=np).shape[1]

    def __call__(self, p: Any, a: Any, *, xp: Any, random: Any = None) -> Any:
        return FUNCTIONS[self.name](a, xp)


def trained(block: Block, backend: str, outputs: int) -> tuple[str, Any]:
    network = gd.Network(block, inputs=5, backend=backend, precision="float64", seed=0)
    targets = np.stack([X[:, 0] * X[:, 1]] * outputs, axis=1)
    history = network.fit(X, targets, epochs=2, batch_size=16, optimizer=gd.Adam(0.01))
    return history.origin, network.predict(X)


AROUND = {
    "of inputs": ((), (Dense(8, "tanh"), Dense(1))),
    "where no width is 1": ((Dense(5, "tanh"),), (Dense(3),)),
    "where one is": ((Dense(1), Dense(5, "tanh")), (Dense(2),)),
}
STRETCHED = "a column that all are multiplied by"
CASES = {*zip(FUNCTIONS, itertools.cycle(AROUND), strict=False), *((STRETCHED, place) for place in AROUND)}


@pytest.mark.parametrize(("name", "place"), sorted(CASES))
def test_it_is_compiled_and_equal_to_the_definition(name, place):
    before, after = AROUND[place]
    block = Sequential(*before, Computed(name), *after)
    outputs = after[-1].units
    origin, found = trained(block, "numba", outputs)
    assert origin == "compiled"
    np.testing.assert_allclose(found, trained(block, "numpy", outputs)[1], rtol=1e-10, atol=1e-12)
