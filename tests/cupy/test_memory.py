"""Work that does not fit on a device: batches in parts, data that stays on the host, nothing lost."""

import gc
import logging
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from gdkernels_cupy.cuda import device as device_module
from gdkernels_cupy.graphs import bound_steps, session_maker
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES
from gdkernels_cupy.graphs.memory_plan import bytes_of, shares
from gdkernels_cupy.graphs.operations import GatherRows
from gdkernels_cupy.graphs.probe import trusted_epilogues
from host_arrays import CaptureError
from host_runs import OnHost, Run, in_pinned_memory
from programs import list_of

from gdkernels.backend import verification
from gdkernels.errors import BackendError


def test_what_a_run_needs_is_known(host):
    run = Run("wide")
    run.epoch()
    bound = next(iter(run.executable._graphs._sessions.values()))
    assert bound._memory.size == run.executable.workspace(run.case.batch_size) > 0


def test_a_batch_that_does_not_fit_is_split_with_the_same_result(host, caplog, monkeypatch):
    from gdkernels_cupy.graphs import memory_plan

    monkeypatch.setattr(memory_plan, "_MARGIN", 0)
    whole = Run("wide")
    loss, _ = whole.epoch()
    host.free = whole.executable.workspace(whole.case.batch_size) - 1
    monkeypatch.setattr("gdkernels_cupy.cuda.cublaslt.WORKSPACE", 0)
    parts = Run("wide")
    with caplog.at_level(logging.WARNING, "gdkernels"):
        again, _ = parts.epoch()
    assert "micro-batches, with the same result" in caplog.text
    assert parts.executable.plan.choices["micro_batches"] > 1
    assert again == pytest.approx(loss, rel=1e-6)
    for (name, a), (_, b) in zip(
        verification.named_arrays(parts.state), verification.named_arrays(whole.state), strict=True
    ):
        assert verification.relative_error(a, b) < 1e-5, name


def test_predictions_take_as_many_rows_as_fit(host):
    run = Run("wide")
    graphs = run.executable._graphs
    wanted = verification.predict_on_numpy(run.case.program, run.data.parameters, run.data.x)
    host.free = bytes_of(graphs._prediction, run.case.widths, (256,), "float32", graphs._maker.trusted()) - 1
    found = np.asarray(run.executable.predict(run.state.parameters, run.x))
    assert verification.relative_error(found, wanted) < 1e-5
    assert [s.batch for s in graphs._sessions] == [128]


def test_another_size_of_batch_makes_room_first(host):
    run = Run("wide")
    for batch_size in (130, 120, 100):
        run.case = replace(run.case, batch_size=batch_size)
        run.epoch()
    assert [s.batch for s in run.executable._graphs._sessions] == [100]
    assert "micro_batches" in run.executable.plan.choices


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(host):
    host.free = 1 << 26
    run = Run("wide")
    before = run.bits
    with pytest.raises(BackendError, match=r"67-131-65-3 needs 0\.00 GB in float32 even for one.*0\.07 GB are free"):
        run.epoch()
    assert run.bits == before


# ---- memory that the plan took for free, and that is not to be had


def in_pieces(host, run):
    """Let memory be free in pieces of which none takes the whole of a batch."""
    whole = Run("wide", epilogues=EPILOGUES)
    whole.epoch()
    host.largest = whole.executable.workspace(whole.case.batch_size) - 1
    return whole


def test_a_step_is_tried_again_in_more_parts(host, caplog):
    run = Run("wide", epilogues=EPILOGUES)
    whole = in_pieces(host, run)
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run.epoch()
    assert "a step is tried again in 2 micro-batches" in caplog.text
    assert host.released == 1, "what CuPy keeps for later may be what is missing"
    assert run.executable.plan.choices["micro_batches"] == 2
    wanted = dict(verification.named_arrays(whole.state))
    for name, array in verification.named_arrays(run.state):
        assert verification.relative_error(array, wanted[name]) < 1e-5, name


def test_memory_of_a_session_is_free_as_soon_as_nobody_has_it(host):
    """Room is made by letting sessions go: nothing waits for the collector of cycles."""
    run = Run("adam")
    run.epoch()
    (session,) = run.executable._graphs._sessions.values()
    gone = weakref.ref(session)
    gc.disable()
    try:
        run.executable._graphs._sessions.clear()
        del session
        assert gone() is None
    finally:
        gc.enable()


