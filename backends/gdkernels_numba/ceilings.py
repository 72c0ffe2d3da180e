"""What the cores can do at best: fused multiply-adds on registers alone, and changing memory in place.

``python -m gdkernels_numba.ceilings THREADS`` measures both on as many threads and cores and prints them as JSON.
"""

import json
import os
import sys
import time
from functools import partial

import numpy as np
from llvmlite import ir

from gdkernels_numba import code
from gdkernels_numba.emit import Function, Variable
from gdkernels_numba.machine import caches, float_lanes
from gdkernels_numba.memory import allocate
from gdkernels_numba.threads import run_on_threads
from gdkernels_numba.vector import Format, Vectors

__all__ = ["fma_rate", "update_rate", "write_ceilings"]

_CHAINS = 12  # independent sums: enough for the latency of two units, few enough for 16 registers
_ROUNDS = 1_000_000
_REPEATS = 100  # the fastest counts, and for some of them a core may be taken


def fma_rate(threads: int) -> float:
    """Return the FLOP/s of fused multiply-adds in float32 whose operands never leave the registers."""
    form = Format("float32", float_lanes())
    function = code.function_of(_code(form), "multiply_add", 2)
    results = np.zeros((threads, 64), np.float32)
    jobs = [partial(function, _ROUNDS, row.ctypes.data) for row in results]
    return 2.0 * form.lanes * _CHAINS * _ROUNDS * threads / _shortest(jobs)


def update_rate(threads: int) -> float:
    """Return the bytes/s of reading numbers and writing them back changed, from more memory than the caches hold."""
    form = Format("float32", float_lanes())
    function = code.function_of(_code(form), "change", 2)
    size = 4 * caches().last // threads // 64 * 64
    memories = [allocate(size) for _ in range(threads)]
    return 2.0 * size * threads / _shortest([partial(function, size, address) for _, address in memories])


def write_ceilings(module: ir.Module, form: Format) -> None:
    """Add the two kernels to `module`."""
    f = Function(module, "multiply_add", ("rounds", "result"))
    v = Vectors(f, form)
    factor = v.broadcast(f.result)  # unknown to the compiler
    sums = [Variable(f, v.constant(float(k))) for k in range(_CHAINS)]
    with f.loop(f.rounds):
        for total in sums:
            total.set(v.fma(total.get(), factor, factor))
    value = sums[0].get()
    for total in sums[1:]:
        value = v.add(value, total.get())
    f.builder.store(value, f.pointer(f.result)).align = form.size
    f.finish()

    f = Function(module, "change", ("size", "memory"))
    v = Vectors(f, form)
    with f.loop(f.size, step=form.bytes) as offset:
        address = f.add(f.memory, offset)
        v.store(v.add(v.load(address), v.constant(1.0)), address)
    f.finish()


def _code(form: Format) -> code.Code:
    module = ir.Module("ceilings")
    write_ceilings(module, form)
    text = str(module)
    return code.load(code.digest(text), lambda: text, "the loops that measure this machine")


def _shortest(jobs: list[partial[None]]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        run_on_threads(list(jobs))
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    count = int(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    print(json.dumps({"fma_flops": fma_rate(count), "update_bytes": update_rate(count)}))
