"""A whole benchmark, small: what is measured, refused and left out, within its time."""

from dataclasses import replace
from pathlib import Path

import pytest
from impostors import STEEP
from plugins import working

from gdkernels.bench.measuring import ceilings, throughput
from gdkernels.bench.measuring import measure as measuring
from gdkernels.bench.measuring.measure import measure, parts
from gdkernels.bench.measuring.planning import (
    SWEEP,
    BenchPlan,
    LeftOut,
    PreparedCase,
    case_of,
    goal_of,
    participants,
    prepared,
)
from gdkernels.bench.participants.costs import cost_of
from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.processes.client import CallSample, ParticipantProcess
from gdkernels.bench.sampling import interleaving
from gdkernels.bench.sampling.statistics import LEAST_SAMPLES
from gdkernels.errors import InputError
from gdkernels.groups import SerialGroup

NUMPY, LOOP = Participant("numpy", False), Participant("numpy-loop", True)


@pytest.fixture
def small(monkeypatch):
    """Measure hastily: short samples, small ceilings."""
    monkeypatch.setattr(throughput, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(interleaving, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(ceilings, "_PRODUCT_SIZE", {"cpu": 16, "gpu": 16})
    monkeypatch.setattr(ceilings, "_COPY_BYTES", {"cpu": 1 << 12, "gpu": 1 << 12})


@pytest.fixture
def later_calls(monkeypatch):
    """Leave out first calls, which take two processes for each participant, where others are looked at."""
    monkeypatch.setattr(measuring, "first_calls", lambda case, everyone, seconds_left, told: [])


def plan(**changes):
    """Return a small benchmark with more time than it needs on any machine, unless `changes` say otherwise."""
    made = case_of((4, 6, 2), 8)
    made = PreparedCase(replace(made.case, records=32), replace(made.task, records=32))
    known = BenchPlan((made,), ("forward", "epoch"), (NUMPY, LOOP), seconds=3000.0, share=1e9)
    return replace(known, **changes)


def test_everything_is_measured_and_told_of(small):
    told = []
    todo = plan(
        repeats=2,
        left_out=(LeftOut(Participant("cupy", False, "none"), "there is no driver"),),
        goal=goal_of(case_of((4, 6, 2), 8), {"loss": 1e6}, 2),
    )
    found = measure(todo, told.append)
    assert len(told) == parts(todo)
    rows = {(row.participant, row.stage): row for row in found.rows}
    assert len(rows) == len(found.rows) == 6
    for key in ((NUMPY, "forward"), (NUMPY, "epoch"), (LOOP, "epoch")):
        row = rows[key]
        assert row.status == "measured"
        assert len(row.repeats) == 2  # one for each set of processes
        assert all(len(r.seconds) >= LEAST_SAMPLES for r in row.repeats)
        assert all(r.before.holds and r.after.holds for r in row.repeats)
        assert row.records == (32 if row.stage == "epoch" else 8)
        assert row.flops > 0
    assert "only in epochs" in rows[LOOP, "forward"].reason
    assert {row.reason for row in found.rows if row.participant.name == "cupy"} == {"there is no driver"}
    assert {c.kind for c in found.ceilings if c.participant == NUMPY} == {"product", "layer", "copy"}
    assert {c.participant for c in found.first_calls} == {NUMPY, LOOP}
    assert all(len(target.runs) == 2 and target.seconds > 0 for target in found.targets)


@pytest.mark.usefixtures("later_calls")
def test_each_is_measured_beside_busy_processes_too(small, monkeypatch):
    monkeypatch.setattr(throughput, "_BUSY_SECONDS", 0.0)
    cupy = LeftOut(Participant("cupy", False, "none"), "there is no driver")
    found = measure(plan(busy=1, stages=("epoch",), left_out=(cupy,)), lambda part: None)
    rows = {(row.participant, row.busy): row for row in found.rows}
    assert set(rows) == {(p, busy) for p in (NUMPY, LOOP, cupy.participant) for busy in (0, 1)}
    for participant in (NUMPY, LOOP):
        quiet, busy = (rows[participant, load].repeats[0] for load in (0, 1))
        assert len(quiet.seconds) == len(busy.seconds)  # they took turns
        assert busy.before == quiet.before
        assert busy.after.holds
        assert quiet.clock_seconds
        assert not busy.clock_seconds


@pytest.fixture
def drifting(monkeypatch):
    """Let what a process samples be the seconds that come next for its stage, one for each process."""

    def plant(**seconds):
        coming = {stage: iter(values) for stage, values in seconds.items()}
        mine = {}

        def sample(process, placed, long):
            key = process, placed.stage
            if key not in mine:
                mine[key] = next(coming[placed.stage])
            return CallSample(mine[key], mine[key], 1)

        monkeypatch.setattr(ParticipantProcess, "sample", sample)

    return plant


@pytest.mark.usefixtures("later_calls")
def test_what_five_processes_leave_open_is_measured_in_further_ones(small, drifting):
    drifting(forward=[1.0] * 5, epoch=[1.0, 1.2, 1.2, 1.3, 1.4] + [1.2] * 20)
    found = measure(plan(participants=(NUMPY,), repeats=5), lambda part: None)
    rows = {row.stage: row for row in found.rows}
    assert len(rows["forward"].repeats) == 5
    assert 5 < len(rows["epoch"].repeats) < 25
    assert rows["epoch"].medians[-1] == 1.2


@pytest.mark.usefixtures("later_calls")
def test_four_processes_are_what_was_asked_for(small, drifting):
    drifting(forward=[1.0, 1.1, 1.2, 1.3], epoch=[1.0, 1.1, 1.2, 1.3])
    found = measure(plan(participants=(NUMPY,), repeats=4), lambda part: None)
    assert {len(row.repeats) for row in found.rows} == {4}


def test_first_calls_have_a_third_of_the_time(small, monkeypatch):
    left = []
    monkeypatch.setattr(
        measuring, "first_calls", lambda case, everyone, seconds_left, told: left.append(seconds_left()) or []
    )
    measure(plan(), lambda part: None)
    assert 900.0 < left[0] <= 1000.0


def test_no_time_left_is_said(small):
    found = measure(plan(seconds=1e-9), lambda part: None)
    assert [row.status for row in found.rows] == ["skipped"] * 4
    assert all("time limit of 1e-09 s" in row.reason for row in found.rows)


def test_on_another_device_transfers_are_counted_in_rows_of_their_own(small, plugin):
    plugin("toy", working("toy", devices=("toy:0",)))
    toy = Participant("toy", False, "toy:0")
    found = measure(plan(participants=(NUMPY, toy), stages=("forward", "update", "epoch")), lambda part: None)
    assert {row.status for row in found.rows} == {"measured"}
    kinds = {(row.participant.name, row.stage, row.placement) for row in found.rows}
    resident = {(name, stage, "resident") for name in ("numpy", "toy") for stage in ("forward", "update", "epoch")}
    assert kinds == resident | {("toy", "forward", "transfers"), ("toy", "epoch", "transfers")}


@pytest.mark.usefixtures("later_calls")
def test_a_wrong_slope_is_refused_and_its_times_are_not_kept(small, plugin):
    plugin("steep", STEEP)
    steep = replace(NUMPY, name="steep")
    found = measure(plan(participants=(NUMPY, steep), stages=("epoch",)), lambda part: None)
    rows = {row.participant: row for row in found.rows}
    assert rows[NUMPY].status == "measured"
    assert rows[steep].status == "refused"
    assert "W0 is off by 1.0e-02" in rows[steep].reason
    assert rows[steep].repeats == ()


def test_costs_are_those_of_the_products_and_little_more():
    task = TrainingTask((10, 20, 5), 8, 20)
    forward, gradient, epoch = (cost_of(task, stage, "float32") for stage in ("forward", "gradient", "epoch"))
    assert forward.product_flops == 2 * 8 * (10 * 20 + 20 * 5)
    assert gradient.product_flops == 8 * (6 * (10 * 20 + 20 * 5) - 2 * 10 * 20)
    assert epoch.product_flops == 20 * (6 * (10 * 20 + 20 * 5) - 2 * 10 * 20)  # the last batch is smaller
    update = cost_of(task, "update", "float64")
    parameters = 10 * 20 + 20 + 20 * 5 + 5
    assert (update.product_flops, update.bytes_least) == (0, 3 * 8 * parameters)
    assert parameters <= update.other_flops <= 4 * parameters


@pytest.mark.parametrize(("sizes", "batch", "network"), SWEEP)
def test_epochs_are_whole_batches_and_affordable(sizes, batch, network):
    made = case_of(sizes, batch, network)
    case, task = made.case, made.task
    assert task.records % batch == 0
    assert case.records == task.records
    assert cost_of(task, "epoch", "float32").flops < 5e10


def test_who_takes_part():
    able, left_out = participants(None, None, ["float32", "bfloat16"], [1], ["torch"])
    assert Participant("numpy", False) in able
    assert Participant("torch", True) in able
    reasons = {(one.participant.name, one.participant.precision): one.reason for one in left_out}
    assert "cannot do bfloat16" in reasons["numpy", "bfloat16"]

    class TwoRanks(SerialGroup):
        name, size = "two", 2

    several, _ = participants(["numpy"], None, ["float32"], [1, 2], [], TwoRanks(), threads_of_rank=1)
    assert [one for one in several if one.group] == [Participant("numpy", False, group="two", ranks=2)]
    assert participants(["numpy"], None, ["float32"], [1], [], SerialGroup())[0] == [Participant("numpy", False)]
    _, left_out = participants(["numpy"], ["cuda:3"], ["float32"], [1], [])
    assert "has no device 'cuda:3'" in left_out[0].reason
    for arguments, message in (
        ((["nampy"], None, ["float32"], [1], []), "Did you mean 'numpy'"),
        ((None, None, ["float32"], [1], ["pytorch"]), "Did you mean 'torch'"),
        ((None, None, ["float32"], [10**6], []), "more than the"),
    ):
        with pytest.raises(InputError, match=message):
            participants(*arguments)


@pytest.mark.usefixtures("later_calls")
def test_a_table_of_the_users_own(tmp_path, small):
    table = tmp_path / "table.csv"
    table.write_text("a,b,kind\n" + "".join(f"{k * 7 % 5},{k * 3 % 11},{'xyz'[k % 3]}\n" for k in range(50)))
    (tmp_path / "kept").mkdir()
    made = prepared([str(table)], ["kind"], (4,), 16, tmp_path / "kept")
    case, task = made.case, made.task
    assert case.data == "table.csv"
    assert task.sizes[1:] == (4, 3)
    assert task.records == 48  # whole batches
    x, y = task.data()
    assert x.shape == (48, task.sizes[0])
    assert (y.sum(axis=1) == 1).all()  # an output for each class
    assert Path(task.source).parent == tmp_path / "kept"
    found = measure(plan(cases=(made,)), lambda part: None)
    assert {row.status for row in found.rows if row.stage == "epoch"} == {"measured"}
