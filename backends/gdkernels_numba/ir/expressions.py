"""Expressions of functions that are translated: what a line of Python is, as a value of the code or a constant."""

import ast
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from llvmlite import ir

from gdkernels_numba.ir.emit import I1, I64, Function, Variable

__all__ = ["DOUBLE", "Expressions", "Intrinsic", "Scope", "is_number", "members_of", "parameters_of"]

DOUBLE = ir.DoubleType()

_ON_CONSTANTS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitXor: operator.xor,
}  # fmt: skip
_ON_INTEGERS = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.LShift: "shl", ast.RShift: "ashr", ast.BitAnd: "and_",
    ast.BitXor: "xor",
}  # fmt: skip
_ON_REALS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul"}
_COMPARISONS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


@dataclass(frozen=True)
class Intrinsic:
    """An operation that Python lacks: ``write(function, *values)`` adds it to a function, and returns its result."""

    write: Callable[..., Any]

    def __call__(self, *_: Any) -> Any:
        raise TypeError(f"{self.write.__name__} is for code that is translated")


@dataclass
class Scope:
    """What the names of a function stand for.

    Attributes
    ----------
    locals, outer
        The names that it gives a value somewhere, and the values of those that it does not.
    names
        What surely has a value at this line: variables, constants and tuples.
    error
        Makes the error of a line that says what the compiler does not know.
    """

    locals: set[str]
    outer: Mapping[str, Any]
    error: Callable[..., SyntaxError]
    names: dict[str, Any] = field(default_factory=dict)

    def named(self, node: ast.expr, name: str) -> Any:
        if name in self.names:
            value = self.names[name]
            return value.get() if isinstance(value, Variable) else value
        if name in self.locals or name not in self.outer:
            raise self.error(node, f"a value that `{name}` surely has here")
        return self.outer[name]


