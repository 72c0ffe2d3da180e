"""What rows left out say of the training that is kept: its penalty, when it stops, and on which rows it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.models.network import Network
from gdkernels.tabular.networks.cross_validation import CrossValidation, cross_validated
from gdkernels.tabular.networks.fitting import PreparedRows, fit
from gdkernels.tabular.networks.splits import RowSplit, is_cross_validated, is_folded, stops_together
from gdkernels.tabular.networks.stopping_together import StoppingTogether, stopped_together
from gdkernels.tabular.settings import TabularSettings, defaults
from gdkernels.training.history import History

__all__ = ["Prepared", "TrainingPlan"]

Prepared = Callable[[npt.NDArray[np.int64]], PreparedRows]


@dataclass(frozen=True)
class TrainingPlan:
    """The training of the networks that are kept.

    Attributes
    ----------
    network, trainer, run
        The arguments of `network_of`, those of `Trainer`, and the others of `Network.fit`.
    draws
        For each network the rows to train and to validate on.
    work_is_bounded
        Whether fewer networks are trained where they take long.
    cross_validation, stopping
        What the rows left out have chosen, if they were asked.
    """

    network: dict[str, Any]
    trainer: dict[str, Any]
    run: dict[str, Any]
    draws: Sequence[tuple[PreparedRows, PreparedRows]]
    work_is_bounded: bool
    cross_validation: CrossValidation | None = None
    stopping: StoppingTogether | None = None

    @classmethod
    def of(
        cls,
        settings: TabularSettings,
        rows: RowSplit,
        prepared: Prepared,
        network: dict[str, Any],
        trainer: dict[str, Any],
        run: dict[str, Any],
    ) -> TrainingPlan:
        """Ask the rows left out, where the settings leave it to them.

        When several networks stop at one moment, they need no validation rows any more, and learn from all of them.

        Raises
        ------
        DivergenceError
            If a network diverges.
        """
        draws = [(prepared(train), prepared(left_out)) for train, left_out in rows.networks]
        everything = [(prepared(rows.learn), prepared(rows.learn[:0]))] * len(draws)
        learn = len(rows.learn)
        bounded = is_folded(settings, learn) and len(draws) > defaults.AT_LEAST
        if is_cross_validated(settings, learn):
            choice = cross_validated(
                network,
                draws if learn <= defaults.FEW else draws[:1],
                settings=trainer,
                search=settings.l2 is None,
                epochs=run["epochs"],
                patience=run["patience"] or 0,
                progress=settings.progress,
            )
            trainer = trainer | {"l2": choice.l2}
            if choice.networks == len(draws):
                run = run | {"epochs": choice.epochs, "patience": None}
                # Of fewer rows, networks that differ by theirs are worth more: on wine, the log loss rose by 0.01.
                draws = everything if learn >= defaults.ENCODED else draws
            return cls(network, trainer, run, draws, bounded, cross_validation=choice)
        if stops_together(settings, learn):
            train, left_out = rows.together
            stopping = stopped_together(
                network,
                (prepared(train), prepared(left_out)),
                settings=trainer,
                epochs=run["epochs"],
                patience=settings.patience or defaults.PATIENCE_TOGETHER,
                progress=settings.progress,
            )
            run = run | {"epochs": stopping.epochs, "patience": None}
            return cls(network, trainer, run, everything, bounded, stopping=stopping)
        return cls(network, trainer, run, draws, bounded)

    @property
    def rows(self) -> dict[str, int]:
        """How many rows the first network is trained and validated on."""
        train, validation = self.draws[0]
        return {"train": len(train), "validation": len(validation)}

    def fit(self) -> tuple[Network, list[History]]:
        """Train the networks; return their average, and the history of each.

        Raises
        ------
        DivergenceError
            If one of them diverges.
        """
        return fit(
            self.network,
            self.draws,
            run={**self.trainer, **self.run},
            most_work=defaults.MOST_WORK if self.work_is_bounded else None,
            at_least=defaults.AT_LEAST if self.stopping is None else defaults.AT_LEAST_TOGETHER,
            scale=1.0 if self.stopping is None else self.stopping.scale,
        )
