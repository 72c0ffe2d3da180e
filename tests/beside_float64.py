"""A compiled program beside its definition in float64: what several tests of blocks ask."""

import numpy as np
import pytest
from gdkernels_numba import NumbaBackend
from gdkernels_numba.cpu.features import why_no_bf16

from gdkernels.backend import Plan, storage_dtype, verification
from gdkernels.definition.blocks.block import initial_values

PLANS = {
    "rows": {"by_units": False, "depth_first": False},
    "tiles": {"depth_first": True, "tile_rows": 12},
    "units": {"by_units": True},
}
PRECISIONS = ("float32", "float64", "bfloat16")


def check_beside_float64(p, plan, threads, precision, records, batch, **options):
    """Compare what the CPU engine makes of a program by one of `PLANS`; options are those of `compare_with_float64`."""
    if precision == "bfloat16" and why_no_bf16() is not None:
        pytest.skip(str(why_no_bf16()))
    choices = {**PLANS[plan], "threads": threads}
    executable = NumbaBackend().compile(p, Plan("numba", "cpu", precision, choices))
    compare_with_float64(executable, p, precision, records, batch, **options)


def compare_with_float64(
    executable, p, precision, records, batch, *, rate=0.01, least=0.0, put=np.array, to_numpy=np.asarray
):
    """Train and predict; all that comes of it has about the error of the definition in this precision, or `least`.

    Parameters
    ----------
    put, to_numpy
        Make an array of the executable's device of one of NumPy's, and the other way round.
    """
    assert executable is not None, "it is not compiled"
    assert executable.origin == "compiled"
    inputs = p.inputs
    random = np.random.default_rng([inputs, records])
    start = {n: a + 0.1 * random.standard_normal(a.shape) for n, a in initial_values(p.parameters, random).items()}
    start = {n: a.astype(np.float32) for n, a in start.items()}
    x, y = (random.standard_normal((records, n), dtype=np.float32) for n in (inputs, p.outputs))
    for k, categories in p.codes.items():
        x[:, k] = random.integers(0, categories, records)
    weights = np.floor(random.uniform(0.0, 4.0, records)).astype(np.float32) if p.weighted else None
    order, rates = random.permutation(records), rate * random.uniform(0.5, 1.0, -(-records // batch))

    dtype = storage_dtype(precision)
    found = verification.start(p, start, lambda a: put(np.array(a, dtype)))
    given = [put(a.astype(dtype)) for a in (x, y)]
    weighed = [] if weights is None else [put(weights.astype(dtype))]
    loss, norm = executable.run(found, *given, order, batch, rates, *weighed)

    results = []
    for kind in (precision, "float64"):
        state = verification.start(p, start, lambda a, kind=kind: np.array(a, storage_dtype(kind)))
        total, length = verification.continue_on_numpy(p, state, x, y, order, batch, rates, kind, weights)
        results.append({"the loss": total, "the norm": length or 0.0, **dict(verification.named_arrays(state))})
    own, wanted = results
    now = {name: to_numpy(a) for name, a in verification.named_arrays(found)}
    arrays = {"the loss": loss, "the norm": norm or 0.0, **now}
    assert list(arrays) == list(wanted)
    for which, a64 in wanted.items():
        allowed = verification.bound(verification.relative_error(own[which], a64), precision, 1)
        assert verification.relative_error(arrays[which], a64) <= max(allowed, least), which
    output = to_numpy(executable.predict(found.parameters, given[0]))
    parameters = {name: now[name] for name in found.parameters}
    exact = verification.predict_on_numpy(p, parameters, x.astype(np.float64))
    usual = verification.relative_error(verification.predict_on_numpy(p, parameters, x, precision), exact)
    assert verification.relative_error(output, exact) <= verification.bound(usual, precision, 1)
