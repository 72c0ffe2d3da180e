"""Participants in their processes: who does the work is timed, who does another or none is found out."""

import pytest
from impostors import STEEP, UNFINISHED, WAITS

from gdkernels.bench.checking import Checker
from gdkernels.bench.participants.participant import UnsuitableError
from gdkernels.bench.participants.stages import STAGES, PlacedStage
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.processes.piped import ProcessError

TASK = TrainingTask((6, 16, 12, 2), 16, 64)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_every_stage_of_an_honest_backend_is_the_definition(process, backend):
    if backend == "numba":
        pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    participant = process(backend)
    first = participant.load(TASK)
    assert first.import_seconds > 0
    assert first.bind_seconds > 0
    checker = Checker(TASK)
    for stage in STAGES:
        checked = participant.check(checker, PlacedStage(stage))
        assert checked.problem is None, (stage, checked.problem)
        assert checked.check.array
        compiled = backend == "numba" and stage in ("forward", "epoch")
        assert checked.origin == ("compiled" if compiled else "definition")
        assert checked.plan["backend"] == backend
        sample = participant.sample(PlacedStage(stage), 0.0)
        assert 0 < sample.host_seconds <= sample.seconds
        assert sample.calls == 1
        assert sample.clock_seconds > 0
        assert sample.product_seconds > 0
    assert participant.check(checker, PlacedStage("epoch", "transfers")).problem is None
    assert participant.ceiling("product", 32) > 0
    assert participant.ceiling("layer", 32) > 0
    assert participant.ceiling("copy", 1 << 12) > 0


def test_a_slope_that_is_wrong_by_one_percent_is_refused(process):
    participant = process("steep", STEEP)
    participant.load(TASK)
    problem = participant.check(Checker(TASK), PlacedStage("epoch")).problem
    assert problem.startswith("it computes something else: W0 is off by 1.0e-02")


def test_who_returns_before_the_work_is_done_is_caught(process):
    participant = process("late", WAITS)
    participant.load(TASK)
    checked = participant.check(Checker(TASK), PlacedStage("epoch"))
    assert checked.check.holds  # who asks for the numbers gets the right ones: the times alone are wrong
    assert checked.problem.startswith("it says that it is done before it is")


def test_results_that_are_not_finished_are_caught(process):
    participant = process("late", UNFINISHED)
    participant.load(TASK)
    problem = participant.check(Checker(TASK), PlacedStage("epoch")).problem
    assert problem.startswith("it computes something else")


def test_who_cannot_run_says_why(process):
    with pytest.raises(ProcessError, match="NVIDIA|CuPy|cuda:7"):
        process("cupy", device="cuda:7").load(TASK)
    with pytest.raises(ProcessError, match="no device 'cpu:9'"):
        process("numpy", device="cpu:9").load(TASK)


def test_a_process_that_dies_says_its_last_words(process):
    dying = "import sys; sys.exit('out of luck')"
    with pytest.raises(ProcessError, match="exit code 1: out of luck"):
        process("dying", dying).load(TASK)


def test_a_peer_trains_the_same_and_only_whole(process):
    participant = process("numpy-loop", external=True)
    assert participant.load(TASK).bind_seconds is None
    assert participant.first_step() > 0
    checker = Checker(TASK)
    for _ in range(2):  # the second from where the first, and its samples, ended
        checked = participant.check(checker, PlacedStage("epoch"))
        assert checked.problem is None
        assert checked.origin is None
        assert participant.sample(PlacedStage("epoch"), 0.0).calls == 1
    with pytest.raises(UnsuitableError, match="only in epochs"):
        participant.check(checker, PlacedStage("forward"))


def test_a_task_that_a_peer_cannot_do_is_its_reason(process):
    with pytest.raises(UnsuitableError, match="hand-written loop"):
        process("numpy-loop", external=True).load(TrainingTask((2, 2, 1), 4, 8, activation="gelu"))


def test_training_ends_at_its_goal_or_with_its_time(process):
    participant = process("numpy")
    easy = participant.train(TASK, {"loss": 1e6}, 10.0)
    assert easy.reached
    assert len(easy.epoch_seconds) == 1
    hard = participant.train(TASK, {"accuracy": 1.1}, 0.0)
    assert not hard.reached
    assert 0 <= hard.value <= 1
    wild = participant.train(TrainingTask((6, 16, 12, 2), 16, 64, learning_rate=1e20), {"loss": 0.0}, 10.0)
    assert not wild.reached
    assert wild.value is None
