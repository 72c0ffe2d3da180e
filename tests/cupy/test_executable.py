"""The GPU executor without a GPU: its memory, arguments, descriptors and graphs, carried out on the host."""

import logging
from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest
from gdkernels_cupy import CuPyBackend, session
from gdkernels_cupy.needs import bytes_of
from host_cupy import Array, CaptureError, install

from gdkernels import verify
from gdkernels.backend import Plan
from gdkernels.cases import CASES, compare, data_of, on_backend, on_numpy
from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import BackendError, InputError
from gdkernels.testing import BackendConformance


class OnHost(CuPyBackend):
    precisions = ("float32",)  # the others are tested below, a few times: they differ in the list, not in here

    @cached_property
    def xp(self):
        import array_api_compat.numpy

        return array_api_compat.numpy

    def unavailable(self):
        return None

    def owns(self, x):
        return isinstance(x, Array)

    def to_numpy(self, x):
        return np.asarray(x).copy()

    def compile(self, program, plan):
        executable = super().compile(program, plan)
        assert executable is not None, f"{program} was not compiled"
        return executable


@pytest.fixture
def host(monkeypatch, twins):
    return install(monkeypatch, twins)


class TestExecutable(BackendConformance):
    epochs = 1

    @pytest.fixture
    def backend(self, host):
        return OnHost()


