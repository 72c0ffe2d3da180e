"""What a fitted predictor does: it predicts tables, compares, measures drift, and is written to files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.tables import Table, parts, read
from gdkernels.tables.formats.objects import with_target
from gdkernels.tables.formats.text import TextOptions
from gdkernels.tables.read import Data
from gdkernels.tabular.evaluating.evaluation import Evaluation, evaluated
from gdkernels.tabular.model.drift import Drift, kept_profiles
from gdkernels.tabular.model.passed_labels import PassedLabels
from gdkernels.tabular.model.prediction import Prediction, PreparedNetwork
from gdkernels.tabular.model.unseen_names import UnseenNames
from gdkernels.tabular.settings.targets import network_targets

__all__ = ["FittedModel", "fitted_attributes", "keywords_of"]


def fitted_attributes(model: PreparedNetwork, labels: PassedLabels | None) -> dict[str, Any]:
    """Return the attributes of a fitted predictor that follow from its network."""
    preparation, extra = model.preparation, model.network.extra
    found = {
        "network": model.network,
        "preparation_": preparation,
        "metrics_": dict(extra.get("metrics") or {}),
        "rows_": dict(extra.get("rows") or {}),
        "feature_names_in_": np.array([kind.name for kind in preparation.columns], dtype=object),
        "n_features_in_": len(preparation.columns),
    }
    if preparation.classes is not None:
        found["classes_"] = preparation.classes if labels is None else labels.as_array()
    return found


def keywords_of(model: PreparedNetwork) -> dict[str, Any]:
    """Return the keywords of a predictor that a model file tells."""
    targets, network = model.preparation.targets, model.network
    return {
        "target": targets[0] if len(targets) == 1 else targets,
        "task": model.preparation.task,
        "seed": network.seed,
        "precision": network.precision or "float32",
    }


@dataclass(frozen=True)
class FittedModel:
    """A network with its preparation, the labels of its classes, and how tables are read for it.

    Attributes
    ----------
    options
        The form of text files.
    progress
        Whether to show a bar; None shows it on a terminal.
    told
        The columns of which the user was warned.
    """

    model: PreparedNetwork
    labels: PassedLabels | None
    options: TextOptions
    progress: bool | None
    told: set[str]

    def predict_parts(self, X: Data, used: Collection[str] = ()) -> Iterator[tuple[Table, Prediction]]:
        """Yield a table part by part, each with its predictions; of its columns those that are `used`, or all."""
        for table, prediction in self.model.predict_parts(X, options=self.options, progress=self.progress, used=used):
            yield table, prediction if self.labels is None else self.labels.applied_to(prediction)

    def predict(self, X: Data) -> npt.NDArray[Any]:
        """Return the number or the class of each record."""
        return np.concatenate([prediction.values for prediction in self._watched(X)])

    def predict_proba(self, X: Data) -> npt.NDArray[Any]:
        """Return the probabilities of the classes.

        Raises
        ------
        InputError
            If numbers are predicted.
        """
        if self.model.preparation.classes is None:
            raise InputError("predict_proba is for classes; this predicts numbers: call predict")
        found = [prediction.probabilities for prediction in self._watched(X)]
        return np.concatenate([probabilities for probabilities in found if probabilities is not None])

    def _watched(self, X: Data) -> list[Prediction]:
        """Return the predictions of a table in parts; warn once of each column of which no name is known."""
        preparation = self.model.preparation
        names, found = UnseenNames(preparation, self.told), []
        for table, prediction in self.predict_parts(X, preparation.inputs):
            names.add(table)
            found.append(prediction)
        if names.are_left:
            for name, message in names.found(kept_profiles(self.model.network.extra)).items():
                self.told.add(name)
                warnings.warn(message, stacklevel=4)  # a log is seen by those alone who have asked for it
        return found

    def evaluate(self, X: Data, y: Any, *, drop_missing: bool, importance: bool) -> Evaluation:
        """Return the figures on a table with the target in it, or beside it."""
        return evaluated(
            self.model,
            X if y is None else self._with_target(X, y),
            drop_missing=drop_missing,
            importance=importance,
            options=self.options,
            progress=self.progress,
        )

    def drift(self) -> Drift:
        """Return what measures the drift of tables that are added to it."""
        return Drift(self.model.preparation, kept_profiles(self.model.network.extra))

    def drift_of(self, X: Data) -> list[dict[str, Any]]:
        """Return for each column of a table the share that training has not seen."""
        found, findings = self.drift(), self.model.preparation.findings
        for part in parts(X, self.model.records_read, findings=findings, options=self.options):
            if len(part):
                found.add(part)
        return found.as_dicts()

    def prepared(self, X: Data, y: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the inputs and the targets of a table as the network takes them."""
        preparation = self.model.preparation
        table = self._read(X) if y is None else self._with_target(X, y)
        loss = self.model.network.extra["settings"]["loss"]
        targets = network_targets(preparation, loss, preparation.transform_targets(table))[1]
        return preparation.transform(table), targets

    def export_onnx(self, path: str | os.PathLike[str], *, overwrite: bool) -> None:
        """Write an ONNX model that takes raw columns."""
        from gdkernels.interchange.onnx import write_onnx

        write_onnx(self.model.network.network, path, preparation=self.model.preparation, overwrite=overwrite)

    def _with_target(self, X: Data, y: Any) -> Table:
        return with_target(self._read(X), y, self.model.preparation.targets)

    def _read(self, X: Data) -> Table:
        return read(X, header=self.options.header, skip_rows=self.options.skip_rows)
