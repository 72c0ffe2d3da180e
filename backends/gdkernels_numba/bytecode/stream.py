"""A stream of instructions under construction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels_numba.vm.fields import StridedAddress, words_of
from gdkernels_numba.vm.instructions import END, INSTRUCTIONS, Header

__all__ = ["InstructionStream"]


class InstructionStream:
    """Instructions one after another, as the words that the interpreter reads."""

    def __init__(self) -> None:
        self.words: list[int] = []

    def add(self, instruction: tuple[Any, ...], *, operands: Sequence[StridedAddress] | None = None) -> int:
        """Append an instruction, and behind it its `operands` if it takes some; returns the word where it begins.

        Raises
        ------
        TypeError
            If it takes operands and has none, or the other way round, or needs a body.
        """
        if hasattr(INSTRUCTIONS[type(instruction)].at, "body"):
            raise TypeError(f"{type(instruction).__name__} has a body: write it with `with_body`")
        return self._append(instruction, operands)

    @contextmanager
    def with_body(self, instruction: tuple[Any, ...]) -> Iterator[None]:
        """Append an instruction whose body is what is added inside.

        Raises
        ------
        TypeError
            If it has no body.
        """
        if not hasattr(INSTRUCTIONS[type(instruction)].at, "body"):
            raise TypeError(f"{type(instruction).__name__} has no body")
        begin = self._append(instruction, None)
        body = len(self.words)
        yield
        self.words[begin + INSTRUCTIONS[type(instruction)].at.body] = len(self.words) - body

    def array(self) -> npt.NDArray[np.int64]:
        return np.array([*self.words, END], np.int64)

    def _append(self, instruction: tuple[Any, ...], operands: Sequence[StridedAddress] | None) -> int:
        kind = type(instruction)
        layout = INSTRUCTIONS[kind]
        if hasattr(layout.at, "operands") != (operands is not None):
            raise TypeError(f"{kind.__name__} takes {'' if operands is None else 'no '}operands")
        following = [word for operand in operands or () for word in operand]
        words = [*words_of(Header(layout.opcode, layout.size + len(following))), *words_of(instruction), *following]
        if operands is not None:
            words[layout.at.operands] = len(operands)
        begin = len(self.words)
        self.words += words
        return begin
