"""A history says why the definition ran where a backend compiles others."""

import json
from dataclasses import dataclass

import numpy as np
from gdkernels_numpy import NumPyBackend

import gdkernels as gd
from gdkernels import blocks
from gdkernels.errors import TraceError

X = np.random.default_rng(0).normal(size=(40, 3))
Y = X[:, :1]


@dataclass(frozen=True)
class Whole(blocks.Block):
    """A dense layer of whole weights: compiled steps compute no integers of parameters."""

    units: int

    def parameters(self, inputs):
        return {"W": blocks.Parameter((inputs, self.units), blocks.InitialWeights())}

    def outputs(self, inputs):
        return self.units

    def __call__(self, p, a, *, xp, random=None):
        return xp.matmul(a, xp.astype(xp.astype(p["W"], xp.int32), a.dtype))


def whole(seed=0):
    return gd.Network(blocks.Sequential(Whole(4), blocks.Dense(1)), 3, backend="numba", seed=seed)


def test_a_block_that_has_no_fused_form():
    history = whole().fit(X, Y, epochs=1)
    assert history.origin == "definition"
    assert history.reason.startswith("as asked for; the definition runs as it is, because it cannot be compiled: ")
    assert "computes integers of parameters" in history.reason
    assert history.reason in json.dumps(history.as_dict(), ensure_ascii=False)
    assert gd.MLP([3, 4, 1], backend="numba").fit(X, Y, epochs=1).reason == "as asked for"


def test_many_models_say_it_too():
    for history in gd.fit_many([whole(k) for k in range(2)], X, Y, epochs=1):
        assert "cannot be compiled" in history.reason


def test_a_plug_in_that_declines_a_program_by_an_error():
    class Choosy(NumPyBackend):
        contract = 2

        def compile(self, program, plan):
            raise TraceError("it knows no tanh")

    history = gd.MLP([3, 4, 1], backend=Choosy()).fit(X, Y, epochs=1)
    assert history.origin == "definition"
    assert history.reason.endswith("it cannot be compiled: it knows no tanh")
