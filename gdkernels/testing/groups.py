"""The conformance suite for groups: what every group has to do, ours and a third party's alike.

With a plug-in installed, its launcher and one command run it, on any number of ranks::

    mpiexec -n 3 python -m gdkernels.testing.groups mpi
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from gdkernels.errors import InputError
from gdkernels.groups import Group, SerialGroup, TreeSum, joined, shards_of_rank
from gdkernels.groups.agreement import guarded
from gdkernels.models.mlp import MLP

__all__ = ["CHECKS", "main"]


def ranks_are_numbered(group: Group) -> None:
    told = group.gather_numbers([group.rank, group.size, group.local_rank, group.local_size], np.int64)
    assert told[:, 0].tolist() == list(range(group.size)), "ranks count from 0, in the order of what they send"
    assert set(told[:, 1].tolist()) == {group.size}, "all ranks know the same size"
    assert (told[:, 2] >= 0).all()
    assert (told[:, 2] < told[:, 3]).all()
    assert (told[:, 3] <= group.size).all()


def each_gets_its_part(group: Group) -> None:
    for dtype in (np.uint8, np.float32, np.float64):
        lengths = [[(3 * a + 5 * b) % 4 for b in range(group.size)] for a in range(group.size)]  # some are empty
        send = np.concatenate([np.full(lengths[group.rank][r], 10 * group.rank + r, dtype) for r in range(group.size)])
        received = [lengths[r][group.rank] for r in range(group.size)]
        got = np.empty(sum(received), dtype)
        group.all_to_all(send, lengths[group.rank], got, received)
        wanted = np.concatenate([np.full(n, 10 * r + group.rank, dtype) for r, n in enumerate(received)])
        assert got.tolist() == wanted.tolist()


def all_get_everything(group: Group) -> None:
    large = [bytes([rank]) * (rank * 1_000_003 % 3_000_017) for rank in range(group.size)]
    assert group.gather_bytes(large[group.rank]) == large
    assert group.gather_json({"rank": group.rank}) == [{"rank": rank} for rank in range(group.size)]
    for source in range(group.size):
        assert group.broadcast(b"from %d" % group.rank, source) == b"from %d" % source


def messages_come_where_they_are_wanted(group: Group) -> None:
    def length(source: int, to: int, k: int) -> int:
        return (5 * source + 3 * to + 700 * k) % 1501  # of three between two ranks; some are empty

    pairs = [(other, k) for other in group.others for k in range(3)]
    got = {(rank, k): np.zeros(length(rank, group.rank, k), np.float32) for rank, k in pairs}
    sent = [(rank, np.full(length(group.rank, rank, k), 10 * group.rank + k, np.float32)) for rank, k in pairs]
    messages = [(rank, array) for (rank, _), array in got.items()]
    again = group.repeated(sent, messages)
    exchanges: list[Callable[[], None]] = [partial(group.exchange, sent, messages), again, again]
    for times, exchange in enumerate(exchanges):
        for _, array in sent:
            np.add(array, 100 * min(times, 1), out=array)
        exchange()
        for (rank, k), array in got.items():
            assert array.tolist() == [100 * times + 10 * rank + k] * len(array), f"message {k} of rank {rank}"


def flags_and_barriers(group: Group) -> None:
    for rank in range(group.size):
        assert group.any(group.rank == rank)
    assert not group.any(False)
    group.barrier()
    if type(group).all_stop_here is not Group.all_stop_here:  # a group that cannot tell need not
        assert group.all_stop_here(5.0), "all ranks are here"


def wrong_lengths_are_refused(group: Group) -> None:
    whole, counts = np.zeros(group.size, np.float32), [1] * group.size
    for send, sent, got, received in (
        (whole, counts[:-1], whole, counts),
        (whole, counts, whole[:-1], counts),
        (whole, counts, whole.astype(np.float64), counts),
        (whole, [-1] * group.size, whole, counts),
    ):
        try:
            group.all_to_all(send, sent, got.copy(), received)
        except InputError:
            continue
        raise AssertionError("lengths that do not fit must be refused before anything is sent")
    for messages in ([(group.rank, whole)], [(group.size, whole)], [(r, np.zeros((4, 4))[:, 1]) for r in group.others]):
        try:
            group.exchange(messages, [])
        except InputError:
            continue
        assert not messages, "what no other rank can get must be refused before anything is sent"


def sums_are_those_of_one_process(group: Group) -> None:
    for shards in range(group.size, group.size + 9):
        for length in (3, 9_001):  # that go to everybody, and that are cut by owner
            found, alone = (_sum_of(one, shards, length) for one in (group, SerialGroup()))
            assert found == alone, f"{shards} shards of {length} numbers"


def training_gives_the_bits_of_one_process(group: Group) -> None:
    stream = np.random.default_rng(0)
    x = stream.standard_normal((101, 3)).astype(np.float32)
    shards = group.size + 2
    parameters = []
    for one in (group, SerialGroup()):
        model = MLP([3, 5, 1], seed=0, backend="numpy")
        model.fit(x, x[:, :1], epochs=3, batch_size=20, validation=0.2, group=one, shards=shards)
        parameters.append(b"".join(np.asarray(a).tobytes() for layer in model.parameters for a in layer))
    assert parameters[0] == parameters[1]


CHECKS: tuple[Callable[[Group], None], ...] = (
    ranks_are_numbered,
    each_gets_its_part,
    all_get_everything,
    messages_come_where_they_are_wanted,
    flags_and_barriers,
    wrong_lengths_are_refused,
    sums_are_those_of_one_process,
    training_gives_the_bits_of_one_process,
)


def _sum_of(group: Group, shards: int, length: int) -> bytes:
    tree = TreeSum(group, shards, length, np.float32, totals=2)
    for shard in shards_of_rank(group.rank, group.size, shards):
        vector = np.random.default_rng(shard).standard_normal(length).astype(np.float32)
        tree.add(shard, vector, np.array([0.1 * shard, 1.0]))
    vector, totals = tree.exchanged()
    return vector.tobytes() + totals.tobytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the group of this name, and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: mpiexec -n 3 python -m gdkernels.testing.groups NAME", file=sys.stderr)
        return 2
    group = joined(arguments[0])
    with guarded(group):
        for check in CHECKS:
            check(group)
            group.barrier()
            if not group.rank:
                print(f"PASS {check.__name__.replace('_', ' ')}, on {group.size} ranks of {group.name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
