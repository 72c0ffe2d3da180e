"""Checks of what blocks are made with."""

from typing import Any

from gdkernels.definition.blocks.block import Block
from gdkernels.definition.checks import check_number
from gdkernels.definition.naming import resolve
from gdkernels.errors import InputError, shown

__all__ = ["check_block", "checked_activation", "checked_width"]


def checked_width(block: Any, field: str) -> None:
    """Keep the field of a frozen block as an int; refuse what is no whole number of at least 1."""
    check_number(block, field, lambda v: v >= 1, "a whole number of at least 1", whole=True)


def checked_activation(block: Any, field: str) -> None:
    """Keep the field of a frozen block as a function; a name stands for a built-in one."""
    object.__setattr__(block, field, resolve("activation", getattr(block, field)))


def check_block(owner: str, block: Any) -> None:
    """Raise `InputError` for what is no block."""
    if not isinstance(block, Block):
        given = (
            f"the class {block.__name__}" if isinstance(block, type) else f"{shown(block)} of {type(block).__name__}"
        )
        raise InputError(f"{owner} is made of blocks, such as Dense(64, 'relu'), got {given}")
    try:
        hash(block)
    except TypeError as error:
        raise InputError(
            f"{owner}: {type(block).__name__} cannot be hashed ({error}): what is compiled is remembered by the block, "
            "so it is to be a @dataclass(frozen=True), its fields tuples in place of lists and arrays"
        ) from None
