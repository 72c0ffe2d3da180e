"""How good predictions are: from sums that grow part by part, and keep but a sample of the records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.metrics.streaming import Sums
from gdkernels.randomness import generator
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Preparation, parts
from gdkernels.tables.preparation import checked_targets, complete
from gdkernels.tables.read import Data, source_of
from gdkernels.tables.sample import Sample
from gdkernels.tabular.prediction import Prediction, PreparedNetwork, blocks, in_blocks

__all__ = ["Evaluation", "EvaluationInParts", "evaluated"]

DRAWN = 100_000  # records of which truth and prediction are kept, for pictures

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Evaluation(Mapping[str, Any]):
    """How good a model's predictions are, on records with the truth in them.

    It can be read like a dict: ``records``, ``metrics`` and, of classes, ``classes`` and ``confusion``.

    Attributes
    ----------
    records
        How many there were.
    metrics
        Of a regression ``r2``, ``rmse`` and ``mae``; of classes ``accuracy`` and ``log_loss``.
    by_class
        Precision, recall and records of each class, and the confusion matrix [true class, predicted class]; None for a
        regression.
    truth, predicted
        Of at most 100,000 of the records, drawn at random: class indices and labels, or numbers in the target's own
        terms.
    """

    records: int
    metrics: dict[str, float]
    by_class: dict[str, Any] | None
    truth: Array = field(repr=False)
    predicted: Array = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; figures that are not finite are None."""
        figures = {name: value if math.isfinite(value) else None for name, value in self.metrics.items()}
        return {"records": self.records, "metrics": figures, **(self.by_class or {})}

    def __getitem__(self, name: str) -> Any:
        return self.as_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())


def evaluated(
    model: PreparedNetwork, data: Data, *, drop_missing: bool = False, progress: bool | None = None
) -> Evaluation:
    """Predict a table part by part, and return how good that is.

    Raises
    ------
    InputError
        Where the table has no records, or lacks what the model needs.
    """
    preparation = model.preparation
    evaluation = EvaluationInParts(preparation)
    with RecordCount("evaluating", progress) as bar:
        for part in parts(data):
            table = complete(part, preparation.targets) if drop_missing else part
            if len(table):
                checked_targets(table, preparation.targets, preparation.task)
                indices = preparation.classes is not None
                truth = preparation.transform_targets(table) if indices else preparation.target_values(table)
                for rows, block in in_blocks(table, preparation):
                    evaluation.add(truth[rows], model.predict(block))
                bar.update(len(table))
    result = evaluation.result()
    if result is None:
        raise InputError(f"{source_of(data)} has no records{' that have a target' if drop_missing else ''}")
    return result


class EvaluationInParts:
    """An `Evaluation` that grows as records are predicted.

    Attributes
    ----------
    confusion
        How many records there are of each true class [rows] and predicted class [columns]; empty for a regression.
    """

    def __init__(self, preparation: Preparation) -> None:
        self._classes = preparation.classes
        self._sums = Sums()
        self._drawn: Sample[tuple[Array, ...]] = Sample(
            DRAWN, generator(0, "drawn"), lambda part, rows: tuple(array[rows] for array in part)
        )
        count = 0 if self._classes is None else len(self._classes)
        self.confusion = np.zeros((count, count), np.int64)

    @property
    def records(self) -> int:
        return self._sums.records

    def add(self, truth: Array, prediction: Prediction) -> None:
        """Add records.

        Parameters
        ----------
        truth
            Class indices [records], or numbers in the target's own terms.
        """
        self._drawn.add((truth, prediction.values), len(truth))
        if prediction.probabilities is None:
            self._sums.add(truth, prediction.values)
            return
        count = prediction.probabilities.shape[1]
        for rows in blocks(len(truth), count):
            self._sums.add(truth[rows, None] == np.arange(count), prediction.probabilities[rows])
        np.add.at(self.confusion, (truth, np.argmax(prediction.probabilities, axis=1)), 1)

    def result(self) -> Evaluation | None:
        """Return what it came to; None without a record."""
        if not self.records:
            return None
        truth, predicted = (np.concatenate(arrays) for arrays in zip(*self._drawn.parts(), strict=True))
        return Evaluation(self.records, self._figures(), self.by_class(), truth, predicted)

    def _figures(self) -> dict[str, float]:
        names = ("r2", "rmse", "mae") if self._classes is None else ("accuracy", "log_loss")
        return {name: self._sums.figure(name) for name in names}

    def by_class(self) -> dict[str, Any] | None:
        """Return precision, recall and records of each class, and the confusion matrix; None for a regression."""
        if self._classes is None:
            return None
        right, true, said = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        classes = [
            {
                "label": label,
                "records": int(true[k]),
                "precision": float(right[k] / said[k]) if said[k] else None,
                "recall": float(right[k] / true[k]) if true[k] else None,
            }
            for k, label in enumerate(self._classes.tolist())
        ]
        return {"classes": classes, "confusion": self.confusion.tolist()}
