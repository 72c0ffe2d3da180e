"""A trained network with the preparation of its table: from raw records to predictions in the target's own terms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import metrics
from gdkernels.errors import FileError, InputError
from gdkernels.mlp import MLP, load
from gdkernels.tables import Preparation, Table

__all__ = ["Prediction", "Predictor", "by_class", "figures"]


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
        from gdkernels.files.onnx import write_onnx

        write_onnx(self.mlp, path, preparation=self.preparation, overwrite=overwrite)

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


def figures(truth: npt.NDArray[Any], prediction: Prediction) -> dict[str, float]:
    """Return how good predictions are.

    Parameters
    ----------
    truth
        Class indices [records], or numbers in the target's own terms.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # figures too large for a number come out as such
        if prediction.probabilities is None:
            return {name: metrics.METRICS[name](truth, prediction.values) for name in ("r2", "rmse", "mae")}
        target = np.eye(prediction.probabilities.shape[1])[truth]
        return {name: metrics.METRICS[name](target, prediction.probabilities) for name in ("accuracy", "log_loss")}


def by_class(truth: npt.NDArray[Any], prediction: Prediction, labels: npt.NDArray[Any]) -> dict[str, Any]:
    """Return precision, recall and records of each class, and the confusion matrix [true class, predicted class]."""
    assert prediction.probabilities is not None
    count = len(labels)
    predicted = np.argmax(prediction.probabilities, axis=1)
    confusion = np.bincount(count * truth + predicted, minlength=count * count).reshape(count, count)
    right = np.diag(confusion)
    classes = [
        {
            "label": label,
            "records": int(confusion[k].sum()),
            "precision": float(right[k] / confusion[:, k].sum()) if confusion[:, k].any() else None,
            "recall": float(right[k] / confusion[k].sum()) if confusion[k].any() else None,
        }
        for k, label in enumerate(labels.tolist())
    ]
    return {"classes": classes, "confusion": confusion.tolist()}
