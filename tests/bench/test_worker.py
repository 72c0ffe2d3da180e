"""Contenders in their processes: who does the work is timed, who does another or none is found out."""

import pytest
from impostors import STEEP, UNFINISHED, WAITS

from gdkernels.bench.participants.task import Task
from gdkernels.bench.processes.piped import ProcessError
from gdkernels.bench.checking import Prover
from gdkernels.bench.processes.client import UnsuitableError
from gdkernels.bench.participants.stages import PIECES

TASK = Task((6, 16, 12, 2), 16, 64)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_every_piece_of_an_honest_backend_is_the_definition(worker, backend):
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    contender = worker(backend)
    first = contender.load(TASK)
    assert first.import_seconds > 0
    assert first.bind_seconds > 0
    prover = Prover(TASK)
    for piece in PIECES:
        checked = contender.check(prover, piece, "resident")
        assert checked.problem is None, (piece, checked.problem)
        assert checked.proof.array
        compiled = backend == "numba" and piece in ("forward", "epoch")
        assert checked.origin == ("compiled" if compiled else "definition")
        assert checked.plan["backend"] == backend
        sample = contender.sample(piece, "resident", 0.0)
        assert 0 < sample.host_seconds <= sample.seconds
        assert sample.calls == 1
        assert sample.clock_seconds > 0
        assert sample.product_seconds > 0
    assert contender.check(prover, "epoch", "transfers").problem is None
    assert contender.ceiling("product", 32) > 0
    assert contender.ceiling("layer", 32) > 0
    assert contender.ceiling("copy", 1 << 12) > 0


def test_a_slope_that_is_wrong_by_one_percent_is_refused(worker):
    contender = worker("steep", STEEP)
    contender.load(TASK)
    problem = contender.check(Prover(TASK), "epoch", "resident").problem
    assert problem.startswith("it computes something else: W0 is off by 1.0e-02")


def test_who_returns_before_the_work_is_done_is_caught(worker):
    contender = worker("late", WAITS)
    contender.load(TASK)
    checked = contender.check(Prover(TASK), "epoch", "resident")
    assert checked.proof.holds  # who asks for the numbers gets the right ones: the times alone are wrong
    assert checked.problem.startswith("it says that it is done before it is")


def test_results_that_are_not_finished_are_caught(worker):
    contender = worker("late", UNFINISHED)
    contender.load(TASK)
    problem = contender.check(Prover(TASK), "epoch", "resident").problem
    assert problem.startswith("it computes something else")


def test_who_cannot_run_says_why(worker):
    with pytest.raises(ProcessError, match="NVIDIA|CuPy|cuda:7"):
        worker("cupy", device="cuda:7").load(TASK)
    with pytest.raises(ProcessError, match="no device 'cpu:9'"):
        worker("numpy", device="cpu:9").load(TASK)


def test_a_process_that_dies_says_its_last_words(worker):
    dying = "import sys; sys.exit('out of luck')"
    with pytest.raises(ProcessError, match="exit code 1: out of luck"):
        worker("dying", dying).load(TASK)


def test_a_peer_trains_the_same_and_only_whole(worker):
    contender = worker("numpy-loop", peer=True)
    assert contender.load(TASK).bind_seconds is None
    assert contender.first_step() > 0
    prover = Prover(TASK)
    for _ in range(2):  # the second from where the first, and its samples, ended
        checked = contender.check(prover, "epoch", "resident")
        assert checked.problem is None
        assert checked.origin is None
        assert contender.sample("epoch", "resident", 0.0).calls == 1
    with pytest.raises(UnsuitableError, match="only epochs"):
        contender.check(prover, "forward", "resident")


def test_a_task_that_a_peer_cannot_do_is_its_reason(worker):
    with pytest.raises(UnsuitableError, match="written by hand"):
        worker("numpy-loop", peer=True).load(Task((2, 2, 1), 4, 8, activation="gelu"))


def test_training_ends_at_its_goal_or_with_its_time(worker):
    contender = worker("numpy")
    easy = contender.train(TASK, {"loss": 1e6}, 10.0)
    assert easy["reached"]
    assert len(easy["epoch_seconds"]) == 1
    hard = contender.train(TASK, {"accuracy": 1.1}, 0.0)
    assert not hard["reached"]
    assert 0 <= hard["value"] <= 1
    wild = contender.train(Task((6, 16, 12, 2), 16, 64, learning_rate=1e20), {"loss": 0.0}, 10.0)
    assert not wild["reached"]
    assert wild["value"] is None
