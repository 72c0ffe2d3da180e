"""Many models train in one launch, a CTA each, and come out as each does alone: on the twin of the kernel."""

from dataclasses import replace

import numpy as np
import pytest
from gdkernels_cupy.many.executable import OwnCtaExecutable
from gdkernels_cupy.many.source import many_sources
from gdkernels_cupy.persistent.executable import PersistentExecutable
from gdkernels_cupy.persistent.fitting import tasks_of
from gdkernels_cupy.persistent.trials import FRAME
from nvrtc_compiler import instructions
from persistent_runs import Run, errors, program
from persistent_twin import SCHEDULES, TwinDevice, TwinError

from benchmarks.gpu.typical import TYPICAL
from gdkernels.backend import Job, Plan, verification
from gdkernels.definition import activations, losses
from gdkernels.definition.optimizers import SGD, Adam, AdamW

BOUND = 1e-3  # as in the tests of the persistent kernel

relu, tanh, gelu = activations.relu, activations.tanh, activations.gelu

# name: program, widths, precision, and the room of a CTA on the chip
KINDS = {
    "momentum": (program(relu, tanh), (5, 7, 6, 3), "bfloat16", 232448),
    "Adam, classes, in tf32": (
        program(gelu, loss=losses.cross_entropy, optimizer=Adam()), (9, 20, 4), "tf32", 232448,
    ),
    "a norm, clipped, with decay": (
        program(tanh, optimizer=AdamW(), clip_norm=0.5, gradient_norm=True, l2=0.05), (10, 33, 5), "bfloat16", 232448,
    ),
    "weights of the records, no bias": (
        program(relu, weighted=True, bias=False, reduction="sum"), (6, 20, 4), "bfloat16", 232448,
    ),
    "float32, mini-batches of one tile": (program(tanh, optimizer=Adam()), (6, 9, 2), "float32", 232448),
    "parameters off the chip": (program(relu, tanh), (20, 33, 17, 5), "bfloat16", 80000),
    "parameters and gradients off the chip": (
        program(relu, tanh, clip_norm=1.0), (20, 33, 17, 5), "bfloat16", 36000,
    ),
}  # fmt: skip


class Model:
    """A model among others: its own weights, rates, orders, sizes of batches, and epochs."""

    def __init__(self, kind, k, **numbers):
        run_program, widths, self.precision, _ = KINDS[kind]
        self.run = Run(run_program, widths, 40 + 3 * (k % 2), [8, 64, 100][k % 3], self.precision, seed=k)
        self.program = replace(self.run.program, optimizer=replace(self.run.program.optimizer, **numbers))
        random, records, epochs = np.random.default_rng(k), len(self.run.x), 1 + k % 3
        self.orders = np.stack([random.permutation(records) for _ in range(epochs)])
        self.batch = min(self.run.batch_size, records)
        self.rates = 0.01 * random.uniform(0.5, 1.0, (epochs, -(-records // self.batch)))

    def job(self, executable):
        state = verification.start(self.program, self.run.parameters, np.array)
        state.step = 3  # as after an epoch before
        given = self.run.x, self.run.y, self.orders, self.batch, self.rates, self.run.sample_weight
        return Job(executable, state, *given)

    def found(self, told, job):
        """Return what came of it, with the loss of each epoch."""
        losses_, norms = zip(*told, strict=True)
        named = {f"loss {k}": loss for k, loss in enumerate(losses_)}
        named |= {f"norm {k}": norm for k, norm in enumerate(norms) if norm is not None}
        return named | dict(verification.named_arrays(job.state)) | {"step": job.state.step}


def own(model, device, code=None, **choices):
    plan = Plan("cupy", "cuda:0", model.precision, choices)
    return OwnCtaExecutable(model.program, plan, device, None, code)


def together(models, device, **choices):
    first = own(models[0], device, **choices)
    executables = [first, *(own(model, device, first.code, **choices) for model in models[1:])]
    jobs = [model.job(executable) for model, executable in zip(models, executables, strict=True)]
    told = first.together(list(zip(executables, jobs, strict=True)))
    return [model.found(*one) for model, *one in zip(models, told, jobs, strict=True)], executables


def bits(found):
    return {name: np.asarray(a).tobytes() for name, a in found.items()}


# The others show what the conformance suite of the persistent kernel shows too.
ALWAYS = ("a norm, clipped, with decay", "parameters and gradients off the chip")


@pytest.mark.parametrize("kind", [k if k in ALWAYS else pytest.param(k, marks=pytest.mark.slow) for k in KINDS])
def test_a_model_among_others_has_the_bits_of_the_model_alone(made, kind):
    """Alone on this path, and alone by the kernel whose CTAs share a model, with one of them."""
    room = KINDS[kind][3]
    name = "momentum" if isinstance(KINDS[kind][0].optimizer, SGD) else "beta1"
    models = [Model(kind, k, **{name: 0.5 + 0.1 * k}) for k in range(5)]
    device = TwinDevice(made, ctas=1, shared_bytes=room)
    found, executables = together(models, device, warps=4)
    assert {e.plan.choices["warps"] for e in executables} == {4}
    assert len({id(e.code) for e in executables}) == 1
    for model, one in zip(models, found, strict=True):
        (alone,), _ = together([model], device, warps=4)
        assert bits(alone) == bits(one)
        shared = PersistentExecutable(
            model.program, Plan("cupy", "cuda:0", model.precision, {"warps": 4, "ctas": 1}), TwinDevice(made, ctas=1)
        )
        job = model.job(shared)
        assert bits(model.found(job.run(), job)) == bits(one)


# Planted errors, each with what it would be on a device: a race, or a model that reads another's.
MUTANTS = {
    "the weights of the step before": ("*::at<", "if (false) *::at<"),
    "the data of the first model": ("const Job& job = jobs[cta()];", "const Job& job = jobs[0];"),
    "a step begins before the last one has ended": ("    cta_sync();\n    }\n", "    }\n"),
    "the epoch does not begin anew": ("step % of_epoch * batch", "step * batch % records"),
    "the launch before is forgotten": ("(start ? state", "(false ? state"),
}
