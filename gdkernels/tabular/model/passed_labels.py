"""The labels of classes as they were passed: booleans and text come back as what they were."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gdkernels.errors import FileError
from gdkernels.models.network import Network
from gdkernels.tables import Preparation, Table
from gdkernels.tables.formats.objects import own_labels, target_cells
from gdkernels.tables.preparation.outcomes import labels
from gdkernels.tabular.model.prediction import Prediction

__all__ = ["PassedLabels"]

_KEY = "labels"  # in a model file
_BOTH = (False, True)


@dataclass(frozen=True)
class PassedLabels:
    """The label of each class, in the order of the classes: all booleans, or all text.

    A table knows the text of its cells alone, so that True would come back as "True".
    """

    of_classes: list[Any]

    @classmethod
    def of_fit(cls, X: Any, y: Any, table: Table, preparation: Preparation) -> Self | None:
        """Return the labels that X, or y beside it, held for `table`; None if they need no care."""
        if preparation.classes is None:
            return None
        (name,) = preparation.targets
        cells = target_cells(X, y, name)
        found = None if cells is None else own_labels(cells, preparation.classes.tolist(), labels(table, name))
        return None if found is None else cls(found)

    @classmethod
    def of_model(cls, network: Network, preparation: Preparation, path: str | os.PathLike[str]) -> Self | None:
        """Return the labels that a network keeps, which was read from `path`; None if it keeps none.

        Raises
        ------
        FileError
            If they are neither booleans nor text, or not one for each class.
        """
        found, classes = network.extra.get(_KEY), preparation.classes
        if found is None:
            return None
        alike = isinstance(found, list) and {type(label) for label in found} in ({bool}, {str})
        if classes is None or not alike or len(found) != len(classes):
            raise FileError(f"cannot read the model {os.fspath(path)}: its labels do not fit its classes")
        return cls(found)

    def for_model(self) -> dict[str, Any]:
        """Return what a model file keeps of them."""
        return {_KEY: self.of_classes}

    def as_array(self) -> npt.NDArray[Any]:
        """Return them [classes]."""
        return np.array(self.of_classes, bool if self.of_classes[0] in _BOTH else object)

    def applied_to(self, prediction: Prediction) -> Prediction:
        """Return a prediction of classes with these labels."""
        if prediction.probabilities is None:
            return prediction
        indices = np.argmax(prediction.probabilities, axis=1)
        return Prediction(self.as_array()[indices], prediction.probabilities)
