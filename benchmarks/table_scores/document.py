"""The table of scores for the manual: a line for each table, and the mean ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.table_scores.scores import Score, difference, mean_ranks

__all__ = ["table_of_scores"]

OURS, BEFORE, HGB = "gdkernels", "before", "HGB"
_ORDER = (OURS, BEFORE, HGB, "linear", "sklearn MLP", "RealMLP", "TabM")


def table_of_scores(content: dict[str, Any]) -> str:
    """Return the scores of a file of `benchmarks.table_scores`: first of the tables that rules were chosen by."""
    scores = [Score(**row) for row in content["scores"]]
    who = [name for name in _ORDER if any(score.participant == name for score in scores)]
    heads = ["table", "splits", "figure", *who, f"gain on {HGB}", *([f"gain on {BEFORE}"] if BEFORE in who else [])]
    lines: list[str] = []
    for apart, title in ((False, "the tables of the goal"), (True, "tables kept apart")):
        some = [score for score in scores if score.apart == apart and score.participant in who]
        if not some:
            continue
        lines += (
            [f"| {' | '.join([f'**{title}**', *heads[1:]])} |", "|---" * len(heads) + "|"]
            if not lines
            else [f"| **{title}** " + "| " * (len(heads) - 1) + "|"]
        )
        for name in dict.fromkeys(score.table for score in some):
            lines.append(_line([score for score in some if score.table == name], who))
        ranks = mean_ranks(some, [name for name in who if _everywhere(some, name)])
        told = [f"{ranks[name]:.2f}" if name in ranks else "–" for name in who]
        lines.append(f"| mean rank | | | {' | '.join(told)} |" + " |" * (len(heads) - 3 - len(who)))
    return "\n".join(lines) + "\n"


def _everywhere(scores: Sequence[Score], name: str) -> bool:
    return {s.table for s in scores} == {s.table for s in scores if s.participant == name}


def _line(scores: list[Score], who: Sequence[str]) -> str:
    cells = []
    for name in who:
        values = [score.value for score in scores if score.participant == name]
        cells.append(f"{np.mean(values):.3f}" if values else "–")
    gains = [_gain(difference(scores, OURS, other)) for other in (HGB, BEFORE) if other in who]
    splits = len({score.seed for score in scores if score.participant == OURS})
    return f"| {scores[0].table} | {splits} | {scores[0].figure} | {' | '.join([*cells, *gains])} |"


def _gain(found: tuple[float, float, int]) -> str:
    mean, error, count = found
    if not count:
        return "–"
    return f"{mean:+.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}")
