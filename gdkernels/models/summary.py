"""A network in words: a line for each of its blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gdkernels.backend.block_facts import facts_of
from gdkernels.backend.program import Program
from gdkernels.definition.blocks import Block, Sequential
from gdkernels.definition.blocks.describing import block_in_words
from gdkernels.network import Structure

__all__ = ["summary_of"]

_WORDS = 60  # characters of a block


def summary_of(structure: Structure) -> str:
    """Return a table of the blocks that follow each other, with what each has and takes, and the sums."""
    rows = [[_shortened(block_in_words(block)), *_figures(block, inputs)] for block, inputs in _placed(structure)]
    whole = _figures(structure.block, structure.inputs)
    heads = ["block", "outputs", "parameters", "multiply-adds a record"]
    table = [heads, *rows, ["in all", *whole]]
    widths = [max(len(row[k]) for row in table) for k in range(len(heads))]
    lines = [
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _placed(structure: Structure) -> Iterator[tuple[Block, int]]:
    """Yield the blocks that follow each other, and how many inputs each has."""
    block, inputs = structure.block, structure.inputs
    for one in block.blocks if type(block) is Sequential else (block,):
        yield one, inputs
        inputs = one.outputs(inputs)


def _figures(block: Block, inputs: int) -> tuple[str, str, str]:
    facts = facts_of(block, inputs)
    count = sum(math.prod(facts.shapes[name]) for name in facts.trained)
    return f"{facts.outputs:,}", f"{count:,}", f"{Program(block, inputs).multiply_adds:,}"


def _shortened(words: str) -> str:
    return words if len(words) <= _WORDS else f"{words[: _WORDS - 1]}…"
