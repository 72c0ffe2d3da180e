"""Models of one structure as strided batches: each as the definition has it, and as it comes out alone."""

import re
from dataclasses import replace

import numpy as np
import pytest
import standin
from gdkernels_cupy import choice
from gdkernels_cupy.batches import kernels, session
from gdkernels_cupy.batches.code import BatchCode
from gdkernels_cupy.beside import BATCHED
from gdkernels_cupy.cuda.device import CudaDevice
from gdkernels_cupy.cuda.errors import DeviceMemoryError
from gdkernels_cupy.graphs.epilogue_fusion import applicable
from host_runs import OnHost

from gdkernels.backend import Job, Plan, storage_dtype, verification
from gdkernels.definition.optimizers import SGD, Adam, AdamW
from gdkernels.errors import BackendError
from gdkernels.testing.cases import CASES, data_of

MODELS = 3
CONSTANTS = {SGD: "momentum", Adam: "beta1", AdamW: "weight_decay"}


class Models:
    """Models of a case, each with its own parameters, orders, rates, seed and numbers of its optimizer."""

    def __init__(self, name, precision="float32", epochs=2, device="cuda:0", **choices):
        self.device = device
        self.case, self.precision, self.epochs, self.backend = CASES[name], precision, epochs, OnHost()
        self.data, self.dtype = data_of(self.case), "float64" if precision == "float64" else "float32"
        self.epilogues = tuple(e for e in applicable(precision) if e != "update")
        choices = {"many": True, "kernel": "batches", "epilogues": self.epilogues, **choices}
        choices = {name: value for name, value in choices.items() if value is not None}
        self.first = self.backend.compile(self.case.program, Plan("cupy", device, precision, choices))

    def put(self, a):
        return self.backend.asarray(np.asarray(a), dtype=self.dtype, device=self.device)

    def program(self, k):
        optimizer = self.case.program.optimizer
        name = CONSTANTS.get(type(optimizer))
        if name is None or not getattr(optimizer, name):
            return self.case.program
        own = replace(optimizer, **{name: getattr(optimizer, name) * (1 - 0.1 * k)})
        return replace(self.case.program, optimizer=own)

    def job(self, k, *, executable=None, put=None, epochs=None, records=None, rate=1.0):
        random, put, program = np.random.default_rng(k), put or self.put, self.program(k)
        epochs, records, batch = epochs or self.epochs, records or self.case.records, self.case.batch_size
        parameters = {n: (a * (1 + 0.1 * k)).astype(a.dtype) for n, a in self.data.parameters.items()}
        state = replace(verification.start(program, parameters, put), seed=k)
        orders = np.stack([random.permutation(self.case.records)[:records] for _ in range(epochs)])
        rates = rate * self.case.learning_rate * random.uniform(0.5, 1.0, (epochs, -(-records // batch)))
        weights = () if self.data.sample_weight is None else (put(self.data.sample_weight),)
        executable = executable or self.first.with_program(program)
        return Job(executable, state, put(self.data.x), put(self.data.y), orders, batch, rates, *weights)

    def by_graphs(self, k):
        """Return the job of a model's ordinary fit alone, with the same epilogues."""
        plan = Plan("cupy", "cuda:0", self.precision, {"kernel": "graphs", "epilogues": self.epilogues})
        return self.job(k, executable=self.backend.compile(self.program(k), plan))

    def by_definition(self, k, precision):
        """Return what NumPy makes of a model in some precision."""
        dtype = storage_dtype(precision)
        job = self.job(k, put=lambda a: np.array(a, dtype))
        for order, rates in zip(job.orders, job.learning_rates, strict=True):
            given = self.program(k), job.state, job.x, job.y, order, job.batch_size, rates
            verification.continue_on_numpy(*given, precision=precision, sample_weight=job.sample_weight)
        return arrays(job)

    def run(self, jobs):
        return list(self.first.run_many(jobs))


def arrays(job):
    return {name: np.asarray(a) for name, a in verification.named_arrays(job.state)}


def bits(job):
    return {name: a.tobytes() for name, a in arrays(job).items()}


QUICK = {
    "wide": "float32",
    "computed weights, everything": "float64",
    "embeddings, everything": "float32",
    "dropout in a residual": "float32",
    "relu-mse": "bfloat16",
    "gelu-poisson": "tf32",
}
RARELY = {"everything": "float64"}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in RARELY)])
def test_each_model_is_the_definition_s_and_that_of_its_fit_alone(host, name):
    models = Models(name, {**QUICK, **RARELY}[name])
    jobs = [models.job(k) for k in range(MODELS)]
    found = models.run(jobs)
    for k, job in enumerate(jobs):
        assert job.executable.plan.choices["kernel"] == "batches"
        assert f"{MODELS} models of one structure are a batch" in job.executable.remark
        alone = models.by_graphs(k)
        assert alone.run() == found[k]
        assert bits(alone) == bits(job)
        own, wanted = (models.by_definition(k, precision) for precision in (models.precision, "float64"))
        for what, a in arrays(job).items():
            errors = [verification.relative_error(one, wanted[what]) for one in (a, own[what])]
            # After these few steps, by the bound of 100.
            assert errors[0] <= verification.bound(errors[1], models.precision, 100), what