class Run:
    """A case bound to the host's device, with its data there."""

    def __init__(self, name="wide", precision="float32", device="cuda:0", program=None, **choices):
        self.case, self.backend, self.device = CASES[name], OnHost(), device
        self.case = self.case if program is None else replace(self.case, program=program)
        self.data, self.precision = data_of(self.case), precision
        plan = Plan("cupy", device, precision, choices)
        self.executable = self.backend.compile(self.case.program, plan)
        self.x, self.y = self.put(self.data.x), self.put(self.data.y)
        self.state = self.start()

    def put(self, a):
        return self.backend.asarray(
            a, dtype="float64" if self.precision == "float64" else "float32", device=self.device
        )

    def start(self):
        return verify.start(self.case.program, self.data.parameters, self.put)

    def epoch(self, records=None, **options):
        order = np.arange(len(self.x))[::-1][:records]
        steps = -(-len(order) // self.case.batch_size)
        rates = np.linspace(0.01, 0.005, steps)
        return self.executable.run(self.state, self.x, self.y, order, self.case.batch_size, rates, **options)

    @property
    def bits(self):
        return {name: a.tobytes() for name, a in verify.named_arrays(self.state)}


@pytest.mark.parametrize("precision", ["float64", "tf32", "bfloat16"])
@pytest.mark.parametrize("name", ["wide", "everything", "relu-sse", "softmax-cross_entropy"])
def test_the_other_precisions(host, precision, name):
    found = on_backend(OnHost(), "cuda:0", precision, CASES[name], 1)
    compare(found, on_numpy(CASES[name], precision), on_numpy(CASES[name], "float64"), precision)


# ---- graphs


def test_an_epoch_is_a_few_graphs(host, monkeypatch):
    monkeypatch.setattr(session, "_NODES", 100)
    run = Run("adam")
    run.case = replace(run.case, batch_size=1)
    first = run.epoch()
    graphs = host.graphs
    assert 2 <= graphs <= 3, "of many steps, of what is left, and of a smaller last batch"
    run.state = run.start()
    assert run.epoch() == first
    assert host.graphs == graphs, "what is captured is launched again, with other arrays and rates"


def test_parts_are_all_the_steps():
    for count in range(1, 60):
        for nodes in (1, 40, 1000, 5000):
            parts = session._parts(count, nodes)
            assert sum(size * times for size, times in parts) == count
            assert all(size * nodes <= max(nodes, session._NODES) for size, _ in parts)


def test_capturing_refuses_what_cuda_refuses(host):
    host.captured = []
    with pytest.raises(CaptureError):
        host.cupy.cuda.alloc(8)
    with pytest.raises(CaptureError):
        host.cupy.asarray(np.ones(2))


# ---- memory


def test_what_a_run_needs_is_known(host):
    run = Run("wide")
    run.epoch()
    bound = next(iter(run.executable._graphs._sessions.values()))
    assert bound._memory.size == run.executable.workspace(run.case.batch_size) > 0


def test_a_batch_that_does_not_fit_is_split_with_the_same_result(host, caplog, monkeypatch):
    from gdkernels_cupy import needs

    monkeypatch.setattr(needs, "_MARGIN", 0)
    whole = Run("wide")
    loss, _ = whole.epoch()
    host.free = whole.executable.workspace(whole.case.batch_size) - 1
    monkeypatch.setattr("gdkernels_cupy.device.WORKSPACE", 0)
    parts = Run("wide")
    with caplog.at_level(logging.WARNING, "gdkernels"):
        again, _ = parts.epoch()
    assert "micro-batches, with the same result" in caplog.text
    assert parts.executable.plan.choices["micro_batches"] > 1
    assert again == pytest.approx(loss, rel=1e-6)
    for (name, a), (_, b) in zip(verify.named_arrays(parts.state), verify.named_arrays(whole.state), strict=True):
        assert verify.relative_error(a, b) < 1e-5, name


def test_predictions_take_as_many_rows_as_fit(host):
    run = Run("wide")
    graphs = run.executable._graphs
    wanted = verify.predict_on_numpy(run.case.program, run.data.parameters, run.data.x)
    host.free = bytes_of(graphs._prediction, run.case.widths, (256,), "float32", graphs._trusted()) - 1
    found = np.asarray(run.executable.predict(run.state.parameters, run.x))
    assert verify.relative_error(found, wanted) < 1e-5
    assert [k[2] for k in graphs._sessions] == [128]


def test_another_size_of_batch_makes_room_first(host):
    run = Run("wide")
    for batch_size in (130, 120, 100):
        run.case = replace(run.case, batch_size=batch_size)
        run.epoch()
    assert [k[2] for k in run.executable._graphs._sessions] == [100]
    assert "micro_batches" in run.executable.plan.choices


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(host):
    host.free = 1 << 26
    run = Run("wide")
    before = run.bits
    with pytest.raises(BackendError, match=r"67-131-65-3 needs 0\.00 GB in float32 even for one.*0\.07 GB are free"):
        run.epoch()
    assert run.bits == before


def test_out_of_memory_in_the_middle_loses_nothing(host):
    run = Run("adam")
    run.epoch()
    before, step = run.bits, run.state.step
    for launches in (0, 5, 60):
        host.fail_after = launches
        with pytest.raises(MemoryError):
            run.epoch()
        host.fail_after, host.captured = None, None
        assert run.bits == before
        assert run.state.step == step
    run.epoch()
    assert run.bits != before


# ---- data that stays on the host


def in_pinned_memory(host, monkeypatch, name="adam", precision="float32"):
    """Return a run whose data does not fit on the device."""
    monkeypatch.setattr("gdkernels_cupy._SMALL", 0)
    monkeypatch.setattr("gdkernels_cupy.pinned._SHARE", 0.0)
    run = Run(name, precision)
    monkeypatch.setattr("gdkernels_cupy.pinned._SHARE", 0.6)
    run.state = run.start()
    assert len(host.pinned) >= 2
    return run


@pytest.mark.parametrize("batch_size", [1, 4, 8, 23])
def test_data_that_does_not_fit_is_streamed_with_the_same_bits(host, monkeypatch, caplog, batch_size):
    resident = Run("adam")
    with caplog.at_level(logging.WARNING, "gdkernels"):
        streamed = in_pinned_memory(host, monkeypatch)
    assert "stay in the host's memory" in caplog.text
    for run in (resident, streamed):
        run.case = replace(run.case, batch_size=batch_size)
    for _ in range(2):
        assert streamed.epoch() == resident.epoch()
        assert streamed.bits == resident.bits
    assert [s.streamed for s in streamed.executable._graphs._sessions.values()] == [True]
    found = np.asarray(streamed.executable.predict(streamed.state.parameters, streamed.x))
    assert np.array_equal(found, resident.executable.predict(resident.state.parameters, resident.x))


def test_a_batch_fetched_into_the_place_of_the_one_before_is_caught(host, monkeypatch):
    resident, streamed = Run("adam"), in_pinned_memory(host, monkeypatch)
    monkeypatch.setattr(session, "NEXT", "")
    for run in (resident, streamed):
        run.case = replace(run.case, batch_size=4)
        run.epoch()
    assert streamed.bits != resident.bits


# ---- plans


def test_a_plan_says_what_was_chosen_and_repeats_it(host):
    run = Run("wide", program=replace(CASES["wide"].program, optimizer=SGD()))
    run.epoch()
    choices = run.executable.plan.choices
    assert choices["epilogues"] == ("bias", "relu", "drelu", "sums", "update")
    assert choices["micro_batches"] == 1
    assert len(choices["algorithms"]) >= 6
    again = Run("wide", program=run.case.program, **choices)
    again.epoch()
    assert again.bits == run.bits
    assert again.executable.plan == run.executable.plan


def test_an_epilogue_that_swallows_nan_is_not_used(host, monkeypatch):
    import standin
    from gdkernels_cupy import cublaslt

    def swallowing(*given):
        standin.matmul(*given)
        out = standin.matrix(given[2][2], given[3][2])
        if given[1][cublaslt.DescriptorAttribute.EPILOGUE] & 2 and out.dtype != np.uint16:
            np.nan_to_num(out, copy=False)

    monkeypatch.setattr(cublaslt, "matmul", lambda *given: host.execute(lambda: swallowing(*given)))
    run = Run("wide")
    run.epoch()
    assert "relu" not in run.executable.plan.choices["epilogues"]
    assert "update" in run.executable.plan.choices["epilogues"]


def test_what_cublas_has_not_is_done_otherwise(host, monkeypatch):
    import standin
    from gdkernels_cupy import cublaslt

    def choosy(handle, descriptor, layouts, workspace, count=8):
        wide = layouts[2][cublaslt.LayoutAttribute.ROWS] > 100
        masked = descriptor[cublaslt.DescriptorAttribute.EPILOGUE] & 128
        return [] if wide and masked else standin.algorithms(handle, descriptor, layouts, workspace)

    monkeypatch.setattr(cublaslt, "algorithms", choosy)
    run = Run("wide")
    run.epoch()
    assert "relu" not in run.executable.plan.choices["epilogues"]


# ---- the persistent kernel


@pytest.fixture
def hopper(monkeypatch, twins):
    """Let the persistent kernel's own twin be the device."""
    from gdkernels_cupy import choice
    from gdkernels_cupy.narrow.machine import Properties
    from narrow_twin import TwinMachine

    monkeypatch.setattr(choice, "CudaMachine", lambda number: TwinMachine(twins))
    monkeypatch.setattr(choice, "properties_of", lambda number: Properties(90, 232448))
    choice.narrow_is_right.cache_clear()
    yield choice
    choice.narrow_is_right.cache_clear()


def narrow_run(**choices):
    return Run("relu-sse", "bfloat16", **choices)


def test_narrow_networks_go_to_the_persistent_kernel(host, hopper):
    run, graphs = narrow_run(), narrow_run(kernel="graphs")
    losses = [r.epoch()[0] for r in (run, graphs)]
    assert run.executable.plan.choices["kernel"] == "narrow"
    assert graphs.executable.plan.choices["kernel"] == "graphs"
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    arrays = [dict(verify.named_arrays(r.state)) for r in (run, graphs)]
    assert all(verify.relative_error(arrays[0][name], arrays[1][name]) < 1e-2 for name in arrays[0])
    assert run.executable.workspace(8) > 0


@pytest.mark.parametrize(("name", "precision"), [("wide", "bfloat16"), ("relu-sse", "float32")])
def test_others_go_to_graphs(host, hopper, name, precision):
    run = Run(name, precision)
    run.epoch()
    assert run.executable.plan.choices["kernel"] == "graphs"


def test_streamed_data_goes_to_graphs(host, hopper, monkeypatch):
    run = in_pinned_memory(host, monkeypatch, "relu-sse", "bfloat16")
    run.epoch()
    assert run.executable.plan.choices["kernel"] == "graphs"


def test_a_persistent_kernel_that_fails_here_is_not_used(host, hopper, monkeypatch, caplog):
    def broken(number):
        raise RuntimeError("as planted")

    monkeypatch.setattr(hopper, "CudaMachine", broken)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = narrow_run()
        run.epoch()
    assert "is not used: it fails here (RuntimeError: as planted)" in caplog.text
    assert run.executable.plan.choices["kernel"] == "graphs"


def test_a_persistent_kernel_that_is_wrong_here_is_not_used(host, hopper, monkeypatch):
    class Wrong:
        machine = hopper.CudaMachine(0)

        def __getattr__(self, name):
            return getattr(self.machine, name)

        def to_numpy(self, a):
            return 1.1 * self.machine.to_numpy(a)

    monkeypatch.setattr(hopper, "CudaMachine", lambda number: Wrong())
    assert "W0 is off by 1.0e-01 after three steps" in hopper.narrow_is_right(0, "bfloat16")


# ---- arrays and devices


def test_arrays_on_another_device_are_an_error_that_names_both(host):
    run, elsewhere = Run("adam", device="cuda:0"), Run("adam", device="cuda:1")
    run.x = elsewhere.x
    with pytest.raises(BackendError, match=r"on cuda:1, but the work is on cuda:0"):
        run.epoch()


def test_any_device_can_be_chosen(host):
    run = Run("adam", device="cuda:1")
    run.epoch()
    assert run.state.parameters[0].W.device.id == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": lambda a: a[:, :-1]}, r"x \(23, 4\) and y \(23, 3\) do not fit a network of 5 to 3 units"),
        ({"y": lambda a: a[:-1]}, r"y \(22, 3\)"),
    ],
)
def test_bad_shapes_are_refused_before_any_work(host, change, message):
    run = Run("adam")
    for name, f in change.items():
        setattr(run, name, f(getattr(run, name)))
    with pytest.raises(InputError, match=message):
        run.epoch()
    assert host.launches == 0


