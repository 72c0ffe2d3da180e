"""The step that `--explain` predicts beside the step that is measured, on the link that the ranks have.

``mpiexec -n 2 python -m benchmarks.ranks.predicted`` takes the link of one machine. ``two_networks.sh PYTHON`` in this
folder puts the two ranks into network namespaces of their own, with 1 Gbit/s between them; it needs root.
"""

from __future__ import annotations

import argparse
import logging

import gdkernels as gd
from benchmarks.ranks.cost import NETWORKS, data_of
from gdkernels.groups import joined

_BATCHES, _EPOCHS = 4, 5


def main() -> None:
    """Train each network, and print both steps."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks.predicted", description=__doc__)
    parser.add_argument("--group", default="mpi", help="the group of the ranks (%(default)s)")
    group = joined(parser.parse_args().group)
    logging.getLogger("gdkernels").setLevel(logging.ERROR)  # that it is slow is what is measured
    for sizes, batch, loss in NETWORKS:
        x, y = data_of(sizes, _BATCHES * batch)
        model = gd.MLP(list(sizes), seed=0, backend="numba", threads=1)
        history = model.fit(
            x, y, loss=loss, optimizer=gd.Adam(1e-6), batch_size=batch, epochs=_EPOCHS, group=group, shards=group.size
        )
        assert history.ranks is not None
        if group.rank or history.ranks.expected is None:
            continue
        expected, measured = history.ranks.expected, min(e.seconds for e in history.epochs[1:]) / _BATCHES
        print(
            f"{'-'.join(map(str, sizes))} × {batch}: a step was to take {expected.step * 1e3:.2f} ms "
            f"({expected.exchange * 1e3:.2f} of them exchange; α {expected.alpha * 1e6:.0f} µs, β "
            f"{expected.beta / 1e6:.0f} MB/s) and took {measured * 1e3:.2f} ms: {measured / expected.step:.2f} ×; "
            f"{history.ranks.communication:.0%} of the time in exchange",
            flush=True,
        )


if __name__ == "__main__":
    main()
