"""The compiled engine on the processor that this runs on: ``python tests/other_processors.py``.

It imports no pytest, so that an emulated machine needs NumPy and Numba alone. Every activation, loss and optimizer runs
in float32 and float64, on three plans and on 1 to 3 threads in turn; every plan runs on every number of threads. Each
run is compared with the definition in float64 on NumPy, by the bounds of the conformance suite.
`tests/numba/test_other_processors.py` starts it under an emulator.
"""

import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "backends")]

import numpy as np  # noqa: E402
from gdkernels_numba import NumbaBackend  # noqa: E402
from gdkernels_numba.cpu.features import float_lanes, machine_name  # noqa: E402

from gdkernels.backend import Plan, storage_dtype, verification  # noqa: E402
from gdkernels.definition import activations, losses, optimizers  # noqa: E402
from gdkernels.definition.objective import Objective  # noqa: E402
from gdkernels.network import Structure  # noqa: E402

PLANS = {
    "rows": {"by_units": False, "depth_first": False},
    "tiles": {"depth_first": True, "tile_rows": 12},
    "units": {"by_units": True},
}
THREADS = (1, 2, 3)
PRECISIONS = ("float32", "float64")
RECORDS, BATCH = 53, 16


def programs():
    """Yield a name and a program for every activation, loss and optimizer."""
    for name in activations.BY_NAME:
        yield f"activation {name}", program(activation=name)
    for name in losses.BY_NAME:
        yield f"loss {name}", program(loss=name)
    for name, kind in optimizers.BY_NAME.items():
        yield f"optimizer {name}", program(optimizer=kind())


def program(activation="tanh", loss="sse", optimizer=None):
    objective = Objective.checked(loss=loss, outputs=3)
    structure = Structure.of_sizes((7, 19, 18, 3), activation, "identity", True).with_link(objective)
    return structure.program(objective, optimizer or optimizers.SGD(momentum=0.9))


def targets(of, random):
    """Return targets that every loss takes: shares of classes for cross-entropies, positive numbers for the others."""
    y = random.uniform(0.1, 1.0, (RECORDS, 3))
    if of.objective.loss is losses.binary_cross_entropy:
        return (y > 0.5).astype(np.float32)
    return (y / y.sum(axis=1, keepdims=True)).astype(np.float32)


def check(of, plan, threads, precision):
    """Return the largest error as a share of what is allowed."""
    random = np.random.default_rng(0)
    start = {n: random.standard_normal(p.shape, dtype=np.float32) / 16 for n, p in of.parameters.items()}
    x, y = random.standard_normal((RECORDS, 7), dtype=np.float32), targets(of, random)
    order, rates = random.permutation(RECORDS), 0.01 * random.uniform(0.5, 1.0, -(-RECORDS // BATCH))
    executable = NumbaBackend().compile(of, Plan("numba", "cpu", precision, {**PLANS[plan], "threads": threads}))
    assert executable is not None, "it falls back to the definition"
    assert executable.origin == "compiled"
    dtype = storage_dtype(precision)
    found = verification.start(of, start, lambda a: np.array(a, dtype))
    loss, _ = executable.run(found, x.astype(dtype), y.astype(dtype), order, BATCH, rates)
    assert executable.plan.choices["threads"] == threads
    results = []
    for kind in (precision, "float64"):
        state = verification.start(of, start, lambda a, kind=kind: np.array(a, storage_dtype(kind)))
        total, _ = verification.continue_on_numpy(of, state, x, y, order, BATCH, rates, kind, None)
        results.append({"the loss": total, **dict(verification.named_arrays(state))})
    own, wanted = results
    arrays = {"the loss": loss, **dict(verification.named_arrays(found))}
    assert list(arrays) == list(wanted)
    shares = []
    for which, a64 in wanted.items():
        allowed = verification.bound(verification.relative_error(own[which], a64), precision, 1)
        shares.append(verification.relative_error(arrays[which], a64) / allowed)
    return max(shares)


def main():
    print(f"{machine_name()}\nfloat32 lanes: {float_lanes()}", flush=True)
    combinations = list(itertools.product(PLANS, THREADS))
    runs = [
        (name, of, *combinations[(2 * k + j) % len(combinations)], precision)
        for k, (name, of) in enumerate(programs())
        for j, precision in enumerate(PRECISIONS)
    ]
    plain = program()
    runs += [("plain", plain, *both, precision) for both in combinations for precision in PRECISIONS]
    wrong = 0
    for name, of, plan, threads, precision in runs:
        with np.errstate(all="ignore"):
            share = check(of, plan, threads, precision)
        holds = share <= 1  # not so for a NaN
        wrong += not holds
        print(f"{'ok' if holds else 'WRONG':5} {share:7.3f}  {name}, {plan}, {threads}, {precision}", flush=True)
    print(f"{len(runs)} runs, {wrong} wrong", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
