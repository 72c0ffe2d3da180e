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
    """Return the scores of a file of `benchmarks.table_scores`, on the splits on which ours was measured."""
    scores = [Score(**row) for row in content["scores"]]
    who = [name for name in _ORDER if any(score.participant == name for score in scores)]
    heads = ["table", "splits", "figure", *who]
    main = OURS if OURS in who else who[0]
    measured = {(score.table, score.seed) for score in scores if score.participant == main}
    lines: list[str] = []
    for apart, title in ((False, "the tables of the goal"), (True, "tables kept apart")):
        some = [score for score in scores if score.apart == apart and (score.table, score.seed) in measured]
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
    splits = len({score.seed for score in scores})
    cells = [_cell([score for score in scores if score.participant in (OURS, name)], name, splits) for name in who]
    return f"| {scores[0].table} | {splits} | {scores[0].figure} | {' | '.join(cells)} |"


def _cell(scores: list[Score], name: str, splits: int) -> str:
    """Return the mean of a participant, and in brackets how much better ours is on the splits that both have."""
    values = [score.value for score in scores if score.participant == name]
    if not values:
        return "–"
    told = f"{np.mean(values):.3f}"
    mean, error, count = difference(scores, OURS, name)
    if name == OURS or not count:
        return told
    gain = f"{mean:+.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}")
    return f"{told} ({gain}{'' if count == splits else f', of {count}'})"
