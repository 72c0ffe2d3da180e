"""What processes do that a launcher has started, or that say so, without MPI."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock, call

import pytest
from gdkernels_mpi import MPIGroup
from started_ranks import GDKERNELS, ROOT, environment

from gdkernels.cli.ranks import CommandRanks
from gdkernels.groups import registry
from gdkernels.groups.launchers import Launched, ProcessBeside


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PMI_SIZE": "2", "PMI_RANK": "0"}, "PMI_SIZE=2 says that 2 were started, MPI cannot be loaded"),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"}, "OMPI_COMM_WORLD_SIZE=3 says that 3"),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}, "SLURM_STEP_NUM_TASKS=2 says that 2"),
    ],
)
def test_a_launcher_without_mpi_is_refused(records, variables, message):
    (records / "mpi4py.py").write_text("raise ImportError('cannot load MPI library')")
    if "mpi" not in registry.names():
        pytest.skip("the group mpi is not among the entry points: install gdkernels again")
    paths = os.pathsep.join([str(records), str(ROOT), str(ROOT / "backends")])
    command = [
        sys.executable,
        "-X",
        "importtime",
        *GDKERNELS[1:],
        "train",
        "d.npz",
        "--out",
        "m.st",
        "--checkpoint",
        "run",
    ]
    before = sorted(records.iterdir())
    done = subprocess.run(
        command, cwd=records, env=environment() | variables | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
    assert 'pip install "gdkernels[mpi]" mpich' in done.stderr
    told = done.stderr.splitlines()
    assert sum(not line.startswith("import time:") for line in told) == 1
    assert not any("gdkernels.tabular" in line for line in told), "it is refused before the command is loaded"
    assert sorted(records.iterdir()) == before


def test_other_ranks_leave_errors_to_rank_0_and_world_size_alone_only_warns(records):
    quiet = subprocess.run(
        [*GDKERNELS, "train", "d.npz", "--epochs", "none"], cwd=records,
        env=environment(PMI_SIZE="2", PMI_RANK="1"), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (2, "", "")
    warned = subprocess.run(
        [*GDKERNELS, "train", "d.npz", "--hidden", "4", "--epochs", "1", "--backend", "numpy"], cwd=records,
        env=environment(WORLD_SIZE="4"), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert warned.returncode == 0
    assert "WORLD_SIZE=4 says that there are other processes" in warned.stderr


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="the system does not list processes")
def test_commands_that_ranks_do_not_share_are_left_to_the_first_with_the_same_arguments(tmp_path):
    arguments = ["evaluate", "missing.gd", "missing.csv"]

    def started(command, rank):
        given = environment(PMI_SIZE="3", PMI_RANK=str(rank))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=tmp_path, env=given, text=True, **pipes)

    beside = started(["sh", "-c", "read line", "gdkernels", *arguments], 1)  # which waits until we are done
    alone = "3 processes were started (PMI_SIZE), and this one does alone"
    for rank, code, told in ((2, 0, ()), (0, 2, ("cannot read the model missing.gd", alone))):
        one = started([*GDKERNELS, *arguments], rank)
        stdout, stderr = one.communicate("", timeout=60)
        assert (one.returncode, stdout, len(stderr.splitlines())) == (code, "", len(told)), stderr
        assert all(message in stderr for message in told)
    beside.communicate("\n", timeout=60)


def test_train_beside_another_command_is_refused(monkeypatch, capsys):
    for name, value in (("PMI_SIZE", "2"), ("PMI_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("gdkernels.cli.ranks._SEEN", 0.0)
    for other, told in (
        (["predict", "m.gd", "d.csv"], "rank 0 of 2 has train, and another predict, so that some would wait for ever"),
        (["train", "d.csv", "--group=none"], "rank 0 of 2 lacks --group none, which others have"),
    ):
        beside = ProcessBeside(["python", "-m", "gdkernels", *other], os.getcwd(), Launched(2, 1, "PMI_SIZE"))
        monkeypatch.setattr("gdkernels.cli.ranks.processes_beside", lambda beside=beside: [beside])
        assert CommandRanks(["train", "d.csv"]).refused() == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (MemoryError(), 1)])
def test_a_rank_that_is_interrupted_while_it_joins_ends_all(monkeypatch, error, code):
    library = Mock()
    library.Is_initialized.side_effect = [False, True]
    library.COMM_WORLD.Dup.side_effect = error
    monkeypatch.setattr("gdkernels_mpi._mpi", lambda: library)
    with pytest.raises(type(error)):
        MPIGroup()
    assert library.COMM_WORLD.Abort.call_args_list == [call(code)]
