"""The compiler of the interpreter: what it makes of Python does what Python does, and the rest is an error."""
# ruff: noqa: B007, F841, RET503, RET505  # functions that no one would write, to be refused

import ctypes
import inspect
import itertools
import types
from typing import NamedTuple

import pytest
from gdkernels_numba.cpu import jit
from gdkernels_numba.ir.translate import translate
from gdkernels_numba.vm.intrinsics import number, set_number, set_word, word
from llvmlite import ir

NUMBERS = (-(1 << 40), -13, -2, -1, 0, 1, 2, 3, 7, 100, 1 << 33)
FACTOR = 3


class Pair(NamedTuple):
    left: int
    right: int = 0


OFFSETS = Pair(2, 5)


def arithmetic(a: int, b: int) -> int:
    c = a * FACTOR - (b << 2) + (a >> 1) - -b
    c -= OFFSETS.left * b
    c ^= a & b ^ (b & 6 ^ 3)
    return c + len(OFFSETS)


def quotients(a: int, b: int) -> int:
    return a // 7 + 5 * (b // -3) + (a // b if b else 0) + (b // a if a != 0 else 0)


def comparisons(a: int, b: int) -> int:
    c = (a < b) + 2 * (a <= b) + 4 * (a == b) + 8 * (a != b)
    if not a < b and (a > 2 or b >= 3 or a == b):
        c += 16
    if a in (b, 2, 7):
        c += 32
    return c + (64 if b else 128)


def branches(a: int, b: int) -> int:
    if a < 0:
        c, d = 1, b
    elif a == 0:
        return b
    else:
        c, d = b, 2
    c, d = d, c
    if b > 2:
        pass
    else:
        c += 10
    return c * 3 + d


def loops(a: int, b: int) -> int:
    total, k = 0, 0
    while k < 10 and total < a:
        for j in range(k, 6):
            total += j
            j = 100
            total += j - 100
        for j in range(min(b, 4)):
            total += max(j, k) * 2
        k += 1
    return total * 16 + k


