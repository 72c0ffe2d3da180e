"""The evaluation of predictions: figures from sums that grow part by part, with a sample of the records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.metrics.confusion import Confusion
from gdkernels.metrics.streaming import ClassSums, Sums
from gdkernels.randomness import generator
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Preparation, parts
from gdkernels.tables.read import Data, source_of
from gdkernels.tables.sample import Sample
from gdkernels.tables.target_columns import checked_targets, complete
from gdkernels.tables.text import TextOptions
from gdkernels.tabular.prediction import Prediction, PreparedNetwork

__all__ = ["Evaluation", "EvaluationInParts", "evaluated"]

DRAWN = 100_000  # records of which truth and prediction are kept, for pictures
MATRIX = 100  # classes up to which there is a confusion matrix; of more, the pairs confused most often, so many of them

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Evaluation(Mapping[str, Any]):
    """The figures of a model's predictions on records with the truth in them.

    It can be read like a dict: ``records``, ``metrics`` and, of classes, ``classes`` and ``confusion``; of more than
    100 classes, ``confusion`` is None and ``confused`` lists the 100 pairs that are confused most often.

    Attributes
    ----------
    records
        The number of records.
    metrics
        Of a regression ``r2``, ``rmse`` and ``mae``; of classes ``accuracy`` and ``log_loss``.
    by_class
        Precision, recall and records of each class, and the confusion matrix [true class, predicted class] or the
        pairs confused; None for a regression.
    truth, predicted
        Of at most 100,000 of the records, drawn at random: class indices and labels, or numbers in the target's own
        terms.
    pairs
        The classes that were taken for each other, of any number; None for a regression.
    """

    records: int
    metrics: dict[str, float]
    by_class: dict[str, Any] | None
    truth: Array = field(repr=False)
    predicted: Array = field(repr=False)
    pairs: Confusion | None = field(default=None, repr=False)

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
    model: PreparedNetwork,
    data: Data,
    *,
    drop_missing: bool = False,
    options: TextOptions | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Predict a table part by part, and return how good that is.

    Raises
    ------
    InputError
        If the table has no records, or lacks what the model needs.
    """
    preparation = model.preparation
    evaluation = EvaluationInParts(preparation)
    with RecordCount("evaluating", progress) as bar:
        for part in parts(data, model.records_read, findings=preparation.findings, options=options):
            table = complete(part, preparation.targets) if drop_missing else part
            if len(table):
                checked_targets(table, preparation.targets, preparation.task)
                indices = preparation.classes is not None
                truth = preparation.transform_targets(table) if indices else preparation.target_values(table)
                evaluation.add(truth, (prediction for _, prediction in model.in_pieces(table)))
                bar.update(len(table))
    result = evaluation.result()
    if result is None:
        raise InputError(f"{source_of(data)} has no records{' that have a target' if drop_missing else ''}")
    return result


class EvaluationInParts:
    """An `Evaluation` that grows as records are predicted."""

    def __init__(self, preparation: Preparation) -> None:
        self._classes = preparation.classes
        self._numbers, self._shares = Sums(), ClassSums()
        self._drawn: Sample[tuple[Array, ...]] = Sample(
            DRAWN, generator(0, "drawn"), lambda part, rows: tuple(array[rows] for array in part)
        )
        self._confusion = None if self._classes is None else Confusion(len(self._classes))

    @property
    def records(self) -> int:
        return self._numbers.records if self._classes is None else self._shares.records

    def add(self, truth: Array, prediction: Prediction | Iterable[Prediction]) -> None:
        """Add a part of the records.

        Parameters
        ----------
        truth
            Class indices [records], or numbers in the target's own terms.
        prediction
            That of all of them, or those of pieces, one after the other, of which one at a time is in memory.
        """
        values: list[Array] = []
        predicted: list[Array] = []

        def pieces() -> Iterator[tuple[Array, Array]]:
            done = 0
            for piece in [prediction] if isinstance(prediction, Prediction) else prediction:
                values.append(piece.values)
                if piece.probabilities is not None:
                    predicted.append(np.argmax(piece.probabilities, axis=1))
                    yield truth[done : done + len(piece.values)], piece.probabilities
                done += len(piece.values)

        self._shares.add(pieces())
        self._drawn.add((truth, np.concatenate(values)), len(truth))
        if self._confusion is None:
            self._numbers.add(truth, np.concatenate(values))
        else:
            self._confusion.add(truth, np.concatenate(predicted))

    def result(self) -> Evaluation | None:
        """Return the evaluation; None without a record."""
        if not self.records:
            return None
        truth, predicted = (np.concatenate(arrays) for arrays in zip(*self._drawn.parts(), strict=True))
        return Evaluation(self.records, self._figures(), self.by_class(), truth, predicted, self._confusion)

    def _figures(self) -> dict[str, float]:
        if self._classes is None:
            return {name: self._numbers.figure(name) for name in ("r2", "rmse", "mae")}
        return {name: self._shares.figure(name) for name in ("accuracy", "log_loss")}

    def by_class(self) -> dict[str, Any] | None:
        """Return what `Evaluation.by_class` holds."""
        if self._classes is None or self._confusion is None:
            return None
        confusion, labels = self._confusion, self._classes.tolist()
        true, predicted, right = confusion.by_true(), confusion.by_predicted(), confusion.right()
        classes = [
            {
                "label": label,
                "records": int(true[k]),
                "precision": float(right[k] / predicted[k]) if predicted[k] else None,
                "recall": float(right[k] / true[k]) if true[k] else None,
            }
            for k, label in enumerate(labels)
        ]
        if len(labels) <= MATRIX:
            return {"classes": classes, "confusion": confusion.matrix().tolist()}
        confused = [
            {"true": labels[a], "predicted": labels[b], "records": records}
            for a, b, records in confusion.most_confused(MATRIX)
        ]
        return {"classes": classes, "confusion": None, "confused": confused}
