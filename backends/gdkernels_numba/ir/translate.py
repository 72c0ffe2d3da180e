"""From Python to LLVM IR: a small compiler for functions of 64-bit integers, of which the interpreter is made.

A function is plain Python. It may use names, whole numbers and float64 numbers, ``+ - * // << >> & ^`` and comparisons,
``min`` and ``max``, ``if``, ``while``, ``for … in range(…)``, other such functions, and `Intrinsic` ones. Everything
else, such as the field of a declaration or the size of an instruction, is computed here, and is a constant in the code.
A tuple exists here alone: the code has its members. An annotation says whether a parameter is an ``int`` or a
``NamedTuple`` of them. What is not in this list is an error that names the line; nothing is guessed.

Python's rules hold, but whole numbers are 64 bits wide, and what is divided by 0 is 0.
"""

import ast
import builtins
import inspect
import operator
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_type_hints

from llvmlite import ir

from gdkernels_numba.ir.emit import I1, I64, VOID, Function, Variable

__all__ = ["Intrinsic", "translate"]

_DOUBLE = ir.DoubleType()

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


def translate(module: ir.Module, functions: Mapping[str, Callable[..., None]]) -> None:
    """Add functions to `module` by their names, and all that they call.

    Raises
    ------
    SyntaxError
        If one of them says what this compiler does not know.
    """
    known = _Functions(module, {function: name for name, function in functions.items()})
    for function in functions.values():
        known.written(function)


class _Functions:
    """The functions of a module, each written when one that calls it is; those with a name are there for others."""

    def __init__(self, module: ir.Module, names: Mapping[Any, str]) -> None:
        self._module, self._names = module, names
        self._written: dict[Callable[..., Any], ir.Function] = {}

    def written(self, function: Any) -> ir.Function:
        if function not in self._written:
            _Translation(self, self._module, function, self._names.get(function)).write()
        return self._written[function]

    def add(self, function: Callable[..., Any], code: ir.Function) -> None:
        """Make a function known, which may call itself."""
        self._written[function] = code


