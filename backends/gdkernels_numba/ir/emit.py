"""Writing LLVM IR with loops and variables, of which the kernels are made.

Addresses are plain 64-bit integers. Variables live on the stack and loops count in them; LLVM turns both into
registers, so that a kernel reads like the loop nest it is.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

__all__ = ["I1", "I32", "I64", "POINTER", "VOID", "Function", "Variable"]

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
POINTER, VOID = ir.PointerType(), ir.VoidType()


class Variable:
    """A value that changes, by `get` and `set`."""

    def __init__(self, function: "Function", value: ir.Value) -> None:
        self._builder = function.builder
        self.type = value.type
        with self._builder.goto_entry_block():
            self._slot = self._builder.alloca(value.type)
        self.set(value)

    def get(self) -> Any:
        return self._builder.load(self._slot, typ=self.type)

    def set(self, value: ir.Value) -> None:
        self._builder.store(value, self._slot)


class Function:
    """A function of 64-bit integers under construction; its arguments are attributes."""

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[str], result: ir.Type = VOID) -> None:
        self.module = module
        self.ir = ir.Function(module, ir.FunctionType(result, [I64] * len(arguments)), name)
        self.arguments = dict(zip(arguments, self.ir.args, strict=True))
        # Allocations go to a block of their own, which every loop is behind.
        entry = self.ir.append_basic_block("entry")
        body = self.ir.append_basic_block("body")
        self.builder = ir.IRBuilder(entry)
        self.builder.branch(body)
        self.builder.position_at_end(body)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.arguments[name]
        except KeyError:
            raise AttributeError(name) from None

    def variable(self, value: ir.Value | int) -> Variable:
        return Variable(self, self.integer(value))

    def integer(self, value: ir.Value | int) -> Any:
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def add(self, *values: ir.Value | int) -> Any:
        total = self.integer(values[0])
        for value in values[1:]:
            total = self.builder.add(total, self.integer(value))
        return total

    def subtract(self, a: ir.Value | int, b: ir.Value | int) -> Any:
        return self.builder.sub(self.integer(a), self.integer(b))

    def multiply(self, a: ir.Value | int, b: ir.Value | int) -> Any:
        return self.builder.mul(self.integer(a), self.integer(b))

    def least(self, a: ir.Value | int, b: ir.Value | int) -> Any:
        a, b = self.integer(a), self.integer(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def is_less(self, a: ir.Value | int, b: ir.Value | int) -> Any:
        return self.builder.icmp_signed("<", self.integer(a), self.integer(b))

    def pointer(self, address: ir.Value) -> Any:
        return self.builder.inttoptr(address, POINTER)

    @contextmanager
    def loop(self, stop: ir.Value | int, *, start: ir.Value | int = 0, step: int = 1) -> Iterator[Any]:
        """Repeat for start, start + step, … below `stop`; yields the number."""
        counter = self.variable(start)
        with self.repeat(lambda: self.is_less(counter.get(), stop)):
            value = counter.get()
            yield value
            counter.set(self.add(value, step))

    @contextmanager
    def repeat(self, condition: Any) -> Iterator[None]:
        """Repeat while ``condition()``, which writes the test, holds."""
        head, body, after = (self.ir.append_basic_block(name) for name in ("head", "body", "after"))
        self.builder.cbranch(condition(), body, after)  # tested at the end of each round: one jump a round
        self.builder.position_at_end(body)
        yield
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(condition(), body, after)
        self.builder.position_at_end(after)

    def call(self, name: str, result: ir.Type, *values: ir.Value) -> Any:
        """Call a function that LLVM or another module provides."""
        function = self.module.globals.get(name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(result, [v.type for v in values]), name)
        return self.builder.call(function, values)

    def finish(self) -> None:
        self.builder.ret_void()
