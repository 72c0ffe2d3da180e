"""Many models train in one launch, a CTA each, and come out as each does alone: on the twin of the kernel."""

import re
import types
from dataclasses import replace

import numpy as np
import pytest
from gdkernels_cupy.many.executable import OwnCtaExecutable
from gdkernels_cupy.many.source import many_sources
from gdkernels_cupy.persistent.executable import PersistentExecutable
from gdkernels_cupy.persistent.fitting import applies, tasks_of
from gdkernels_cupy.persistent.launch_device import DeviceProperties
from gdkernels_cupy.persistent.trials import FRAME
from persistent_runs import Run, normed, program
from persistent_twin import SCHEDULES, TwinDevice, TwinError

from benchmarks.gpu.typical import TYPICAL
from gdkernels.backend import Job, Plan, verification
from gdkernels.definition import activations, losses
from gdkernels.definition.optimizers import SGD, Adam, AdamW
from gdkernels.errors import InputError
from gdkernels.testing.cases import CASES, varied

HOPPER = DeviceProperties(90, 232448)

relu, tanh, gelu = activations.relu, activations.tanh, activations.gelu

# name: program, widths, precision, and the room of a CTA on the chip
KINDS = {
    "momentum": (program(relu, tanh), (5, 7, 6, 3), "bfloat16", 232448),
    "momentum, all off the chip": (program(relu, tanh), (5, 7, 6, 3), "bfloat16", 20000),
    "Adam, classes, in tf32": (
        program(gelu, loss=losses.cross_entropy, optimizer=Adam()), (9, 20, 4), "tf32", 232448,
    ),
    "a norm, clipped, with decay": (
        program(tanh, optimizer=AdamW(), clip_norm=0.5, gradient_norm=True, l2=0.05), (10, 33, 5), "bfloat16", 232448,
    ),
    "weights of the records, no bias": (
        program(relu, weighted=True, bias=False, reduction="sum"), (6, 20, 4), "bfloat16", 232448,
    ),
    "layer norms in residuals": (normed(9), normed(9).widths, "bfloat16", 232448),
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
        random, records, epochs = np.random.default_rng(k), len(self.run.x), 3 - k % 3
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


# Of two programs, so that few kernels are compiled; the others where there is time.
ALWAYS = ("momentum", "momentum, all off the chip", "layer norms in residuals")


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


def test_orders_of_warps_and_several_launches_change_no_bit(made, monkeypatch):
    models = [Model("momentum", k) for k in range(3)]
    wanted = list(map(bits, together(models, TwinDevice(made), warps=4)[0]))
    monkeypatch.setattr("gdkernels_cupy.persistent.executable._FIRST_STEPS", 2)
    monkeypatch.setattr("gdkernels_cupy.persistent.executable._GROWTH", 1)
    for schedule in SCHEDULES[1:]:
        assert list(map(bits, together(models, TwinDevice(made, schedule=schedule), warps=4)[0])) == wanted


def test_what_is_wrong_or_ends_early_changes_nothing(made, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.persistent.executable._FIRST_STEPS", 1)
    model, device = Model("momentum", 1), TwinDevice(made)
    executable = own(model, device, warps=4)
    job = model.job(executable)
    before = bits(dict(verification.named_arrays(job.state)))
    with pytest.raises(InputError, match="names row 0 to 43 of 43 rows"):
        executable.run(job.state, job.x, job.y, np.arange(44), 8, np.full(6, 0.1))

    def pressed():
        raise KeyboardInterrupt

    device.wait = pressed
    with pytest.raises(KeyboardInterrupt):
        job.run()
    assert bits(dict(verification.named_arrays(job.state))) == before
    assert job.state.step == 3


def test_the_plan_says_what_a_model_alone_repeats(made):
    """Batches of more than one tile of four warps have eight, whatever the models beside this one have."""
    models = [Model("momentum", k) for k in range(2)]
    models[1].batch, models[1].rates = 300, models[1].rates[:, :1]
    compiles = TwinDevice(made)
    compiles.compile = lambda source: types.SimpleNamespace(local_bytes=lambda: 0)
    for model, warps in zip(models, (4, 8), strict=True):
        executable = own(model, compiles)
        (checked,), records = executable.to_check(model.batch)
        assert records == 5 * 16 * warps
        assert checked.plan.choices["warps"] == warps
    executable = own(models[0], TwinDevice(made))
    models[0].job(executable).run()
    assert executable.plan.choices == {
        "many": True, "kernel": "narrow", "warps": 4, "at_once": 1, "parked": 0, "recomputed": False, "reloaded": False,
        "ctas": 1,
    }  # fmt: skip


# Planted errors: what would be a race on a device, or a model that goes on with what is another's, or old.
MUTANTS = {
    "products go on with the old weights": ("*::at<", "if (step >= 0) continue; *::at<", -1),
    "biases stay": ("bias_b0[at] = new", "if (false) bias_b0[at] = new", 0),
    "the data of the first model": ("jobs[cta()]", "jobs[0]", 0),
    "an epoch does not begin anew": ("step % of_epoch * batch", "step * batch % records", 0),
    "a launch begins where the first began": ("(start ? state", "(false ? state", 0),
    "weights are made before parameters are there": ("cta_sync();", "", 0),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (k > 0)) for k, name in enumerate(MUTANTS)]
)
def test_a_planted_error_is_noticed(made, monkeypatch, name):
    old, new, number = MUTANTS[name]

    def change(text):
        start = text.index("KERNEL train_many(")
        places = [m.start() for m in re.finditer(re.escape(old), text[start:])]
        at = start + places[number]
        return text[:at] + new + text[at + len(old) :]

    monkeypatch.setattr("gdkernels_cupy.persistent.executable._FIRST_STEPS", 3)
    monkeypatch.setattr("gdkernels_cupy.persistent.executable._GROWTH", 1)
    models = [Model("momentum", k) for k in (2, 3)]
    wanted = list(map(bits, together(models, TwinDevice(made), warps=4)[0]))
    seen = []
    for schedule in SCHEDULES:
        try:
            found, _ = together(models, TwinDevice(made, schedule=schedule, change=change), warps=4)
        except TwinError:
            return
        seen.append(list(map(bits, found)))
    assert any(found != wanted for found in seen)


