"""Scores of our defaults and of others on raw tables, the same rows for everybody; a file keeps what is done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import checkout
from benchmarks.table_scores.document import BEFORE, HGB, OURS
from benchmarks.table_scores.participants import PARTICIPANTS, Predictions, ours
from benchmarks.table_scores.scores import Score, difference, mean_ranks, scored
from benchmarks.table_scores.sources import sources
from benchmarks.table_scores.splits import SplitTable, WholeTable
from gdkernels.bench.environment import environment

_OURS: dict[str, dict[str, Any]] = {OURS: {}, "gdkernels --quick": {"quick": True}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the file does not hold yet, print a line for each table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table_scores", description=__doc__)
    known = [*_OURS, BEFORE, *PARTICIPANTS]
    parser.add_argument("--data", metavar="FOLDER", help="the folder of the text files; without it, sets of packages")
    parser.add_argument("--json", metavar="FILE", required=True, help="the scores: kept there, and not measured again")
    parser.add_argument("--before", metavar="CHECKOUT", help="another checkout of gdkernels, which takes part too")
    parser.add_argument("--participants", nargs="+", metavar="NAME", help=f"of {', '.join(known)} (all that are here)")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="only these tables")
    parser.add_argument("--apart", action="store_true", help="also the tables by which no rule was chosen")
    parser.add_argument("--splits", type=int, default=5, metavar="N", help="splits of each table (5)")
    options = parser.parse_args(arguments)
    path = Path(options.json)
    scores = _read(path)
    wanted = options.participants or [name for name in known if name != BEFORE or options.before]
    learners: dict[str, Callable[[SplitTable, int], Predictions]] = {
        **{name: partial(ours, keywords=keywords) for name, keywords in _OURS.items()},
        BEFORE: partial(ours, keywords={}, root=Path(options.before or ".").resolve()),
        **PARTICIPANTS,
    }
    if unknown := set(wanted) - learners.keys():
        parser.error(f"nobody is called {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    wholes: dict[str, WholeTable] = {}
    for seed in range(options.splits):  # first a split of each table: interrupted, the file still has all of them
        for source in sources(options.data):
            if source.name not in (options.tables or [source.name]) or (source.apart and not options.apart):
                continue
            missing = [name for name in wanted if (source.name, seed, name) not in scores]
            if not missing:
                continue
            if source.name not in wholes:
                wholes[source.name] = WholeTable(source)
            split = wholes[source.name].split(seed)
            for name in missing:
                found = learners[name](split, seed)
                told = scored(found.values, found.classes, split.y[split.test])
                score = Score(source.name, seed, name, seconds=round(found.seconds, 2), apart=source.apart, **told)
                scores[score.key] = score
                _write(path, scores)
            print(_line([score for score in scores.values() if score.table == source.name]), flush=True)
    for name, rank in mean_ranks(scores.values(), list(dict.fromkeys(s.participant for s in scores.values()))).items():
        print(f"mean rank of {name}: {rank:.2f}")
    return 0


def _read(path: Path) -> dict[tuple[str, int, str], Score]:
    if not path.exists():
        return {}
    found = [Score(**row) for row in json.loads(path.read_text(encoding="utf-8"))["scores"]]
    return {score.key: score for score in found}


def _write(path: Path, scores: dict[tuple[str, int, str], Score]) -> None:
    rows = [asdict(score) for _, score in sorted(scores.items())]
    checkout.write_json(path, {"environment": environment([1]), "scores": rows})


def _line(scores: list[Score]) -> str:
    means: dict[str, list[float]] = {}
    for score in scores:
        means.setdefault(score.participant, []).append(score.value)
    told = [f"{name} {sum(values) / len(values):.4f}" for name, values in means.items()]
    mean, error, _ = difference(scores, OURS, HGB)
    return f"{scores[0].table:16} {scores[0].figure:9} {', '.join(told)}; {mean:+.4f} ± {error:.4f} to {HGB}"


if __name__ == "__main__":
    sys.exit(main())
