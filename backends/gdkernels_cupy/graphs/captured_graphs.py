"""Graphs of several steps: how many steps each has, and which are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["MOST_NODES", "CapturedGraphs"]

# Nodes in a captured graph: enough that its launch costs nothing beside them, few enough to be captured at once.
MOST_NODES = 4096

_KEPT = 4  # besides those of this run


class CapturedGraphs:
    """The graphs of a session, by the rows of the batch and the number of steps.

    It knows nothing of its session: the two would hold each other, and the session's memory would not be free at once.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[int, int], Any] = {}

    def __getitem__(self, key: tuple[int, int]) -> Any:
        return self._graphs[key]

    def prepare(
        self,
        counts: Mapping[int, int],
        nodes: Mapping[int, int],
        before: Callable[[list[int]], None],
        capture: Callable[[int, int], Any],
    ) -> None:
        """Capture what is not captured yet.

        Parameters
        ----------
        counts, nodes
            For each number of rows the steps of a run, and the nodes of a step.
        before
            Called with the rows whose graphs are missing.
        capture
            Captures so many steps on batches of so many rows.
        """
        wanted = {(rows, size): None for rows, n in counts.items() for size, _ in self.parts(n, nodes[rows])}
        missing = [key for key in wanted if key not in self._graphs]
        before(list(dict.fromkeys(rows for rows, _ in missing)))
        for rows, size in missing:
            self._graphs[rows, size] = capture(rows, size)
        for key in [key for key in self._graphs if key not in wanted][:-_KEPT]:
            del self._graphs[key]

    def forget(self, rows: int) -> None:
        """Let the graphs of batches of so many rows go."""
        for key in [key for key in self._graphs if key[0] == rows]:
            del self._graphs[key]

    @staticmethod
    def parts(count: int, nodes: int) -> list[tuple[int, int]]:
        """Return sizes of graphs and how often each is launched, together `count` steps of so many nodes."""
        most = max(1, MOST_NODES // nodes)
        launches = -(-count // most)
        size = count // launches
        rest = count - size * launches
        return [(size, launches), *([(1, rest)] if rest else [])]
