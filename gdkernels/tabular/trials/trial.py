"""A small training that answers a question about a table: one network, on some of the rows, measured on others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gdkernels.dispatch.shared_executables import Executables, sharing
from gdkernels.errors import DivergenceError, InputError
from gdkernels.system.hushed_logs import silenced
from gdkernels.tables import Table
from gdkernels.tables.column.column_data import Floats
from gdkernels.tables.features.kinds import Choices, reread
from gdkernels.tables.preparation.cross_fit import CrossFit
from gdkernels.tabular.evaluating.evaluation import Evaluation, EvaluationInParts
from gdkernels.tabular.model.prediction import PreparedNetwork
from gdkernels.tabular.networks.fitting import PreparedRows, balanced, fit
from gdkernels.tabular.networks.hyperparameters import network_arguments, run_arguments, trainer_arguments
from gdkernels.tabular.settings import TabularSettings
from gdkernels.tabular.settings.targets import Goal, network_targets, truth_of
from gdkernels.tabular.trials.preparing import learned_preparation

__all__ = ["MOST_ROWS", "Trial"]

MOST_ROWS = 5000  # of the table in a trial: it is to take seconds
_STEPS, _EPOCHS, _PATIENCE = 8000, 20, 20  # at most so many steps, but so many epochs even of many rows
_LOWEST = 1e-15


@dataclass(frozen=True)
class Trial:
    """A question: some rows to train on, and how.

    Attributes
    ----------
    table, goal
        The rows of the table that take part, and what is learned of them.
    train, validation
        The numbers of those to train on, and of those that say when to stop.
    """

    settings: TabularSettings
    table: Table
    goal: Goal
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]

    def model(self, choices: Choices, *, offsets: tuple[float | None, ...] | None = None) -> TrialModel | None:
        """Train a network with these choices for the columns; None where that cannot be, or diverges.

        Parameters
        ----------
        offsets
            As `Numbers.fit` takes them.
        """
        goal, settings = (
            self.goal,
            replace(self.settings, starts=1, checkpoint=None, resume=False, retries=0, progress=False),
        )
        learn = np.sort(np.concatenate([self.train, self.validation]))
        try:
            preparation = learned_preparation(settings, self.table, goal, choices, rows=learn, offsets=offsets)
            table = reread(self.table, choices)
            x, y = preparation.transform(table), preparation.transform_targets(table)
            if (cross_fit := CrossFit.of(preparation, table.take(learn), learn)) is not None:
                x[learn] = cross_fit.transform(table.take(learn), learn)
            outputs, network_y = network_targets(preparation, goal.loss, y)
            network = network_arguments(
                settings, goal.task, goal.loss, len(self.train), outputs, x[learn], preparation.day_numbers
            )
            trainer = trainer_arguments(settings, goal.loss, len(self.train), encoded=network["encoding"] is not None)
            run = run_arguments(settings, len(self.train), len(self.validation))
            epochs = max(_EPOCHS, _STEPS * trainer.get("batch_size", len(self.train)) // len(self.train))
            run |= {"epochs": min(run["epochs"], epochs), "patience": min(run["patience"] or _PATIENCE, _PATIENCE)}

            def prepared(chosen: npt.NDArray[np.int64]) -> PreparedRows:
                weights = balanced(y[chosen]) if settings.class_weight == "balanced" else None
                return PreparedRows(x[chosen], network_y[chosen], weights)

            with silenced(), sharing(Executables()):
                made, _ = fit(network, [(prepared(self.train), prepared(self.validation))], run={**trainer, **run})
        except (DivergenceError, InputError):
            return None
        return TrialModel(PreparedNetwork(made, preparation), x, truth_of(preparation, table, y))


@dataclass(frozen=True)
class TrialModel:
    """What a trial trained, with the rows of its table: prepared, and the truth in the target's own terms."""

    model: PreparedNetwork
    x: Floats
    truth: npt.NDArray[np.float64]

    def losses(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Return for each of some rows the squared error in the target's own terms, or −log of the probability."""
        prediction, truth = self.model.predict_prepared(self.x[rows]), self.truth[rows]
        if prediction.probabilities is not None:
            true = np.asarray(prediction.probabilities, np.float64)[np.arange(len(rows)), truth.astype(np.int64)]
            return np.asarray(-np.log(np.clip(true, _LOWEST, 1)))
        errors = (prediction.values - truth).reshape(len(rows), -1) ** 2
        spread = np.var(self.truth.reshape(len(self.truth), -1), axis=0)
        return np.asarray(np.mean(errors / np.where(spread > 0, spread, 1.0), axis=1))

    def evaluation(self, rows: npt.NDArray[np.int64]) -> Evaluation:
        """Return the figures on some rows."""
        found = EvaluationInParts(self.model.preparation)
        found.add(self.truth[rows], self.model.prepared_in_pieces(self.x[rows]))
        result = found.result()
        assert result is not None
        return result
