"""The GPU executor without a GPU: its arguments, descriptors and graphs, carried out on the host."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from few_cases import FEW_CASES
from gdkernels_cupy import CuPyBackend
from gdkernels_cupy.graphs import captured_graphs, session
from gdkernels_cupy.graphs.epilogue_fusion import applicable
from gdkernels_cupy.graphs.executable import CudaGraphExecutable
from host_arrays import CaptureError
from host_runs import OnHost, Run

from benchmarks.gpu.typical import network
from gdkernels.backend import Plan, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import BackendError, InputError, ScheduleError
from gdkernels.randomness import KeyedOrder
from gdkernels.testing import BackendConformance
from gdkernels.testing.cases import CASES, compare, on_backend, on_numpy_once, varied

IN_FLOAT32 = applicable("float32")


@pytest.fixture
def every_epilogue(host, monkeypatch):
    """Keep every trusted epilogue, as the choice by a clock without noise does, which is tested elsewhere."""
    monkeypatch.setattr("gdkernels_cupy.graphs.session_maker.chosen", lambda trusted, seconds: trusted)


class TestExecutable(BackendConformance):
    epochs = 1

    @pytest.fixture
    def backend(self, every_epilogue):
        return OnHost()

    @pytest.mark.parametrize("name", FEW_CASES)
    def test_training_is_the_definition(self, backend, device, name):
        super().test_training_is_the_definition(backend, device, name)


@pytest.mark.parametrize("precision", ["float64", "tf32", "bfloat16"])
@pytest.mark.parametrize("name", ["wide", "everything", "relu-sse", "softmax-cross_entropy"])
def test_the_other_precisions(every_epilogue, precision, name):
    found = on_backend(OnHost(), "cuda:0", precision, CASES[name], 1)
    own, wanted = (on_numpy_once(CASES[name], p, 1) for p in (precision, "float64"))
    compare(found, [own], wanted, precision)


# ---- graphs


def test_an_epoch_is_a_few_graphs(host, monkeypatch):
    monkeypatch.setattr(captured_graphs, "MOST_NODES", 100)
    monkeypatch.setattr(session, "MOST_NODES", 100)
    run = Run("adam", epilogues=IN_FLOAT32)
    run.case = replace(run.case, batch_size=1)
    first = run.epoch()
    graphs = host.graphs
    assert 2 <= graphs <= 3, "of many steps, of what is left, and of a smaller last batch"
    run.state = run.start()
    assert run.epoch() == first
    assert host.graphs == graphs, "what is captured is launched again, with other arrays and rates"


def test_a_keyed_order_is_computed_on_the_device(host):
    found = []
    for name in ("wide", "dropout"):
        order = KeyedOrder.of(1, 2, CASES[name].records)[1:]
        for given in (order, np.asarray(order)):
            run = Run(name)
            rates = np.full(-(-len(order) // run.case.batch_size), 0.01)
            run.executable.run(run.state, run.x, run.y, given, run.case.batch_size, rates)
            found.append(run.bits)
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_a_last_batch_of_another_size_makes_nothing_anew(host):
    run, graphs = Run("adam", epilogues=IN_FLOAT32), []
    for records in (23, 21) * 4:
        before = host.graphs
        run.state = run.start()
        found = run.epoch(records)
        graphs.append(host.graphs - before)
        alone = Run("adam", epilogues=IN_FLOAT32)
        captured = host.graphs
        assert alone.epoch(records) == found
        assert alone.bits == run.bits
        host.graphs = captured
    assert graphs[0] > 0
    assert graphs[1:] == [0, 0, 0, 0, 1, 0, 0], "only a last batch that comes a third time is worth a graph"


def test_few_sizes_of_a_last_batch_are_kept(host, monkeypatch):
    monkeypatch.setattr(session, "_KEPT_RESTS", 2)
    run = Run("adam", epilogues=IN_FLOAT32)
    for records in range(17, 24):
        run.epoch(records)
    (kept,) = run.executable._graphs._sessions.values()
    assert list(kept._steps) == [8, 5, 6, 7]


def test_a_last_batch_of_one_record_has_the_numbers_of_the_others(host):
    """It cannot be split as a full batch is: what it could then do itself needs numbers that the others have not."""
    case = CASES["wide"]
    runs = [
        Run("wide", program=replace(case.program, optimizer=SGD()), epilogues=IN_FLOAT32, micro_batches=parts)
        for parts in (1, 2)
    ]
    records = case.batch_size + 1
    assert records <= len(runs[0].x)
    losses = [run.epoch(records)[0] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    arrays = [dict(verification.named_arrays(run.state)) for run in runs]
    for name in arrays[0]:
        assert verification.relative_error(arrays[1][name], arrays[0][name]) < 1e-5, name


def test_parts_are_all_the_steps():
    for count in range(1, 60):
        for nodes in (1, 40, 1000, 5000):
            parts = captured_graphs.CapturedGraphs.parts(count, nodes)
            assert sum(size * times for size, times in parts) == count
            assert all(size * nodes <= max(nodes, captured_graphs.MOST_NODES) for size, _ in parts)


def test_capturing_refuses_what_cuda_refuses(host):
    host.captured = []
    with pytest.raises(CaptureError):
        host.cupy.cuda.alloc(8)
    with pytest.raises(CaptureError):
        host.cupy.asarray(np.ones(2))


# ---- plans


def test_a_plan_says_what_was_chosen_and_repeats_it(host):
    run = Run("wide", program=replace(CASES["wide"].program, optimizer=SGD()))
    run.epoch()
    choices = run.executable.plan.choices
    assert choices["epilogues"] == IN_FLOAT32
    assert choices["micro_batches"] == 1
    assert len(choices["algorithms"]) >= 6
    again = Run("wide", program=run.case.program, **choices)
    again.epoch()
    assert again.bits == run.bits
    assert again.executable.plan == run.executable.plan


@pytest.mark.parametrize("foreign", ["ff" * 64, "ff", "of another file", 1])
def test_an_algorithm_of_another_device_is_not_run(host, caplog, foreign):
    run = Run("adam", epilogues=IN_FLOAT32)
    run.epoch()
    choices = dict(run.executable.plan.choices)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        again = Run("adam", **choices | {"algorithms": dict.fromkeys(choices["algorithms"], foreign)})
        again.epoch()
    assert "is none of cuda:0: another is taken, and bits may differ" in caplog.text
    assert again.bits == run.bits
    assert again.executable.plan == run.executable.plan


# ---- arrays and devices


def test_arrays_on_another_device_are_an_error_that_names_both(host):
    run, elsewhere = Run("adam", device="cuda:0"), Run("adam", device="cuda:1")
    run.x = elsewhere.x
    with pytest.raises(BackendError, match=r"on cuda:1, but the work is on cuda:0"):
        run.epoch()


def test_any_device_can_be_chosen(host):
    run = Run("adam", device="cuda:1")
    run.epoch()
    assert run.state.parameters["W0"].device.id == 1


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
    def in_order(z, *, xp):
        return xp.sort(z, axis=1)

    program = varied(CASES["adam"].program, activations=(in_order, activations.tanh, activations.identity))
    with caplog.at_level(logging.INFO, "gdkernels"):
        executable = bind(CuPyBackend(), program, Plan("cupy", "cuda:0", "float32"))
    assert executable.origin == "definition"
    assert "sort" in executable.remark
    assert executable.remark in caplog.text
    with pytest.raises(BackendError, match=r"bfloat16 needs a program that can be compiled.*sort"):
        CuPyBackend().compile(program, Plan("cupy", "cuda:0", "bfloat16"))


def test_a_norm_of_more_parameters_than_a_kernel_has_arguments_for_is_refused():
    program = replace(network(activations.relu, (4,) * 260, SGD()), gradient_norm=True)
    with pytest.raises(ScheduleError, match="would take 518 numbers, as the norm of a gradient.*takes 500 at most"):
        CudaGraphExecutable(program, Plan("cupy", "cuda:0", "float32"), 0)


def test_many_rows_are_predicted_in_parts(host, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.graphs.executable._PREDICTED_ROWS", 64)
    run = Run("wide")
    output = run.executable.predict(run.state.parameters, run.x)
    wanted = verification.predict_on_numpy(run.case.program, run.data.parameters, run.data.x)
    assert verification.relative_error(np.asarray(output), wanted) < 1e-5
    assert run.executable.predict(run.state.parameters, run.x[:0]).shape == (0, 3)
