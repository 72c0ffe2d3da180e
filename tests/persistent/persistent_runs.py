"""Runs of the narrow kernel on its twin, beside NumPy in float64 that rounds where the kernel rounds."""

import math

import array_api_compat.numpy
import numpy as np
import pytest
from gdkernels_cupy.persistent import DeviceProperties, applies
from gdkernels_cupy.persistent.executable import PersistentExecutable

import gdkernels as gd
from gdkernels.backend import Plan, verification
from gdkernels.backend.program import Program
from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.testing.cases import CASES, chained, varied

MOMENTUM = SGD(momentum=0.9)  # after one step its slot is the gradient, times the rate


def program(*functions, **options):
    """Return a regression through these activations."""
    functions = (*functions, activations.identity)
    plain = chained(functions, (5,) * (len(functions) + 1), objective=Objective(losses.sse), optimizer=MOMENTUM)
    return varied(plain, **options)


def normed(width, **options):
    """Return a regression through a pre-norm residual: the gradients of its norms are no sums of what products take."""
    blocks = gd.blocks
    inside = blocks.Residual(blocks.LayerNorm(), blocks.Dense(width, "tanh"), blocks.Dense(width))
    dense = blocks.Dense(width, "gelu")
    network = blocks.Sequential(blocks.Scale(), dense, inside, blocks.LayerNorm(), blocks.Dense(3))
    return Program(network, 8, objective=Objective(losses.sse), optimizer=MOMENTUM, **options)


def rounded(a, precision):
    """Return float64 numbers as products take them: bfloat16 rounds to even, tf32 away from zero, float32 not."""
    if precision == "float32":
        return np.asarray(a, np.float64)
    bits = np.asarray(a, np.float32).view(np.uint32)
    if precision == "bfloat16":
        bits = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    else:
        bits = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(a), bits.view(np.float32), a).astype(np.float64)


class Rounding:
    """NumPy in float64, whose products round what goes into them."""

    def __init__(self, precision):
        self._precision = precision

    def __getattr__(self, name):
        return getattr(array_api_compat.numpy, name)

    def matmul(self, a, b):
        return rounded(a, self._precision) @ rounded(b, self._precision)


class Run:
    """A program with random parameters and records, and an order in which some come twice."""

    def __init__(self, run_program, widths, records, batch_size, precision="bfloat16", epochs=1, seed=0):
        random = np.random.default_rng([seed, *widths, records])
        self.program = run_program if run_program.widths == tuple(widths) else varied(run_program, widths=widths)
        self.widths, self.precision = widths, precision
        self.batch_size, self.epochs = batch_size, epochs
        self.x = random.standard_normal((records, widths[0]), dtype=np.float32)
        self.y = _targets(run_program.objective.loss, random.standard_normal((records, widths[-1]), dtype=np.float32))
        weights = random.uniform(0.0, 2.0, records).astype(np.float32)
        self.sample_weight = weights if run_program.weighted else None
        self.order = random.integers(records, size=records)
        self.rates = 0.01 * random.uniform(0.5, 1.0, -(-records // batch_size))
        self.parameters = {
            name: random.standard_normal(told.shape, dtype=np.float32)
            / np.float32(told.shape[0] ** 0.5 if len(told.shape) == 2 else 4)
            for name, told in self.program.parameters.items()
        }

    def on_twin(self, device, **choices):
        """Return loss, norm and arrays after the epochs, and the prediction then."""
        executable = PersistentExecutable(self.program, Plan("cupy", "cuda:0", self.precision, choices), device)
        state = verification.start(self.program, self.parameters, np.array)
        returned = [
            executable.run(state, self.x, self.y, self.order, self.batch_size, self.rates, self.sample_weight)
            for _ in range(self.epochs)
        ]
        found = {"the loss": math.fsum(loss for loss, _ in returned)}
        if returned[-1][1] is not None:
            found["the norm"] = returned[-1][1]
        found |= dict(verification.named_arrays(state))
        return found | {"the prediction": executable.predict(state.parameters, self.x)}

    def references(self):
        """Yield the reference, then those that begin with vectors an ulp or two of float32 above and below.

        An operand that lies between two numbers of the precision, but for what float32 rounds, may become either.
        """
        for shift in (0.0, 2.0**-22, -(2.0**-22)):
            yield self.reference(shift)

    def reference(self, shift=0.0):
        xp = Rounding(self.precision)
        near = {name: a * np.float32(1.0 + shift) if a.ndim == 1 else a for name, a in self.parameters.items()}
        state = verification.start(self.program, near, lambda a: np.asarray(a, np.float64))
        total, norms = 0.0, []
        x, y = self.x.astype(np.float64), self.y.astype(np.float64)
        for _ in range(self.epochs):
            norms = []
            for k, rate in enumerate(self.rates):
                rows = self.order[k * self.batch_size : (k + 1) * self.batch_size]
                state.step += 1
                loss, norm, state.parameters, state.slots = self.program.train_step(
                    state.parameters,
                    state.slots,
                    x[rows],
                    y[rows],
                    learning_rate=rate,
                    t=float(state.step),
                    sample_weight=None if self.sample_weight is None else self.sample_weight[rows].astype(np.float64),
                    xp=xp,
                )
                total += float(loss)
                norms.append(0.0 if norm is None else float(norm))
        found = {"the loss": total}
        if self.program.gradient_norm:
            found["the norm"] = math.fsum(norms) / len(norms)
        found |= dict(verification.named_arrays(state))
        return found | {"the prediction": self.program.forward(state.parameters, x, xp=xp)}


NARROW = [name for name, case in CASES.items() if max(case.widths) <= 64]


def run_of_case(name, precision):
    """Return the run of a case of the conformance suite; a case that is not for this kernel is skipped."""
    case = CASES[name]
    reason = applies(case.program, case.widths, precision, DeviceProperties(90, 232448))
    if reason is not None:
        pytest.skip(reason)
    return Run(case.program, case.widths, case.records, case.batch_size, precision)


def _targets(loss, y):
    if loss is losses.poisson:
        return np.floor(np.exp(y))
    if loss is losses.cross_entropy:
        return (y == y.max(axis=1, keepdims=True)).astype(np.float32)
    return (y > 0).astype(np.float32) if loss is losses.binary_cross_entropy else y


def errors(found, wanted):
    """Return the relative error of each array."""
    assert list(found) == list(wanted)
    return {name: verification.relative_error(found[name], wanted[name]) for name in wanted}


def bits(found):
    return {name: np.asarray(a).tobytes() for name, a in found.items()}
