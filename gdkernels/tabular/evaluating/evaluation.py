"""The evaluation of predictions: figures from sums that grow part by part, with a sample of the records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.metrics.confusion import Confusion
from gdkernels.metrics.reliability import BINS, Reliability
from gdkernels.metrics.streaming import ClassSums, Sums
from gdkernels.randomness import generator
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Preparation, Table, parts
from gdkernels.tables.formats.text import TextOptions
from gdkernels.tables.preparation.target_columns import checked_targets, complete
from gdkernels.tables.read import Data, source_of
from gdkernels.tables.rows.sample import Sample
from gdkernels.tables.table.joining import joined
from gdkernels.tabular.evaluating.baseline import UNEVEN, baseline_of_classes, baseline_of_numbers
from gdkernels.tabular.evaluating.importance import IMPORTANCE_ROWS, permutation_importance
from gdkernels.tabular.model.prediction import Prediction, PreparedNetwork

__all__ = ["Evaluation", "EvaluationInParts", "evaluated", "in_words", "with_truth"]

DRAWN = 100_000  # records of which truth and prediction are kept, for pictures
MATRIX = 100  # classes up to which there is a confusion matrix; of more, the pairs confused most often, so many of them

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Evaluation(Mapping[str, Any]):
    """The figures of a model's predictions on records with the truth in them.

    It can be read like a dict: ``records``, ``metrics``, ``baseline``, ``calibration`` and, of classes, ``classes`` and
    ``confusion``; of more than 100 classes, ``confusion`` is None and ``confused`` lists the 100 pairs that are
    confused most often.

    Attributes
    ----------
    records
        The number of records.
    metrics
        Of a regression ``r2``, ``rmse`` and ``mae``; of classes ``accuracy``, ``log_loss``, ``balanced_accuracy`` (the
        mean recall of the classes) and ``brier`` (the mean squared error of the probabilities: of two classes that of
        one, of more the sum).
    by_class
        Precision, recall and records of each class, and the confusion matrix [true class, predicted class] or the
        pairs confused; None for a regression.
    baseline
        The same figures of the best answer that is the same for all these records: the most frequent class, with the
        shares as probabilities, or the mean.
    calibration
        Of classes, whether the probability of the predicted class is the share that is right: ``error`` is the mean
        difference over ``bins`` of equal width, ``by_chance`` that of right probabilities in so few records. None for a
        regression.
    importance
        If it was asked for, by how much ``figure`` gets worse when the cells of a column are shuffled among the
        ``records``: a list of ``columns``, each with its ``importance`` and the ``standard_error``.
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
    baseline: dict[str, float] = field(default_factory=dict)
    importance: dict[str, Any] | None = field(default=None, repr=False)
    calibration: dict[str, Any] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; figures that are not finite are None."""
        told = {"records": self.records, "metrics": _finite(self.metrics), "baseline": _finite(self.baseline)}
        told |= {"calibration": self.calibration, **(self.by_class or {})}
        return told if self.importance is None else told | {"importance": self.importance}

    def __getitem__(self, name: str) -> Any:
        return self.as_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())

    @property
    def tells_nothing(self) -> bool:
        """Whether the baseline is as good."""
        if self.calibration is None:
            return not self.metrics["r2"] > 0
        return not self.metrics["log_loss"] < self.baseline["log_loss"]

    @property
    def tells_no_class(self) -> bool:
        """Whether the mean recall of the classes is no better than that of the baseline, whatever the probabilities."""
        return not self.metrics["balanced_accuracy"] > self.baseline["balanced_accuracy"]

    def lines(self) -> dict[str, str]:
        """Return what to say of the figures besides them, a line for each thing."""
        first = ("accuracy", "log_loss") if self.calibration is not None else tuple(self.metrics)
        what = "always the mean" if self.calibration is None else "always the most frequent class"
        said = {"baseline": f"{in_words(self.baseline, first)}: {what}"}
        if self.calibration is None and not self.baseline.get("rmse", 1.0):
            same = "the target is the same in all records" if self.records > 1 else "this is a single record"
            said["constant"] = f"{same}, which has no R²: it is given as 0"
        if self.calibration is None or self.by_class is None:
            return said
        classes = [told for told in self.by_class["classes"] if told["records"]]
        rare, frequent = (pick(classes, key=lambda told: told["records"]) for pick in (min, max))
        if frequent["records"] >= UNEVEN * rare["records"]:
            said["uneven"] = (
                f"recall of the rarest class {rare['label']} {rare['recall']:.4g} ({rare['records']:,} records); "
                f"balanced accuracy {self.metrics['balanced_accuracy']:.4g} "
                f"(baseline {self.baseline['balanced_accuracy']:.4g})"
            )
        off, by_chance = self.calibration["error"], self.calibration["by_chance"]
        said["brier"] = (
            f"{self.metrics['brier']:.4g} (baseline {self.baseline['brier']:.4g}); probabilities are off by {off:.2g} "
            f"on average, in {BINS} bins ({by_chance:.2g} by chance)"
        )
        return said


def in_words(figures: Mapping[str, float], names: Iterable[str]) -> str:
    """Return some figures in a line."""
    return ", ".join(f"{name} {figures[name]:.4g}" for name in names)


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def evaluated(
    model: PreparedNetwork,
    data: Data,
    *,
    drop_missing: bool = False,
    importance: bool = False,
    options: TextOptions | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Predict a table part by part, and return how good that is.

    Parameters
    ----------
    importance
        Whether to measure the importance of each column, on records drawn at random.

    Raises
    ------
    InputError
        If the table has no records, or lacks what the model needs.
    """
    preparation = model.preparation
    evaluation = EvaluationInParts(preparation)
    drawn: Sample[Table] = Sample(
        IMPORTANCE_ROWS, generator(0, "importance"), lambda part, rows: part.take(rows).copy()
    )
    with RecordCount("evaluating", progress) as bar:
        read = with_truth(preparation, data, model.records_read, drop_missing=drop_missing, options=options)
        for table, truth in read:
            evaluation.add(truth, (prediction for _, prediction in model.in_pieces(table)))
            if importance:
                drawn.add(table, len(table))
            bar.update(len(table))
    result = evaluation.result()
    if result is None:
        raise InputError(f"{source_of(data)} has no records{' that have a target' if drop_missing else ''}")
    if importance:
        sample = joined([part for part in drawn.parts() if len(part)], source_of(data))
        return replace(result, importance=permutation_importance(model, sample, progress))
    return result