@pytest.fixture
def runs(monkeypatch):
    """Return the models, the epochs and the room of each run of a batch."""
    noted, run = [], session.BatchSession.run

    def noting(self, runs):
        noted.append((len(runs), len(runs[0].orders), self.models))
        return run(self, runs)

    monkeypatch.setattr(session.BatchSession, "run", noting)
    return noted


def test_models_with_fewer_epochs_leave_and_others_have_batches_of_their_own(host, runs):
    models = Models("adam")
    given = [{"epochs": 1}, {"epochs": 3}, {"epochs": 3, "records": 17}, {"epochs": 3}, {"epochs": 3}]
    jobs = [models.job(k, **one) for k, one in enumerate(given)]
    found = models.run(jobs)
    assert runs == [(4, 1, 4), (3, 2, 4), (1, 3, 1)], "a place that is idle is cheaper than graphs captured anew"
    for k, (job, one) in enumerate(zip(jobs, given, strict=True)):
        alone = models.job(k, **one)
        assert models.run([alone]) == [found[k]]
        assert (bits(alone), alone.state.step) == (bits(job), job.state.step)
        assert job.state.step == job.learning_rates.size


def test_any_device_can_be_chosen_and_arrays_elsewhere_are_refused(host):
    models = Models("adam", device="cuda:1")
    jobs = [models.job(k) for k in range(2)]
    models.run(jobs)
    assert {a.device.id for job in jobs for a in job.state.parameters.values()} == {1}
    with pytest.raises(BackendError, match="an array is on cuda:0, but the work is on cuda:1"):
        models.run([models.job(0, put=Models("adam").put)])


def test_orders_come_a_part_at_a_time_where_they_are_large(host, runs, monkeypatch):
    models = Models("adam", epochs=3)
    wanted = models.job(1)
    models.run([wanted])
    monkeypatch.setattr(session, "MOST_TOLD", 1)
    again = models.job(1)
    models.run([again])
    assert bits(again) == bits(wanted)


def test_a_model_that_diverges_disturbs_no_other(host):
    models = Models("adam")
    jobs = [models.job(k, rate=1e38 if k == 1 else 1.0) for k in range(3)]
    models.run(jobs)
    assert not np.isfinite(arrays(jobs[1])["W0"]).all()
    for k in (0, 2):
        alone = models.job(k)
        models.run([alone])
        assert bits(alone) == bits(jobs[k])


@pytest.mark.parametrize("short", ["before", "when allocating"])
def test_where_memory_is_short_fewer_train_at_a_time(host, runs, monkeypatch, short):
    models = Models("adam")
    wanted = [models.job(k) for k in range(4)]
    models.run(wanted)
    runs.clear()
    own = wanted[0].executable.beside_for(wanted[0])
    if short == "before":
        there = 2.5 * sum(own.bytes_for(wanted[0]))
        monkeypatch.setattr(choice, "_free_on", lambda number: there - own.held())
    else:
        most, allocate = 3 * own.code.layout(8, 7).apart, CudaDevice.allocate

        def short_of(gpu, size):
            if size > most:
                raise DeviceMemoryError("as planted")
            return allocate(gpu, size)

        monkeypatch.setattr(CudaDevice, "allocate", short_of)
        models = Models("adam")
    again = [models.job(k) for k in range(4)]
    models.run(again)
    assert [n for n, _, _ in runs] == [2, 2]
    assert list(map(bits, again)) == list(map(bits, wanted))


def test_models_that_do_not_fit_at_all_run_by_themselves(host, monkeypatch, caplog):
    def session_of(code, batch, rest, models):
        raise DeviceMemoryError("as planted")

    monkeypatch.setattr(BatchCode, "session", session_of)
    models = Models("adam")
    jobs = [models.job(k) for k in range(2)]
    models.run(jobs)
    for k, job in enumerate(jobs):
        alone = models.by_graphs(k)
        alone.run()
        assert bits(alone) == bits(job)
    assert "CUDA graphs run this epoch: as planted" in caplog.text


