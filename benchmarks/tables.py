"""Write tables of README.md and of three pages of the manual from committed results: ``python -m benchmarks.tables``.

A table stands between ``<!-- results/NAME.json … -->`` and ``<!-- end -->``; nothing in between is typed. Files of
`gdkernels bench` and `benchmarks.low_precision` come alone, those of `benchmarks.peers_grid` several in a row.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.grid_results import GridResult, GridRow
from benchmarks.least_squares.noisy import table_of_noisy
from benchmarks.least_squares.summary import table_of_paths
from benchmarks.many_names import table_of_names
from benchmarks.table_scores.document import table_of_scores
from gdkernels.bench.comparing.ratios import summarised
from gdkernels.bench.participants.participant import labels
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.report.text import si
from gdkernels.bench.results import read
from gdkernels.bench.results.model import BenchResults, BenchRow

FOLDER = Path(__file__).parent
DOCS = FOLDER.parent / "docs"
DOCUMENTS = (FOLDER / "README.md", FOLDER.parent / "README.md", DOCS / "index.md", DOCS / "tables.md")
BFLOAT16, FLOAT32, AUTOCAST = "gdkernels-numba-bf16", "gdkernels-numba", "torch-bf16"
MARKED = re.compile(r"(<!-- (results/[^>]+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Write the tables, or with --check only test them; return the exit code."""
    stale = []
    for document in DOCUMENTS:
        old = document.read_text(encoding="utf-8")
        new = MARKED.sub(lambda m: m[1] + written([FOLDER / name for name in m[2].split()]) + m[3], old)
        if new != old:
            stale.append(document.name)
            if "--check" not in arguments:
                document.write_text(new, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"{', '.join(stale)}: not what the results say; run python -m benchmarks.tables", file=sys.stderr)
        return 1
    return 0


