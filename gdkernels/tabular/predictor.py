"""A trained network with the preparation of its table: from raw records to predictions in the target's own terms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import FileError, InputError
from gdkernels.metrics.streaming import Sums
from gdkernels.models.mlp import MLP, load
from gdkernels.tables import Preparation, Table

__all__ = ["Judgement", "Prediction", "Predictor"]


@dataclass(frozen=True)
class Prediction:
    """What a network says of some records.

    Attributes
    ----------
    values
        Labels [records], or numbers [records] or [records, outputs].
    probabilities
        Those of the classes [records, classes]; None for a regression.
    """

    values: npt.NDArray[Any]
    probabilities: npt.NDArray[Any] | None = None


@dataclass(frozen=True)
class Predictor:
    """A network and the preparation of its inputs."""

    mlp: MLP
    preparation: Preparation

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, backend: str = "auto", device: str | None = None) -> Predictor:
        """Return what ``gdkernels train --out`` wrote.

        Raises
        ------
        FileError
            Where the file cannot be read, or holds a network without a preparation.
        """
        mlp = load(path, backend=backend, device=device)
        if "preparation" not in mlp.extra:
            raise FileError(
                f"the model {os.fspath(path)} says nothing of the columns it was trained on; use gdkernels.load, or "
                "train it by gdkernels train"
            )
        try:
            preparation = Preparation.from_json(mlp.extra["preparation"])
        except InputError as error:
            raise FileError(f"cannot read the model {os.fspath(path)}: {error}") from None
        classes = preparation.classes
        outputs = len(preparation.targets) if classes is None else len(classes)
        if mlp.sizes[0] != len(preparation.features) or mlp.sizes[-1] not in {outputs, 1 if outputs == 2 else outputs}:
            raise FileError(f"cannot read the model {os.fspath(path)}: its columns do not fit its network")
        return cls(mlp, preparation)

    def export_onnx(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write an ONNX model that takes the raw columns of a table, and predicts what this does.

        Its inputs are the columns [records, 1]: numbers as float64 with NaN for gaps; text with "" for them; dates as
        whole seconds since 1970-01-01 UTC, the smallest 64-bit integer for them. Its output is ``prediction``
        [records, targets], or of classes ``label`` [records] and ``probabilities`` [records, classes].

        Raises
        ------
        InputError
            Where the package onnx is missing.
        FileError
            If the file exists and `overwrite` is not set, or cannot be written; nothing is ever half-written.
        """
        from gdkernels.interchange.onnx import write_onnx

        write_onnx(self.mlp.network, path, preparation=self.preparation, overwrite=overwrite)

    def predict(self, table: Table) -> Prediction:
        """Return the predictions for the records of a table as it was read."""
        return self.predict_prepared(self.preparation.transform(table))

    def predict_prepared(self, x: npt.NDArray[Any]) -> Prediction:
        """Return the predictions for inputs that are prepared already."""
        output = np.asarray(self.mlp.predict(x))
        if self.preparation.classes is None:
            return Prediction(self.preparation.restore(output))
        # With a loss of numbers, the network puts out a softmax and predicts that.
        probability = np.asarray(self.mlp.predict_proba(x) if output.ndim == 1 else output)
        if probability.shape[1] == 1:
            probability = np.hstack([1 - probability, probability])
        return Prediction(self.preparation.restore(np.argmax(probability, axis=1)), probability)


class Judgement:
    """How good predictions are, from sums: it grows part by part, and keeps none of them.

    Attributes
    ----------
    confusion
        How many records there are of each true class [rows] and predicted class [columns]; empty for a regression.
    """

    def __init__(self, preparation: Preparation) -> None:
        self._classes = preparation.classes
        self._sums = Sums()
        count = 0 if self._classes is None else len(self._classes)
        self.confusion = np.zeros((count, count), np.int64)

    @property
    def records(self) -> int:
        return self._sums.records

    def add(self, truth: npt.NDArray[Any], prediction: Prediction) -> None:
        """Add records.

        Parameters
        ----------
        truth
            Class indices [records], or numbers in the target's own terms.
        """
        if prediction.probabilities is None:
            self._sums.add(truth, prediction.values)
            return
        count = prediction.probabilities.shape[1]
        self._sums.add(np.eye(count)[truth], prediction.probabilities)
        predicted = np.argmax(prediction.probabilities, axis=1)
        self.confusion += np.bincount(count * truth + predicted, minlength=count * count).reshape(count, count)

    def figures(self) -> dict[str, float]:
        """Return the figures of a regression, or of classes."""
        names = ("r2", "rmse", "mae") if self._classes is None else ("accuracy", "log_loss")
        return {name: self._sums.figure(name) for name in names}

    def by_class(self) -> dict[str, Any] | None:
        """Return precision, recall and records of each class, and the confusion matrix [true class, predicted class].

        None for a regression.
        """
        if self._classes is None:
            return None
        confusion, right = self.confusion, np.diag(self.confusion)
        classes = [
            {
                "label": label,
                "records": int(confusion[k].sum()),
                "precision": float(right[k] / confusion[:, k].sum()) if confusion[:, k].any() else None,
                "recall": float(right[k] / confusion[k].sum()) if confusion[k].any() else None,
            }
            for k, label in enumerate(self._classes.tolist())
        ]
        return {"classes": classes, "confusion": confusion.tolist()}
