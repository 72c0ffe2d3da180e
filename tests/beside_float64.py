"""A program on the CPU engine beside its definition in float64: what several tests of blocks ask."""

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


def check_beside_float64(p, plan, threads, precision, records, batch, *, rate=0.01, least=0.0):
    """Train and predict; all that comes of it has about the error of the definition in this precision, or `least`."""
    if precision == "bfloat16" and why_no_bf16() is not None:
        pytest.skip(str(why_no_bf16()))
    inputs = p.inputs
    random = np.random.default_rng([inputs, records])
    start = {n: a + 0.1 * random.standard_normal(a.shape) for n, a in initial_values(p.parameters, random).items()}
    start = {n: a.astype(np.float32) for n, a in start.items()}
    x, y = (random.standard_normal((records, n), dtype=np.float32) for n in (inputs, p.outputs))
    for k, categories in p.codes.items():
        x[:, k] = random.integers(0, categories, records)
    weights = np.floor(random.uniform(0.0, 4.0, records)).astype(np.float32) if p.weighted else None
    order, rates = random.permutation(records), rate * random.uniform(0.5, 1.0, -(-records // batch))

    choices = {**PLANS[plan], "threads": threads}
    executable = NumbaBackend().compile(p, Plan("numba", "cpu", precision, choices))
    assert executable is not None, "it is not compiled"
    assert executable.origin == "compiled"
    dtype = storage_dtype(precision)
    found = verification.start(p, start, lambda a: np.array(a, dtype))
    given = () if weights is None else (weights.astype(dtype),)
    loss, norm = executable.run(found, x.astype(dtype), y.astype(dtype), order, batch, rates, *given)

    results = []
    for kind in (precision, "float64"):
        state = verification.start(p, start, lambda a, kind=kind: np.array(a, storage_dtype(kind)))
        total, length = verification.continue_on_numpy(p, state, x, y, order, batch, rates, kind, weights)
        results.append({"the loss": total, "the norm": length or 0.0, **dict(verification.named_arrays(state))})
    own, wanted = results
    arrays = {"the loss": loss, "the norm": norm or 0.0, **dict(verification.named_arrays(found))}
    assert list(arrays) == list(wanted)
    for which, a64 in wanted.items():
        allowed = verification.bound(verification.relative_error(own[which], a64), precision, 1)
        assert verification.relative_error(arrays[which], a64) <= max(allowed, least), which
    output = executable.predict(found.parameters, x.astype(dtype))
    exact = verification.predict_on_numpy(p, found.parameters, x.astype(np.float64))
    usual = verification.relative_error(verification.predict_on_numpy(p, found.parameters, x, precision), exact)
    assert verification.relative_error(output, exact) <= verification.bound(usual, precision, 1)
