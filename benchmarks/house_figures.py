"""``python -m benchmarks.house_figures CHECKOUT`` counts rooms, floors, imports that run up, and names in a checkout.

A room is a folder in gdkernels, or a module in its root. A floor is a step of the longest chain of rooms that import
each other downwards. Of imports that run up, there are as few as an order of the rooms can have. Imports in functions
count, those for type checkers alone do not.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

__all__ = ["HouseFigures", "figures", "main"]

_SOURCES = ("gdkernels", "backends", "benchmarks")

Arrows = Mapping[str, Counter[str]]


@dataclass(frozen=True)
class HouseFigures:
    """What is counted in a checkout.

    Attributes
    ----------
    modules_in_root, rooms, floors
        Of gdkernels.
    upward
        The imports that run up.
    twice
        The classes whose name is used more than once, in gdkernels, backends and benchmarks.
    parameters
        The longest parameter lists there: how many there are, and whose.
    """

    modules_in_root: int
    rooms: int
    floors: int
    upward: tuple[str, ...]
    twice: tuple[str, ...]
    parameters: tuple[tuple[int, str], ...]


def figures(checkout: Path) -> HouseFigures:
    """Count in the folder of a checkout."""
    package = checkout / "gdkernels"
    arrows = _arrows(package)
    order = _order(arrows)
    upward = [
        f"{a} → {b}" for k, a in enumerate(order) for b in arrows[a] if order.index(b) > k for _ in range(arrows[a][b])
    ]
    trees = [
        ast.parse(path.read_text("utf-8")) for name in _SOURCES for path in sorted((checkout / name).rglob("*.py"))
    ]
    nodes = list(chain.from_iterable(map(ast.walk, trees)))
    classes = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    return HouseFigures(
        len(list(package.glob("*.py"))),
        len(arrows),
        _floors(arrows, order),
        tuple(upward),
        tuple(sorted(name for name, count in classes.items() if count > 1)),
        tuple(sorted(_parameters(trees), reverse=True)[:5]),
    )


def _arrows(package: Path) -> Arrows:
    """Return for each room how often it imports each other room."""
    rooms = {
        p.stem if p.is_file() else p.name
        for p in package.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").is_file()
    }
    rooms -= {"__init__", "__main__"}
    arrows: dict[str, Counter[str]] = {room: Counter() for room in sorted(rooms)}
    for path in sorted(package.rglob("*.py")):
        here = path.relative_to(package).with_suffix("").parts[0]
        for module in _imports(ast.parse(path.read_text("utf-8"))) if here in rooms else ():
            first, _, rest = module.partition(".")
            there = rest.split(".")[0]
            if first == package.name and there in rooms and there != here:
                arrows[here][there] += 1
    return arrows


def _imports(tree: ast.AST) -> Iterator[str]:
    unread = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) not in unread and isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif id(node) not in unread and isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _order(arrows: Arrows) -> list[str]:
    """Return the rooms from the ground up, so that no single room can be moved and fewer imports run up."""
    left, order = set(arrows), list[str]()
    while left:  # the next is a room that needs nothing of what is left, or else little, and is needed by much
        needs = {room: sum(count for other, count in arrows[room].items() if other in left) for room in left}
        needed = {room: sum(arrows[other][room] for other in left) for room in left}
        room = min(left, key=lambda r: (needs[r] > 0, needs[r] - needed[r], r))
        order.append(room)
        left.remove(room)
    while (better := _moved_once(arrows, order)) is not None:
        order = better
    return order


def _moved_once(arrows: Arrows, order: Sequence[str]) -> list[str] | None:
    """Return the order with one room moved so that fewer imports run up, or None where there is none."""
    for room in order:
        rest = [other for other in order if other != room]
        # Moving a room past another changes only the imports between these two.
        costs = [sum(arrows[room][other] for other in rest)]
        for other in rest:
            costs.append(costs[-1] - arrows[room][other] + arrows[other][room])
        place = costs.index(min(costs))
        if costs[place] < costs[order.index(room)]:
            return [*rest[:place], room, *rest[place:]]
    return None


def _floors(arrows: Arrows, order: Sequence[str]) -> int:
    height: dict[str, int] = defaultdict(int)
    for k, room in enumerate(order):
        height[room] = 1 + max((height[below] for below in order[:k] if arrows[room][below]), default=0)
    return max(height.values())


def _parameters(trees: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    for tree in trees:
        for scope in ast.walk(tree):
            for node in ast.iter_child_nodes(scope):
                if isinstance(node, ast.FunctionDef):
                    given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                    owner = f"{scope.name}." if isinstance(scope, ast.ClassDef) else ""
                    yield len(given) - (given[:1] in (["self"], ["cls"])), owner + node.name


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is counted in a checkout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house_figures", description=str(__doc__).split("\n")[0])
    parser.add_argument("checkout", metavar="CHECKOUT", type=Path, help="its folder")
    found = figures(parser.parse_args(arguments).checkout)
    print(f"{found.modules_in_root} modules in the root, {found.rooms} rooms on {found.floors} floors")
    print(f"{len(found.upward)} imports that run up{': ' if found.upward else ''}{', '.join(found.upward)}")
    print(f"{len(found.twice)} classes whose name is used twice{': ' if found.twice else ''}{', '.join(found.twice)}")
    print("longest parameter lists: " + ", ".join(f"{count} of {name}" for count, name in found.parameters))


if __name__ == "__main__":
    main()
