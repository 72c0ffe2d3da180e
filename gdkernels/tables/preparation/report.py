"""A report on each column of a table: how training would use it, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdkernels.tables.column.column_data import Column, Text, finding_of, numbers_in
from gdkernels.tables.features.columns import Kind
from gdkernels.tables.features.kinds import Choices, choose
from gdkernels.tables.features.scaling import count_distinct
from gdkernels.tables.preparation.preparation import Preparation
from gdkernels.tables.preparation.target_columns import gaps_of
from gdkernels.tables.table.checked import label_of
from gdkernels.tables.table.table import Table, listed

__all__ = ["column_reports", "columns_line", "describe_target", "example"]


def column_reports(
    table: Table, targets: Sequence[str], choices: Choices, kinds: Sequence[Kind] | None = None
) -> list[dict[str, Any]]:
    """Return for each input column its kind and why, how it is read, its gaps, and what its values look like.

    Parameters
    ----------
    kinds
        The kinds that they become, where these are known.
    """
    if kinds is None:
        names = [name for name in table.names if name not in targets]
        kinds = choose(table, names, slice(None), choices)
    return [
        {"name": k.name, "kind": k.kind, "features": len(k.features), "why": k.why, **_values(table.columns[k.name])}
        for k in kinds
    ]


def describe_target(preparation: Preparation, table: Table) -> dict[str, Any]:
    """Return the targets, the task, and the share of each class or the range of each number."""
    told: dict[str, Any] = {"targets": list(preparation.targets), "task": preparation.task}
    if preparation.classes is not None:
        indices = preparation.transform_targets(table)
        shares = np.bincount(indices, minlength=len(preparation.classes)) / len(indices)
        pairs = zip(map(str, preparation.classes.tolist()), shares.tolist(), strict=True)
        return told | {"classes": dict(sorted(pairs, key=lambda pair: -pair[1]))}
    logs = getattr(preparation.outcome, "logs", ())
    values = [_values(table.columns[name]) for name in preparation.targets]
    return told | {"numbers": [v | {"logarithm": log} for v, log in zip(values, logs, strict=True)]}


def _values(column: Column) -> dict[str, Any]:
    gaps = gaps_of(column)
    told: dict[str, Any] = {"read": str(finding_of(column).reading), "gaps": int(gaps.sum())}
    if isinstance(column, Text):
        counts = np.bincount(column.codes[~gaps], minlength=len(column.levels))
        most = np.argsort(-counts, kind="stable")[:3]
        return told | {"distinct": int((counts > 0).sum()), "such_as": [label_of(column.levels[k])[:40] for k in most]}
    present = numbers_in(column)[~gaps] if gaps.any() else numbers_in(column)
    if not len(present):
        return told | {"distinct": 0, "such_as": []}
    return told | {"distinct": count_distinct(present), "such_as": [float(present.min()), float(present.max())]}


def example(told: dict[str, Any]) -> str:
    """Return what `such_as` of a report says, for people."""
    such = told["such_as"]
    if such and isinstance(such[0], float):
        return f"{such[0]:g} to {such[1]:g}"
    return ", ".join(such)


def columns_line(preparation: Preparation) -> str:
    """Return in a line what becomes of the columns."""
    counts = {kind: sum(k.kind == kind for k in preparation.columns) for kind in ("number", "category", "date")}
    names = {"number": ("number", "numbers"), "category": ("category", "categories"), "date": ("date", "dates")}
    parts = [f"{n:,} {names[kind][n > 1]}" for kind, n in counts.items() if n]
    dropped = [k for k in preparation.columns if k.kind == "dropped"]
    if dropped:
        parts.append(f"{len(dropped):,} left out ({listed([k.name for k in dropped])})")
    logs = getattr(preparation.outcome, "logs", ())
    added = any(getattr(preparation.outcome, "offsets", ()))
    log = f"; the target is skewed, so its logarithm{' from 0 on' if added else ''} is learned" if any(logs) else ""
    return f"{', '.join(parts)}: {len(preparation.features):,} inputs{log}"
