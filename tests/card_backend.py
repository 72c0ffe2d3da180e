"""A device of its own whose arrays NumPy cannot read, and which fails when a test wants it to."""

import itertools
from typing import ClassVar

from strict_backend import StrictBackend

from gdkernels.backend import Executable
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.errors import BackendError


class Card(StrictBackend):
    """Attributes of the class are for a test to set.

    Attributes
    ----------
    fails
        What fails from its call of that number on, of "place", "compile", "run", "predict", "synchronize" and
        "give_back".
    halfway
        Whether a run that fails has done its first step.
    """

    name = "card"
    contract = 2
    priority = 20
    compiles_weighted = True
    fails: ClassVar[dict] = {}
    halfway = False
    calls: ClassVar[dict] = {}

    @classmethod
    def plan(cls, halfway=False, **fails):
        cls.fails, cls.halfway = fails, halfway
        cls.calls = {
            name: itertools.count(1) for name in ("place", "compile", "run", "predict", "synchronize", "give_back")
        }

    @classmethod
    def may_fail(cls, what):
        if next(cls.calls[what]) >= cls.fails.get(what, 1 << 30):
            raise BackendError(f"the card cannot {what}, as planted")

    def devices(self):
        return ["device1"]

    def asarray(self, x, *, dtype, device):
        self.may_fail("place")
        return super().asarray(x, dtype=dtype, device=device)

    def to_numpy(self, x):
        self.may_fail("give_back")
        return super().to_numpy(x).copy()

    def synchronize(self, device):
        self.may_fail("synchronize")

    def compile(self, program, plan):
        self.may_fail("compile")
        return _Failing(DefinitionExecutable(self, program, plan))


class _Failing(Executable):
    origin = "compiled"

    def __init__(self, right):
        self._right, self.plan = right, right.plan

    def run(self, state, x, y, order, batch_size, learning_rates, *weights):
        try:
            Card.may_fail("run")
        except BackendError:
            if Card.halfway:
                self._right.run(state, x, y, order[:batch_size], batch_size, learning_rates[:1], *weights)
            raise
        return self._right.run(state, x, y, order, batch_size, learning_rates, *weights)

    def predict(self, parameters, x):
        Card.may_fail("predict")
        return self._right.predict(parameters, x)
