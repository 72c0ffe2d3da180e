"""What a network learns of a table: its targets, as classes or as numbers, by a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import storage_dtype
from gdkernels.errors import InputError, keyword
from gdkernels.tables import Preparation, Table, task_of
from gdkernels.tables.column.column_data import Text, finding_of
from gdkernels.tables.preparation.outcomes import Numbers, labels
from gdkernels.tables.preparation.target_columns import checked_targets
from gdkernels.tabular.settings import TabularSettings, defaults
from gdkernels.tabular.settings.keywords import CLASS_LOSSES

__all__ = ["Goal", "check_range", "network_targets", "truth_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Goal:
    """What is learned of a table.

    Attributes
    ----------
    targets
        The columns that are predicted.
    task
        "classification" or "regression".
    loss
        The name of the loss.
    """

    targets: tuple[str, ...]
    task: str
    loss: str

    @classmethod
    def of(cls, settings: TabularSettings, table: Table) -> Goal:
        """Return what the settings ask for; what they leave open follows from the table.

        Raises
        ------
        InputError
            If targets, task and loss do not go together, or other settings do not go with them.
        """
        targets = checked_targets(table, settings.target, settings.task_said)
        settings.choices.check_targets(targets)
        settings.split.check_targets(targets)
        return cls(targets, *_task_and_loss(settings, table, targets))

    @property
    def is_classification(self) -> bool:
        return self.task == "classification"


def _task_and_loss(settings: TabularSettings, table: Table, targets: tuple[str, ...]) -> tuple[str, str]:
    """Return the task and the name of the loss; each follows from the other if only one was given."""
    task, loss = settings.task, settings.loss_name
    if task == "auto" and loss in CLASS_LOSSES:
        task = "classification"
    elif task == "auto":
        task = "regression" if loss == "poisson" else task_of(table, targets)
    loss = loss or defaults.LOSSES[task]
    if task == "regression":
        _check_dates(table, targets)
    if (loss in CLASS_LOSSES and task == "regression") or (loss == "poisson" and task == "classification"):
        raise InputError(f"{keyword('loss', loss)} is not for {task}; leave out {keyword('task')} or {keyword('loss')}")
    if settings.class_weight == "balanced" and task != "classification":
        raise InputError(f"{keyword('class_weight', 'balanced')} is for classes; leave it out for numbers")
    if settings.bounds not in ("auto", None) and task != "regression":
        raise InputError(f"{keyword('bounds')} is for numbers; leave it out for classes")
    if task == "classification":
        _check_classes(table, targets, loss)
    return task, loss


def _check_dates(table: Table, targets: tuple[str, ...]) -> None:
    for target in targets:
        column = table.columns[target]
        if isinstance(column, Text) and finding_of(column).reading.kind == "date":
            raise InputError(
                f"{target!r} holds dates, which cannot be predicted; make a number of them, such as the days since "
                f"another date, or choose another {keyword('target')}"
            )


def _check_classes(table: Table, targets: tuple[str, ...], loss: str) -> None:
    if len(targets) > 1:
        raise InputError(
            f"classes are one target, not {len(targets)}; name one, or say {keyword('task', 'regression')}"
        )
    count = len(set(labels(table, targets[0]).tolist()))
    if loss == "binary_cross_entropy" and count != 2:
        raise InputError(f"{keyword('loss', loss)} is for two classes; {targets[0]!r} has {count:,}")
    if count > max(1, len(table) // 3):
        _check_dates(table, targets)
        column = table.columns[targets[0]]
        if isinstance(column, Text) and finding_of(column).number is None:  # none of them is a number
            what = "add records of each name, or write names that mean the same alike"
        else:
            what = f"add records, use {keyword('task', 'regression')} if they are numbers"
        raise InputError(
            f"{targets[0]!r} has {count:,} different values in {len(table):,} records: too many for classes, "
            f"of which each should have three; {what}, or use another {keyword('target')}"
        )


def network_targets(preparation: Preparation, loss: str, y: Array) -> tuple[int, Array]:
    """Return the number of outputs, and the targets as the loss takes them."""
    if preparation.classes is None:
        if loss == "poisson" and y.min() < 0:
            raise InputError(
                f"{keyword('loss', 'poisson')} is for counts; {preparation.targets[0]!r} has the value {y.min():g}"
            )
        return y.shape[1], y
    if loss == "binary_cross_entropy":
        return 1, y
    count = len(preparation.classes)
    return count, y if loss == "cross_entropy" else np.eye(count)[y]


def check_range(y: Array, table: Table, preparation: Preparation, precision: str) -> None:
    """Refuse targets one of which is infinite in the precision, or would be if it were kept from training.

    So what is refused does not depend on the rows that are drawn.
    """
    targets, most = preparation.targets, float(np.finfo(storage_dtype(precision)).max)
    wrong = ~(np.abs(y.reshape(len(y), -1)) < most)
    outcome = preparation.outcome
    if not wrong.any() and isinstance(outcome, Numbers) and outcome.scaling is not None:
        for k, values in enumerate(outcome.unscaled(table).T):
            furthest = int(np.argmax(np.abs(values - np.median(values))))
            others = np.delete(values, furthest)
            spread = float(np.std(others)) if len(others) else 0.0
            if spread and abs(float(values[furthest]) / spread - float(np.mean(others)) / spread) > most:
                wrong[furthest, k] = True
    if wrong.any():
        row, column = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        value = np.asarray(table.columns[targets[column]])[row]
        raise InputError(
            f"{table.place(int(row), targets[column])}: {value:g} is too far from the other values for {precision}; "
            "remove it"
        )


def truth_of(preparation: Preparation, table: Table, y: Array) -> Array:
    """Return what predictions are compared with: the class indices `y`, or numbers in the target's own terms."""
    return y if preparation.classes is not None else preparation.target_values(table)
