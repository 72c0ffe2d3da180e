"""The most that the cores can do: multiply-adds and products of bfloat16 in registers, changing memory, and meeting.

``python -m gdkernels_numba.ceilings THREADS`` measures them on as many threads and cores and prints them as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from llvmlite import ir

from gdkernels_numba.bytecode.arena import allocate
from gdkernels_numba.cpu import jit
from gdkernels_numba.cpu.features import bf16_route, caches, cores, float_lanes
from gdkernels_numba.cpu.threads import run_on_threads
from gdkernels_numba.ir.emit import I64, Function, Variable
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.vector import Vectors
from gdkernels_numba.kernels.amx import TILE_FLOPS, configure_tiles, multiply_tiles, release_tiles

__all__ = ["bf16_rate", "fma_rate", "turns_seconds", "update_rate", "write_bf16_ceiling", "write_ceilings"]

_CHAINS = 12  # independent sums: enough for the latency of two units, few enough for 16 registers
_BF16_CHAINS = 24  # the same where there are 32 registers, and products of pairs take longer
_ROUNDS = 1_000_000
_TURNS = 1000
_REPEATS = 100  # the fastest counts: in some of them, another program may have had a core


def fma_rate(threads: int) -> float:
    """Return the FLOP/s of fused multiply-adds in float32 whose operands never leave the registers."""
    form = Format("float32", float_lanes())
    function = jit.function_of(_code(form), "multiply_add", 2)
    results = np.zeros((threads, 64), np.float32)
    jobs = [partial(function, _ROUNDS, row.ctypes.data) for row in results]
    return 2.0 * form.lanes * _CHAINS * _ROUNDS * threads / _shortest(jobs)


def bf16_rate(threads: int) -> float | None:
    """Return the FLOP/s of products of bfloat16 whose operands never leave registers or tiles; None without any."""
    if not bf16_route():
        return None
    form = Format("float32", float_lanes(), bf16_route())
    function = jit.function_of(_code(form), "multiply_bf16", 2)
    results = np.zeros((threads, 64), np.float32)
    rounds, flops = (_ROUNDS // 10, 4.0 * TILE_FLOPS) if form.amx else (_ROUNDS, 4.0 * form.lanes * _BF16_CHAINS)
    return flops * rounds * threads / _shortest([partial(function, rounds, row.ctypes.data) for row in results])


def update_rate(threads: int) -> float:
    """Return the bytes/s of reading numbers and writing them back changed, from more memory than the caches hold."""
    form = Format("float32", float_lanes())
    function = jit.function_of(_code(form), "change", 2)
    size = 4 * caches().last // threads // 64 * 64
    memories = [allocate(size) for _ in range(threads)]
    return 2.0 * size * threads / _shortest([partial(function, size, address) for _, address in memories])


def turns_seconds(threads: int) -> float | None:
    """Return how long it takes until each thread, in turn, has changed the same word; None for one or too few cores."""
    if not 1 < threads <= cores():
        return None
    function = jit.function_of(_code(Format("float32", float_lanes())), "take_turns", 4)
    word = np.zeros(16, np.int64)
    return _shortest([partial(function, _TURNS, k, threads, word.ctypes.data) for k in range(threads)]) / _TURNS


def write_ceilings(module: ir.Module, form: Format) -> None:
    """Add to `module` the kernels of what there is in every format."""
    f = Function(module, "multiply_add", ("rounds", "result"))
    v = Vectors(f, form)
    _write_chains(f, v, _CHAINS, v.fma)

    f = Function(module, "change", ("size", "memory"))
    v = Vectors(f, form)
    with f.loop(f.size, step=form.bytes) as offset:
        address = f.add(f.memory, offset)
        v.store(v.add(v.load(address), v.constant(1.0)), address)
    f.finish()

    f = Function(module, "take_turns", ("rounds", "thread", "threads", "word"))
    word, turn = f.pointer(f.word), f.variable(f.thread)
    with f.loop(f.rounds):
        with f.repeat(lambda: f.is_less(f.builder.load_atomic(word, "seq_cst", 8, typ=I64), turn.get())):
            pass
        turn.set(f.add(turn.get(), f.threads))
        done = f.add(f.builder.atomic_rmw("add", word, f.integer(1), "seq_cst"), 1)
        with f.builder.if_then(f.builder.icmp_signed("==", done, f.multiply(f.rounds, f.threads))):
            f.builder.atomic_rmw("xchg", word, f.integer(0), "seq_cst")  # the last turn of all
    f.finish()


def write_bf16_ceiling(module: ir.Module, form: Format) -> None:
    """Add to `module` the kernel of products of bfloat16."""
    f = Function(module, "multiply_bf16", ("rounds", "result"))
    v = Vectors(f, form)
    if not form.amx:
        _write_chains(f, v, _BF16_CHAINS, lambda total, factor, _: v.dot_bf16(factor, factor, total))
        return
    configure_tiles(f)
    with f.loop(f.rounds):
        multiply_tiles(f)
    release_tiles(f)
    f.finish()


def _write_chains(f: Function, v: Vectors, chains: int, operate: Callable[..., ir.Value]) -> None:
    factor = v.broadcast(f.result)  # unknown to the compiler
    sums = [Variable(f, v.constant(float(k))) for k in range(chains)]
    with f.loop(f.rounds):
        for total in sums:
            total.set(operate(total.get(), factor, factor))
    value = sums[0].get()
    for total in sums[1:]:
        value = v.add(value, total.get())
    f.builder.store(value, f.pointer(f.result)).align = v.format.size
    f.finish()


def _code(form: Format) -> jit.Code:
    module = ir.Module("ceilings")
    write_ceilings(module, form)
    if form.bf16:
        write_bf16_ceiling(module, form)
    text = str(module)
    return jit.load(jit.digest(text), lambda: text, "the loops that measure this machine")


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
    found = {
        "fma_flops": fma_rate(count),
        "pair_flops": bf16_rate(count),
        "update_bytes": update_rate(count),
        "turns_seconds": turns_seconds(count),
    }
    print(json.dumps({name: value for name, value in found.items() if value is not None}))
