"""Blocks for the columns of a table: category codes as learned vectors, and a block of its own for some columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gdkernels.definition.blocks.block import (
    Block,
    Parameter,
    Values,
    declared_constants,
    declared_parameters,
)
from gdkernels.definition.blocks.checks import check_block
from gdkernels.definition.blocks.compose import Mean, Sequential
from gdkernels.definition.blocks.dense import Activated
from gdkernels.definition.blocks.names import among_all, inside, with_their_own
from gdkernels.errors import InputError, shown
from gdkernels.graph import Node
from gdkernels.graph.moves import units

__all__ = ["Columns", "Embedding", "named"]

_EXACT = 1 << 24  # float32 has every whole number below
_KEEP, _DROP = "passthrough", "drop"

Key = tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True)
class _InitialRows:
    """Rows of a table: uniform within ±1/√width, whatever the number of rows (Gorishniy et al. 2021)."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[np.float64]:
        bound = shape[1] ** -0.5
        return generator.uniform(-bound, bound, size=shape)


@dataclass(frozen=True)
class Embedding(Block):
    """A learned vector for each category: every input is a code 0, 1, … of a category, and has a table of its own.

    It computes what a dense layer without biases does with the codes as columns of 0 and 1, and touches only the rows
    that it looks up. A code that is no whole number from 0 to categories − 1 is refused before training or prediction,
    with its row and column. For categories that training has not seen, keep a code, and give it to some records.

    Parameters
    ----------
    categories
        How many categories an input has: one number for all, or one for each.
    width
        How many numbers stand for a category: one for all inputs, or one for each.
    """

    categories: int | tuple[int, ...]
    width: int | tuple[int, ...]

    def __post_init__(self) -> None:
        for field, most in (("categories", _EXACT), ("width", None)):
            object.__setattr__(self, field, _whole_numbers(getattr(self, field), field, most))
        counts = [len(value) for value in (self.categories, self.width) if isinstance(value, tuple)]
        if len(set(counts)) > 1:
            raise InputError(f"Embedding: {counts[0]} categories and {counts[1]} widths given")

    def _tables(self, inputs: int) -> list[tuple[int, int]]:
        """Return the shape of each input's table."""
        found: list[tuple[int, ...]] = []
        for field, value in (("categories", self.categories), ("widths", self.width)):
            found.append(value if isinstance(value, tuple) else (value,) * inputs)
            if len(found[-1]) != inputs:
                raise InputError(f"Embedding has {field} for {len(found[-1])} inputs, and there are {inputs}")
        return list(zip(*found, strict=True))

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        tables = enumerate(self._tables(inputs))
        return {inside("table", k): Parameter(shape, _InitialRows()) for k, shape in tables}

    def outputs(self, inputs: int) -> int:
        return sum(width for _, width in self._tables(inputs))

    def widths(self, inputs: int) -> tuple[int, ...]:
        each = tuple(width for _, width in self._tables(inputs))
        return each if inputs == 1 else (*each, sum(each))

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        found = [xp.take(p[inside("table", k)], xp.astype(a[:, k], xp.int32), axis=0) for k in range(_column_count(a))]
        return found[0] if len(found) == 1 else xp.concat(found, axis=1)


