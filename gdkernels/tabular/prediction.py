"""A trained network with the preparation of its table: from raw records to predictions in the target's own terms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import FileError, InputError
from gdkernels.models.mlp import MLP
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Preparation, Table, parts
from gdkernels.tables.read import Data, source_of
from gdkernels.tabular.kept import check_kept

__all__ = ["Prediction", "PreparedNetwork"]


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
class PreparedNetwork:
    """A network and the preparation of its inputs."""

    network: MLP
    preparation: Preparation

    @classmethod
    def of(cls, network: MLP, path: str | os.PathLike[str]) -> PreparedNetwork:
        """Return a network that was read from `path` with the preparation that the file keeps.

        Raises
        ------
        FileError
            Where it keeps none, or one that does not fit the network, or what else it keeps makes no sense.
        """
        if "preparation" not in network.extra:
            raise FileError(
                f"the model {os.fspath(path)} says nothing of the columns it was trained on; use gdkernels.load, or "
                "train it by gdkernels train"
            )
        check_kept(network.extra, path)
        try:
            preparation = Preparation.from_json(network.extra["preparation"])
        except InputError as error:
            raise FileError(f"cannot read the model {os.fspath(path)}: {error}") from None
        classes = preparation.classes
        outputs = len(preparation.targets) if classes is None else len(classes)
        fits = {outputs, 1 if outputs == 2 else outputs}
        if network.sizes[0] != len(preparation.features) or network.sizes[-1] not in fits:
            raise FileError(f"cannot read the model {os.fspath(path)}: its columns do not fit its network")
        return cls(network, preparation)

    def predict(self, table: Table) -> Prediction:
        """Return the predictions for the records of a table as it was read."""
        return self.predict_prepared(self.preparation.transform(table))

    def predict_prepared(self, x: npt.NDArray[Any]) -> Prediction:
        """Return the predictions for inputs that are prepared already."""
        output = np.asarray(self.network.predict(x))
        if self.preparation.classes is None:
            return Prediction(self.preparation.restore(output))
        # With a loss of numbers, the network puts out a softmax and predicts that.
        probability = np.asarray(self.network.predict_proba(x) if output.ndim == 1 else output)
        if probability.shape[1] == 1:
            probability = np.hstack([1 - probability, probability])
        return Prediction(self.preparation.restore(np.argmax(probability, axis=1)), probability)

    def predict_parts(self, data: Data, *, progress: bool | None = None) -> Iterator[tuple[Table, Prediction]]:
        """Yield a table part by part, each with its predictions, so that any size will do.

        Raises
        ------
        InputError
            Where there are no records, or a column is missing or holds what it cannot.
        """
        with RecordCount("predicting", progress) as bar:
            for table in parts(data):
                if len(table):
                    yield table, self.predict(table)
                    bar.update(len(table))
            if not bar.done:
                raise InputError(f"{source_of(data)} has no records")
