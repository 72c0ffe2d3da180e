"""Pieces of CUDA text."""

from collections.abc import Iterable, Sequence

from gdkernels.graph.nodes import Node
from gdkernels.lowering.elementwise import Recipe
from gdkernels.lowering.scalars import scalar_table
from gdkernels_cupy.graphs.source import constant_text, operation_text
from gdkernels_cupy.persistent.memory import KernelMemory

__all__ = ["body_of", "indented", "scalar_lines", "size_lines"]


_OWN = {"sin": "sine", "cos": "cosine"}  # of tile.cuh


def body_of(recipe: Recipe, given: Sequence[str], prefix: str = "e") -> tuple[list[str], list[str]]:
    """Return statements, and what stands for each result of a recipe.

    Parameters
    ----------
    given
        Its operands.
    prefix
        What the names that the statements declare begin with.
    """
    lines, names = [], list(given)
    for k, i in enumerate(recipe.code[len(given) :], start=len(given)):
        if i.op == "constant":
            names.append(f"({constant_text(i.value, 'float')})")
        else:
            arguments = [names[a] for a in i.arguments]
            own = _OWN.get(i.op)
            value = operation_text(i.op, arguments, "float") if own is None else f"{own}({arguments[0]})"
            lines.append(f"const auto {prefix}{k} = {value};")
            names.append(f"{prefix}{k}")
    return lines, names


def indented(lines: Iterable[str]) -> str:
    """Return lines as text, one level in."""
    return "".join(f"{'' if line.startswith('#') else '    '}{line}\n" for line in lines)


def scalar_lines(memory: KernelMemory, nodes: Iterable[Node]) -> list[str]:
    """Return how a step reads numbers of the host."""
    at, count = {n.id: k for k, n in enumerate(memory.scalars)}, len(memory.scalars)
    return [f"const float s{n.id} = scalars[step * {count} + {at[n.id]}];" for n in nodes]


def size_lines(memory: KernelMemory, nodes: Sequence[Node]) -> list[str]:
    """Return numbers that follow from the sizes alone, as a prediction has them."""
    values = scalar_table(nodes, {name: float(n) for name, n in memory.sizes.items()}, 1)[0] if nodes else []
    return [f"const float s{n.id} = {constant_text(v, 'float')};" for n, v in zip(nodes, values, strict=True)]
