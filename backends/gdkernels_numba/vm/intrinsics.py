"""Operations that Python lacks, for code that Numba compiles: memory at an address, calls, waiting for threads."""

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gdkernels_numba.cpu.features import has_control_register

__all__ = ["add_atomic", "call", "leave_core", "load_atomic", "number", "pause", "set_number", "set_word", "word"]

_I64 = ir.IntType(64)


def _pointer(builder: Any, address: Any, index: Any) -> Any:
    offset = builder.mul(index, ir.Constant(_I64, 8))
    return builder.inttoptr(builder.add(address, offset), ir.PointerType())


def _written(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function from the writer of its IR."""
    return cast(Callable[..., Any], intrinsic(function))


@_written
def word(context: Any, address: Any, index: Any) -> Any:
    """Return the integer at `address`, `index` words further."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(builder, *args), typ=_I64)

    return types.int64(types.int64, types.int64), write


@_written
def set_word(context: Any, address: Any, index: Any, value: Any) -> Any:
    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(builder, args[0], args[1]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), write


@_written
def number(context: Any, address: Any) -> Any:
    """Return the float64 number at `address`."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(builder, args[0], ir.Constant(_I64, 0)), typ=ir.DoubleType())

    return types.float64(types.int64), write


@_written
def set_number(context: Any, address: Any, value: Any) -> Any:
    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _pointer(builder, args[0], ir.Constant(_I64, 0)))
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), write


@_written
def call(context: Any, function: Any, values: Any) -> Any:
    """Call the function at an address with a tuple of 64-bit integers."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arguments = [builder.extract_value(args[1], k) for k in range(len(values))]
        kind = ir.FunctionType(ir.VoidType(), [_I64] * len(arguments))
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, len(values))), write


@_written
def add_atomic(context: Any, address: Any, value: Any) -> Any:
    """Add to the integer at `address`, unseen by other threads; returns what it was."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, args[0], ir.Constant(_I64, 0)), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), write


@_written
def load_atomic(context: Any, address: Any) -> Any:
    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(builder, args[0], ir.Constant(_I64, 0))
        return builder.load_atomic(pointer, "seq_cst", 8, typ=_I64)

    return types.int64(types.int64), write


@_written
def pause(context: Any) -> Any:
    """Tell the processor that this thread only waits."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if has_control_register():  # x86
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), write


@_written
def leave_core(context: Any) -> Any:
    """Let other threads run."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        function = builder.module.globals.get("sched_yield") or ir.Function(builder.module, kind, "sched_yield")
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), write
