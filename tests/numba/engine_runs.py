"""Running a program on the engine and comparing it with the definition in float64."""

import numpy as np
import pytest
from gdkernels_numba import NumbaBackend
from gdkernels_numba.cpu.features import why_no_bf16
from gdkernels_numba.ir.emit import Function
from gdkernels_numba.ir.functions import FUNCTIONS
from gdkernels_numba.ir.vector import Vectors

from gdkernels.backend import Plan, storage_dtype, verification
from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.testing.cases import chained, varied

needs_bf16 = pytest.mark.skipif(why_no_bf16() is not None, reason=str(why_no_bf16()))
BOTH = ["float32", pytest.param("bfloat16", marks=needs_bf16)]

MOMENTUM = SGD(momentum=0.9)  # after one step its slot is the gradient, times the rate


def program(*functions, **options):
    """Return a regression through these activations."""
    functions = (*functions, activations.identity)
    plain = chained(functions, (5,) * (len(functions) + 1), objective=Objective(losses.sse), optimizer=MOMENTUM)
    return varied(plain, **options)


def compiled(run_program, precision="float32", **choices):
    """Return the executable by these choices of a plan; with as many pieces as threads, if only those are told."""
    if "threads" in choices:
        choices = {"pieces": choices["threads"], **choices}
    return compiled_by_default(run_program, precision, **choices)


def compiled_by_default(run_program, precision="float32", **choices):
    executable = NumbaBackend().compile(run_program, Plan("numba", "cpu", precision, choices))
    assert executable is not None, "it falls back to the definition"
    assert executable.origin == "compiled"
    return executable


class Data:
    """Random parameters and records for a program with these widths."""

    def __init__(self, run_program, widths, records, seed=0):
        random = np.random.default_rng(seed)
        self._on_numpy = {}
        self.program, self.widths, self.records = varied(run_program, widths=widths), widths, records
        self.x = random.standard_normal((records, widths[0]), dtype=np.float32)
        self.y = random.standard_normal((records, widths[-1]), dtype=np.float32)
        self.order = random.permutation(records)
        self.parameters = {
            name: random.standard_normal(told.shape, dtype=np.float32)
            / np.float32(told.shape[0] ** 0.5 if len(told.shape) == 2 else 4)
            for name, told in self.program.parameters.items()
        }

    def start(self, precision):
        return verification.start(self.program, self.parameters, lambda a: np.array(a, dtype=storage_dtype(precision)))

    def rates(self, batch_size, rate=0.01):
        return rate * np.linspace(1.0, 0.5, -(-self.records // batch_size))

    def run(self, executable, batch_size, precision="float32", epochs=1):
        """Return the sum of E over the last epoch, and the state."""
        state = self.start(precision)
        x, y = (a.astype(storage_dtype(precision)) for a in (self.x, self.y))
        loss = 0.0
        for _ in range(epochs):
            loss, _ = executable.run(state, x, y, self.order, batch_size, self.rates(batch_size))
        return loss, state

    def run_on_numpy(self, batch_size, precision="float64"):
        """Return what `run` does for the definition, found out once; nobody may change it."""
        if (batch_size, precision) not in self._on_numpy:
            state, rates = self.start(precision), self.rates(batch_size)
            loss, _ = verification.continue_on_numpy(
                self.program, state, self.x, self.y, self.order, batch_size, rates, precision
            )
            self._on_numpy[batch_size, precision] = loss, state
        return self._on_numpy[batch_size, precision]


def assert_agrees(data, executable, batch_size, precision="float32"):
    """Compare an epoch of a few steps with the definition, array by array."""
    loss, state = data.run(executable, batch_size, precision)
    loss64, state64 = data.run_on_numpy(batch_size)
    own_loss, own = data.run_on_numpy(batch_size, precision)
    assert abs(loss - loss64) <= max(1e-5 * abs(loss64), 2 * abs(own_loss - loss64))
    arrays = (dict(verification.named_arrays(s)) for s in (state, own, state64))
    for (name, a), yardstick, a64 in zip(
        *((d.items() if k == 0 else d.values()) for k, d in enumerate(arrays)), strict=True
    ):
        error = verification.relative_error(a, a64)
        assert error <= verification.bound(verification.relative_error(yardstick, a64), precision, 1), name


def bits(state):
    return {name: a.tobytes() for name, a in verification.named_arrays(state)}


def write_functions(module, form):
    """Add a kernel for each function, over arrays of whole vectors."""
    for name, write in FUNCTIONS.items():
        function = Function(module, f"vector_{name}", ("count", "first", "second", "target"))
        vectors = Vectors(function, form)
        sources = (function.first, function.second)[: 1 + (name == "pow")]
        with function.loop(function.count, step=form.lanes) as k:
            offset = function.multiply(k, form.size)
            value = write(vectors, *(vectors.load(function.add(s, offset), align=form.size) for s in sources))
            function.builder.store(value, function.pointer(function.add(function.target, offset))).align = form.size
        function.finish()
