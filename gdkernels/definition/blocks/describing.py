"""Blocks as files keep them: names, numbers and lists, never code; and in words."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from gdkernels.definition.blocks.block import Block
from gdkernels.definition.blocks.columns import Columns, Embedding
from gdkernels.definition.blocks.compose import Mean, Residual, Sequential
from gdkernels.definition.blocks.dense import Activated, Dense
from gdkernels.definition.blocks.dropout import Dropout
from gdkernels.definition.blocks.encodings import Periodic, PiecewiseLinear
from gdkernels.definition.blocks.gated import Gated
from gdkernels.definition.blocks.normal import LayerNorm, Scale
from gdkernels.definition.naming import describe, restore
from gdkernels.errors import InputError, shown, unknown_name

__all__ = ["BY_NAME", "block_in_words", "describe_block", "functions_in", "restore_block"]

BY_NAME: dict[str, type[Block]] = {
    "activated": Activated,
    "columns": Columns,
    "dense": Dense,
    "dropout": Dropout,
    "embedding": Embedding,
    "gated": Gated,
    "layer_norm": LayerNorm,
    "mean": Mean,
    "periodic": Periodic,
    "piecewise_linear": PiecewiseLinear,
    "residual": Residual,
    "scale": Scale,
    "sequential": Sequential,
}


def describe_block(block: Block) -> dict[str, Any]:
    """Return what a file keeps of a block: its name, and its fields if it is a dataclass.

    The result holds nothing but strings, numbers, booleans and lists of these; `restore_block` is the way back.
    """
    names = [name for name, kind in BY_NAME.items() if type(block) is kind]
    told = {"name": names[0]} if names else {"name": type(block).__name__, "custom": True}
    return told | {name: _plain(value) for name, value in _fields(block).items()}


def restore_block(description: Any, objects: Mapping[str, Any] | None = None) -> Block:
    """Return the block that `describe_block` described.

    Parameters
    ----------
    objects
        By name, the classes of blocks and the functions that are not built in; or such a block itself.

    Raises
    ------
    InputError
        If the description is damaged, comes from a newer version, or names something that `objects` lacks.
    """
    name = description.get("name") if isinstance(description, Mapping) else None
    if not isinstance(name, str):
        raise InputError(f"the description of a block has no name: {description!r:.80}")
    fields = {key: value for key, value in description.items() if key not in ("name", "custom")}
    if description.get("custom", False):
        if objects is None or name not in objects:
            raise InputError(
                f"the block {name!r} is not built in, and files keep no code: "
                f"pass its class when loading, gd.load(path, objects={{{name!r}: {name}}})"
            )
        kind = objects[name]
        if isinstance(kind, Block):
            return kind
    elif name in BY_NAME:
        kind = BY_NAME[name]
    else:
        raise unknown_name("block", name, BY_NAME)
    if not (isinstance(kind, type) and issubclass(kind, Block)):
        raise InputError(f"objects[{name!r}] must be a class of blocks, got {shown(kind)}")
    values = {key: _restored(value, objects) for key, value in fields.items()}
    try:
        return kind(*values["blocks"]) if issubclass(kind, (Mean, Sequential)) else kind(**values)
    except (TypeError, KeyError) as error:
        raise InputError(
            f"the block {name!r} cannot be made of {', '.join(fields) or 'nothing'} ({error}); "
            "was the file written by a newer version of gdkernels?"
        ) from error


def block_in_words(block: Block) -> str:
    """Return a block as somebody would write it, without what it has by default."""
    told: list[str] = []
    skipped = False
    if isinstance(block, Columns):
        return _columns_in_words(block)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(block) if dataclasses.is_dataclass(block) else ()
    for field in fields:
        value = getattr(block, field.name)
        if field.default is not dataclasses.MISSING and value == field.default:
            skipped = True
        else:
            told.append(f"{field.name}={_words(value)}" if skipped else _words(value))
    return f"{type(block).__name__}({', '.join(told)})"


def _columns_in_words(block: Columns) -> str:
    def words(one: Any) -> str:
        return "'passthrough'" if one == Sequential() else _words(one)

    told = [f"{{{', '.join(f'{key}: {words(one)}' for key, one in block.with_keys())}}}"]
    return f"Columns({', '.join([*told, *([] if block.rest is None else [f'rest={words(block.rest)}'])])})"


def functions_in(block: Block) -> Iterator[Any]:
    """Yield the functions that a block has among its fields, and those of the blocks in it, in order."""
    for value in _fields(block).values():
        yield from _functions_within(value)


def _functions_within(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for one in value:
            yield from _functions_within(one)
    elif isinstance(value, Block):
        yield from functions_in(value)
    elif callable(value):
        yield value


def _fields(block: Block) -> dict[str, Any]:
    if not dataclasses.is_dataclass(block):
        return {}
    return {field.name: getattr(block, field.name) for field in dataclasses.fields(block)}


def _plain(value: Any) -> Any:
    if isinstance(value, Block):
        return {"block": describe_block(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if callable(value):
        return {"activation": describe(value)}
    raise InputError(f"a file cannot keep {value!r:.80}, which a block has; blocks hold numbers, names and functions")


def _restored(value: Any, objects: Mapping[str, Any] | None) -> Any:
    if isinstance(value, list):
        return tuple(_restored(v, objects) for v in value)
    if isinstance(value, Mapping):
        if set(value) == {"block"}:
            return restore_block(value["block"], objects)
        if set(value) == {"activation"}:
            return restore("activation", value["activation"], objects)
        raise InputError(f"the description of a block holds {dict(value)!r:.80}")
    return value


def _words(value: Any) -> str:
    if isinstance(value, Block):
        return block_in_words(value)
    if isinstance(value, tuple):
        runs = [(words, len(list(run))) for words, run in groupby(map(_words, value))]
        shown = [words if count == 1 else f"{count} × {words}" for words, count in runs]
        return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "…", *shown[-2:]])
    return str(describe(value)["name"]) if callable(value) else repr(value)