def test_what_is_interrupted_has_changed_nothing(host):
    models = Models("adam")
    models.run([models.job(k) for k in range(2)])
    jobs = [models.job(k) for k in range(2)]
    before, launch = list(map(bits, jobs)), host.execute
    left = iter(range(12))

    def interrupted(*given):
        if next(left, None) is None:
            raise KeyboardInterrupt
        launch(*given)

    host.execute = interrupted
    with pytest.raises(KeyboardInterrupt):
        models.run(jobs)
    host.execute = launch
    assert list(map(bits, jobs)) == before
    assert [job.state.step for job in jobs] == [0, 0]
    models.run(jobs)
    alone = models.job(1)
    models.run([alone])
    assert bits(alone) == bits(jobs[1])


def test_a_plan_names_what_ran_and_repeats_it(host, caplog):
    models = Models("adam")
    job = models.job(0)
    models.run([job])
    choices = dict(job.executable.plan.choices)
    assert choices["kernel"] == "batches"
    assert all(key.endswith(" of models") for key in choices["algorithms"])
    again = Models("adam", **choices)
    other = again.job(0)
    again.run([other])
    assert other.executable.plan == job.executable.plan
    assert "bits may differ" not in caplog.text
    foreign = Models("adam", **choices | {"algorithms": dict.fromkeys(choices["algorithms"], "ff" * 64)})
    foreign.run([foreign.job(0)])
    assert "is none for 1 models on cuda:0: bits may differ" in caplog.text


# ---- what is wrong somewhere

MOVED = "of_model(memory, apart) + m.offset"
WRONG = {
    "products add the bias of the first model": ("bias", list(BATCHED[:1])),
    "slopes are those of the first model": ("auxiliary", list(BATCHED[:1])),
    "parameters come to the first model": (MOVED, list(BATCHED)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_mixes_models_up_is_not_believed(host, monkeypatch, name):
    what, passed = WRONG[name]
    monkeypatch.delenv("GDKERNELS_CHECK")
    product, text = standin._product, kernels.models_text

    def mixed(*given):
        aux, bias = given[-1]
        return product(*given[:-1], (0 if what == "auxiliary" else aux, 0 if what == "bias" else bias))

    monkeypatch.setattr(standin, "_product", mixed)
    if what == MOVED:
        monkeypatch.setattr(session, "models_text", lambda lists: text(lists).replace(what, "memory + m.offset"))
    models = Models("relu-mse", epilogues=None)
    jobs = [models.job(k) for k in range(2)]
    models.run(jobs)
    assert list(jobs[0].executable.passed_over) == passed
    if passed == list(BATCHED):
        assert "one model after the other, as the plan asks for it, and there" in jobs[0].executable.remark
        assert "are no batches (what is added to" in jobs[0].executable.remark
    else:
        assert jobs[0].executable.plan.choices["epilogues"] == ()
    alone = models.job(1)
    models.run([alone])
    assert bits(alone) == bits(jobs[1])


# ---- by the compiler of CUDA


def compiled(nvrtc, name, precision, architecture):
    """Compile the kernels of a case for many models, and compare with what is meant."""
    case = CASES[name]
    code = BatchCode(case.program, Plan("cupy", "cuda:0", precision, {"epilogues": ()}), 0)
    batch = min(case.batch_size, case.records)
    text = kernels.models_text(code.layout(batch, case.records % batch).lists)
    cubin, ptx, log = nvrtc.compiled(text, architecture)
    assert len(cubin) > 10_000
    assert set(re.findall(r"(\d+) bytes spill (?:stores|loads)", log)) == {"0"}
    assert max(int(n) for n in re.findall(r"Used (\d+) registers", log)) <= 128  # two blocks of 256 threads or more
    assert not re.search(r"\b(atom|red)\.", ptx), "an atomic would leave the order of sums open"
    entries = [part for part in ptx.split(".entry ")[1:] if part.startswith("models_")]
    assert len(entries) >= 8
    assert all("%ctaid.z" in entry for entry in entries), "each works on the memory of its model"


def test_kernels_for_models_compile(host, nvrtc):
    compiled(nvrtc, "relu-mse", "bfloat16", "sm_90")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"])
@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", ["wide", "everything", "embeddings, everything", "computed weights, everything", "dropout in a residual"]
)
def test_kernels_for_models_compile_for_each_architecture(host, nvrtc, name, precision, architecture):
    compiled(nvrtc, name, precision, architecture)
