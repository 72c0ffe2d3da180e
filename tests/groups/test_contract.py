"""Groups: the conformance suite on threads and on one process, plug-ins, launchers, and what ranks must share."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from thread_group import Ranks, ThreadGroup, on_ranks

import gdkernels as gd
from gdkernels.backend.sharded_executable import order_of_rank
from gdkernels.errors import BackendError, InputError
from gdkernels.groups import SerialGroup, TreeSum, joined, registry
from gdkernels.groups.agreement import agree, from_rank_0, guarded
from gdkernels.groups.launchers import forget_launcher, launched
from gdkernels.groups.sharding import Sharding, checked_shards, threads_of_ranks
from gdkernels.groups.tree import merged, rows_of_shard, shards_of_rank
from gdkernels.randomness import epoch_order
from gdkernels.system.threads import ThreadBound
from gdkernels.testing.groups import CHECKS
from gdkernels.training import trainer


@pytest.mark.parametrize("check", CHECKS)
def test_conformance_of_one_process(check):
    check(SerialGroup())


@pytest.mark.parametrize("check", CHECKS)
def test_conformance_of_three_threads(check):
    on_ranks(3, check)


def test_the_conformance_suite_finds_a_group_that_mixes_up_ranks():
    class Mixed(SerialGroup):
        size = 2

        def carry_to_all(self, send, got, received):
            got[:] = np.tile(send, 2)  # its own twice

        carry_to_each = carry_to_all

    with pytest.raises(AssertionError, match="ranks count from 0"):
        CHECKS[0](Mixed())


@pytest.mark.parametrize("shards", [1, 2, 3, 6, 7, 8, 15])
def test_leaves_merge_like_a_binary_counter(shards):
    def by_halves(first, count):  # the largest power of two goes to the left
        if count == 1:
            return str(first)
        left = 1 << ((count - 1).bit_length() - 1)
        return f"({by_halves(first, left)}+{by_halves(first + left, count - left)})"

    class Sum(str):
        def __add__(self, other):
            return Sum(f"({self!s}+{other!s})")

    assert merged(Sum(k) for k in range(shards)) == by_halves(0, shards)


def test_every_row_and_every_shard_has_one_place():
    for shards in (1, 3, 8):
        for rows in (0, 1, 7, 64):
            parts = [rows_of_shard(s, shards, rows) for s in range(shards)]
            assert [r for part in parts for r in range(part.start, part.stop)] == list(range(rows))
        for ranks in range(1, shards + 1):
            assert [s for r in range(ranks) for s in shards_of_rank(r, ranks, shards)] == list(range(shards))
            assert all(shards_of_rank(r, ranks, shards) for r in range(ranks))


@pytest.mark.parametrize("records", [70_001, 65_000])  # keyed, and drawn by NumPy
@pytest.mark.parametrize("batch", [64, 9_000, 80_000])
def test_a_rank_has_its_own_rows_of_an_order(records, batch):
    drawn, shards = epoch_order(3, 1, records), 5
    whole, batch = np.asarray(drawn), min(batch, records)
    for rank in range(2):
        found = order_of_rank(Sharding(ThreadGroup(Ranks(2), rank), shards), drawn, batch)
        for start in range(0, records, batch):
            rows = min(batch, records - start)
            for shard in shards_of_rank(rank, 2, shards):
                part = rows_of_shard(shard, shards, rows)
                here = slice(start + part.start, start + part.stop)
                assert (found[here] == whole[here]).all()


def test_fewer_shards_than_ranks_are_refused():
    with pytest.raises(InputError, match="2 shards cannot be shared by 3 ranks"):
        on_ranks(3, lambda group: TreeSum(group, 2, 4, np.float32, totals=1))
    with pytest.raises(InputError, match="2 shards cannot be shared by 3 ranks"):
        on_ranks(3, lambda group: checked_shards(2, group))
    with pytest.raises(InputError, match="shards must be a whole number"):
        gd.Trainer(gd.MLP([1, 1]), shards=0)


def test_the_first_difference_between_ranks_is_named():
    def told(group):
        agree(group, {"settings": {"l2": 0.0, "seed": group.rank // 2}, "data": "a" * 64})

    with pytest.raises(InputError, match="rank 2 has settings: seed 1, and rank 0 has 0: give all ranks the same"):
        on_ranks(3, told)
    with pytest.raises(InputError, match="rank 1 has other data than rank 0"):
        on_ranks(2, lambda group: agree(group, {"data": str(group.rank) * 64}))


def test_an_error_of_rank_0_is_raised_by_all():
    def fails():
        raise gd.FileError("no such folder")

    def work(group):
        with pytest.raises(gd.FileError, match="no such folder"):
            from_rank_0(group, None if group.rank else fails)
        return from_rank_0(group, None if group.rank else lambda: b"told")

    assert on_ranks(3, work) == [b"told"] * 3


def test_an_error_that_all_have_is_raised_and_one_alone_ends_all(capfd, monkeypatch):
    def all_fail(group):
        with pytest.raises(InputError), guarded(group):
            raise InputError("for all")
        return True

    monkeypatch.setattr("gdkernels.groups.agreement._GRACE", 60)
    assert all(on_ranks(3, all_fail))
    monkeypatch.setattr("gdkernels.groups.agreement._GRACE", 0.2)

    def one_fails(group):
        with guarded(group):
            if group.rank == 1:
                raise InputError("for one")
            group.barrier()

    with pytest.raises(SystemExit) as ended:
        on_ranks(3, one_fails)
    assert ended.value.code == 2
    assert "gdkernels: rank 1 of 3: for one" in capfd.readouterr().err


def test_a_rank_makes_one_call_of_all_ranks_at_a_time(monkeypatch):
    group = ThreadGroup(Ranks(2), 0)
    with group.one_call(), group.one_call(), ThreadPoolExecutor(1) as other:
        call = other.submit(lambda: group.one_call().__enter__())
        with pytest.raises(InputError, match="another thread of rank 0 is in a call of all ranks"):
            call.result()
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(InputError, match="this process was forked from rank 0 of 2, and is no rank"), guarded(group):
        pass
    with guarded(SerialGroup()):  # every process is one
        pass
    assert repr(pickle.loads(pickle.dumps(SerialGroup()))) == "SerialGroup(rank 0 of 1)"


def test_the_variables_of_rank_0_count(monkeypatch, caplog):
    class Second(SerialGroup):
        name, rank, size = "second", 1, 2

        def gather_json(self, told):
            return [{"GDKERNELS_BACKEND": None, "GDKERNELS_DEVICE": "cpu"}, told]

    monkeypatch.setattr("os.environ", {"GDKERNELS_BACKEND": "numba"})
    registry._take_variables_of_rank_0(Second())
    assert os.environ == {"GDKERNELS_DEVICE": "cpu"}
    assert "rank 1 has GDKERNELS_BACKEND=numba, and rank 0 has none: that of rank 0 counts" in caplog.text


def test_threads_are_divided_by_the_ranks_that_share_the_cores(monkeypatch):
    monkeypatch.setattr("gdkernels.groups.sharding._cores", lambda: [0, 1, 2, 3])
    monkeypatch.setattr("gdkernels.groups.sharding.thread_bound", lambda: ThreadBound(4, ""))
    assert on_ranks(2, threads_of_ranks) == [[2, 2]] * 2
    assert on_ranks(3, threads_of_ranks) == [[1, 1, 1]] * 3
    assert threads_of_ranks(SerialGroup()) == [4]


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}, (4, 2)),
        ({"PMI_SIZE": "3", "PMI_RANK": "1"}, (3, 1)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "7", "PMI_SIZE": "1"}, (8, 7)),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),  # of the whole job: a session without srun has it too
        ({"WORLD_SIZE": "4", "RANK": "1"}, None),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None),
        ({"PMI_SIZE": "many"}, None),
    ],
)
def test_launchers_are_told_apart(environment, found):
    started = launched(environment)
    assert (None if started is None else (started.size, started.rank)) == found
    environment |= {"HOME": "/", "OMPI_ALLOW_RUN_AS_ROOT": "1", "PMIX_RANK": "0"}
    forget_launcher(environment)
    assert launched(environment) is None
    assert environment.keys() >= {"HOME", "OMPI_ALLOW_RUN_AS_ROOT"}
    assert "PMIX_RANK" not in environment


def test_a_script_that_a_launcher_has_started_is_told_that_it_trains_alone(monkeypatch):
    trainer._warn_if_launched.cache_clear()
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "0")
    gd.Trainer(gd.MLP([1, 1], seed=0), group="none")
    with pytest.warns(UserWarning, match="PMI_SIZE=2 says that 2 processes were started"):
        gd.Trainer(gd.MLP([1, 1], seed=0))
    trainer._warn_if_launched.cache_clear()


def test_a_group_is_named_found_or_given(monkeypatch):
    assert joined(None) is joined("serial") is joined("none")
    mine = SerialGroup()
    assert joined(mine) is mine
    with pytest.raises(InputError, match="unknown group 'nccl'.*pip install 'gdkernels\\[mpi\\]'"):
        joined("nccl")
    with pytest.raises(InputError, match="must be a name"):
        joined(3)

    class Point:
        value = "broken:Group"

        def load(self):
            raise ImportError("libmpi.so is missing")

    monkeypatch.setattr(registry, "_points", lambda: {"broken": (Point(),), "two": (Point(), Point())})
    with pytest.raises(BackendError, match="the plug-in of group 'broken' is broken .*libmpi.so is missing"):
        joined("broken")
    with pytest.raises(InputError, match="two groups are named 'two'"):
        joined("two")
