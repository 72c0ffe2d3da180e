"""What a step on two ranks costs, exchange included, beside torch's DistributedDataParallel on gloo.

``python -m benchmarks.ranks.ddp`` starts both in turns on two processes of one thread each, and compares the CPU time
of the more expensive rank. Beside it stands the least that any engine could take: the products of a rank alone, on a
core that does nothing but multiply-adds in registers. It takes the mpiexec beside this Python; ``--torch PYTHON`` names
another Python with torch.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gdkernels_numba.ceilings import fma_rate

from benchmarks.ranks.cost import NETWORKS, data_of, state_of, steps_of
from benchmarks.ranks.launching import launch
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.groups import joined

_RANKS, _REPEATS = 2, 4


def ours(sizes: tuple[int, ...], batch: int, loss: str) -> list[float]:
    """Return the CPU seconds of a step of this rank, in each repeat."""
    import gdkernels as gd
    from gdkernels.backend import Plan
    from gdkernels.backend.sharded_executable import Sharded
    from gdkernels.dispatch.registry import get
    from gdkernels.groups.sharding import Sharding

    group, steps = joined("mpi"), steps_of(sizes, batch)
    model = gd.MLP(list(sizes), seed=0, backend="numba")
    program = gd.Trainer(model, loss=loss, optimizer=gd.Adam(1e-9), batch_size=batch).workload(batch).program
    rank = get("numba").compile_shards(program, Plan("numba", "cpu", "float32"), Sharding(group, _RANKS, 1))
    assert isinstance(rank, Sharded)
    (x, y), state = data_of(sizes, 2 * batch), state_of(model)

    def repeat(number: int) -> None:
        stream = np.random.default_rng(number)
        order = np.concatenate([stream.permutation(2 * batch)[:batch] for _ in range(steps)])
        group.barrier()
        rank.run(state, x, y, order, batch, np.full(steps, 1e-9))

    found = timed(repeat, steps)
    return [float(one) for one in group.gather_numbers(found).max(axis=0)]


def torchs(sizes: tuple[int, ...], batch: int, loss: str) -> list[float]:
    """Return the CPU seconds of a step of this rank of torch, in each repeat."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, steps = dist.get_rank(), steps_of(sizes, batch)
    layers: list[Any] = []
    for k in range(len(sizes) - 1):
        layers += [torch.nn.Linear(sizes[k], sizes[k + 1]), torch.nn.ReLU()]
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(*layers[:-1]))
    optimizer = torch.optim.Adam(model.parameters(), 1e-9, fused=True)
    x, y = map(torch.from_numpy, data_of(sizes, 2 * batch))
    criterion: Any = torch.nn.MSELoss() if loss == "sse" else torch.nn.CrossEntropyLoss()
    targets = y if loss == "sse" else y.argmax(dim=1)
    share = batch // _RANKS

    def repeat(number: int) -> None:
        stream = np.random.default_rng(number)
        dist.barrier()
        for _ in range(steps):
            rows = torch.from_numpy(stream.permutation(2 * batch)[rank * share : (rank + 1) * share])
            optimizer.zero_grad(set_to_none=False)
            criterion(model(x.index_select(0, rows)), targets.index_select(0, rows)).backward()
            optimizer.step()

    found = torch.tensor(timed(repeat, steps))
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    dist.destroy_process_group()
    return [float(one) for one in found]


def timed(repeat: Callable[[int], None], steps: int) -> list[float]:
    """Return the CPU seconds of a step in each repeat, after one that is not counted."""
    found = []
    for number in range(_REPEATS + 1):
        began = time.process_time()
        repeat(number)
        found.append((time.process_time() - began) / steps)
    return found[1:]


def started(participant: str, network: int, python: str) -> list[float]:
    """Start the ranks of a participant, and return what rank 0 tells."""
    command = [python, "-m", "benchmarks.ranks.ddp", "--participant", participant, "--network", str(network)]
    if participant == "ours":
        told = subprocess.run(launch(_RANKS, command), stdout=subprocess.PIPE, text=True, check=True).stdout
        return list(json.loads(told.splitlines()[-1]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(_RANKS)}
    ranks = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | place | {"RANK": str(rank)})
        for rank in range(_RANKS)
    ]
    first, *_ = [rank.communicate()[0] for rank in ranks]
    return list(json.loads(first.splitlines()[-1]))


def main() -> None:
    """Compare, or be one rank of a participant."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks.ddp", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="in which both are started (%(default)s)")
    parser.add_argument("--torch", default=sys.executable, metavar="PYTHON", help="one that has torch (this one)")
    parser.add_argument("--participant", choices=("ours", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("--network", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.participant is not None:
        measure = ours if options.participant == "ours" else torchs
        found = measure(*NETWORKS[options.network])
        if options.participant == "torch" or not joined("mpi").rank:
            print(json.dumps(found))
        return
    for number, (sizes, batch, _) in enumerate(NETWORKS):
        pairs = [
            (min(started("ours", number, sys.executable)), min(started("torch", number, options.torch)))
            for _ in range(options.rounds)
        ]
        mine, theirs = np.array(pairs).T * 1e3
        ratio = np.median(mine / theirs)
        products = 1e3 * TrainingTask(sizes, batch, batch).flops_per_record() * batch / _RANKS / fma_rate(1)
        what = f"a rank {mine.min():.3f} ms, torch DDP on gloo {theirs.min():.3f} ms (median of pairs {ratio:.3f})"
        bound = f"its products at the peak of multiply-adds {products:.3f} ms ({products / theirs.min():.3f})"
        print(
            f"{'-'.join(map(str, sizes))} × {batch} on {_RANKS} ranks, exchange included: {what}; {bound}", flush=True
        )


if __name__ == "__main__":
    main()
