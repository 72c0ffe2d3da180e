"""What a path of errors says beside others: where it was when, and how much sooner one comes down than another."""

from __future__ import annotations

from typing import Any

from benchmarks.least_squares.methods import Path
from benchmarks.least_squares.problems import PROBLEMS, parameter_count

__all__ = ["lowest", "reached", "sooner", "table_of_paths", "thinned"]

_KEPT = 200  # points of a path that a file of results has


def lowest(path: Path, seconds: float) -> float:
    """Return the lowest error by then."""
    return min((error for when, error in path if when <= seconds), default=float("nan"))


def reached(path: Path, error: float) -> float | None:
    """Return when a path came down to an error; None if it did not."""
    return next((when for when, value in path if value <= error), None)


def sooner(lm: Path, other: Path, seconds: float) -> float | None:
    """Return how many times sooner one path has the error that another ends with; None if it never has."""
    goal = lowest(other, seconds)
    theirs, ours = reached(other, goal), reached(lm, goal)
    return None if ours is None else (theirs or seconds) / max(ours, 1e-9)


def thinned(path: Path) -> Path:
    """Return the points at which a path is lower than before, as many as a file should have."""
    found: Path = []
    for when, error in path:
        if not found or error < found[-1][1]:
            found.append((when, error))
    step = -(-len(found) // _KEPT)
    return found[::step] + found[-1:] if step > 1 else found


def table_of_paths(content: dict[str, Any]) -> str:
    """Return a line for each problem of a file of results: least, middle and greatest of the seeds."""
    by_problem: dict[str, list[dict[str, Path]]] = {}
    for name, paths in content["paths"].items():
        found = {method: [(when, error) for when, error in path] for method, path in paths.items()}
        by_problem.setdefault(name.partition(",")[0], []).append(found)
    seconds = content["seconds"]
    others = [
        m for m in ("adam", "lbfgs", "scipy-trf", "torch-lm") if any(m in p for s in by_problem.values() for p in s)
    ]
    heads = [
        "problem",
        "parameters",
        "error of lm",
        *(f"sooner than {name}" for name in others),
        "share of lbfgs's error",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, seeds in by_problem.items():
        count = parameter_count(PROBLEMS[name].sizes)
        cells = [name, f"{count:,}", _spread([lowest(s["lm"], seconds) for s in seeds], "{:.1e}")]
        cells += [_times([sooner(s["lm"], s[other], seconds) for s in seeds if other in s]) for other in others]
        shares = [lowest(s["lm"], seconds) / lowest(s["lbfgs"], seconds) for s in seeds if "lbfgs" in s]
        cells.append(_spread(shares, "{:.1g}"))
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| parameters | JᵀJ with its rows, GFLOP/s | of a float32 product | as a definition | BLAS's syrk alone |",
    ]
    lines.append("|---" * 5 + "|")
    for speed in content["products"]:
        told = [f"{speed['parameters']:,}", *(f"{speed[k]:.0f}" for k in ("compiled",))]
        shares = [speed[k] / speed["matrices"] for k in ("compiled", "definition", "syrk")]
        lines.append(f"| {' | '.join([*told, *(f'{share:.2f}' for share in shares)])} |")
    return "\n".join(lines) + "\n"


def _times(found: list[float | None]) -> str:
    known = sorted(value for value in found if value is not None)
    if not known:
        return "never" if found else "–"
    return _spread(known, "{:.1f}") + (f" ({len(found) - len(known)} never)" if len(known) < len(found) else "")


def _spread(values: list[float], form: str) -> str:
    if not values:
        return "–"
    values = sorted(values)
    shown = [form.format(v) for v in (values[len(values) // 2], values[0], values[-1])]
    return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"
