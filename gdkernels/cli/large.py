"""``gdkernels train`` on a table larger than memory: surveyed, prepared into files, trained on in windows of them."""

from __future__ import annotations

import logging
import os
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import storage_dtype
from gdkernels.cli import pictures
from gdkernels.cli.result import Result
from gdkernels.cli.training import (
    CLASS_LOSSES,
    check_range,
    deliver,
    explanation_of,
    network_of,
    objective,
    schedule_of,
    settings_of,
    told_settings,
)
from gdkernels.data.stored import Stored
from gdkernels.data.stored.windows import default_memory
from gdkernels.definition import optimizers
from gdkernels.errors import InputError
from gdkernels.files.arrays import rows_of
from gdkernels.randomness import generator
from gdkernels.system import memory
from gdkernels.system.memory import gigabytes
from gdkernels.system.profiling import phase
from gdkernels.tables import Preparation, Table, parts
from gdkernels.tables.columns import Dropped
from gdkernels.tables.preparation import checked_targets
from gdkernels.tables.sample import Sample
from gdkernels.tabular import defaults
from gdkernels.tabular.conversion import PARTS, Converted, Draw, Survey, converted, survey
from gdkernels.tabular.fitting import Rows, fit, network_targets
from gdkernels.tabular.predictor import Judgement, Prediction, Predictor

__all__ = ["memory_for", "run"]

_log = logging.getLogger("gdkernels")

_SAMPLE = 200_000  # records: the median of so many is within 0.3 % of the ranks of all, 99 times of 100
_DRAWN = 100_000
# Bytes of memory: of a table for each cell while it is prepared, and for each byte of a text file.
_CELL, _TEXT = 64, 12
_COMPRESSED = 5  # how much smaller a compressed file is, about


def memory_for(args: Namespace) -> int | None:
    """Return how much memory to train in, where all of the table would need more than there is, or that was said."""
    if args.memory is not None:
        return int(args.memory)
    room, needed = memory.room(), _needed(args.data)
    if room is None or needed <= room.bytes:
        return None
    _log.warning(
        "%s needs about %s in memory, and %s can be had: it is read in parts, and trained on in windows",
        args.data[0],
        gigabytes(needed),
        room,
    )
    return default_memory()


