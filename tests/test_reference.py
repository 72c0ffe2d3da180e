"""The definition as an executable: what it does beyond calling the definition."""

from dataclasses import dataclass

import numpy as np
import pytest
from gdkernels_numpy import NumPyBackend

from gdkernels.backend import Plan
from gdkernels.backend.definition_executable import DefinitionExecutable, bind
from gdkernels.backend.verification import start
from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Optimizer
from gdkernels.errors import InputError
from gdkernels.testing.cases import chained

PLAN = Plan("numpy", "cpu", "float32")


def parameters():
    random = np.random.default_rng(0)
    return {"W0": random.normal(size=(3, 2)).astype("float32"), "b0": np.zeros(2, dtype="float32")}


@dataclass(frozen=True)
class Widening(Optimizer):
    learning_rate: float = 0.1

    def rule(self, w, g, slots, *, learning_rate, t, xp):
        return w - learning_rate * g / np.sqrt(t), ()  # a NumPy scalar in float64, which float32 arrays yield to


def test_a_rule_that_widens_the_weights_is_named_with_what_to_write():
    program = chained((activations.identity,), (3, 2), objective=Objective(losses.sse), optimizer=Widening())
    executable = bind(NumPyBackend(), program, PLAN)
    ones = np.ones((4, 3), dtype="float32")
    with pytest.raises(InputError, match=r"Widening turned float32 weights into float64: .* write \(…\)\*\*0.5"):
        executable.run(start(program, parameters(), np.array), ones, ones[:, :2], np.arange(4), 4, np.ones(1))


def test_bind_takes_what_the_backend_compiled():
    program = chained((activations.tanh,), (3, 2), objective=Objective(losses.sse), optimizer=SGD())
    compiled = DefinitionExecutable(NumPyBackend(), program, PLAN)

    class Compiling(NumPyBackend):
        def compile(self, program, plan):
            return compiled

    assert bind(Compiling(), program, PLAN) is compiled
    assert bind(NumPyBackend(), program, PLAN).origin == "definition"
