"""Threads beside others on their cores: what is counted of a run, and when a thread that waits sleeps."""

import time

import numpy as np
import pytest
from gdkernels_numba.bytecode import turn_state
from gdkernels_numba.bytecode.turn_state import TurnState
from gdkernels_numba.cpu import jit
from gdkernels_numba.ir.translate import translate
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.intrinsics import set_word, word
from gdkernels_numba.vm.shared_words import TURN_BYTES, TURN_WORDS, WORDS_OF_THREAD
from gdkernels_numba.vm.turns import leave_to_others
from llvmlite import ir

MILLISECOND = 1_000_000
FOR, UNTIL = WORDS_OF_THREAD.sleeps_for // WORD, WORDS_OF_THREAD.sleeps_until // WORD


def leaves(arguments: int) -> None:
    words = word(arguments, 0)
    leave_to_others(words, words + WORDS_OF_THREAD.clock, word(arguments, 1))
    set_word(arguments, 1, 0)


@pytest.fixture(scope="module")
def leave():
    """Return what calls the function with words and a time."""
    module = ir.Module("tested")
    translate(module, {"tested": leaves})
    text = str(module)
    code = jit.load(jit.digest(text), lambda: text, "a test")
    function = jit.function_of(code, "tested", 1)

    def call(words, now):
        arguments = np.array([words.ctypes.data, now], np.int64)
        function(arguments.ctypes.data)
        assert arguments[1] == 0

    return call


def test_a_thread_whose_core_came_back_late_sleeps_for_a_while_then_for_longer(leave):
    words = np.zeros(TURN_BYTES // WORD, np.int64)
    long_ago, expected = time.monotonic_ns() - 10**10, [40, 80, 160, 320, 640, 640]
    for wanted in expected:
        now = words[UNTIL] + 100 * MILLISECOND if words[UNTIL] else long_ago
        leave(words, now)
        assert words[FOR] == wanted * MILLISECOND
        assert words[UNTIL] == now + wanted * MILLISECOND
    leave(words, words[UNTIL] + 700 * MILLISECOND)  # nobody took it for so long
    assert words[FOR] == 40 * MILLISECOND


def test_a_core_that_comes_back_at_once_is_its_own(leave):
    words = np.zeros(TURN_BYTES // WORD, np.int64)
    leave(words, time.monotonic_ns() + 10**12)
    assert not words[[FOR, UNTIL]].any()


def test_where_others_use_its_core_it_sleeps_and_asks_no_more(leave):
    words = np.zeros(TURN_BYTES // WORD, np.int64)
    words[[FOR, UNTIL]] = 40 * MILLISECOND, time.monotonic_ns() + 10**12
    before, began = words.copy(), time.monotonic_ns()
    leave(words, began)
    assert time.monotonic_ns() - began >= 50_000
    np.testing.assert_array_equal(words, before)


@pytest.mark.parametrize("alone", [True, False])
def test_time_that_the_system_takes_when_it_is_asked_is_time_of_the_run(alone, monkeypatch):
    """Linux looks whose turn it is when a thread asks how long it had a core: a crowd takes the core just then."""
    clock, asked = [10**12], []

    class Clocks:
        @staticmethod
        def monotonic_ns():
            return clock[0]

        @staticmethod
        def thread_time_ns():
            clock[0] += 30 * MILLISECOND
            asked.append(True)
            return 0

    monkeypatch.setattr(turn_state, "time", Clocks)
    words = np.zeros((TURN_WORDS.threads + 2 * TURN_BYTES) // WORD, np.int64)
    words[TURN_WORDS.alone_until // WORD] = 2 * 10**12 if alone else 0
    TurnState(words, TURN_WORDS.threads + 2 * TURN_BYTES).run([lambda: None, lambda: None])
    of_judge = words[TURN_WORDS.threads // WORD :]
    assert len(asked) == 2
    assert of_judge[WORDS_OF_THREAD.spent // WORD] == 60 * MILLISECOND
    assert of_judge[WORDS_OF_THREAD.lost // WORD] == (0 if alone else 60 * MILLISECOND)
