"""The narrow kernel declines what does not fit, and does many steps in several launches: on its twin."""

import re

import numpy as np
import pytest
from gdkernels_cupy.persistent import DeviceProperties, PersistentExecutable, applies
from gdkernels_cupy.persistent.fitting import fitting, sources_of, tasks_of
from gdkernels_cupy.persistent.shape import FORMATS, most_sums
from persistent_runs import Run, bits, errors, program
from persistent_twin import SCHEDULES, TwinDevice, TwinKernels

from benchmarks.gpu.typical import TYPICAL
from gdkernels.backend import Plan, verification
from gdkernels.definition import activations, losses
from gdkernels.errors import BackendError, InputError, ScheduleError
from gdkernels.testing.cases import CASES, varied

relu, tanh, gelu = activations.relu, activations.tanh, activations.gelu
HOPPER, ADA = DeviceProperties(90, 232448), DeviceProperties(89, 101376)


@pytest.mark.parametrize(
    ("run_program", "widths", "precision", "properties", "words"),
    [
        (program(relu), (65, 8, 2), "bfloat16", HOPPER, "a layer has 65 units, at most 64"),
        (program(relu), (8, 8, 2), "float64", HOPPER, "bfloat16, tf32 and float32, not in float64"),
        (program(relu), (8, 8, 2), "bfloat16", DeviceProperties(75, 65536), "capability 8.0, the device has 7.5"),
        (program(*[gelu] * 6), (64,) * 8, "bfloat16", ADA, "of 101376 bytes on the chip; with 4 warps it takes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_declined_with_the_reason(run_program, widths, precision, properties, words):
    assert words in applies(varied(run_program, widths=widths), widths, precision, properties)


@pytest.mark.parametrize(
    ("run_program", "widths", "precision"),
    [
        (program(*[relu] * 6), (64,) * 8, "bfloat16"),
        (program(*[tanh] * 3), (64,) * 5, "bfloat16"),
        (program(*[gelu] * 3), (64,) * 5, "bfloat16"),
        (program(relu, relu), (64,) * 4, "tf32"),
        (program(*[relu] * 6), (33,) * 7 + (10,), "bfloat16"),
        (program(relu, loss=losses.cross_entropy, clip_norm=1.0), (64,) * 3, "tf32"),
    ],
)
def test_what_fits_on_a_hopper(run_program, widths, precision):
    assert applies(varied(run_program, widths=widths), widths, precision, HOPPER) is None


@pytest.mark.parametrize(
    ("run_program", "widths", "precision", "choices", "parked"),
    [
        (program(*[relu] * 6), (64,) * 8, "bfloat16", {}, 0),
        (program(*[relu] * 7), (64,) * 9, "bfloat16", {}, 5),
        (program(*[relu] * 3), (64,) * 5, "tf32", {}, 2),
        (program(relu), (8, 64, 3), "tf32", {"parked": 1}, 1),
        (program(relu, relu), (8, 64, 64, 3), "bfloat16", {"parked": 2}, 2),
    ],
)
def test_gradients_leave_the_registers_where_there_are_too_few(run_program, widths, precision, choices, parked):
    tasks = tasks_of(varied(run_program, widths=widths))
    source = next(fitting(*tasks, precision, HOPPER.shared_bytes, choices))
    assert source.spilled_gradients == parked
    assert source.step.sums_per_thread <= most_sums(FORMATS[precision], source.warps)
    slots = {k: g.split.slots for k, g in source.step.gradient_of.items()}
    sums = sorted(slots.values())
    assert sorted(slots[k] for k in source.step.spilled_gradients) == sums[len(sums) - parked :], "the largest"
    assert source.step.sums_per_thread == (sum(sums[:-parked]) + sums[-1] if parked else sum(sums))


def test_a_plan_that_keeps_too_much_in_registers_is_declined():
    tasks = tasks_of(program(*[relu] * 7, widths=(64,) * 9))
    with pytest.raises(ScheduleError, match="with 8 warps its gradients take 128 registers of a thread, at most 112"):
        next(fitting(*tasks, "bfloat16", HOPPER.shared_bytes, {"parked": 0}))


# The typical networks that stay with CUDA graphs, by the room that a CTA has on the chip.
FOUR = {name for name in TYPICAL if name.startswith("four of 64")}
DECLINED = {
    101376: {"three of 64, relu", "seven of 64, relu"},
    166912: set(),
    232448: set(),
}
DECLINED_IN_FLOAT32 = {
    101376: {
        *FOUR,
        "three of 64, relu",
        "three of 64, gelu, Adam, classes",
        "seven of 64, relu",
        "2-64-64-64-3, sine, Adam",
    },
    166912: {*FOUR, "seven of 64, relu"},
    232448: {"seven of 64, relu"},
}


@pytest.mark.parametrize("shared_bytes", DECLINED)
def test_of_fourteen_typical_networks_these_do_not_fit(shared_bytes):
    found = set(), set()
    for name, (typical, precision) in TYPICAL.items():
        for k, wanted in enumerate((precision, "float32")):
            reason = applies(typical, typical.widths, wanted, DeviceProperties(80, shared_bytes))
            if reason is not None:
                assert f"of {shared_bytes} bytes on the chip" in reason
                found[k].add(name)
    assert len(TYPICAL) == 14
    assert found == (DECLINED[shared_bytes], DECLINED_IN_FLOAT32[shared_bytes])


@pytest.mark.parametrize("name", ["residual", "layer norm of the inputs"])
def test_what_the_text_of_blocks_names_is_declared(name):
    """Names of their parameters have a slash, and predictions read numbers that follow from the widths."""
    text = next(sources_of(CASES[name].program, "tf32", 1 << 20)).text
    for kernel in re.split(r"KERNEL (?=train|predict)", text)[1:]:
        used = set(re.findall(r"\b(?:s\d+|weights_\w+|bias_\w+)\b", kernel))
        assert used <= set(re.findall(r"const float (s\d+) =", kernel)) | set(re.findall(r"\* const (\w+) =", kernel))
        assert len(used) > 3
    assert "/" not in "".join(re.findall(r"\w+_W\S*", text))


def test_what_fits_is_kept_and_only_then_computed_again():
    classes, precision = TYPICAL["four of 64, gelu, Adam, classes"]
    for shared_bytes, recomputes in ((232448, False), (166912, True), (101376, True)):
        sources = list(sources_of(classes, precision, shared_bytes))
        assert {source.recomputes for source in sources} == {recomputes}
        assert all(source.shared_bytes <= shared_bytes for source in sources)


def test_a_function_that_cannot_be_traced_is_declined():
    def branching(z, *, xp):
        return z if z > 0 else 0.0

    assert "use xp.where" in applies(program(branching), (4, 4, 1), "bfloat16", HOPPER)


def test_wrong_input_is_refused_before_anything_runs(made):
    run = Run(program(relu), (5, 7, 3), 23, 8)
    executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", "bfloat16"), TwinDevice(made))
    state = verification.start(run.program, run.parameters, np.array)
    with pytest.raises(InputError, match="row 0 to 23 of 23 rows"):
        executable.run(state, run.x, run.y, np.arange(24), 8, run.rates)
    with pytest.raises(InputError, match="no records"):
        executable.run(state, run.x, run.y, np.arange(0), 8, run.rates)
    with pytest.raises(InputError, match="do not fit a network of 5 to 3 units"):
        executable.run(state, run.x, run.y[:, :2], run.order, 8, run.rates)
    with pytest.raises(InputError, match="x has 4 columns, the network 5 inputs"):
        executable.predict(state.parameters, run.x[:, :4])
    wide = Run(program(relu), (5, 70, 3), 23, 8)
    executable = PersistentExecutable(wide.program, Plan("cupy", "cuda:0", "bfloat16"), TwinDevice(made))
    with pytest.raises(ScheduleError, match="at most 64"):
        executable.run(
            verification.start(wide.program, wide.parameters, np.array), wide.x, wide.y, wide.order, 8, wide.rates
        )


def test_many_steps_are_several_launches_of_one_run(made, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.persistent.executable._FIRST_STEPS", 2)
    run = Run(program(relu), (5, 7, 3), 37, 8)
    assert max(errors(run.on_twin(TwinDevice(made), warps=4), run.reference()).values()) < 1e-3


class Clock:
    """Seconds, of which each step of a launch takes some."""

    def __init__(self, device, seconds):
        self.now, self.counts, self.waits = 0.0, [], 0
        launch, wait = TwinKernels.launch, device.wait

        def timed(kernels, name, ctas, shared, arguments, *, together):
            if name == "train":
                self.counts.append(int(arguments[-1]))
                self.now += seconds * self.counts[-1]
            return launch(kernels, name, ctas, shared, arguments, together=together)

        self.launch, device.wait = timed, lambda: wait() or setattr(self, "waits", self.waits + 1)


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [(1e-5, [16, 128, 156]), (1e-3, [16, 128, 156]), (1 / 256, [16, *[51] * 5, 29]), (0.1, [16] * 18 + [12])],
)
def test_launches_grow_to_a_fifth_of_a_second_with_the_same_bits(made, monkeypatch, seconds, counts):
    run, device = Run(program(relu), (2, 3, 1), 300, 1), TwinDevice(made, ctas=1)
    wanted = bits(run.on_twin(device, warps=4))
    clock = Clock(device, seconds)
    monkeypatch.setattr("gdkernels_cupy.persistent.executable.perf_counter", lambda: clock.now)
    monkeypatch.setattr(TwinKernels, "launch", clock.launch)
    assert bits(run.on_twin(device, warps=4)) == wanted
    assert clock.counts == counts
    assert clock.waits == len(counts) - 1, "between launches Ctrl-C is heard"


def test_an_interrupt_between_launches_changes_nothing(made, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.persistent.executable._FIRST_STEPS", 1)
    run, device = Run(program(relu), (5, 7, 3), 23, 8), TwinDevice(made)

    def pressed():
        raise KeyboardInterrupt

    device.wait = pressed
    executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", "bfloat16"), device)
    state = verification.start(run.program, run.parameters, np.array)
    before = bits(dict(verification.named_arrays(state)))
    with pytest.raises(KeyboardInterrupt):
        executable.run(state, run.x, run.y, run.order, 8, run.rates)
    assert bits(dict(verification.named_arrays(state))) == before
    assert state.step == 0


def test_ctas_that_wait_for_one_that_never_comes_give_up(made):
    """It is an error that loses nothing, in place of a process that hangs."""

    def change(text):
        assert "        arrive(counter);" in text
        return text.replace("        arrive(counter);", "        if (cta() != 1 || phase < 3) arrive(counter);")

    run, device = Run(program(relu), (5, 7, 3), 300, 300), TwinDevice(made, ctas=3, change=change)
    executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", "bfloat16", {"warps": 4}), device)
    state = verification.start(run.program, run.parameters, np.array)
    order, rates = np.tile(run.order, 4), np.tile(run.rates, 4)
    before = bits(dict(verification.named_arrays(state)))
    words = r"waited for each other on cuda:0 for longer than 5 s.*'kernel' is 'graphs'"
    with pytest.raises(BackendError, match=words):
        executable.run(state, run.x, run.y, order, 300, rates)
    assert bits(dict(verification.named_arrays(state))) == before
    assert state.step == 0


def test_under_a_sanitizer_they_wait_for_ever(monkeypatch):
    tasks = tasks_of(program(relu, widths=(5, 7, 3)))
    usual = next(fitting(*tasks, "bfloat16", HOPPER.shared_bytes, {})).text
    assert "BARRIER_NANOSECONDS = 5000000000ull" in usual
    monkeypatch.setenv("GDKERNELS_PATIENT_BARRIERS", "1")
    assert "BARRIER_NANOSECONDS = 0ull" in next(fitting(*tasks, "bfloat16", HOPPER.shared_bytes, {})).text


def test_a_barrier_that_two_launches_share_is_caught(made, monkeypatch):
    """It would let CTAs through that have not met; the twin's barrier counts as the device's does."""
    monkeypatch.setattr("gdkernels_cupy.persistent.executable._FIRST_STEPS", 1)
    monkeypatch.setattr("gdkernels_cupy.persistent.executable._GROWTH", 1)
    run = Run(program(relu, relu), (20, 33, 17, 5), 300, 100)
    launch = TwinKernels.launch
    wanted = bits(run.on_twin(TwinDevice(made, ctas=3), warps=4))
    first = []

    def shared(self, name, ctas, shared_bytes, arguments, *, together):
        if name == "train":
            first.append(arguments[12])
            arguments = (*arguments[:12], first[0], *arguments[13:])
        return launch(self, name, ctas, shared_bytes, arguments, together=together)

    monkeypatch.setattr(TwinKernels, "launch", shared)
    seen = [bits(run.on_twin(TwinDevice(made, ctas=3, schedule=s), warps=4)) for s in SCHEDULES]
    assert any(found != wanted for found in seen)


def test_the_plan_names_what_can_change_bits(made):
    run = Run(program(relu), (5, 7, 3), 23, 8)
    device = TwinDevice(made, ctas=3)
    executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", "bfloat16"), device)
    state = verification.start(run.program, run.parameters, np.array)
    executable.run(state, run.x, run.y, run.order, 8, run.rates)
    assert executable.plan.choices == {
        "kernel": "narrow", "warps": 8, "at_once": 4, "parked": 0, "recomputed": False, "reloaded": False,
        "ctas": 3,
    }  # fmt: skip
    assert executable.workspace(8) > 0
    assert state.step == 3


def test_memory_that_runs_out_does_so_before_anything_moves(made):
    """Every allocation of a run comes before its first launch of a step."""
    run, device, happened = Run(program(relu), (5, 7, 3), 23, 8), TwinDevice(made), []
    zeros, launch = device.zeros, TwinKernels.launch
    device.zeros = lambda *given: happened.append("zeros") or zeros(*given)

    def noted(self, name, *given, **options):
        happened.append(name)
        return launch(self, name, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TwinKernels, "launch", noted)
        patch.setattr("gdkernels_cupy.persistent.executable._FIRST_STEPS", 1)
        patch.setattr("gdkernels_cupy.persistent.executable._GROWTH", 1)
        executable = PersistentExecutable(run.program, Plan("cupy", "cuda:0", "bfloat16"), device)
        state = verification.start(run.program, run.parameters, np.array)
        executable.run(state, run.x, run.y, run.order, 8, run.rates)
    assert happened.count("train") == 3
    assert "zeros" not in happened[happened.index("train") :]
