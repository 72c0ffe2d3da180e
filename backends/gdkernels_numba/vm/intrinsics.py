"""Operations that Python lacks, for code that is translated: memory at an address, calls, waiting for threads."""

import time
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from gdkernels_numba.cpu.features import has_control_register
from gdkernels_numba.ir.emit import I32, I64, VOID, Function
from gdkernels_numba.ir.expressions import Intrinsic
from gdkernels_numba.vm.fields import WORD

__all__ = [
    "add_atomic", "add_wide", "call", "exchange", "fence", "leave_core", "load_atomic", "nanoseconds", "next_of_pcg64",
    "number", "pause", "processor_nanoseconds", "rest", "set_number", "set_word", "store_atomic", "word",
]  # fmt: skip

_I128 = ir.IntType(128)
_PCG64 = 0x2360ED051FC65DA44385DF649FCCF645  # the factor of its state


def _pointer(f: Function, address: Any, index: Any) -> Any:
    return f.pointer(f.add(address, f.multiply(index, WORD)))


@Intrinsic
def word(f: Function, address: Any, index: Any) -> Any:
    """Return the integer at `address`, `index` words further."""
    return f.builder.load(_pointer(f, address, index), typ=I64)


@Intrinsic
def set_word(f: Function, address: Any, index: Any, value: Any) -> None:
    f.builder.store(value, _pointer(f, address, index))


@Intrinsic
def number(f: Function, address: Any) -> Any:
    """Return the float64 number at `address`."""
    return f.builder.load(f.pointer(address), typ=ir.DoubleType())


@Intrinsic
def set_number(f: Function, address: Any, value: Any) -> None:
    f.builder.store(value, f.pointer(address))


@Intrinsic
def add_wide(f: Function, to: Any, value: Any) -> None:
    """Add the number of two words at an address to the one at another, the lower word first."""
    total = f.builder.add(_wide(f, to), _wide(f, value))
    f.builder.store(total, f.pointer(to), align=WORD)


@Intrinsic
def next_of_pcg64(f: Function, generator: Any) -> Any:
    """Return the next word of a PCG64, whose state and increment are two words each."""
    builder = f.builder
    product = builder.mul(_wide(f, generator), ir.Constant(_I128, _PCG64))
    state = builder.add(product, _wide(f, f.add(generator, 2 * WORD)))
    builder.store(state, f.pointer(generator), align=WORD)
    low, high = (builder.trunc(part, I64) for part in (state, builder.lshr(state, ir.Constant(_I128, 64))))
    mixed, turn = builder.xor(low, high), builder.lshr(high, ir.Constant(I64, 58))
    return f.call("llvm.fshr.i64", I64, mixed, mixed, turn)


def _wide(f: Function, address: Any) -> Any:
    return f.builder.load(f.pointer(address), typ=_I128, align=WORD)


@Intrinsic
def call(f: Function, address: Any, values: Sequence[Any]) -> None:
    """Call the function at an address with a tuple of 64-bit integers."""
    kind = ir.FunctionType(VOID, [I64] * len(values))
    f.builder.call(f.builder.inttoptr(address, kind.as_pointer()), values)


@Intrinsic
def add_atomic(f: Function, address: Any, value: Any) -> Any:
    """Add to the integer at `address`, unseen by other threads; returns what it was."""
    return f.builder.atomic_rmw("add", f.pointer(address), value, "seq_cst")


@Intrinsic
def load_atomic(f: Function, address: Any) -> Any:
    return f.builder.load_atomic(f.pointer(address), "seq_cst", WORD, typ=I64)


@Intrinsic
def store_atomic(f: Function, address: Any, value: Any) -> None:
    f.builder.store_atomic(value, f.builder.inttoptr(address, I64.as_pointer()), "seq_cst", WORD)


@Intrinsic
def fence(f: Function) -> None:
    """Let what this thread has read and written before come before what it reads and writes later, for all threads."""
    f.builder.fence("seq_cst")


@Intrinsic
def exchange(f: Function, address: Any, expected: Any, value: Any) -> Any:
    """Put `value` at `address` if `expected` is there, unseen by other threads; returns 1 if it was, else 0."""
    done = f.builder.cmpxchg(f.builder.inttoptr(address, I64.as_pointer()), expected, value, "seq_cst", "seq_cst")
    return f.builder.zext(f.builder.extract_value(done, 1), I64)


@Intrinsic
def nanoseconds(f: Function, room: Any) -> Any:
    """Return the time of a clock that only goes forward, with two words of `room` to read it; 0 where there is none."""
    return _time_of(f, "CLOCK_MONOTONIC", room)


@Intrinsic
def processor_nanoseconds(f: Function, room: Any) -> Any:
    """Return how long this thread has had a core, with two words of `room`; 0 where the system does not tell."""
    return _time_of(f, "CLOCK_THREAD_CPUTIME_ID", room)


def _time_of(f: Function, clock: str, room: Any) -> Any:
    number = getattr(time, clock, None)
    if number is None:
        return ir.Constant(I64, 0)
    f.call("clock_gettime", I32, ir.Constant(I32, number), f.pointer(room))
    seconds = f.builder.load(f.pointer(room), typ=I64)
    return f.add(f.multiply(seconds, 10**9), f.builder.load(f.pointer(f.add(room, WORD)), typ=I64))


@Intrinsic
def pause(f: Function) -> None:
    """Tell the processor that this thread only waits."""
    if has_control_register():  # x86
        f.call("llvm.x86.sse2.pause", VOID)


@Intrinsic
def leave_core(f: Function) -> None:
    """Let other threads run."""
    f.call("sched_yield", I32)


@Intrinsic
def rest(f: Function, microseconds: Any) -> None:
    """Sleep, for so long at least; systems add some 50 µs."""
    f.call("usleep", I32, f.builder.trunc(microseconds, I32))
