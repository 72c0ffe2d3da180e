"""Rewrites the tables of the documents beside it from the committed results: ``python benchmarks/tables.py [--check]``.

A table stands between ``<!-- results/NAME.json -->`` and ``<!-- end -->``; nothing in between is typed.
"""

import re
import sys
from pathlib import Path

from gdkernels.bench.contender import labels
from gdkernels.bench.results import Results, Row, read
from gdkernels.bench.text import si

FOLDER = Path(__file__).parent
DOCUMENTS = (FOLDER / "README.md",)
MARKED = re.compile(r"(<!-- (results/\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Rewrite the documents, or only tell whether they would change; return the exit code."""
    stale = []
    for document in DOCUMENTS:
        old = document.read_text(encoding="utf-8")
        new = MARKED.sub(lambda m: m[1] + table(read(FOLDER / m[2])) + m[3], old)
        if new != old:
            stale.append(document.name)
            if "--check" not in arguments:
                document.write_text(new, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"{', '.join(stale)}: not what the results say; run python benchmarks/tables.py", file=sys.stderr)
        return 1
    return 0


def table(results: Results) -> str:
    """Return where and when it was measured, and a line for each network and piece with everybody in it."""
    measured = [row for row in results.rows if row.repeats]
    names, common = labels(row.contender for row in measured)
    environment = results.environment
    ceilings = sorted({(c.contender.device, c.contender.precision) for c in results.ceilings})
    tops = "; ".join(
        f"{device} {precision}: product {si(results.ceiling(('product', 'layer'), device, precision), 'FLOP/s')}, "
        f"copy {si(results.ceiling(('copy',), device, precision), 'B/s')}"
        for device, precision in ceilings
    )
    groups: dict[tuple[object, ...], dict[str, Row]] = {}
    for row in measured:
        groups.setdefault((row.case, row.piece, row.placement), {})[names[row.contender]] = row
    heads = list(dict.fromkeys(names[row.contender] for row in measured))
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
        lines.append(f"| {first.case}, {first.piece} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(row: Row | None) -> str:
    """Return rate, spread and error of a row, or a dash where there is none."""
    if row is None:
        return "–"
    spread = f" ± {row.spread:.1%}" if row.spread < 10 else ""
    return f"{si(row.samples_per_second)}{spread}, {row.error.error:.0e}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
