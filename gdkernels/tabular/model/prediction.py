"""A trained network with the preparation of its table: from raw records to predictions in the target's own terms."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import FileError, InputError
from gdkernels.models.network import Network
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Preparation, Table, parts
from gdkernels.tables.formats.text import TextOptions
from gdkernels.tables.read import PART, Data, source_of
from gdkernels.tabular.model.kept import check_kept

__all__ = ["Prediction", "PreparedNetwork", "records_prepared"]

PIECE = 128 << 20  # bytes, about, that records take at a time on their way to predictions
# Bytes of a cell of the table as it is read; of a feature while it is prepared; of a unit of the network; of a
# prediction, which may become a number of Python's.
_CELL, _FEATURE, _UNIT, _OUTPUT = 50, 48, 16, 64
_ROUND = 256  # records, of which there are a multiple where there are more


@dataclass(frozen=True)
class Prediction:
    """The prediction of a network for some records.

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

    network: Network
    preparation: Preparation

    @classmethod
    def of(cls, network: Network, path: str | os.PathLike[str]) -> PreparedNetwork:
        """Return a network that was read from `path` with the preparation that the file keeps.

        Raises
        ------
        FileError
            If it keeps none, or one that does not fit the network.
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
        if network.inputs != len(preparation.features) or network.network.outputs not in fits:
            raise FileError(f"cannot read the model {os.fspath(path)}: its columns do not fit its network")
        return cls(network, preparation)

    @property
    def records_read(self) -> int:
        """The number of records of a table to read at a time."""
        return _within(_CELL * (len(self.preparation.columns) + len(self.preparation.targets)))

    def predict(self, table: Table) -> Prediction:
        """Return the predictions for the records of a table as it was read."""
        return _joined([prediction for _, prediction in self.in_pieces(table)])

    def predict_prepared(self, x: npt.NDArray[Any]) -> Prediction:
        """Return the predictions for inputs that are prepared already."""
        return _joined(list(self.prepared_in_pieces(x)))

    def in_pieces(self, table: Table) -> Iterator[tuple[Table, Prediction]]:
        """Yield a table in pieces, each with its predictions, so that they take a bounded memory.

        Pieces are small where there are many features, units or classes.
        """
        for few, outputs in self.outputs_in_pieces(table):
            yield few, self.of_outputs(outputs)

    def outputs_in_pieces(self, table: Table) -> Iterator[tuple[Table, npt.NDArray[Any]]]:
        """Yield what `in_pieces` yields before it is put in the target's terms."""
        for few in _pieces(table, _within(_FEATURE * len(self.preparation.features))):
            x = self.preparation.transform(few)
            found = (self.outputs(x[rows]) for rows in self.pieces(len(x)))
            yield from zip(_pieces(few, self._predicted), found, strict=True)

    def prepared_in_pieces(self, x: npt.NDArray[Any]) -> Iterator[Prediction]:
        """Yield what `in_pieces` yields for inputs that are prepared already."""
        for rows in self.pieces(len(x)):
            yield self.of_outputs(self.outputs(x[rows]))

    def pieces(self, records: int) -> list[slice]:
        """Return the pieces of so many prepared records that are predicted at a time."""
        return [slice(first, first + self._predicted) for first in range(0, max(records, 1), self._predicted)]

    @property
    def _predicted(self) -> int:
        """The number of records to predict at a time."""
        network = self.network.network
        return _within(_UNIT * network.structure.widest + _OUTPUT * network.outputs)

    def outputs(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what the network predicts for a piece of prepared records, before it is put in the target's terms."""
        # With a loss of numbers, the network puts out a softmax and predicts that.
        objective = self.network.network.objective
        classifies = self.preparation.classes is not None and objective is not None and objective.classifies
        return np.asarray(self.network.predict_proba(x) if classifies else self.network.predict(x))

    def of_outputs(self, outputs: npt.NDArray[Any]) -> Prediction:
        """Return `outputs` in the target's terms."""
        if self.preparation.classes is None:
            return Prediction(self.preparation.restore(outputs))
        probability = outputs
        if probability.shape[1] == 1:
            probability = np.hstack([1 - probability, probability])
        return Prediction(self.preparation.restore(np.argmax(probability, axis=1)), probability)

    def predict_parts(
        self,
        data: Data,
        *,
        options: TextOptions | None = None,
        progress: bool | None = None,
        used: Collection[str] = (),
    ) -> Iterator[tuple[Table, Prediction]]:
        """Yield a table part by part, each with its predictions, so that any size will do.

        Its cells are read as those were that the network was trained on.

        Parameters
        ----------
        options
            The form of text files.
        used
            The columns that the parts should have, if not all are wanted.

        Raises
        ------
        InputError
            If there are no records, or a column is missing or holds what it cannot.
        """
        with RecordCount("predicting", progress) as bar:
            findings = self.preparation.findings
            for part in parts(data, self.records_read, findings=findings, options=options, used=used):
                if len(part):
                    for table, prediction in self.in_pieces(part):
                        yield table, prediction
                        bar.update(len(table))
            if not bar.done:
                raise InputError(f"{source_of(data)} has no records")


def records_prepared(preparation: Preparation) -> int:
    """Return how many records of a table to read and prepare at a time."""
    return _within(_CELL * len(preparation.columns) + _FEATURE * len(preparation.features))


def _within(record: int) -> int:
    """Return how many records to take at a time, where each takes so many bytes."""
    records = max(1, min(PART, PIECE // record))
    return records - records % _ROUND if records > _ROUND else records


def _pieces(table: Table, records: int) -> Iterator[Table]:
    """Yield the table in pieces of at most so many records, which know their numbers."""
    if len(table) <= records:
        yield table
        return
    for first in range(0, len(table), records):
        piece = table.take(slice(first, first + records))
        yield Table(piece.columns, table.source, table.targets, table.first + first)


def _joined(predictions: Sequence[Prediction]) -> Prediction:
    if len(predictions) == 1:
        return predictions[0]
    probabilities = [p.probabilities for p in predictions if p.probabilities is not None]
    values = np.concatenate([p.values for p in predictions])
    return Prediction(values, np.concatenate(probabilities) if probabilities else None)
