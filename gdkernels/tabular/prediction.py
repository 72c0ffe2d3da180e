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

__all__ = ["Prediction", "PreparedNetwork", "blocks", "in_blocks"]

_PREDICTED = 1 << 23  # numbers that are predicted at a time: of many classes, fewer records


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


def blocks(records: int, outputs: int) -> Iterator[slice]:
    """Yield the rows of blocks of records whose predictions, of so many numbers each, are of bounded size."""
    most = max(1, _PREDICTED // outputs)
    for first in range(0, records, most):
        yield slice(first, min(records, first + most))


def in_blocks(table: Table, preparation: Preparation) -> Iterator[tuple[slice, Table]]:
    """Yield the blocks of a table, by `blocks`, with their rows."""
    outputs = len(preparation.targets) if preparation.classes is None else len(preparation.classes)
    for rows in blocks(len(table), outputs):
        block = table.take(rows)
        yield rows, Table(block.columns, table.source, table.targets, table.first + rows.start)


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
            for part in parts(data):
                for _, table in in_blocks(part, self.preparation):
                    yield table, self.predict(table)
                    bar.update(len(table))
            if not bar.done:
                raise InputError(f"{source_of(data)} has no records")
