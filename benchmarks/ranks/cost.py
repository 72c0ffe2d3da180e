"""What a rank costs: its CPU time beside one process on its share of the batch, and an exchange beside MPI's own sum.

``python -m benchmarks.ranks.cost`` measures the CPU time of a rank of two whose messages go nowhere, in turns with a
process that trains on half of each batch. ``mpiexec -n 2 python -m benchmarks.ranks.cost --exchange`` measures
exchanges of gradients, in turns with MPI_Allreduce.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import gdkernels as gd
from gdkernels.backend import Plan, State
from gdkernels.backend.sharded_executable import Sharded
from gdkernels.dispatch.registry import get
from gdkernels.groups import Group, TreeSum, joined, shards_of_rank
from gdkernels.groups.sharding import Sharding

NETWORKS = (
    ((64, 256, 256, 10), 8192, "cross_entropy"),
    ((784, 1024, 1024, 1024, 10), 1024, "cross_entropy"),
    ((8, 32, 32, 1), 32768, "sse"),
)
LENGTHS = (1_400, 86_000, 2_900_000)  # gradients of these networks, in float32


class Nowhere(Group):
    """The first of two ranks; nothing is sent, so that what it gets is what was there."""

    name = "nowhere"
    size = 2

    def carry_to_each(self, send: Any, sent: Any, got: Any, received: Any) -> None:
        pass

    def carry_to_all(self, send: Any, got: Any, received: Any) -> None:
        pass

    def carry_messages(self, sent: Any, got: Any) -> None:
        pass

    def abort(self, code: int) -> None:
        raise SystemExit(code)


def cpu_of_a_rank(sizes: Sequence[int], batch: int, loss: str, repeats: int) -> None:
    """Print the CPU time of a step on half a batch, and of a rank with half of the shards, without its exchange."""
    backend, stream = get("numba"), np.random.default_rng(0)
    model = gd.MLP(list(sizes), seed=0, backend="numba")
    trainer = gd.Trainer(model, loss=loss, optimizer=gd.Adam(1e-9), batch_size=batch)
    program = trainer.workload(batch).program
    steps = steps_of(sizes, batch)
    records, rates = 2 * batch, np.full(steps, 1e-9)
    x, y = data_of(sizes, records)
    half = backend.compile(program, Plan("numba", "cpu", "float32", {"threads": 1}))
    rank = backend.compile_shards(program, Plan("numba", "cpu", "float32"), Sharding(Nowhere(), 2, 1))
    assert half is not None
    assert isinstance(rank, Sharded)
    states = [state_of(model), state_of(model)]
    found = []
    for _ in range(repeats + 1):
        orders = [np.concatenate([stream.permutation(records)[:n] for _ in range(steps)]) for n in (batch // 2, batch)]
        alone = _cpu(partial(half.run, states[0], x, y, orders[0], batch // 2, rates))
        rank.spent.cpu_exchanging = 0.0
        whole = _cpu(partial(rank.run, states[1], x, y, orders[1], batch, rates))
        found.append((alone / steps, (whole - rank.spent.cpu_exchanging) / steps, rank.spent.cpu_exchanging / steps))
    times = 1e3 * np.array(found[1:])
    ratio = np.median(times[:, 1] / times[:, 0])
    alone, mine, packing = times.min(axis=0)
    what = f"half alone {alone:.3f} ms, a rank {mine:.3f} ms (median of pairs {ratio:.3f})"
    print(f"{'-'.join(map(str, sizes))} × {batch}: {what}, packing and adding {packing:.3f} ms", flush=True)


def steps_of(sizes: Sequence[int], batch: int) -> int:
    """Return how many steps are timed at a time: as in an epoch, several times more than what begins and ends a run."""
    return max(16, 2_000_000_000 // (batch * 6 * sum(m * n for m, n in pairwise(sizes))))


def data_of(sizes: Sequence[int], records: int) -> tuple[Any, Any]:
    """Return inputs, and classes one by one or a number."""
    stream = np.random.default_rng(0)
    x = stream.standard_normal((records, sizes[0]), dtype=np.float32)
    classes = np.eye(sizes[-1], dtype=np.float32)[stream.integers(0, sizes[-1], records)]
    return x, classes if sizes[-1] > 1 else np.sin(x[:, :1])


def exchanges(repeats: int) -> None:
    """Print the best time of an exchange of gradients, and that of MPI_Allreduce."""
    from mpi4py import MPI

    group = joined("mpi")
    for length in LENGTHS:
        mine, whole = np.ones(length, np.float32), np.empty(length, np.float32)
        tree = TreeSum(group, group.size, length, np.float32, totals=2)
        (shard,) = shards_of_rank(group.rank, group.size, group.size)

        exchanged = (partial(_ours, tree, mine, whole, shard), partial(MPI.COMM_WORLD.Allreduce, mine, whole))
        best = [np.inf, np.inf]
        for _ in range(repeats):
            for k, exchange in enumerate(exchanged):
                group.barrier()
                began = time.perf_counter()
                exchange()
                best[k] = min(best[k], time.perf_counter() - began)
        told = group.gather_numbers(best).max(axis=0)
        if not group.rank:
            size = 4 * length / 1e3
            print(f"{size:,.1f} kB on {group.size} ranks: {told[0] * 1e6:.0f} µs, MPI_Allreduce {told[1] * 1e6:.0f} µs")


def _ours(tree: TreeSum, mine: Any, whole: Any, shard: int) -> None:
    tree.add(shard, mine, np.zeros(2))
    tree.exchanged(into=whole)


def state_of(model: gd.MLP) -> State:
    parameters = {name: np.array(a, np.float32) for name, a in model.network.host_parameters().items()}
    return State(parameters, {name: (np.zeros_like(a), np.zeros_like(a)) for name, a in parameters.items()})


def _cpu(work: Callable[[], Any]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchange", action="store_true", help="measure exchanges; start it by mpiexec")
    parser.add_argument("--repeats", type=int, default=8, help="of each pair (%(default)s)")
    args = parser.parse_args()
    if args.exchange:
        exchanges(args.repeats * 10)
        return
    for sizes, batch, loss in NETWORKS:
        cpu_of_a_rank(sizes, batch, loss, args.repeats)


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        main()
