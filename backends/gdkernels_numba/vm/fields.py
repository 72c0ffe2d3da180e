"""From declarations to words: the fields of a class, their offsets for the reader, their values for the writer."""

from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

__all__ = ["STRIDED", "WORD", "Field", "StridedAddress", "fields_of", "offsets_of", "words_of"]

_Fields = TypeVar("_Fields", bound=tuple[Any, ...])

WORD = 8  # bytes


class StridedAddress(NamedTuple):
    """An address that follows rows and panels, or blocks: three words.

    Attributes
    ----------
    base
        The address of the first row of the first panel, or of the first block.
    down
        The bytes to the next row, or to the block below.
    across
        The bytes to the next panel, or to the block beside.
    """

    base: int
    down: int = 0
    across: int = 0


STRIDED = StridedAddress(*range(len(StridedAddress._fields)))  # the offsets in one that stands alone


class Field(NamedTuple):
    """A field of an instruction or of the context."""

    name: str
    meaning: str
    strided: bool

    @property
    def words(self) -> int:
        return len(STRIDED) if self.strided else 1


@cache
def fields_of(kind: type[tuple[Any, ...]]) -> tuple[Field, ...]:
    """Return the fields that a class declares, in their order."""
    fields = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        type_of_field, meaning = get_args(hint)
        assert type_of_field in (int, StridedAddress), f"{kind.__name__}.{name} is neither a word nor a strided address"
        fields.append(Field(name, meaning, type_of_field is StridedAddress))
    return tuple(fields)


def offsets_of(kind: type[_Fields], start: int = 0) -> _Fields:
    """Return a `kind` whose fields are their own offsets in words, the first being `start`."""
    offsets: dict[str, int | StridedAddress] = {}
    for field in fields_of(kind):
        words = range(start, start := start + field.words)
        offsets[field.name] = StridedAddress(*words) if field.strided else words[0]
    return kind(**offsets)


def words_of(values: tuple[Any, ...]) -> list[int]:
    """Return the words of an instance of a declared class.

    Raises
    ------
    TypeError
        If a field has a strided address in place of a number, or the other way round.
    """
    words: list[int] = []
    for field, value in zip(fields_of(type(values)), values, strict=True):
        if isinstance(value, StridedAddress) != field.strided:
            raise TypeError(f"{type(values).__name__}.{field.name} cannot be {value!r}")
        words.extend(value if field.strided else (value,))
    return words
