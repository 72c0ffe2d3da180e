"""A fit on a table that is in memory as a whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.groups import Group, joined
from gdkernels.models.network import Network
from gdkernels.system.profiling import phase
from gdkernels.tables import Preparation, Table
from gdkernels.tables.features.kinds import reread
from gdkernels.tables.preparation.cross_fit import CrossFit
from gdkernels.tables.preparation.outcomes import labels
from gdkernels.tables.preparation.target_columns import with_targets
from gdkernels.tabular.evaluating.evaluation import Evaluation, EvaluationInParts
from gdkernels.tabular.evaluating.holdout import check_test_file, measured_on
from gdkernels.tabular.evaluating.remarks import remarks_after, remarks_on, small_classes
from gdkernels.tabular.model.drift import ColumnProfile, profiles_of
from gdkernels.tabular.model.prediction import PreparedNetwork
from gdkernels.tabular.networks.cross_validation import CrossValidation
from gdkernels.tabular.networks.fitting import PreparedRows, balanced, check_shards
from gdkernels.tabular.networks.hyperparameters import (
    explanation_of,
    network_arguments,
    run_arguments,
    settings_as_told,
    trainer_arguments,
)
from gdkernels.tabular.networks.search import search_rows, searched
from gdkernels.tabular.networks.search_results import Search
from gdkernels.tabular.networks.splits import RowSplit, split_rows, unasked
from gdkernels.tabular.networks.stopping_together import StoppingTogether
from gdkernels.tabular.networks.training_plan import Prepared, TrainingPlan
from gdkernels.tabular.ranks import agree_on_data, agree_on_networks, by_ranks
from gdkernels.tabular.results import TabularResult
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.settings.targets import Goal, check_range, network_targets, truth_of
from gdkernels.tabular.trials.decisions import decided
from gdkernels.tabular.trials.preparing import learned_preparation
from gdkernels.tabular.trials.time_order import in_time_order
from gdkernels.training.history import History

__all__ = ["fit_in_memory"]


def fit_in_memory(settings: TabularSettings, table: Table) -> TabularResult:
    """Split, prepare, train and evaluate; everything that can be wrong is found out before training.

    Raises
    ------
    InputError
        If the table cannot be learned from as the settings say.
    DivergenceError
        If training diverges.
    """
    group = joined(settings.group)
    ready = _ReadyTable.of(settings, table)
    preparation, goal, rows, counts = ready.preparation, ready.goal, ready.rows, ready.rows.counts
    check_test_file(group, settings, preparation)
    outputs, network_y = network_targets(preparation, goal.loss, ready.y)
    network = network_arguments(
        settings, goal.task, goal.loss, counts["train"], outputs, ready.x[rows.learn], preparation.day_numbers
    )
    trainer = trainer_arguments(settings, goal.loss, counts["train"], encoded=network["encoding"] is not None)
    run = run_arguments(settings, counts["train"], counts["validation"])

    def prepared(chosen: npt.NDArray[Any]) -> PreparedRows:
        weights = balanced(ready.y[chosen]) if settings.class_weight == "balanced" else None
        return PreparedRows(ready.x[chosen], network_y[chosen], weights)

    agree_on_data(group, ready.x, network_y)
    agree_on_networks(group, network, trainer)
    began = time.perf_counter()
    found = _trained(settings, rows, prepared, network, trainer, run)
    seconds = time.perf_counter() - began
    test, said = _tested(settings, group, ready, PreparedNetwork(found.network, preparation))
    counts |= found.rows
    return TabularResult(
        source=ready.table.source,
        preparation=preparation,
        network=found.network,
        histories=tuple(found.histories),
        settings=settings_as_told(settings, found.trainer, found.run, len(found.histories)),
        rows=counts if test is None else counts | {"test": test.records},
        class_records=_class_records(preparation, ready.y),
        test=test,
        test_said=said,
        separate_test=settings.test_file is not None,
        profiles=tuple(ready.profiles),
        remarks=(*ready.remarks, *remarks_after(settings, test)),
        seconds=seconds,
        cross_validation=found.cross_validation,
        stopping=found.stopping,
        search=found.search,
        explanation=explanation_of(settings, network, found.trainer, counts["train"], found.run["epochs"]),
    )


@dataclass(frozen=True)
class _ReadyTable:
    """A table whose columns are inputs, with what was decided on the way.

    Attributes
    ----------
    x, y
        The inputs and the targets of all rows, as `Preparation` makes them.
    profiles, remarks
        What training saw of each column, and what you should know of the table.
    """

    table: Table
    goal: Goal
    rows: RowSplit
    preparation: Preparation
    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    profiles: list[ColumnProfile]
    remarks: list[str]

    @classmethod
    def of(cls, settings: TabularSettings, table: Table) -> _ReadyTable:
        """Split the rows, decide what the table leaves open, and learn the preparation."""
        table = reread(table, settings.choices)
        if settings.drop_missing:
            table = with_targets(table, settings.target)
        goal = Goal.of(settings, table)
        classes = labels(table, goal.targets[0]) if goal.is_classification else None
        rows = split_rows(search_rows(settings) if settings.searches else settings, table, classes)
        if not settings.searches:
            check_shards(settings.shards, len(rows.networks))  # before anything is tried
        with phase("trying"):
            decisions = decided(settings, table, goal, rows.networks)
            remarks = [*decisions.remarks, *in_time_order(settings, table, goal)]
        table = reread(table, decisions.choices)
        with phase("preparing"):
            preparation = learned_preparation(
                settings, table, goal, decisions.choices, rows=rows.learn, offsets=decisions.offsets
            )
            y = preparation.transform_targets(table)
            x, profiles = _inputs(preparation, table, rows.learn)
        remarks += [*remarks_on(settings, table, preparation, rows.learn), *small_classes(preparation, y)]
        remarks += unasked(settings, len(rows.learn))
        check_range(y, table, preparation, settings.precision)
        return cls(table, goal, rows, preparation, x, y, profiles, remarks)


@dataclass(frozen=True)
class _Trained:
    """A trained network, and how it came about.

    Attributes
    ----------
    trainer, run
        The arguments that it was trained with in the end.
    rows
        How many rows were trained and validated on, where that was decided on the way.
    """

    network: Network
    histories: Sequence[History]
    trainer: dict[str, Any]
    run: dict[str, Any]
    rows: dict[str, int]
    cross_validation: CrossValidation | None = None
    stopping: StoppingTogether | None = None
    search: Search | None = None


def _trained(
    settings: TabularSettings,
    rows: RowSplit,
    prepared: Prepared,
    network: dict[str, Any],
    trainer: dict[str, Any],
    run: dict[str, Any],
) -> _Trained:
    """Train by a search, or else by a plan."""
    if not settings.searches:
        plan = TrainingPlan.of(settings, rows, prepared, network, trainer, run)
        mlp, histories = plan.fit()
        return _Trained(mlp, histories, plan.trainer, plan.run, plan.rows, plan.cross_validation, plan.stopping)
    learn = len(rows.learn)
    place = np.empty(int(rows.learn.max()) + 1, np.int64)
    place[rows.learn] = np.arange(learn)
    parts = [(place[train], place[left_out]) for train, left_out in rows.networks]
    found = searched(settings, network, trainer, run, prepared(rows.learn), parts)
    return _Trained(found.network, found.histories, found.trainer, run, {}, search=found.search)


def _inputs(
    preparation: Preparation, table: Table, learn: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[Any], list[ColumnProfile]]:
    """Return the inputs of all rows, those to learn from without their own targets, and a profile of each column."""
    encoded = preparation.encode(table)
    x, own = preparation.scaled(encoded), table.take(learn)
    if (cross_fit := CrossFit.of(preparation, own, learn)) is not None:
        x[learn] = cross_fit.transform(own, learn)
    return x, profiles_of(own, preparation, encoded[learn])


def _tested(
    settings: TabularSettings, group: Group, ready: _ReadyTable, model: PreparedNetwork
) -> tuple[Evaluation | None, str]:
    """Return the figures on the rows that measure, and which these are."""
    with phase("judging"):
        if settings.test_file is not None:
            return measured_on(group, settings, model)
        rows = ready.rows
        truth = truth_of(ready.preparation, ready.table, ready.y)[rows.test]
        return _evaluated(group, model, ready.x[rows.test], truth), rows.said


def _evaluated(group: Group, model: PreparedNetwork, x: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Evaluation | None:
    """Return the figures on rows kept from training, which the ranks predict together; None where there are none."""
    evaluation = EvaluationInParts(model.preparation)
    if len(x):
        model.outputs(x[:1])  # so that the network is where it computes on every rank, and rounded as there
        pieces = model.pieces(len(x))
        outputs = by_ranks(group, len(pieces), lambda k: model.outputs(x[pieces[k]]))
        evaluation.add(truth, map(model.of_outputs, outputs))
    return evaluation.result()


def _class_records(preparation: Preparation, y: npt.NDArray[Any]) -> dict[str, int] | None:
    """Return how many records each class has."""
    if preparation.classes is None:
        return None
    names = list(map(str, preparation.classes.tolist()))
    return dict(zip(names, np.bincount(y, minlength=len(names)).tolist(), strict=True))
