"""Rewrites the tables of the documents beside it from the committed results: ``python benchmarks/tables.py [--check]``.

A table stands between ``<!-- results/NAME.json … -->`` and ``<!-- end -->``; nothing in between is typed. Files of
`gdkernels bench` and `benchmarks.low_precision` come alone, those of `gdkernels.bench.peers` several in a row.
"""

import json
import math
import re
import sys
from pathlib import Path
from statistics import fmean, median
from typing import Any

from gdkernels.bench.participants.participant import labels
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.results.model import BenchResults, BenchRow, read
from gdkernels.bench.report.text import si

FOLDER = Path(__file__).parent
DOCUMENTS = (FOLDER / "README.md",)
NARROW, WIDE, AUTOCAST = "gdkernels-numba-bf16", "gdkernels-numba", "torch-bf16"
MARKED = re.compile(r"(<!-- (results/[^>]+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Rewrite the documents, or only tell whether they would change; return the exit code."""
    stale = []
    for document in DOCUMENTS:
        old = document.read_text(encoding="utf-8")
        new = MARKED.sub(lambda m: m[1] + written([FOLDER / name for name in m[2].split()]) + m[3], old)
        if new != old:
            stale.append(document.name)
            if "--check" not in arguments:
                document.write_text(new, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"{', '.join(stale)}: not what the results say; run python benchmarks/tables.py", file=sys.stderr)
        return 1
    return 0


def written(paths: list[Path]) -> str:
    """Return the table of some files of results."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if "ends" in contents[0]:
        (content,) = contents
        return table_of_errors(content) + "\n" + table_of_ends(content)
    if "results" not in contents[0]:
        (path,) = paths
        return table_of_pieces(read(path))
    narrow = contents[0]["results"][0]["rows"][0]["peer"] == NARROW
    if "--random" in contents[0]["command"]:
        return (table_of_narrow_draws if narrow else table_of_draws)(contents)
    return (table_of_narrow_training if narrow else table_of_training)(contents)


def table_of_pieces(results: BenchResults) -> str:
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
        groups.setdefault((row.case, row.stage, row.placement), {})[names[row.participant]] = row
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


def table_of_training(contents: list[dict[str, Any]]) -> str:
    """Return a line for each network that was trained side by side, and the best of the others beside ours."""
    lines = [
        "| network | gdkernels on Numba, records/s | best other | ratio | GFLOP/s | of multiply-adds | of the product "
        "| errors, ours / its |",
        "|---" * 8 + "|",
    ]
    for result in (r for content in contents for r in content["results"]):
        task, ours, best, ratio = side_by_side(result)
        flops = rate(ours) * task.flops_per_record()
        shares = " | ".join(f"{flops / result[name]:.0%}" for name in ("fma_flops", "product_ceiling_flops"))
        lines.append(
            f"| {task} | {rate(ours):,.0f} | {best['peer']} {rate(best):,.0f} | {ratio:.2f} | {flops / 1e9:.0f} "
            f"| {shares} | {ours['error']:.1e} / {best['error']:.1e} |"
        )
    return "\n".join(lines) + "\n"


def table_of_draws(contents: list[dict[str, Any]]) -> str:
    """Return a line for each seed of random networks."""
    lines = ["| seed | threads | networks | geometric mean | worst | below 0.9 |", "|---" * 6 + "|"]
    for content in contents:
        compared = [side_by_side(result) for result in content["results"]]
        ratios = [ratio for _, _, _, ratio in compared]
        task, _, _, worst = min(compared, key=lambda c: c[3])
        seed = content["command"][content["command"].index("--seed") + 1]
        lines.append(
            f"| {seed} | {content['threads']} | {len(ratios)} | {math.exp(fmean(map(math.log, ratios))):.2f} "
            f"| {worst:.2f} at {task} | {sum(r < 0.9 for r in ratios)} |"
        )
    return "\n".join(lines) + "\n"


def table_of_narrow_training(contents: list[dict[str, Any]]) -> str:
    """Return a line for each network that was trained in bfloat16, beside autocast and our own float32."""
    lines = [
        "| network | bfloat16, records/s | our float32 | autocast | over autocast | over float32 | GFLOP/s "
        "| of the ceiling | errors, ours / its |",
        "|---" * 9 + "|",
    ]
    for result in (r for content in contents for r in content["results"]):
        task, rows = TrainingTask.from_dict(result["task"]), by_peer(result)
        ours, float32, autocast = (rate(rows[peer]) for peer in (NARROW, WIDE, AUTOCAST))
        flops = ours * task.flops_per_record()
        lines.append(
            f"| {task} | {ours:,.0f} | {float32:,.0f} | {autocast:,.0f} | {ours / autocast:.2f} | {ours / float32:.2f} "
            f"| {flops / 1e9:.0f} | {flops / result['pair_flops']:.0%} "
            f"| {rows[NARROW]['error']:.1e} / {rows[AUTOCAST]['error']:.1e} |"
        )
    return "\n".join(lines) + "\n"


def table_of_narrow_draws(contents: list[dict[str, Any]]) -> str:
    """Return a line for each seed of random networks in bfloat16, and for each of the two that it stands beside."""
    lines = ["| seed | networks | beside | geometric mean | worst | below the goal |", "|---" * 6 + "|"]
    for content in contents:
        seed = content["command"][content["command"].index("--seed") + 1]
        for peer, name, goal in ((AUTOCAST, "autocast", 1.2), (WIDE, "our float32", 0.95)):
            compared = [(by_peer(result), TrainingTask.from_dict(result["task"])) for result in content["results"]]
            ratios = [(rate(rows[NARROW]) / rate(rows[peer]), str(task)) for rows, task in compared]
            worst, where = min(ratios)
            mean = math.exp(fmean(math.log(ratio) for ratio, _ in ratios))
            below = sum(ratio < goal for ratio, _ in ratios)
            lines.append(
                f"| {seed} | {len(ratios)} | {name} | {mean:.2f} | {worst:.2f} at {where} | {below} below {goal:g} |"
            )
    return "\n".join(lines) + "\n"


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


def by_peer(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["peer"]: row for row in result["rows"]}


def side_by_side(result: dict[str, Any]) -> tuple[TrainingTask, dict[str, Any], dict[str, Any], float]:
    """Return the task, our row, that of the fastest other in float32, and the ratio of their rates."""
    ours, *others = (row for row in result["rows"] if row["samples"] and "bf16" not in row["peer"])
    best = max(others, key=rate)
    return TrainingTask.from_dict(result["task"]), ours, best, rate(ours) / rate(best)


def rate(row: dict[str, Any]) -> float:
    """Return the median of the rounds, in records per second."""
    return float(median(row["samples"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
