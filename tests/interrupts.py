"""Interrupts at every moment of some work, one after another: what a signal does that comes just then."""

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class _Interrupt:
    """Raises KeyboardInterrupt at the moment of that number.

    Python hears signals as a function of its own begins, and as one in C has done its work.
    """

    def __init__(self, number: int) -> None:
        self.left = number
        self.where: str | None = None

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        if event in ("call", "c_return") and function is not sys.setprofile:
            self.left -= 1
            if self.left == 0:
                code = frame.f_code
                moment = f"after {function.__qualname__} in" if event == "c_return" else "at the begin of"
                self.where = f"{moment} {code.co_qualname}, {code.co_filename}:{frame.f_lineno}"
                raise KeyboardInterrupt


def interrupted_everywhere(work: Callable[[], object]) -> Iterator[tuple[str, BaseException | None]]:
    """Do some work again and again, each time interrupted one moment later, until it comes to its end.

    Yields
    ------
    tuple
        Where it was interrupted, and what it raised.
    """
    number = 0
    while True:
        number += 1
        interrupt, before, raised, collects = _Interrupt(number), sys.getprofile(), None, gc.isenabled()
        gc.disable()  # what others have called by a collection would be interrupted, and Python ignores its errors
        try:
            sys.setprofile(interrupt)
            work()
        except BaseException as error:
            raised = error.with_traceback(None)  # which would keep what its frames have
        finally:
            sys.setprofile(before)
            if collects:
                gc.enable()
        if interrupt.where is None:
            assert raised is None, "the work ends where nothing interrupts it"
            return
        yield interrupt.where, raised