def with_truth(
    preparation: Preparation, data: Data, records: int, *, drop_missing: bool, options: TextOptions | None
) -> Iterator[tuple[Table, Array]]:
    """Yield a table in parts of at most so many records, each with its truth as `EvaluationInParts` takes it."""
    for part in parts(data, records, findings=preparation.findings, options=options):
        table = complete(part, preparation.targets) if drop_missing else part
        if len(table):
            checked_targets(table, preparation.targets, preparation.task)
            indices = preparation.classes is not None
            yield table, preparation.transform_targets(table) if indices else preparation.target_values(table)


class EvaluationInParts:
    """An `Evaluation` that grows as records are predicted."""

    def __init__(self, preparation: Preparation) -> None:
        self._classes = preparation.classes
        self._numbers, self._shares = Sums(), ClassSums()
        self._drawn: Sample[tuple[Array, ...]] = Sample(
            DRAWN, generator(0, "drawn"), lambda part, rows: tuple(array[rows] for array in part)
        )
        self._confusion = None if self._classes is None else Confusion(len(self._classes))
        self._reliability = Reliability()

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
                    true = truth[done : done + len(piece.values)]
                    self._reliability.add(true, piece.probabilities)
                    yield true, piece.probabilities
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
        if self._confusion is None:
            figures = {name: self._numbers.figure(name) for name in ("r2", "rmse", "mae")}
            baseline = baseline_of_numbers(self._numbers.spread, truth)
            return Evaluation(self.records, figures, None, truth, predicted, baseline=baseline)
        true, right = self._confusion.by_true(), self._confusion.right()
        figures = {name: self._shares.figure(name) for name in ("accuracy", "log_loss")}
        figures |= {"balanced_accuracy": float(np.mean(right[true > 0] / true[true > 0]))}
        figures |= {"brier": self._reliability.brier}
        found = self._reliability
        return Evaluation(
            self.records,
            figures,
            self.by_class(),
            truth,
            predicted,
            self._confusion,
            baseline_of_classes(true),
            None,
            {"error": found.error, "by_chance": found.by_chance, "bins": found.bins()},
        )

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