class _Translation:
    """A function that is being written."""

    def __init__(self, functions: _Functions, module: ir.Module, function: Any, name: str | None) -> None:
        self._functions, self._function = functions, function
        lines, first = inspect.getsourcelines(function)
        tree = ast.increment_lineno(ast.parse(textwrap.dedent("".join(lines))), first - 1)
        assert isinstance(tree.body[0], ast.FunctionDef)
        self._tree, self._file = tree.body[0], inspect.getfile(function)
        self._globals = vars(builtins) | function.__globals__
        self._locals = set(function.__code__.co_varnames)
        kinds = _parameters(function)
        self._result = {int: I64, float: _DOUBLE, type(None): VOID}[get_type_hints(function)["return"]]
        arguments = [part for each, kind in kinds.items() for part in _members(each, kind)]
        self._f = Function(module, name or f"{function.__module__}.{function.__qualname__}", arguments, self._result)
        if name is None:
            self._f.ir.linkage = "internal"
        functions.add(function, self._f.ir)
        self._slots: dict[str, Variable] = {}  # of the whole function, as a name has one type
        self._names: dict[str, Any] = {}  # those that surely have a value here: variables, constants and tuples
        self._loops = 0
        values = iter(self._f.ir.args)
        for parameter, kind in kinds.items():
            members = [next(values) for _ in _members(parameter, kind)]
            self._bind(self._tree, parameter, members[0] if kind is int else kind(*members))

    def write(self) -> None:
        self._write(self._tree.body)
        if self._f.builder.block.is_terminated:
            return
        if self._result is not VOID:
            raise self._error(self._tree, "a function that ends without its result")
        self._f.finish()

    def _error(self, node: ast.AST, what: str | None = None) -> SyntaxError:
        line = getattr(node, "lineno", self._tree.lineno)
        said = what or f"`{ast.unparse(node)}`"
        return SyntaxError(f"{self._function.__name__}: this compiler does not know {said}", (self._file, line, 0, ""))

    # ---- statements

    def _write(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if self._f.builder.block.is_terminated:
                raise self._error(statement, "a line that is never reached")
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call() as call):
                self._value(call)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._bind(node, name, self._value(value))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                values = self._value(value)
                if not isinstance(values, tuple) or len(values) != len(targets):
                    raise self._error(node)
                for target, one in zip(targets, values, strict=True):
                    if not isinstance(target, ast.Name):
                        raise self._error(node)
                    self._bind(node, target.id, one)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                before = self._value(ast.copy_location(ast.Name(name, ast.Load()), target))
                self._bind(node, name, self._arithmetic(node, op, before, self._value(value)))
            case ast.If():
                self._if(node)
            case ast.While(orelse=[]):
                names = dict(self._names)
                with self._f.repeat(lambda: self._test(node.test)), self._loop():
                    self._write(node.body)
                self._names = names
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range")) as numbers, orelse=[]):
                self._for(name, numbers, node)
            case ast.Return(value=value) if not self._loops:
                self._return(node, None if value is None else self._value(value))
            case _:
                raise self._error(node)

    @contextmanager
    def _loop(self) -> Iterator[None]:
        self._loops += 1
        yield
        self._loops -= 1

    def _for(self, name: str, numbers: ast.Call, node: ast.For) -> None:
        values = [self._integer(each, self._value(each)) for each in numbers.args]
        if numbers.keywords or len(values) not in (1, 2):
            raise self._error(numbers)
        names = dict(self._names)
        start = values[0] if len(values) == 2 else 0
        with self._f.loop(values[-1], start=start) as number, self._loop():
            self._bind(node, name, number)
            self._write(node.body)
        self._names = names

    def _if(self, node: ast.If) -> None:
        """Write both branches; after them a name has a value if it has the same one in all that come there."""
        before, ends = dict(self._names), []
        with self._f.builder.if_else(self._test(node.test)) as branches:
            for branch, body in zip(branches, (node.body, node.orelse), strict=True):
                with branch:
                    self._names = dict(before)
                    self._write(body)
                    if not self._f.builder.block.is_terminated:
                        ends.append(self._names)
        if not ends:
            self._f.builder.unreachable()
            return
        self._names = {name: value for name, value in ends[0].items() if all(end.get(name) is value for end in ends)}

    def _return(self, node: ast.Return, value: Any) -> None:
        if value is None:
            if self._result is not VOID:
                raise self._error(node)
            self._f.builder.ret_void()
            return
        result = self._number(node, value)
        if result.type != self._result:
            raise self._error(node)
        self._f.builder.ret(result)

    def _bind(self, node: ast.AST, name: str, value: Any) -> None:
        """Give a name a value: a number is kept in a variable, and all else is known only here."""
        if not _is_number(value):
            if value is None or isinstance(value, ir.Value) or name in self._names:
                raise self._error(node, f"such a value of `{name}`")
            self._names[name] = value
            return
        number = self._number(node, value)
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = Variable(self._f, number)
        elif slot.type != number.type or self._names.get(name, slot) is not slot:
            raise self._error(node, f"another type of `{name}`")
        else:
            slot.set(number)
        self._names[name] = slot

    # ---- conditions

    def _test(self, node: ast.expr) -> Any:
        """Return whether `node` holds, as one bit."""
        match node:
            case ast.BoolOp(op=op, values=values):
                return self._each(isinstance(op, ast.And), values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._f.builder.not_(self._test(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compare(node, op, self._value(left), self._value(right))
            case _:
                return self._f.builder.icmp_signed("!=", self._integer(node, self._value(node)), ir.Constant(I64, 0))

    def _each(self, wanted: bool, values: list[ast.expr]) -> Any:
        """Return whether all of these hold, or whether any does; the rest is not computed once that is known."""
        f, result = self._f, self._test(values[0])
        for value in values[1:]:
            known = f.builder.block
            other, after = f.ir.append_basic_block("other"), f.ir.append_basic_block("known")
            f.builder.cbranch(result, *((other, after) if wanted else (after, other)))
            f.builder.position_at_end(other)
            found = self._test(value)
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
            raise self._error(node)
        a, b = self._integer(node, left), self._integer(node, right)
        return self._f.builder.icmp_signed(_COMPARISONS[type(op)], a, b)

    # ---- values

    def _value(self, node: ast.expr) -> Any:
        """Return what `node` is: a value of the code, a constant, or a tuple of these."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._named(node, name)
            case ast.Tuple(elts=elements):
                return tuple(self._value(each) for each in elements)
            case ast.Attribute(value=of, attr=name):
                return getattr(self._value(of), name)
            case ast.Subscript(value=of, slice=index):
                values, k = self._value(of), self._value(index)
                if not isinstance(values, tuple) or not isinstance(k, int):
                    raise self._error(node)
                return values[k]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._arithmetic(node, ast.Sub(), 0, self._value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(node, op, self._value(left), self._value(right))
            case ast.Compare(ops=[_]):
                return self._f.builder.zext(self._test(node), I64)
            case ast.IfExp():
                return self._choice(node)
            case ast.Call(func=function, args=arguments, keywords=[]):
                return self._call(node, self._value(function), [self._value(each) for each in arguments])
        raise self._error(node)

    def _named(self, node: ast.expr, name: str) -> Any:
        if name in self._names:
            value = self._names[name]
            return value.get() if isinstance(value, Variable) else value
        if name in self._locals or name not in self._globals:
            raise self._error(node, f"a value that `{name}` surely has here")
        return self._globals[name]

    def _number(self, node: ast.AST, value: Any) -> Any:
        """Return a value of the code: a constant becomes one."""
        if not _is_number(value):
            raise self._error(node, f"a number in {value!r}")
        if isinstance(value, int):
            return ir.Constant(I64, int(value))
        return ir.Constant(_DOUBLE, value) if isinstance(value, float) else value

    def _integer(self, node: ast.AST, value: Any) -> Any:
        number = self._number(node, value)
        if number.type != I64:
            raise self._error(node, f"a whole number in `{ast.unparse(node)}`")
        return number

    def _arithmetic(self, node: ast.AST, op: ast.operator, left: Any, right: Any) -> Any:
        if type(op) not in _ON_CONSTANTS:
            raise self._error(node)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return _ON_CONSTANTS[type(op)](left, right)
        a, b = self._number(node, left), self._number(node, right)
        if a.type == b.type == I64:
            if isinstance(op, ast.FloorDiv):
                return self._quotient(a, b)
            return getattr(self._f.builder, _ON_INTEGERS[type(op)])(a, b)
        if a.type != b.type or type(op) not in _ON_REALS:
            raise self._error(node)
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
        with self._f.builder.if_else(self._test(node.test)) as branches:
            for branch, each in zip(branches, (node.body, node.orelse), strict=True):
                with branch:
                    ends.append((self._number(each, self._value(each)), self._f.builder.block))
        if ends[0][0].type != ends[1][0].type:
            raise self._error(node)
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
            return self._integer(node, values[0])
        if function in (min, max) and len(values) == 2:
            a, b = (self._integer(node, value) for value in values)
            order = "<" if function is min else ">"
            return self._f.builder.select(self._f.builder.icmp_signed(order, b, a), b, a)
        if not inspect.isfunction(function):
            raise self._error(node)
        code = self._functions.written(function)
        parts = [list(_parts(value)) for value in values]
        if [len(each) for each in parts] != [len(_members("", kind)) for kind in _parameters(function).values()]:
            raise self._error(node, f"`{ast.unparse(node)}`, which passes other arguments than the function takes")
        return self._f.builder.call(code, [self._integer(node, part) for each in parts for part in each])

    def _in_code(self, node: ast.AST, value: Any) -> Any:
        if isinstance(value, tuple):
            return [self._in_code(node, each) for each in value]
        return self._number(node, value)


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: kind for name, kind in get_type_hints(function).items() if name != "return"}


def _members(name: str, kind: Any) -> list[str]:
    """Return the arguments that a parameter is: one, or one for each field of a tuple."""
    return [name] if kind is int else [f"{name}.{field}" for field in kind._fields]


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for each in value:
            yield from _parts(each)
    else:
        yield value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, ir.Value) and value.type in (I64, _DOUBLE))