def test_it_is_tried_four_times_more_and_then_refused(host, caplog):
    run = Run("adam", epilogues=EPILOGUES)
    run.epoch()
    before, host.largest = run.bits, 0
    run.executable._graphs._sessions.clear()
    with (
        caplog.at_level(logging.WARNING, "gdkernels"),
        pytest.raises(BackendError, match=r"are not available on cuda:0"),
    ):
        run.epoch()
    assert [text.rsplit(" ", 2)[-2] for text in caplog.messages if "tried again" in text] == ["2", "4", "8"]
    assert run.bits == before


def test_a_plan_s_parts_are_not_changed(host):
    run = Run("wide", epilogues=EPILOGUES, micro_batches=1)
    in_pieces(host, run)
    with pytest.raises(BackendError, match=r"are not available on cuda:0"):
        run.epoch()


def test_the_order_and_the_numbers_of_a_run_are_part_of_the_plan(host, monkeypatch):
    """A million records and many steps take more than a narrow network."""
    monkeypatch.setattr("gdkernels_cupy.graphs.memory_plan._MARGIN", 0)
    run = Run("wide", epilogues=EPILOGUES)
    graphs, rows = run.executable._graphs, run.case.batch_size
    given = graphs._training, run.case.widths, (rows,), "float32", EPILOGUES
    alone, steps = bytes_of(*given), -(-len(run.x) // rows)
    with_run = bytes_of(*given, records=len(run.x), steps=steps)
    scalars = len(list_of(graphs._training, "wide", "float32", EPILOGUES).scalars)
    assert with_run - alone == 8 * len(run.x) + 8 * steps * (2 + scalars)
    device_module.device(0)
    for free, parts in ((with_run, 1), (with_run - 1, 2)):
        host.free = free
        run = Run("wide", epilogues=EPILOGUES)
        training = session_maker.TrainingRun(len(run.x), steps, None)
        shape = session_maker.SessionKey(run.executable._graphs._training, run.case.widths, rows)
        assert len(run.executable._graphs._maker.pieces(shape, EPILOGUES, training)) == parts


def test_large_arrays_go_through_one_piece_of_pinned_memory(host):
    """CuPy's own way takes up to twice the array of it, and keeps that."""
    gpu = device_module.device(0)
    with gpu.working():
        for _ in range(2):
            values = np.random.default_rng(0).integers(0, 1 << 60, 1_200_000)
            there, back = gpu.put(values), np.empty_like(values)
            gpu.download(back, there.address)
            assert np.array_equal(back, values)
    assert [len(r) for r in host.pinned] == [4 << 20]


def test_out_of_memory_in_the_middle_loses_nothing(host):
    run = Run("adam")
    run.epoch()
    before, step = run.bits, run.state.step
    for launches in (0, 5, 60):
        host.fail_after = launches
        with pytest.raises(BackendError, match="memory runs out on cuda:0"):
            run.epoch()
        host.fail_after = None
        assert not host.unfinished, "what is still read may be freed now"
        assert run.bits == before
        assert run.state.step == step
    run.epoch()
    assert run.bits != before


def test_an_interrupt_in_a_capture_ends_it(host):
    """A stream that is left in capture would swallow whatever runs on it from then on."""
    run = Run("adam", epilogues=EPILOGUES)
    before = run.bits
    for node in (0, 7):
        host.interrupt_at = node
        with pytest.raises(KeyboardInterrupt):
            run.epoch()
        assert host.captured is None
        assert run.bits == before
    host.interrupt_at = None
    other = Run("adam", epilogues=EPILOGUES)
    assert run.epoch() == other.epoch()
    assert run.bits == other.bits


def test_all_threads_get_the_same_device(host, monkeypatch):
    """Two of them would have two locks: one thread's work would end up in the graph that the other captures."""
    making, made = device_module.CudaDevice.__init__, []

    def slowly(self, number):
        made.append(number)
        time.sleep(0.05)
        making(self, number)

    monkeypatch.setattr(device_module.CudaDevice, "__init__", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(device_module.device, [0] * 4))
    assert made == [0]
    assert all(d is found[0] for d in found)


def test_waiting_for_work_disturbs_no_capture_of_another_thread(host):
    run = Run("adam", epilogues=EPILOGUES)
    monitor = ThreadPoolExecutor(1)
    execute, waits = host.execute, []

    def disturbed(*given):
        if host.captured is not None:
            waits.append(monitor.submit(run.backend.synchronize, "cuda:0").result())
        execute(*given)

    host.execute = disturbed
    run.epoch()
    assert waits


# ---- data that stays on the host


def test_data_takes_no_more_of_the_host_than_it_is_long(host, monkeypatch):
    """CuPy's own pool of pinned memory takes a power of two and keeps it; so does its `asarray`, for the copy."""
    values = np.arange(3 * 1000, dtype=np.float32).reshape(1000, 3)
    monkeypatch.setattr("gdkernels_cupy._SMALL", 0)
    there = OnHost().asarray(values, dtype="float32", device="cuda:1")
    values += 1  # the caller's again
    assert there.device.id == 1
    assert np.array_equal(there, values - 1)
    assert not host.pinned
    monkeypatch.setattr("gdkernels_cupy.cuda.pinned._SHARE", 0.0)
    streamed = OnHost().asarray(values, dtype="float32", device="cuda:1")
    assert np.array_equal(streamed, values)
    assert [len(r) for r in host.pinned] == [values.nbytes]


def test_data_that_fits_nowhere_is_refused_with_the_numbers(host, monkeypatch):
    host.free, host.pinnable = 1 << 20, 1 << 21
    monkeypatch.setattr("gdkernels_cupy._SMALL", 0)
    with pytest.raises(BackendError, match=r"0\.00 GB fit neither on cuda:0 nor.*into the host's memory"):
        OnHost().asarray(np.zeros((1 << 20, 1), np.float32), dtype="float32", device="cuda:0")


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


def test_a_streamed_batch_and_a_smaller_last_one_are_split_to_what_fits(host, monkeypatch):
    """Each batch has two places then, and what is left of the records, here nearly a batch, as many parts."""
    monkeypatch.setattr("gdkernels_cupy.graphs.memory_plan._MARGIN", 0)
    monkeypatch.setattr("gdkernels_cupy.cuda.cublaslt.WORKSPACE", 0)
    run = in_pinned_memory(host, monkeypatch, "wide")
    batch = len(run.x) // 2 + 1
    run.case = replace(run.case, batch_size=batch)
    graphs = run.executable._graphs
    resident, streamed_rest = (
        bytes_of(graphs._training, run.case.widths, (rows,), "float32", graphs._maker.trusted(), streamed=s)
        for rows, s in ((batch, False), (len(run.x) - batch, True))
    )
    assert resident < streamed_rest
    host.free = streamed_rest - 1
    run.epoch()
    (bound,) = graphs._sessions.values()
    assert bound.pieces == shares(batch, 2)
    assert bound._memory.size <= host.free
    assert sum(isinstance(op, GatherRows) for op in bound.op_list.operations) == 4


def streamed_and_resident(host, monkeypatch):
    """Return the same four-record batches twice, both run; in the first, each is fetched while another is worked on."""
    runs = in_pinned_memory(host, monkeypatch), Run("adam")
    for run in runs:
        run.case = replace(run.case, batch_size=4)
        run.epoch()
    return runs


@pytest.mark.parametrize("early", [False, True])
def test_copies_may_come_whenever_events_let_them(host, monkeypatch, early):
    host.copies_early = early
    streamed, resident = streamed_and_resident(host, monkeypatch)
    assert streamed.bits == resident.bits


@pytest.mark.parametrize("what", ["a place that is still read", "a batch that is not there yet"])
def test_an_event_that_is_not_waited_for_is_caught(host, monkeypatch, what):
    """The first wait brings the copying stream into the capture, the last one back: only those between are left out."""
    from gdkernels_cupy.cuda.device import device

    copying, working = device(0).copying, device(0).stream
    wait, waits = type(copying).wait_event, []
    left_out = copying if what == "a place that is still read" else working

    def some(self, event):
        if self is left_out and host.captured is not None:
            waits.append(event)
            if self is copying and len(waits) > 1:
                return
            if self is working and len(waits) % 5:  # the last of the five fetches joins the capture
                return
        wait(self, event)

    monkeypatch.setattr(type(copying), "wait_event", some)
    seen = []
    for early in (False, True):
        host.copies_early = early
        waits.clear()
        try:
            streamed, resident = streamed_and_resident(host, monkeypatch)
            seen.append(streamed.bits != resident.bits)
        except CaptureError:
            seen.append(True)
    assert any(seen)


def test_runs_follow_the_caller_and_are_done_when_they_return(host):
    trusted_epilogues(0, "float32")  # launches of its own
    run = Run("adam", epilogues=EPILOGUES)
    for work in (run.epoch, lambda: run.executable.predict(run.state.parameters, run.x)):
        launched = host.launches
        host.followed.clear()
        work()
        assert host.launches > launched
        assert host.followed[0] == launched, "before anything of the caller's is read"
        assert not host.unfinished


def test_a_batch_fetched_into_the_place_of_the_one_before_is_caught(host, monkeypatch):
    resident, streamed = Run("adam"), in_pinned_memory(host, monkeypatch)
    monkeypatch.setattr(bound_steps, "NEXT", "")
    host.copies_early = True
    for run in (resident, streamed):
        run.case = replace(run.case, batch_size=4)
        run.epoch()
    assert streamed.bits != resident.bits
