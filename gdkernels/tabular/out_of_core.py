"""A fit on a table larger than memory: surveyed, prepared into files, trained on in windows of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import storage_dtype
from gdkernels.data.stored import Stored
from gdkernels.data.stored.placing import default_memory
from gdkernels.errors import InputError, keyword
from gdkernels.files.arrays import rows_of
from gdkernels.groups import Group, joined
from gdkernels.system import memory
from gdkernels.system.memory import gigabytes
from gdkernels.system.profiling import phase
from gdkernels.tables import Preparation, Table
from gdkernels.tables.features.kinds import reread
from gdkernels.tables.formats.objects import paths_of
from gdkernels.tables.preparation.cross_fit import CrossFit
from gdkernels.tables.read import Data
from gdkernels.tabular.evaluating.evaluation import Evaluation, EvaluationInParts
from gdkernels.tabular.evaluating.holdout import check_test_file, measured_on
from gdkernels.tabular.evaluating.remarks import remarks_after, remarks_on
from gdkernels.tabular.in_parts.conversion import PreparedFiles, converted
from gdkernels.tabular.in_parts.part_rules import PARTS, TEST
from gdkernels.tabular.in_parts.survey import TableSurvey
from gdkernels.tabular.in_parts.surveying import CELL, records_at_once, shared_survey, table_parts
from gdkernels.tabular.model.drift import profiles_of
from gdkernels.tabular.model.prediction import PreparedNetwork
from gdkernels.tabular.networks.fitting import PreparedRows, fit
from gdkernels.tabular.networks.hyperparameters import (
    explanation_of,
    network_arguments,
    run_arguments,
    settings_as_told,
    trainer_arguments,
)
from gdkernels.tabular.ranks import by_ranks, shared_on_a_machine
from gdkernels.tabular.results import TabularResult
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.settings.targets import Goal, check_range, network_targets, truth_of
from gdkernels.tabular.trials.decisions import Decisions, decided
from gdkernels.tabular.trials.preparing import learned_preparation
from gdkernels.tabular.trials.time_order import in_time_order

__all__ = ["fit_out_of_core", "memory_for"]

_log = logging.getLogger("gdkernels")

_TEXT = 12  # bytes of memory for each byte of a text file
_COMPRESSED = 5  # how much smaller a compressed file is, about


def memory_for(settings: TabularSettings, data: Data) -> int | None:
    """Return how much memory to train in, where all of the table would need more than there is, or that was said.

    Raises
    ------
    InputError
        If memory is said of a table that is in memory already.
    """
    paths = paths_of(data)
    if paths is None:
        if settings.memory is not None:
            raise InputError(f"{keyword('memory')} is for files; leave it out for a table that is in memory already")
        return None
    if settings.memory is not None:
        return settings.memory
    room, needed = memory.room(), _needed(paths)
    if room is None or needed <= room.bytes:
        return None
    _log.warning(
        "%s needs about %s in memory, but only %s is available: it is read in parts, and trained on in windows",
        paths[0],
        gigabytes(needed),
        room,
    )
    return default_memory()


def fit_out_of_core(settings: TabularSettings, data: Data, allowed: int) -> TabularResult:
    """Go through the table in parts, and train in windows of records that take the memory `allowed`.

    Raises
    ------
    InputError, FileError
        If the table cannot be learned from as the settings say, or the disk has no room for it.
    DivergenceError
        If training diverges.
    """
    _check_single(settings)
    group = joined(settings.group)
    surveyed = shared_survey(group, settings, data, allowed)
    found, rule = surveyed.found, surveyed.rule
    counts = dict(zip(PARTS, found.counts.tolist(), strict=True))
    _check_counts(settings, counts)
    goal = Goal.of(settings, found.sample)
    with phase("trying"):
        of_one = np.setdiff1d(found.learn, found.validation), found.validation
        decisions = decided(settings, found.sample, goal, [of_one])
        remarks = [*decisions.remarks, *in_time_order(settings, found.sample, goal)]
    preparation = _preparation(settings, found, goal, decisions)
    remarks += remarks_on(settings, reread(found.sample, decisions.choices), preparation, found.learn)
    check_test_file(group, settings, preparation)
    dtype = np.dtype(storage_dtype(settings.precision))
    outputs, _ = network_targets(preparation, goal.loss, preparation.transform_targets(found.sample))
    learn = found.sample.take(found.learn)
    encoded = preparation.encode(learn)
    sample, profiles = preparation.scaled(encoded), profiles_of(learn, preparation, encoded)
    cross_fit = CrossFit.of(preparation, learn, found.numbers[found.learn])

    def prepare(part: Table, numbers: npt.NDArray[Any], places: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        y = preparation.transform_targets(part)
        check_range(y, part, preparation, settings.precision)
        x = preparation.transform(part)
        if cross_fit is not None and (own := places != TEST).any():
            x[own] = cross_fit.transform(part.take(own), numbers[own])
        kept = {"x": x.astype(dtype), "y": network_targets(preparation, goal.loss, y)[1]}
        kept["y"] = kept["y"].astype(np.int32 if kept["y"].dtype.kind == "i" else dtype)
        return kept | {"truth": truth_of(preparation, part, y)}

    record_bytes = dtype.itemsize * (len(preparation.features) + outputs) + 8 * len(goal.targets)
    records = records_at_once(surveyed.columns, allowed)
    whole = table_parts(settings, data, records, surveyed.findings)
    made = converted(whole, found, rule, prepare, record_bytes)
    with shared_on_a_machine(group, made) as files:
        network = network_arguments(
            settings, goal.task, goal.loss, counts["train"], outputs, sample, preparation.day_numbers
        )
        trainer = trainer_arguments(settings, goal.loss, counts["train"], encoded=network["encoding"] is not None)
        run = run_arguments(settings, counts["train"], counts["validation"])
        train, validation = (_rows(settings, files, part, counts[part], preparation, allowed) for part in PARTS[:2])
        began = time.perf_counter()
        mlp, histories = fit(network, [(train, validation)], run={**trainer, **run})
        seconds = time.perf_counter() - began
        with phase("judging"):
            model = PreparedNetwork(mlp, preparation)
            test: Evaluation | None
            if settings.test_file is not None:
                test, said = measured_on(group, settings, model)
            else:
                test, said = _evaluated(group, model, files, counts["test"], records), rule.said
    return TabularResult(
        source=found.sample.source,
        preparation=preparation,
        network=mlp,
        histories=tuple(histories),
        settings=settings_as_told(settings, trainer, run, 1),
        rows=counts if test is None else counts | {"test": test.records},
        class_records=_class_records(preparation, found),
        test=test,
        test_said=said,
        separate_test=settings.test_file is not None,
        profiles=tuple(profiles),
        remarks=(*remarks, *remarks_after(settings, test)),
        seconds=seconds,
        explanation=explanation_of(settings, network, trainer, counts["train"], run["epochs"]),
    )


def _check_single(settings: TabularSettings) -> None:
    """Refuse what trains several networks."""
    if (settings.average or 1) > 1:
        raise InputError(
            f"{keyword('average')} is for tables that fit into memory; leave it out, or allow more by "
            f"{keyword('memory')}"
        )
    for name in ("best", "search"):
        if getattr(settings, name):
            raise InputError(f"{keyword(name)} is for tables that fit into memory; leave it out, or take fewer records")


def _check_counts(settings: TabularSettings, counts: dict[str, int]) -> None:
    """Refuse parts of the table without the records that they need."""
    if settings.split.kind == "group" and settings.test and not (counts["train"] and counts["test"]):
        raise InputError(
            f"column {settings.split.column!r} has too few groups: whole ones, drawn by chance, are "
            f"{counts['train']:,} records to train on and {counts['test']:,} to test; name a column of more groups, or "
            "set rows aside at random"
        )
    if not counts["train"]:
        total = sum(counts.values())
        raise InputError(f"none of the {total:,} records is left to train on; lower {keyword('test')}")


def _preparation(settings: TabularSettings, found: TableSurvey, goal: Goal, decisions: Decisions) -> Preparation:
    """Learn from the sample; what only all records show, the survey has seen."""
    named = settings.choices.named
    identifiers = [name for name in found.identifiers if name not in named]
    choices = replace(decisions.choices, identifiers=identifiers)
    return learned_preparation(settings, found.sample, goal, choices, rows=found.learn, offsets=decisions.offsets)


def _rows(
    settings: TabularSettings, files: PreparedFiles, part: str, count: int, preparation: Preparation, allowed: int
) -> PreparedRows:
    """Return the records of a part, with weights where classes are to count the same."""
    if not count:
        return PreparedRows(np.empty(0), np.empty(0))
    x, y = files.path(part, "x"), files.path(part, "y")
    weights = None
    if settings.class_weight == "balanced" and preparation.classes is not None:
        classes = np.load(files.path(part, "truth"), mmap_mode="r")
        each = np.bincount(classes, minlength=len(preparation.classes))
        share = len(classes) / (np.count_nonzero(each) * np.maximum(each, 1))
        weights = share.astype(np.float32)[classes]
    return PreparedRows(Stored(x, y, weights, memory=allowed), None)


def _evaluated(
    group: Group, model: PreparedNetwork, files: PreparedFiles, count: int, records: int
) -> Evaluation | None:
    """Evaluate the records kept from training, part by part; each rank reads and predicts some of the parts."""
    evaluation = EvaluationInParts(model.preparation)
    if not count:
        return None
    x, truth = (rows_of(files.path("test", what), what) for what in ("x", "truth"))
    parts = [(first, min(count, first + records)) for first in range(0, count, records)]

    def outputs(number: int) -> npt.NDArray[Any]:
        rows = x.read(*parts[number])
        return np.concatenate([model.outputs(rows[piece]) for piece in model.pieces(len(rows))])

    for part, found in zip(parts, by_ranks(group, len(parts), outputs), strict=True):
        pieces = model.pieces(len(found))
        evaluation.add(truth.read(*part), (model.of_outputs(found[piece]) for piece in pieces))
    return evaluation.result()


def _class_records(preparation: Preparation, found: TableSurvey) -> dict[str, int] | None:
    """Return how many records each class has, in the order of the classes."""
    if preparation.classes is None:
        return None
    counts = {label: int(each.sum()) for label, each in (found.labels or {}).items()}
    return {name: counts[name] for name in map(str, preparation.classes.tolist())}


def _needed(paths: Sequence[str]) -> int:
    """Return about how much memory all of a table takes while it is prepared."""
    found = 0
    for item in paths:
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
        return size * CELL // 4
    compressed = bool({".gz", ".zst", ".parquet", ".npz"} & set(endings))
    return size * _TEXT * (_COMPRESSED if compressed else 1)