class Expressions:
    """Writes expressions where the builder of `f` stands.

    Parameters
    ----------
    written
        Returns the code of another function that is called.
    """

    def __init__(self, f: Function, scope: Scope, written: Callable[[Any], ir.Function]) -> None:
        self._f, self._scope, self._written = f, scope, written

    # ---- conditions

    def test(self, node: ast.expr) -> Any:
        """Return whether `node` holds, as one bit."""
        match node:
            case ast.BoolOp(op=op, values=values):
                return self._each(isinstance(op, ast.And), values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._f.builder.not_(self.test(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compare(node, op, self.value(left), self.value(right))
            case _:
                return self._f.builder.icmp_signed("!=", self.integer(node, self.value(node)), ir.Constant(I64, 0))

    def _each(self, wanted: bool, values: list[ast.expr]) -> Any:
        """Return whether all of these hold, or whether any does; the rest is not computed once that is known."""
        f, result = self._f, self.test(values[0])
        for value in values[1:]:
            known = f.builder.block
            other, after = f.ir.append_basic_block("other"), f.ir.append_basic_block("known")
            f.builder.cbranch(result, *((other, after) if wanted else (after, other)))
            f.builder.position_at_end(other)
            found = self.test(value)
            end = f.builder.block
            f.builder.branch(after)
            f.builder.position_at_end(after)
            result = f.builder.phi(I1)
            result.add_incoming(ir.Constant(I1, int(not wanted)), known)
            result.add_incoming(found, end)
        return result

    def _compare(self, node: ast.expr, op: ast.cmpop, left: Any, right: Any) -> Any:
        if isinstance(op, ast.In) and isinstance(right, tuple) and right:
            found = [self._compare(node, ast.Eq(), left, each) for each in right]
            result = found[0]
            for each in found[1:]:
                result = self._f.builder.or_(result, each)
            return result
        if isinstance(op, ast.NotIn):
            return self._f.builder.not_(self._compare(node, ast.In(), left, right))
        if type(op) not in _COMPARISONS:
            raise self._scope.error(node)
        a, b = self.integer(node, left), self.integer(node, right)
        return self._f.builder.icmp_signed(_COMPARISONS[type(op)], a, b)

    # ---- values

    def value(self, node: ast.expr) -> Any:
        """Return what `node` is: a value of the code, a constant, or a tuple of these."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._scope.named(node, name)
            case ast.Tuple(elts=elements):
                return tuple(self.value(each) for each in elements)
            case ast.Attribute(value=of, attr=name):
                return getattr(self.value(of), name)
            case ast.Subscript(value=of, slice=index):
                values, k = self.value(of), self.value(index)
                if not isinstance(values, tuple) or not isinstance(k, int):
                    raise self._scope.error(node)
                return values[k]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.arithmetic(node, ast.Sub(), 0, self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self.arithmetic(node, op, self.value(left), self.value(right))
            case ast.Compare(ops=[_]):
                return self._f.builder.zext(self.test(node), I64)
            case ast.IfExp():
                return self._choice(node)
            case ast.Call(func=function, args=arguments, keywords=[]):
                return self._call(node, self.value(function), [self.value(each) for each in arguments])
        raise self._scope.error(node)

    def number(self, node: ast.AST, value: Any) -> Any:
        """Return a value of the code: a constant becomes one."""
        if not is_number(value):
            raise self._scope.error(node, f"a number in {value!r}")
        if isinstance(value, int):
            return ir.Constant(I64, int(value))
        return ir.Constant(DOUBLE, value) if isinstance(value, float) else value

    def integer(self, node: ast.AST, value: Any) -> Any:
        number = self.number(node, value)
        if number.type != I64:
            raise self._scope.error(node, f"a whole number in `{ast.unparse(node)}`")
        return number

    def arithmetic(self, node: ast.AST, op: ast.operator, left: Any, right: Any) -> Any:
        if type(op) not in _ON_CONSTANTS:
            raise self._scope.error(node)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return _ON_CONSTANTS[type(op)](left, right)
        a, b = self.number(node, left), self.number(node, right)
        if a.type == b.type == I64:
            if isinstance(op, ast.FloorDiv):
                return self._quotient(a, b)
            return getattr(self._f.builder, _ON_INTEGERS[type(op)])(a, b)
        if a.type != b.type or type(op) not in _ON_REALS:
            raise self._scope.error(node)
        return getattr(self._f.builder, _ON_REALS[type(op)])(a, b)

    def _quotient(self, a: Any, b: Any) -> Any:
        """Return a // b, rounded down, and 0 where b is 0."""
        builder, zero, one = self._f.builder, ir.Constant(I64, 0), ir.Constant(I64, 1)
        by_zero = builder.icmp_signed("==", b, zero)
        divisor = builder.select(by_zero, one, b)
        whole, rest = builder.sdiv(a, divisor), builder.srem(a, divisor)
        signs_differ = builder.icmp_signed("<", builder.xor(rest, divisor), zero)
        too_large = builder.and_(builder.icmp_signed("!=", rest, zero), signs_differ)
        return builder.select(by_zero, zero, builder.sub(whole, builder.zext(too_large, I64)))

    def _choice(self, node: ast.IfExp) -> Any:
        ends = []
        with self._f.builder.if_else(self.test(node.test)) as branches:
            for branch, each in zip(branches, (node.body, node.orelse), strict=True):
                with branch:
                    ends.append((self.number(each, self.value(each)), self._f.builder.block))
        if ends[0][0].type != ends[1][0].type:
            raise self._scope.error(node)
        chosen = self._f.builder.phi(ends[0][0].type)
        for value, block in ends:
            chosen.add_incoming(value, block)
        return chosen

    def _call(self, node: ast.Call, function: Any, values: list[Any]) -> Any:
        if isinstance(function, Intrinsic):
            return function.write(self._f, *(self._in_code(node, value) for value in values))
        if function is len and len(values) == 1 and isinstance(values[0], tuple):
            return len(values[0])
        if function is int and len(values) == 1:  # it tells the types of Python, and is one already
            return self.integer(node, values[0])
        if function in (min, max) and len(values) == 2:
            a, b = (self.integer(node, value) for value in values)
            order = "<" if function is min else ">"
            return self._f.builder.select(self._f.builder.icmp_signed(order, b, a), b, a)
        if not inspect.isfunction(function):
            raise self._scope.error(node)
        code = self._written(function)
        parts = [list(_parts(value)) for value in values]
        if [len(each) for each in parts] != [len(members_of("", kind)) for kind in parameters_of(function).values()]:
            said = f"`{ast.unparse(node)}`, which passes other arguments than the function takes"
            raise self._scope.error(node, said)
        return self._f.builder.call(code, [self.integer(node, part) for each in parts for part in each])

    def _in_code(self, node: ast.AST, value: Any) -> Any:
        if isinstance(value, tuple):
            return [self._in_code(node, each) for each in value]
        return self.number(node, value)


def parameters_of(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: kind for name, kind in get_type_hints(function).items() if name != "return"}


def members_of(name: str, kind: Any) -> list[str]:
    """Return the arguments that a parameter is: one, or one for each field of a tuple."""
    return [name] if kind is int else [f"{name}.{field}" for field in kind._fields]


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for each in value:
            yield from _parts(each)
    else:
        yield value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, ir.Value) and value.type in (I64, DOUBLE))