def written(paths: list[Path]) -> str:
    """Return the table of some files of results."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if "scores" in contents[0]:
        (content,) = contents
        return table_of_scores(content)
    if "of_names" in contents[0]:
        (content,) = contents
        return table_of_names(content)
    if "paths" in contents[0]:
        (content,) = contents
        return table_of_paths(content)
    if "noisy" in contents[0]:
        (content,) = contents
        return table_of_noisy(content)
    if "ends" in contents[0]:
        (content,) = contents
        return table_of_errors(content) + "\n" + table_of_ends(content)
    if "results" not in contents[0]:
        (path,) = paths
        return table_of_stages(read(path))
    grids = [Grid.from_dict(content) for content in contents]
    bfloat16 = grids[0].results[0].rows[0].participant == BFLOAT16
    if "--random" in grids[0].command:
        return (table_of_bfloat16_draws if bfloat16 else table_of_draws)(grids)
    return (table_of_bfloat16_training if bfloat16 else table_of_training)(grids)


@dataclass(frozen=True)
class Grid:
    """The results of one command of `benchmarks.peers_grid`."""

    command: list[str]
    threads: int
    results: tuple[GridResult, ...]

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Grid:
        return cls(content["command"], content["threads"], tuple(map(GridResult.from_dict, content["results"])))

    @property
    def seed(self) -> str:
        return self.command[self.command.index("--seed") + 1]


def table_of_stages(results: BenchResults) -> str:
    """Return where and when it was measured, and a line for each network and stage with everybody in it."""
    measured = [row for row in results.rows if row.repeats]
    names, common = labels(row.participant for row in measured)
    environment = results.environment
    ceilings = sorted({(c.participant.device, c.participant.precision) for c in results.ceilings})
    tops = "; ".join(
        f"{device} {precision}: product {si(results.ceiling(('product', 'layer'), device, precision), 'FLOP/s')}, "
        f"copy {si(results.ceiling(('copy',), device, precision), 'B/s')}"
        for device, precision in ceilings
    )
    groups: dict[tuple[object, ...], dict[str, BenchRow]] = {}
    for row in measured:
        groups.setdefault(row.group, {})[names[row.participant]] = row
    heads = list(dict.fromkeys(names[row.participant] for row in measured))
    lines = [
        f"{environment['processor']}, {environment['cores']} cores, {', '.join(environment['gpus']) or 'no GPU'}; "
        f"{common}; {results.date[:10]}, `{results.command}`. Ceilings: {tops}.",
        "",
        "| records/s ± half the 95 % interval, error | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for members in groups.values():
        first = next(iter(members.values()))
        cells = [cell(members.get(name)) for name in heads]
        lines.append(f"| {first.case}, {first.stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(row: BenchRow | None) -> str:
    """Return rate, spread and error of a row, or a dash where there is none."""
    if row is None:
        return "–"
    spread = f" ± {row.spread:.1%}" if row.spread < 10 else ""
    return f"{si(row.samples_per_second)}{spread}, {row.error.error:.0e}"


def table_of_training(grids: list[Grid]) -> str:
    """Return a line for each network that was trained side by side, and the best of the others beside ours."""
    lines = [
        "| network | gdkernels on Numba, records/s | best other | ratio | GFLOP/s | of multiply-adds | of the product "
        "| errors, ours / its |",
        "|---" * 8 + "|",
    ]
    for result in (result for grid in grids for result in grid.results):
        task, ours, best = result.task, result.row(FLOAT32), other_of(result, FLOAT32)
        flops = ours.rate * task.flops_per_record()
        shares = " | ".join(f"{flops / result.limits[name]:.0%}" for name in ("fma_flops", "product_ceiling_flops"))
        lines.append(
            f"| {task} | {ours.rate:,.0f} | {best.participant} {best.rate:,.0f} | {ours.rate / best.rate:.2f} "
            f"| {flops / 1e9:.0f} | {shares} | {ours.error:.1e} / {best.error:.1e} |"
        )
    return "\n".join(lines) + "\n"


def table_of_draws(grids: list[Grid]) -> str:
    """Return a line for each seed of random networks."""
    lines = ["| seed | threads | networks | geometric mean | worst | below 0.9 |", "|---" * 6 + "|"]
    for grid in grids:
        ratios = {str(r.task): r.row(FLOAT32).rate / other_of(r, FLOAT32).rate for r in grid.results}
        found = summarised(ratios)
        lines.append(
            f"| {grid.seed} | {grid.threads} | {len(ratios)} | {found.mean:.2f} "
            f"| {found.worst:.2f} at {found.where} | {sum(r < 0.9 for r in ratios.values())} |"
        )
    return "\n".join(lines) + "\n"


def table_of_bfloat16_training(grids: list[Grid]) -> str:
    """Return a line for each network that was trained in bfloat16, beside autocast and our own float32."""
    lines = [
        "| network | bfloat16, records/s | our float32 | autocast | over autocast | over float32 | GFLOP/s "
        "| of the ceiling | errors, ours / its |",
        "|---" * 9 + "|",
    ]
    for result in (result for grid in grids for result in grid.results):
        ours, float32, autocast = (result.row(name) for name in (BFLOAT16, FLOAT32, AUTOCAST))
        flops = ours.rate * result.task.flops_per_record()
        lines.append(
            f"| {result.task} | {ours.rate:,.0f} | {float32.rate:,.0f} | {autocast.rate:,.0f} "
            f"| {ours.rate / autocast.rate:.2f} | {ours.rate / float32.rate:.2f} "
            f"| {flops / 1e9:.0f} | {flops / result.limits['pair_flops']:.0%} "
            f"| {ours.error:.1e} / {autocast.error:.1e} |"
        )
    return "\n".join(lines) + "\n"


def table_of_bfloat16_draws(grids: list[Grid]) -> str:
    """Return a line for each seed of random networks in bfloat16, and for each of the two that it stands beside."""
    lines = ["| seed | networks | beside | geometric mean | worst | below the goal |", "|---" * 6 + "|"]
    for grid in grids:
        for other, name, goal in ((AUTOCAST, "autocast", 1.2), (FLOAT32, "our float32", 0.95)):
            ratios = {str(r.task): r.row(BFLOAT16).rate / r.row(other).rate for r in grid.results}
            found = summarised(ratios)
            below = sum(ratio < goal for ratio in ratios.values())
            lines.append(
                f"| {grid.seed} | {len(ratios)} | {name} | {found.mean:.2f} | {found.worst:.2f} at {found.where} "
                f"| {below} below {goal:g} |"
            )
    return "\n".join(lines) + "\n"


def other_of(result: GridResult, ours: str) -> GridRow:
    """Return the row of the fastest other library."""
    best = result.best_other(ours)
    assert best is not None, f"nobody else was measured at {result.task}"
    return best


def table_of_errors(content: dict[str, Any]) -> str:
    """Return a line for each network with the errors of a step: the largest of its arrays, and of their ratios."""
    lines = ["| network | largest error, ours | autocast's | largest ratio of an array |", "|---" * 4 + "|"]
    for step in content["steps"]:
        ours, theirs = (step["errors"][who] for who in ("gdkernels", "autocast"))
        ratio, name = max((a / b, name) for name, a, b in zip(step["arrays"], ours, theirs, strict=True))
        lines.append(
            f"| {TrainingTask.from_dict(step['task'])} | {max(ours):.1e} | {max(theirs):.1e} | {ratio:.3f} at {name} |"
        )
    return "\n".join(lines) + "\n"


def table_of_ends(content: dict[str, Any]) -> str:
    """Return a line for each table: where training ends in float32 and in the other precision, over the seeds."""
    lines = [f"| table | float32 | {content['precision']} | of one seed, at most apart |", "|---" * 4 + "|"]
    for table, both in content["ends"].items():
        told = (f"{min(v):.5f} to {max(v):.5f}, {median(v):.5f}" for v in both.values())
        apart = max(abs(a - b) for a, b in zip(*both.values(), strict=True))
        lines.append(f"| {table} | {' | '.join(told)} | {apart:.5f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