def test_an_order_beyond_the_records_is_refused(host):
    run = Run("adam")
    with pytest.raises(InputError, match="row 0 to 23 of 23 rows"):
        run.executable.run(run.state, run.x, run.y, np.arange(24), 8, np.full(3, 0.01))


def test_what_cannot_be_compiled_runs_as_it_is_or_says_why(host, caplog):
    def cumulative(z, *, xp):
        return xp.cumulative_sum(z, axis=1)

    program = replace(CASES["adam"].program, activations=(cumulative, activations.tanh, activations.identity))
    with caplog.at_level(logging.INFO, "gdkernels"):
        assert CuPyBackend().compile(program, Plan("cupy", "cuda:0", "float32")) is None
    assert "cumulative_sum" in caplog.text
    with pytest.raises(BackendError, match=r"bfloat16 needs a program that can be compiled.*cumulative_sum"):
        CuPyBackend().compile(program, Plan("cupy", "cuda:0", "bfloat16"))


def test_many_rows_are_predicted_in_parts(host, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.executable._PREDICTED_ROWS", 64)
    run = Run("wide")
    output = run.executable.predict(run.state.parameters, run.x)
    wanted = verify.predict_on_numpy(run.case.program, run.data.parameters, run.data.x)
    assert verify.relative_error(np.asarray(output), wanted) < 1e-5
    assert run.executable.predict(run.state.parameters, run.x[:0]).shape == (0, 3)