def run(args: Namespace, optimizer: optimizers.Optimizer, allowed: int) -> None:
    """Train as the command line says, in windows of records that take the memory `allowed`."""
    if (args.average or 1) > 1:
        raise InputError("--average is for tables that fit into memory; leave it out, or allow more by --memory")
    columns = len(next(parts(args.data, 1)).names)
    records = max(256, min(65_536, allowed // (_CELL * _TEXT * columns)))
    share = defaults.VALIDATION if args.validation is None else args.validation
    draw = Draw(args.seed, args.test, share)
    said = "classification" if args.loss in CLASS_LOSSES else args.task
    most = max(1000, min(_SAMPLE, allowed // (2 * _CELL * columns)))
    with phase("surveying"):
        found = survey(args.data, args.target, said, draw, drop_missing=args.drop_missing, most=most, records=records)
    table = found.sample
    targets = checked_targets(table, args.target, said)
    task, loss = objective(args, table, targets)
    preparation = _preparation(args, found, targets, task, loss)
    counts = dict(zip(PARTS, found.counts.tolist(), strict=True))
    if not counts["train"]:
        raise InputError(f"none of the {sum(counts.values()):,} records is left to train on; lower --test")
    dtype = np.dtype(storage_dtype(args.precision))
    outputs, _ = network_targets(preparation, loss, preparation.transform_targets(table))

    def prepare(part: Table) -> dict[str, npt.NDArray[Any]]:
        y = preparation.transform_targets(part)
        check_range(y, part, targets, args.precision)
        kept = {"x": preparation.transform(part).astype(dtype), "y": network_targets(preparation, loss, y)[1]}
        kept["y"] = kept["y"].astype(np.int32 if kept["y"].dtype.kind == "i" else dtype)
        return kept | {"truth": y if preparation.classes is not None else preparation.target_values(part)}

    with converted(
        args.data,
        args.target,
        found,
        draw,
        prepare,
        dtype.itemsize * (len(preparation.features) + outputs) + 8 * len(targets),
        drop_missing=args.drop_missing,
        records=records,
    ) as files:
        settings = settings_of(args, optimizer, loss, counts["train"])
        network = network_of(args, task, loss, counts["train"], len(preparation.features), outputs)
        schedule = schedule_of(args, counts["train"], counts["validation"])
        rows = [_rows(files, part, counts[part], preparation, args, allowed) for part in PARTS[:2]]
        began = time.perf_counter()
        mlp, histories = fit(network, [(rows[0], rows[1])], run={**settings, **schedule})
        seconds = time.perf_counter() - began
        predictor = Predictor(mlp, preparation)
        with phase("judging"):
            judgement, truth, prediction = _judged(predictor, files, counts["test"], records)
    result = Result(
        table=table,
        preparation=preparation,
        mlp=mlp,
        histories=tuple(histories),
        settings=told_settings(args, settings, schedule, 1),
        rows=counts,
        metrics=judgement.figures() if judgement.records else {},
        by_class=judgement.by_class() if judgement.records else None,
        seconds=seconds,
        explanation=explanation_of(args, network, settings, counts["train"], schedule["epochs"]),
        class_records={label: int(each.sum()) for label, each in (found.labels or {}).items()},
    )
    panels = pictures.matching(preparation, judgement, truth, prediction) if judgement.records and args.plot else []
    deliver(args, result, panels)


def _preparation(args: Namespace, found: Survey, targets: Sequence[str], task: str, loss: str) -> Preparation:
    """Learn from the sample; what only all records show, the survey has seen."""
    said = {*args.keep, *args.categorical, *args.numeric, *args.ignore}
    numbering = [name for name in found.identifiers if name not in said]
    preparation = Preparation.fit(
        found.sample,
        targets,
        task=task,
        rows=found.learn,
        ignore=[*args.ignore, *numbering],
        keep=args.keep,
        categorical=args.categorical,
        numeric=args.numeric,
        standardise_targets=loss != "poisson",
    )
    columns = [
        Dropped(k.name, "an identifier: consecutive integers") if k.name in numbering else k
        for k in preparation.columns
    ]
    return replace(preparation, columns=tuple(columns))


def _rows(files: Converted, part: str, count: int, preparation: Preparation, args: Namespace, allowed: int) -> Rows:
    """Return the records of a part, with weights where classes are to count the same."""
    if not count:
        return Rows(np.empty(0), np.empty(0))
    x, y = files.path(part, "x"), files.path(part, "y")
    weights = None
    if args.class_weight == "balanced" and preparation.classes is not None:
        classes = np.load(files.path(part, "truth"), mmap_mode="r")
        each = np.bincount(classes, minlength=len(preparation.classes))
        share = len(classes) / (np.count_nonzero(each) * np.maximum(each, 1))
        weights = share.astype(np.float32)[classes]
    return Rows(Stored(x, y, weights, memory=allowed), None)  # type: ignore[arg-type]


def _judged(
    predictor: Predictor, files: Converted, count: int, records: int
) -> tuple[Judgement, npt.NDArray[Any], Prediction]:
    """Judge the records kept from training, part by part; return what is drawn of them as well."""
    judgement = Judgement(predictor.preparation)
    drawn: Sample[tuple[npt.NDArray[Any], ...]] = Sample(
        _DRAWN, generator(0, "drawn"), lambda part, rows: tuple(a[rows] for a in part)
    )
    if not count:
        return judgement, np.empty(0), Prediction(np.empty(0))
    x, truth = (rows_of(files.path("test", what), what) for what in ("x", "truth"))
    for first in range(0, count, records):
        stop = min(count, first + records)
        true, prediction = truth.read(first, stop), predictor.predict_prepared(x.read(first, stop))
        judgement.add(true, prediction)
        drawn.add((true, prediction.values), stop - first)
    trues, values = (np.concatenate(arrays) for arrays in zip(*drawn.parts(), strict=True))
    return judgement, trues, Prediction(values)


def _needed(data: Sequence[str]) -> int:
    """Return about how much memory all of a table takes while it is prepared."""
    found = 0
    for item in data:
        path = Path(item)
        for file in path.iterdir() if path.is_dir() else [path]:
            if file.is_file():
                found += _needed_by(file)
    return found


def _needed_by(file: Path) -> int:
    size, (_, *endings) = os.path.getsize(file), ["", *file.suffixes]
    with file.open("rb") as opened:
        start = opened.read(6)
    if start == b"\x93NUMPY":
        return size * _CELL // 4
    compressed = bool({".gz", ".zst", ".parquet", ".npz"} & set(endings))
    return size * _TEXT * (_COMPRESSED if compressed else 1)
