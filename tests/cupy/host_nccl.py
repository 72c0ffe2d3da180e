"""A stand-in for NCCL between threads, for hosts of `host_cupy` that each have a thread."""

import itertools
import types

import numpy as np
import standin
from thread_group import Ranks, ThreadGroup

_communicators = {}
_numbers = itertools.count()


def nccl_of(host):
    """Return the module of a host: what is launched, or replayed, moves bytes and waits for the other ranks."""

    class NcclCommunicator:
        def __init__(self, size, number, rank):
            self.ranks = _communicators.setdefault(number, Ranks(size))
            self.group, self.rank = ThreadGroup(self.ranks, rank), rank
            self.waiting = None

        def send(self, address, size, kind, rank, stream):
            assert kind == 1
            opened[-1].append((self, "send", rank, address, size))

        def recv(self, address, size, kind, rank, stream):
            opened[-1].append((self, "recv", rank, address, size))

        def allGather(self, mine, whole, size, kind, stream):  # noqa: N802 (CuPy's name)
            assert stream == host.streams[-1].ptr
            count = self.group.size

            def work():
                got = np.empty(size * count, np.uint8)
                self.group.carry_to_all(standin.bytes_at(mine, size).copy(), got, [size] * count)
                standin.bytes_at(whole, size * count)[:] = got

            host.execute(work, (mine, whole))

    opened = []

    def end():
        calls = opened.pop()
        comm, ranks = calls[0][0], range(calls[0][0].group.size)

        def work():
            sent = [[standin.bytes_at(a, n) for _, w, to, a, n in calls if (w, to) == ("send", r)] for r in ranks]
            places = [[(a, n) for _, w, by, a, n in calls if (w, by) == ("recv", r)] for r in ranks]
            send = [np.concatenate([np.empty(0, np.uint8), *parts]) for parts in sent]
            received = [sum(n for _, n in parts) for parts in places]
            got = np.empty(sum(received), np.uint8)
            comm.group.carry_to_each(np.concatenate(send), [len(s) for s in send], got, received)
            at = 0
            for address, size in (one for parts in places for one in parts):
                standin.bytes_at(address, size)[:] = got[at : at + size]
                at += size

        host.execute(work, [address for _, _, _, address, _ in calls])

    return types.SimpleNamespace(
        available=True,
        NCCL_UINT8=1,
        NcclCommunicator=NcclCommunicator,
        get_unique_id=lambda: (len(_communicators) + 1000 * next(_numbers), *[-1] * 127),
        get_version=lambda: 22707,
        groupStart=lambda: opened.append([]),
        groupEnd=end,
    )