ROOM = {"sm_80": 166912, "sm_86": 101376, "sm_90": 232448, "sm_100": 232448, "sm_120": 101376}
COMPILED = ["8-32-32-1, relu", "two of 64, gelu, Adam, classes", "20-48-32-3, relu, Adam", "four of 64, relu"]


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("architecture", ROOM)
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.slow
def test_it_compiles_for_each_architecture_and_keeps_to_registers(nvrtc, name, architecture, few):
    compiled(nvrtc, *TYPICAL[name], architecture, few)


def test_it_compiles_and_keeps_to_registers(nvrtc):
    run_program, widths, precision, _ = KINDS["momentum"]
    compiled(nvrtc, varied(run_program, widths=widths), precision, "sm_90", True)


def compiled(nvrtc, of, precision, architecture, few):
    """Compile the kernel of a program, and compare with what is meant."""
    source = next(many_sources(tasks_of(of)[0], precision, ROOM[architecture], {}, few=few))
    cubin, ptx, log = nvrtc.compiled(source.text, architecture)
    words = log[log.index("'train_many'") :].split("Compiling")[0]
    assert int(re.findall(r"(\d+) bytes stack frame", words)[0]) <= FRAME
    assert int(re.findall(r"(\d+) bytes spill stores", words)[0]) <= 16
    assert "declared but never referenced" not in log or source.recomputes
    entry = next(part for part in ptx.split(".entry ") if part.startswith("train_many"))
    assert entry.count("mma.sync") == source.step.matrix_instructions
    assert len(cubin) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_case_of_the_conformance_suite_has_the_bits_of_one_cta_of_the_shared_kernel(made, name):
    case, found = CASES[name], []
    if reason := applies(case.program, case.widths, "bfloat16", HOPPER):
        pytest.skip(str(reason))
    run = Run(case.program, case.widths, case.records, case.batch_size, "bfloat16")
    plan = Plan("cupy", "cuda:0", "bfloat16", {"warps": 4, "ctas": 1})
    for executable in (
        OwnCtaExecutable(run.program, plan, TwinDevice(made), None),
        PersistentExecutable(run.program, plan, TwinDevice(made, ctas=1)),
    ):
        state = verification.start(run.program, run.parameters, np.array)
        told = executable.run(state, run.x, run.y, run.order, run.batch_size, run.rates, run.sample_weight)
        found.append((told, bits(dict(verification.named_arrays(state)))))
    assert found[0] == found[1]