@dataclass(frozen=True)
class Columns(Block):
    """Blocks for some of the inputs each; their outputs stand side by side, in the order in which they are given.

    ``Columns({"town": Embedding(40, 8), ("area", "rooms"): Periodic(16)}, rest="passthrough")``

    Parameters
    ----------
    blocks
        A block by the inputs that it takes: the number of one, counted from the end if negative; a range; a name; or
        several numbers or names. "passthrough" leaves inputs as they are. Several blocks may take the same input. It is
        a dictionary, or pairs, in which a slice may stand for a range.
    rest
        The block for the inputs that no other block takes; "passthrough" leaves them as they are, "drop" leaves them
        out. None takes it for an error if there are any.
    names
        The names of all inputs, in order. None takes those of the frame that the network is first given.
    """

    blocks: Any
    rest: Any = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        given = self.blocks.items() if isinstance(self.blocks, Mapping) else self.blocks
        try:
            pairs = [(key, block) for key, block in given]
        except (TypeError, ValueError):
            raise InputError("Columns takes a dictionary of blocks, such as {0: Embedding(12, 4)}") from None
        if not pairs and self.rest is None:
            raise InputError("Columns is made of at least one block")
        kept = tuple((_checked_key(key), _checked_block(block)) for key, block in pairs)
        object.__setattr__(self, "blocks", kept)
        if self.rest is not None and self.rest != _DROP:
            object.__setattr__(self, "rest", _checked_block(self.rest))
        if self.names is not None:
            names = tuple(self.names)
            if (
                isinstance(self.names, str)
                or not all(isinstance(n, str) for n in names)
                or len(set(names)) < len(names)
            ):
                raise InputError(f"Columns: names must be different texts, one for each input, got {self.names!r:.80}")
            object.__setattr__(self, "names", names)

    def named(self, names: Sequence[str]) -> Self:
        """Return the block that knows the names of its inputs."""
        return replace(self, names=tuple(names))

    @property
    def goes_by_names(self) -> bool:
        """Whether it needs to be told the names of its inputs."""
        return self.names is None and any(isinstance(c, str) for key, _ in self.blocks for c in key)

    def with_keys(self) -> Iterator[tuple[str, Block]]:
        """Yield the key of each block, as it is written, and the block."""
        return ((_shown(key), block) for key, block in self.blocks)

    # ---- what each block takes

    def _shares(self, inputs: int) -> list[tuple[tuple[int, ...], Block]]:
        """Return each block with the numbers of the inputs that it takes."""
        if self.names is not None and len(self.names) != inputs:
            raise InputError(f"Columns has names for {len(self.names)} inputs, and there are {inputs}")
        found = [(self._numbers(key, inputs), block) for key, block in self.blocks]
        taken = {k for numbers_of_one, _ in found for k in numbers_of_one}
        left = tuple(k for k in range(inputs) if k not in taken)
        if left and self.rest is None:
            shown = ", ".join(str(k) if self.names is None else repr(self.names[k]) for k in left[:8])
            raise InputError(
                f"Columns has no block for {'the input' if len(left) == 1 else f'{len(left)} of {inputs} inputs:'} "
                f"{shown}{', …' if len(left) > 8 else ''}; give rest= a block, 'passthrough' or 'drop'"
            )
        return [*found, *([(left, self.rest)] if left and self.rest != _DROP else [])]

    def _numbers(self, key: Key, inputs: int) -> tuple[int, ...]:
        numbers_of_one = tuple(self._number(column, inputs) for column in key)
        if len(set(numbers_of_one)) < len(numbers_of_one):
            raise InputError(f"Columns: {_shown(key)} names an input twice")
        return numbers_of_one

    def _number(self, column: int | str, inputs: int) -> int:
        if isinstance(column, str):
            if self.names is None:
                raise InputError(
                    f"Columns knows no name {column!r}: train on a frame without passing inputs=, or give "
                    "Columns(…, names=[…])"
                )
            if column not in self.names:
                raise InputError(f"Columns: there is no input {column!r} among {', '.join(map(repr, self.names))}")
            return self.names.index(column)
        if not -inputs <= column < inputs:
            raise InputError(f"Columns: there is no input {column} among {inputs}")
        return column % inputs

    # ---- what a block says

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        return among_all(declared_parameters(block, len(taken)) for taken, block in self._shares(inputs))

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        return among_all(declared_constants(block, len(taken)) for taken, block in self._shares(inputs))

    def outputs(self, inputs: int) -> int:
        return sum(block.outputs(len(taken)) for taken, block in self._shares(inputs))

    def widths(self, inputs: int) -> tuple[int, ...]:
        each = [n for taken, block in self._shares(inputs) for n in (len(taken), *block.widths(len(taken)))]
        return (*each, self.outputs(inputs))

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        shares = self._shares(_column_count(a))
        own = with_their_own([block for _, block in shares], p, random)
        found = [
            block(values, _taken(a, taken, xp=xp), xp=xp, random=drawing)
            for (taken, _), (block, values, drawing) in zip(shares, own, strict=True)
        ]
        return found[0] if len(found) == 1 else xp.concat(found, axis=1)


def _taken(a: Any, columns: Sequence[int], *, xp: Any) -> Any:
    """Return some columns, side by side; those that are neighbours are taken at once."""
    runs = [list(run) for _, run in itertools.groupby(enumerate(columns), lambda pair: pair[1] - pair[0])]
    parts = [a[:, run[0][1] : run[-1][1] + 1] for run in runs]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)


def _column_count(a: Any) -> int:
    return units(a) if isinstance(a, Node) else int(a.shape[1])


def _whole_numbers(value: Any, field: str, most: int | None) -> int | tuple[int, ...]:
    """Return a whole number, or several, as Python's own."""
    several = isinstance(value, (tuple, list, np.ndarray))
    found = tuple(value) if several else (value,)
    for n in found:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise InputError(f"Embedding: {field} must be whole numbers of at least 1, got {value!r:.80}")
        if most is not None and n > most:
            raise InputError(f"Embedding: codes are exact in float32 up to {most:,} {field}, got {n:,}")
    if not found:
        raise InputError(f"Embedding: {field} must be whole numbers of at least 1, got none")
    return tuple(int(n) for n in found) if several else int(value)


def _checked_key(key: Any) -> Key:
    """Return the columns that a key means, as a tuple."""
    if isinstance(key, slice):
        whole = all(n is None or (isinstance(n, (int, np.integer)) and n >= 0) for n in (key.start, key.stop))
        if not whole or key.stop is None or key.step not in (None, 1):
            raise InputError(
                f"Columns: a slice must say where it ends, such as slice(2, 5), got {shown(key)}; rest= takes all "
                "others"
            )
        key = tuple(range(key.start or 0, key.stop))
    several = tuple(key) if isinstance(key, (tuple, list, range)) else (key,)
    of_names = all(isinstance(c, str) for c in several)
    of_numbers = all(isinstance(c, (int, np.integer)) and not isinstance(c, bool) for c in several)
    if not several or not (of_names or of_numbers):
        raise InputError(f"Columns: a key is the number or the name of an input, a range, or several, got {key!r:.80}")
    return several if of_names else tuple(int(c) for c in several)


def _checked_block(block: Any) -> Block:
    if isinstance(block, str) and block == _KEEP:
        return Sequential()
    check_block("Columns", block)
    return block  # type: ignore[no-any-return]  # it was checked


def _shown(key: Key) -> str:
    return repr(key[0]) if len(key) == 1 else repr(key)


def named(block: Block, names: Sequence[str]) -> Block:
    """Return the block whose `Columns` at the beginning know the names of the inputs."""
    if isinstance(block, Columns) and block.goes_by_names:
        return block.named(names)
    if isinstance(block, Activated):
        return replace(block, block=named(block.block, names))
    if isinstance(block, Mean):
        return Mean(*(named(one, names) for one in block.blocks))
    if isinstance(block, Sequential) and block.blocks:
        first = named(block.blocks[0], names)
        return block if first is block.blocks[0] else type(block)(first, *block.blocks[1:])
    return block
