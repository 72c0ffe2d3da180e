"""A plug-in's `compile` is asked for what its backend says that it takes, and for nothing else."""

from types import SimpleNamespace

import pytest
from gdkernels_numpy import NumPyBackend

from gdkernels.backend import Plan
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import Columns, Dense, Dropout, Embedding, Residual, Sequential
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD

DRAWING, MOVING = "compiles_drawing", "compiles_moving"
CODES = Columns({0: Embedding(3, 2)}, rest="passthrough")
BLOCKS = {
    "chain": (Sequential(Dense(4, "tanh"), Dense(3)), set()),
    "residual": (Sequential(Residual(Dense(5)), Dense(3)), set()),
    "dropout": (Sequential(Dropout(0.5), Dense(3)), {DRAWING}),
    "embedding": (Sequential(CODES, Dense(3)), {MOVING}),
    "columns": (Sequential(Columns({0: Dense(2)}, rest="drop"), Dense(3)), {MOVING}),
    "both": (Sequential(CODES, Dropout(0.5), Dense(3)), {DRAWING, MOVING}),
}


@pytest.mark.parametrize("missing", [None, DRAWING, MOVING])
@pytest.mark.parametrize("name", BLOCKS)
def test_what_a_backend_does_not_say_runs_as_the_definition(name, missing):
    block, needs = BLOCKS[name]
    compiled = SimpleNamespace(origin="compiled")

    class PlugIn(NumPyBackend):
        contract = 2
        compiles_drawing = missing != DRAWING
        compiles_moving = missing != MOVING

        def compile(self, program, plan):
            return compiled

    program = Program(block, 5, objective=Objective(losses.sse), optimizer=SGD(0.1))
    origin = bind(PlugIn(), program, Plan("plugin", "cpu", "float64")).origin
    assert origin == ("definition" if missing in needs else "compiled")
