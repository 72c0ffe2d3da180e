"""A fit on a table that is in memory as a whole."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.system.profiling import phase
from gdkernels.tables import Preparation, Table
from gdkernels.tables.kinds import reread
from gdkernels.tables.outcomes import labels
from gdkernels.tables.target_columns import checked_targets, with_targets
from gdkernels.tabular import defaults
from gdkernels.tabular.cross_validation import cross_validated
from gdkernels.tabular.evaluation import EvaluationInParts
from gdkernels.tabular.fitting import PreparedRows, balanced, fit
from gdkernels.tabular.hyperparameters import (
    explanation_of,
    network_arguments,
    run_arguments,
    settings_as_told,
    trainer_arguments,
)
from gdkernels.tabular.prediction import PreparedNetwork
from gdkernels.tabular.results import TabularResult
from gdkernels.tabular.search import searched
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.splits import is_cross_validated, is_folded, split_rows
from gdkernels.tabular.targets import check_range, network_targets, task_and_loss, truth_of

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
    table = reread(table, settings.choices)
    if settings.drop_missing:
        table = with_targets(table, settings.target)
    targets = checked_targets(table, settings.target, settings.task_said)
    task, loss = task_and_loss(settings, table, targets)
    rows = split_rows(settings, len(table), labels(table, targets[0]) if task == "classification" else None)
    counts, learn = rows.counts, len(rows.learn)
    with phase("preparing"):
        preparation = Preparation.fit(
            table,
            targets,
            task=task,
            rows=rows.learn,
            ignore=settings.choices.ignore,
            keep=settings.choices.keep,
            categorical=settings.choices.categorical,
            numeric=settings.choices.numeric,
            read=settings.choices.read,
            missing=settings.choices.missing,
            standardise_targets=loss != "poisson",
        )
        x, y = preparation.transform(table), preparation.transform_targets(table)
    check_range(y, table, targets, settings.precision)
    outputs, network_y = network_targets(preparation, loss, y)
    network = network_arguments(settings, task, loss, counts["train"], outputs, x[rows.learn])
    trainer = trainer_arguments(settings, loss, counts["train"], encoded=network["encoding"] is not None)
    run = run_arguments(settings, counts["train"], counts["validation"])

    def prepared(chosen: npt.NDArray[Any]) -> PreparedRows:
        weights = balanced(y[chosen]) if settings.class_weight == "balanced" else None
        return PreparedRows(x[chosen], network_y[chosen], weights)

    draws = [(prepared(train), prepared(validation)) for train, validation in rows.networks]
    began = time.perf_counter()
    choice, search = None, None
    if settings.best:
        assert settings.time_limit is not None
        mlp, histories, search = searched(
            settings, network, trainer, run, prepared(np.arange(len(x))), rows.networks, seconds=settings.time_limit
        )
    elif is_cross_validated(settings, learn):
        choice = cross_validated(
            network,
            draws if learn <= defaults.FEW else draws[:1],
            settings=trainer,
            search=settings.l2 is None,
            epochs=run["epochs"],
            patience=run["patience"] or 0,
            progress=settings.progress,
        )
        trainer["l2"] = choice.l2
        if choice.networks == len(draws):  # they stop together
            run |= {"epochs": choice.epochs, "patience": None}
    if search is None:
        folded = is_folded(settings, learn) and len(draws) > defaults.AT_LEAST
        mlp, histories = fit(network, draws, run={**trainer, **run}, most_work=defaults.MOST_WORK if folded else None)
    seconds = time.perf_counter() - began
    with phase("judging"):
        evaluation = EvaluationInParts(preparation)
        if counts["test"]:
            truth = truth_of(preparation, table, y)[rows.test]
            evaluation.add(truth, PreparedNetwork(mlp, preparation).prepared_in_pieces(x[rows.test]))
    return TabularResult(
        source=table.source,
        preparation=preparation,
        network=mlp,
        histories=tuple(histories),
        settings=settings_as_told(settings, trainer, run, len(draws) if search else len(histories)),
        rows=counts,
        class_records=_class_records(preparation, y),
        test=evaluation.result(),
        seconds=seconds,
        cross_validation=choice,
        search=search,
        explanation=explanation_of(settings, network, trainer, counts["train"], run["epochs"]),
    )


def _class_records(preparation: Preparation, y: npt.NDArray[Any]) -> dict[str, int] | None:
    """Return how many records each class has."""
    if preparation.classes is None:
        return None
    names = list(map(str, preparation.classes.tolist()))
    return dict(zip(names, np.bincount(y, minlength=len(names)).tolist(), strict=True))
