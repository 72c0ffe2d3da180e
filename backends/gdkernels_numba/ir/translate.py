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
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_type_hints

from llvmlite import ir

from gdkernels_numba.ir.emit import I64, VOID, Function, Variable
from gdkernels_numba.ir.expressions import DOUBLE, Expressions, Scope, is_number, members_of, parameters_of

__all__ = ["translate"]


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
        self._function = function
        lines, first = inspect.getsourcelines(function)
        tree = ast.increment_lineno(ast.parse(textwrap.dedent("".join(lines))), first - 1)
        assert isinstance(tree.body[0], ast.FunctionDef)
        self._tree, self._file = tree.body[0], inspect.getfile(function)
        kinds = parameters_of(function)
        self._result = {int: I64, float: DOUBLE, type(None): VOID}[get_type_hints(function)["return"]]
        arguments = [part for each, kind in kinds.items() for part in members_of(each, kind)]
        self._f = Function(module, name or f"{function.__module__}.{function.__qualname__}", arguments, self._result)
        if name is None:
            self._f.ir.linkage = "internal"
        functions.add(function, self._f.ir)
        self._slots: dict[str, Variable] = {}  # of the whole function, as a name has one type
        outer = vars(builtins) | function.__globals__
        self._scope = Scope(set(function.__code__.co_varnames), outer, self._error)
        self._of = Expressions(self._f, self._scope, functions.written)
        self._loops = 0
        values = iter(self._f.ir.args)
        for parameter, kind in kinds.items():
            members = [next(values) for _ in members_of(parameter, kind)]
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
                self._of.value(call)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._bind(node, name, self._of.value(value))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                values = self._of.value(value)
                if not isinstance(values, tuple) or len(values) != len(targets):
                    raise self._error(node)
                for target, one in zip(targets, values, strict=True):
                    if not isinstance(target, ast.Name):
                        raise self._error(node)
                    self._bind(node, target.id, one)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                before = self._of.value(ast.copy_location(ast.Name(name, ast.Load()), target))
                self._bind(node, name, self._of.arithmetic(node, op, before, self._of.value(value)))
            case ast.If():
                self._if(node)
            case ast.While(orelse=[]):
                names = dict(self._scope.names)
                with self._f.repeat(lambda: self._of.test(node.test)), self._loop():
                    self._write(node.body)
                self._scope.names = names
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range")) as numbers, orelse=[]):
                self._for(name, numbers, node)
            case ast.Return(value=value) if not self._loops:
                self._return(node, None if value is None else self._of.value(value))
            case _:
                raise self._error(node)

    @contextmanager
    def _loop(self) -> Iterator[None]:
        self._loops += 1
        yield
        self._loops -= 1

    def _for(self, name: str, numbers: ast.Call, node: ast.For) -> None:
        values = [self._of.integer(each, self._of.value(each)) for each in numbers.args]
        if numbers.keywords or len(values) not in (1, 2):
            raise self._error(numbers)
        names = dict(self._scope.names)
        start = values[0] if len(values) == 2 else 0
        with self._f.loop(values[-1], start=start) as number, self._loop():
            self._bind(node, name, number)
            self._write(node.body)
        self._scope.names = names

    def _if(self, node: ast.If) -> None:
        """Write both branches; after them a name has a value if it has the same one in all that come there."""
        before, ends = dict(self._scope.names), []
        with self._f.builder.if_else(self._of.test(node.test)) as branches:
            for branch, body in zip(branches, (node.body, node.orelse), strict=True):
                with branch:
                    self._scope.names = dict(before)
                    self._write(body)
                    if not self._f.builder.block.is_terminated:
                        ends.append(self._scope.names)
        if not ends:
            self._f.builder.unreachable()
            return
        same = {name: value for name, value in ends[0].items() if all(end.get(name) is value for end in ends)}
        self._scope.names = same

    def _return(self, node: ast.Return, value: Any) -> None:
        if value is None:
            if self._result is not VOID:
                raise self._error(node)
            self._f.builder.ret_void()
            return
        result = self._of.number(node, value)
        if result.type != self._result:
            raise self._error(node)
        self._f.builder.ret(result)

    def _bind(self, node: ast.AST, name: str, value: Any) -> None:
        """Give a name a value: a number is kept in a variable, and all else is known only here."""
        if not is_number(value):
            if value is None or isinstance(value, ir.Value) or name in self._scope.names:
                raise self._error(node, f"such a value of `{name}`")
            self._scope.names[name] = value
            return
        number = self._of.number(node, value)
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = Variable(self._f, number)
        elif slot.type != number.type or self._scope.names.get(name, slot) is not slot:
            raise self._error(node, f"another type of `{name}`")
        else:
            slot.set(number)
        self._scope.names[name] = slot
