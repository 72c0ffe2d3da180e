"""Names of parameters: a block's own name, then where the block stands among those that hold it.

The second of several blocks calls its weights ``W1``; the first block inside that one calls them ``W1/0``. So the names
in a chain of dense layers are ``W0``, ``b0``, ``W1``, …. No name has a dot: what follows one is an optimizer's slot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from gdkernels.errors import InputError, shown

__all__ = ["among_all", "check_name", "inside", "names_inside", "place_of", "with_their_own"]

Told = TypeVar("Told")
Inner = TypeVar("Inner")

_PLACE = re.compile(r"[0-9]+(?:/[0-9]+)*$")


def check_name(name: object, block: str) -> None:
    """Raise `InputError` for a name that no parameter can have."""
    own = _PLACE.sub("", name) if isinstance(name, str) else ""
    if not (own.isascii() and own.isidentifier()):
        raise InputError(f"{block}: a parameter is named by letters, digits and underscores, got {shown(name)}")


def inside(name: str, number: int) -> str:
    """Return the name that a parameter of one of several blocks has among all of them."""
    place = _PLACE.search(name)
    return f"{name}{number}" if place is None else f"{name[: place.start()]}{number}/{place[0]}"


def place_of(name: str) -> tuple[int, ...]:
    """Return where the block of a parameter stands, from the outside in; () for a block that nothing holds."""
    place = _PLACE.search(name)
    return () if place is None else tuple(map(int, place[0].split("/")))


@lru_cache(maxsize=1024)
def names_inside(names: tuple[str, ...], number: int) -> tuple[tuple[str, str], ...]:
    """Return, for the parameters of the block with this number, the block's own name of each and that among `names`."""
    pairs = ((_outside(name, number), name) for name in names)
    return tuple((own, name) for own, name in pairs if own is not None)


def _outside(name: str, number: int) -> str | None:
    place = _PLACE.search(name)
    if place is None:
        return None
    first, _, rest = place[0].partition("/")
    return f"{name[: place.start()]}{rest}" if first == str(number) else None


def among_all(told: Iterable[Mapping[str, Told]]) -> dict[str, Told]:
    """Return what several blocks tell by name, one mapping from each, under the names among all of them."""
    return {inside(name, k): one for k, named in enumerate(told) for name, one in named.items()}


@lru_cache(maxsize=1024)
def _names_of_each(names: tuple[str, ...], count: int) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return `names_inside` for each of so many blocks, which a prediction asks for every time."""
    return tuple(names_inside(names, k) for k in range(count))


def with_their_own(
    blocks: Sequence[Inner], p: Mapping[str, Any], random: Any
) -> Iterator[tuple[Inner, dict[str, Any], Any]]:
    """Yield each of several blocks with its own parameters and constants, and with what draws its numbers."""
    for k, names in enumerate(_names_of_each(tuple(p), len(blocks))):
        yield blocks[k], {own: p[full] for own, full in names}, None if random is None else random.inside(k)