def divisor(a: int, b: int) -> int:
    if b == 0:
        return a
    return divisor(b, a - a // b * b)


def leap(pair: Pair, by: int) -> int:
    return pair.left * by - pair.right


def tuples(a: int, b: int) -> int:
    pair, at = (a, b), OFFSETS
    return leap(at, pair[0]) + leap(OFFSETS, pair[1]) * at.right


def ends(a: int, b: int) -> int:
    if a > b:
        return 1
    elif a < b:
        return 2
    else:
        return 3


def subject(a: int, b: int) -> int:
    raise AssertionError


def entry(at: int) -> None:
    set_word(at, 0, subject(word(at, 0), word(at, 1)))


def of(function, entry=entry):
    """Return what `function` is compiled to."""
    module = ir.Module("tested")
    bound = types.FunctionType(entry.__code__, globals() | {"subject": function})
    bound.__annotations__ = {"at": int, "return": type(None)}
    translate(module, {"tested": bound})
    return machine_code(module)


def machine_code(module):
    text = str(module)
    code = jit.load(jit.digest(text), lambda: text, "a test")
    return jit.function_of(code, "tested", 1)


def call(function, *values):
    memory = (ctypes.c_int64 * len(values))(*values)
    function(ctypes.addressof(memory))
    return list(memory)


@pytest.mark.parametrize(
    "function", [arithmetic, quotients, comparisons, branches, loops, divisor, tuples, ends], ids=lambda f: f.__name__
)
def test_it_does_what_python_does(function):
    compiled = of(function)
    for a, b in itertools.product(NUMBERS, NUMBERS):
        assert call(compiled, a, b)[0] == function(a, b), (a, b)


def test_what_is_divided_by_nothing_is_nothing():
    def entry(at: int) -> None:
        set_word(at, 0, word(at, 0) // word(at, 1))

    assert call(of(None, entry), 5, 0)[0] == 0


def seen(at: int) -> int:
    set_word(at, 0, word(at, 0) + 1)
    return word(at, 1)


def test_a_condition_is_computed_as_far_as_it_is_needed():
    def entry(at: int) -> None:
        if seen(at) and seen(at) and seen(at):
            set_word(at, 0, word(at, 0) + 100)
        if seen(at) or seen(at) or seen(at):
            set_word(at, 0, word(at, 0) + 1000)

    assert call(of(None, entry), 0, 1)[0] == 3 + 100 + 1 + 1000
    assert call(of(None, entry), 0, 0)[0] == 1 + 3


def test_numbers_of_float64():
    def entry(at: int) -> None:
        total = 0.0
        for k in range(3):
            total += number(at + 8 * k) * 2.0
        set_number(at, total - 0.5)

    memory = (ctypes.c_double * 3)(0.1, 0.2, 0.7)
    of(None, entry)(ctypes.addressof(memory))
    assert memory[0] == 0.0 + 0.1 * 2 + 0.2 * 2 + 0.7 * 2 - 0.5


def test_an_intrinsic_is_for_translated_code():
    with pytest.raises(TypeError, match="word is for code that is translated"):
        word(1, 0)


def listed(at: int) -> None:
    x = [at]


def divided(at: int) -> None:
    set_word(at, 0, at / 2)


def chained(at: int) -> None:
    if 0 < at < 3:
        pass


def broken_off(at: int) -> None:
    while at:
        break


def returned_within(at: int) -> None:
    while at:
        return


def never_reached(at: int) -> None:
    return
    set_word(at, 0, 1)


def known_in_one_branch(at: int) -> None:
    if at:
        x = 1
    set_word(at, 0, x)


def known_in_a_loop(at: int) -> None:
    for x in range(at):
        pass
    set_word(at, 0, x)


def unknown(at: int) -> None:
    set_word(at, 0, nowhere)  # noqa: F821


def without_result(at: int) -> int:
    if at:
        return 1


def calls_it(at: int) -> None:
    set_word(at, 0, without_result(at))


def two_types(at: int) -> None:
    x = at
    x = 0.5


def two_tuples(at: int) -> None:
    x = (at, 1)
    while at:
        x = (1, at)


def no_integer(at: int) -> None:
    if number(at) > 1:
        pass


def too_few(at: int) -> None:
    set_word(at, 0, arithmetic(at))


def another_tuple(at: int) -> None:
    set_word(at, 0, leap(at, OFFSETS))


def no_value(at: int) -> None:
    x = set_word(at, 0, 1)


def foreign(at: int) -> None:
    set_word(at, 0, hash(at))


def named(at: int) -> None:
    set_word(at, 0, value=1)


def over_a_tuple(at: int) -> None:
    for x in (at, at):
        set_word(x, 0, 1)


ERRORS = {
    listed: "`[at]`", divided: "`at / 2`", chained: "`0 < at < 3`", broken_off: "`break`", returned_within: "`return`",
    never_reached: "a line that is never reached", known_in_one_branch: "a value that `x` surely has here",
    known_in_a_loop: "a value that `x` surely has here", unknown: "a value that `nowhere` surely has here",
    calls_it: "a function that ends without its result", two_types: "another type of `x`",
    two_tuples: "such a value of `x`", no_integer: "a whole number in `number(at) > 1`",
    too_few: "`arithmetic(at)`, which passes other arguments", no_value: "such a value of `x`",
    another_tuple: "`leap(at, OFFSETS)`, which passes other arguments", foreign: "`hash(at)`",
    named: "`set_word(at, 0, value=1)`",
    over_a_tuple: "`for x in (at, at):",
}  # fmt: skip


@pytest.mark.parametrize("function", ERRORS, ids=lambda f: f.__name__)
def test_what_it_does_not_know_is_an_error_with_the_line(function):
    with pytest.raises(SyntaxError) as raised:
        translate(ir.Module("tested"), {"tested": function})
    assert f"this compiler does not know {ERRORS[function]}" in raised.value.msg
    assert raised.value.filename == __file__
    lines, first = inspect.getsourcelines(without_result if function is calls_it else function)
    assert first <= raised.value.lineno < first + len(lines)
