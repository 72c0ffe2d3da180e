"""The group of MPI, started by a real mpiexec: the same files from any number of ranks, and faults that end all."""

import ast
import hashlib
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
from started_ranks import GDKERNELS, MPIEXEC, ROOT, environment, needs_mpi, on_ranks, run

import gdkernels as gd

# The calls of mpi4py that pickle what they are given: those in lower case.
PICKLING = {
    *("send", "recv", "isend", "irecv", "bsend", "ssend", "sendrecv", "bcast", "scatter", "gather", "allgather"),
    *("alltoall", "reduce", "allreduce", "scan", "exscan", "py2f", "mprobe", "Get_object"),
}


def test_nothing_is_pickled():
    called = set()
    for path in (ROOT / "backends/gdkernels_mpi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                called.add(node.attr)
            assert not (isinstance(node, (ast.Import, ast.ImportFrom)) and "pickle" in ast.unparse(node)), path
    assert {"Ialltoallv", "Iallgatherv", "Isend", "Irecv"} <= called
    assert not called & PICKLING


@needs_mpi
def test_the_conformance_suite():
    done = on_ranks(3, sys.executable, "-m", "gdkernels.testing.groups", "mpi")
    assert done.returncode == 0, done.stderr
    passed = done.stdout.splitlines()
    assert passed[-1] == "PASS training gives the bits of one process, on 3 ranks of mpi"
    assert len(passed) == 8


@needs_mpi
def test_the_command_line_gives_one_result_and_the_same_file(records):
    command = (
        *GDKERNELS,
        "train",
        "d.npz",
        "--hidden",
        "8",
        "--backend",
        "numpy",
        "--epochs",
        "3",
        "--shards",
        "3",
        "--json",
    )
    three = on_ranks(3, *command, "--out", "three.st", cwd=records)
    assert three.returncode == 0, three.stderr
    told = json.loads(three.stdout)
    assert {name: told["ranks"][name] for name in ("group", "ranks", "shards")} == {
        "group": "mpi",
        "ranks": 3,
        "shards": 3,
    }
    assert told["ranks"]["expected"]["alpha"] > 0
    one = run([*command, "--out", "one.st"], cwd=records)
    assert one.returncode == 0, one.stderr
    assert (records / "one.st").read_bytes() == (records / "three.st").read_bytes()


KILLED = """
import hashlib, os, sys
import numpy as np
import gdkernels as gd
from gdkernels.groups import joined

what, folder = sys.argv[1:]
group = joined("mpi")
x = np.random.default_rng(0).standard_normal((203, 6)).astype(np.float32)

def callback(epoch):
    if epoch.number == 3 and group.rank == group.size - 1 and what != "resume":
        print("it was there", flush=True)
        if what == "kill":
            os.kill(os.getpid(), 9)
        if what == "raise":
            raise ValueError("one rank fails")

model = gd.MLP([6, 9, 1], seed=0, backend="numpy")
shards = 4 if what != "resume" else None
model.fit(x, x[:, :1], epochs=6, batch_size=40, group=group, shards=shards, callbacks=[callback], checkpoint=folder,
          every="1 epochs", resume=True)
if not group.rank:
    print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for layer in model.parameters for a in layer)).hexdigest())
"""


def whole():
    x = np.random.default_rng(0).standard_normal((203, 6)).astype(np.float32)
    model = gd.MLP([6, 9, 1], seed=0, backend="numpy")
    model.fit(x, x[:, :1], epochs=6, batch_size=40, shards=4)
    return hashlib.sha256(b"".join(np.asarray(a).tobytes() for layer in model.parameters for a in layer)).hexdigest()


@needs_mpi
def test_a_killed_job_goes_on_with_fewer_ranks_to_the_same_bits(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    killed = on_ranks(4, sys.executable, script, "kill", tmp_path / "run")
    assert killed.returncode != 0
    assert "it was there" in killed.stdout
    resumed = on_ranks(2, sys.executable, script, "resume", tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.split()[-1] == whole()


@needs_mpi
def test_an_exception_on_one_rank_ends_all_with_its_message(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    failed = on_ranks(3, sys.executable, script, "raise", tmp_path / "run")
    assert failed.returncode != 0
    assert "gdkernels: rank 2 of 3: ValueError: one rank fails" in failed.stderr


JOINED = """
import sys, time
import numpy as np
from gdkernels.groups import joined
group = joined("mpi")
group.barrier()
"""


@needs_mpi
def test_a_script_that_fails_on_one_rank_ends_all(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"{JOINED}if group.rank == 1: raise ValueError('after training')\ngroup.barrier()")
    failed = on_ranks(2, sys.executable, script)
    assert failed.returncode != 0
    assert "ValueError: after training" in failed.stderr
    assert "gdkernels: rank 1 of 2" in failed.stderr


@needs_mpi
def test_ranks_that_wait_in_different_calls_end(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"{JOINED}a = np.ones(9)\ngroup.exchange([(1, a)], [(1, a)]) if not group.rank else group.barrier()"
    )
    ended = on_ranks(2, sys.executable, script)
    assert ended.returncode == 2
    told = (
        r"rank (0 of 2: it waits for gradients, and rank 1 for 32 bytes of what the ranks tell each other|1 of 2: .*)"
    )
    assert re.search(f"gdkernels: {told}: the ranks do not make the same calls", ended.stderr)


@needs_mpi
def test_a_script_that_ends_on_one_rank_while_the_others_wait_for_it_ends_all(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"{JOINED}"
        "if group.rank == 1: sys.exit(int(sys.argv[1]))\n"
        "if sys.argv[2] == 'wait': group.barrier()\nelse: time.sleep(0.5)"
    )
    ended = on_ranks(3, sys.executable, script, 7, "wait")
    assert ended.returncode == 7
    assert "of 3: rank 1 has ended its script, and this rank waits for it" in ended.stderr
    alone = on_ranks(3, sys.executable, script, 0, "go on")
    assert (alone.returncode, alone.stderr) == (0, ""), "others may go on without it"


@needs_mpi
def test_group_none_on_one_rank_only_ends_all(records):
    train = [*GDKERNELS, "train", "d.npz", "--hidden", "4", "--epochs", "1", "--backend", "numpy"]
    ended = run([MPIEXEC, "-n", "1", *train, ":", "-n", "1", *train, "--group", "none"], cwd=records)
    assert ended.returncode != 0
    assert "rank 1 of 2 has --group none, and others have not, so that some would wait for ever" in ended.stderr
    both = on_ranks(2, *train, "--group", "none", "--json", cwd=records)
    assert both.returncode == 0, both.stderr
    assert both.stdout.count('"ranks": null') == 2 or both.stdout.count('"rows"') == 2


@needs_mpi
def test_what_rank_0_alone_refuses_ends_all_with_its_exit_code(records):
    (records / "there").touch()
    done = on_ranks(2, *GDKERNELS, "bench", "--out", "there", cwd=records)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "there exists already" in line] == [
        "gdkernels: there exists already; to replace it, pass --force"
    ]


BENCH = """
import json, sys
from gdkernels.bench.checking import Checker
from gdkernels.bench.participants.participant import Participant, UnsuitableError
from gdkernels.bench.participants.stages import PlacedStage
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.processes.client import ParticipantProcess
from gdkernels.bench.processes.ranks import answering_together, leading
from gdkernels.groups import joined

group, task = joined("mpi"), TrainingTask((8, 16, 2), 64, 256, learning_rate=0.05)
if group.rank:
    answering_together(group)
    sys.exit()
with leading(group):
    process = ParticipantProcess(Participant("numpy", False, group="mpi", ranks=group.size))
    process.load(task)
    check = process.check(Checker(task), PlacedStage("epoch"))
    sample = process.sample(PlacedStage("epoch"), 0.02)
    reached = process.train(task, {"loss": 1.5}, 1.0).reached
    try:
        process.check(Checker(task), PlacedStage("forward"))
    except UnsuitableError as reason:
        print(json.dumps([check.problem, check.plan["choices"]["shards"], sample.exchange_seconds / sample.seconds,
                          reached, str(reason), str(process.participant)]))
    process.close()
"""


@needs_mpi
def test_ranks_are_a_participant_of_a_benchmark(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(BENCH)
    done = on_ranks(2, sys.executable, script)
    assert done.returncode == 0, done.stderr
    problem, shards, communication, reached, reason, name = json.loads(done.stdout)
    assert (problem, shards, reached) == (None, 2, True)
    assert 0 < communication < 1
    assert reason.startswith("ranks share epochs")
    assert name == "numpy cpu float32, group mpi × 2, 1 thread"


@needs_mpi
def test_a_signal_writes_a_checkpoint_and_ends_all(records):
    command = (
        *GDKERNELS,
        "train",
        "d.npz",
        "--hidden",
        "8",
        "--epochs",
        "100000",
        "--patience",
        "0",
        "--checkpoint",
        "run",
    )
    started = subprocess.Popen(
        [MPIEXEC, "-n", "2", *command, "--every", "1 epochs"],
        cwd=records, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    began = time.monotonic()
    while not list(records.glob("run/network-1/step-*")):
        assert time.monotonic() < began + 100, started.kill()
        assert started.poll() is None, started.communicate()
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    _, told = started.communicate(timeout=60)
    assert started.returncode != 0
    if "Open MPI" not in run([MPIEXEC, "--version"]).stdout:  # which kills half a second after the signal
        assert "SIGTERM ended training; its checkpoint is in run/network-1" in told
    resumed = run([*command, "--epochs", "1", "--shards", "2", "--resume"], cwd=records)
    assert "epochs is 1 and was 100000" in resumed.stderr, "the checkpoint is intact, and of 2 shards"
