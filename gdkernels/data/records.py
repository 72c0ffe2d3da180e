"""Records on a device: inputs, targets, and weights."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.data.record_spec import RecordSpec
from gdkernels.data.sparse import SparseRows
from gdkernels.data.validation import place_inputs, place_targets, place_weights
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError
from gdkernels.randomness import KeyedOrder
from gdkernels.system.hashing import sha256

__all__ = ["OrderedRecords", "Piece", "Records", "changed", "place_records", "records_in"]


@dataclass(frozen=True)
class Records:
    """Arrays of `binding`: x [records, inputs], y [records, outputs] and, where there are weights, [records].

    x may be `SparseRows`, which stay on the host.

    Attributes
    ----------
    weighted, sparse
        Whether there are weights, and whether x is `SparseRows`.
    """

    binding: Binding
    x: Any
    y: Any
    weights: Any = None
    weighted: bool = field(init=False)
    sparse: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weighted", self.weights is not None)
        object.__setattr__(self, "sparse", isinstance(self.x, SparseRows))

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def total_weight(self) -> float:
        """The divisor that makes E a mean: the sum of the weights, or the number of records."""
        return len(self) if self.weights is None else float(self.binding.xp.sum(self.weights))

    def add_to(self, digest: Any) -> None:
        """Add all the values to a digest."""
        for array in (self.x, self.y, self.weights):
            if isinstance(array, SparseRows):
                array.add_to(digest)
                continue
            host = None if array is None else np.ascontiguousarray(self.binding.to_numpy(array))
            digest.update(repr(None if host is None else (host.dtype.str, host.shape)).encode())
            if host is not None:
                digest.update(host.data)

    def parts(self) -> Iterator[Records]:
        """Yield all of them at once, because they are in their place already."""
        yield self

    def moved(self, binding: Binding) -> Records:
        """Return the same records where another binding computes."""
        arrays = (
            a if a is None or isinstance(a, SparseRows) else binding.place(self.binding.to_numpy(a), "records")
            for a in (self.x, self.y, self.weights)
        )
        return Records(binding, *arrays)

    def take(self, rows: Any) -> Records:
        xp, indices = self.binding.xp, self.binding.backend.asarray(rows, dtype="int64", device=self.binding.device)
        arrays = (self.x, self.y, self.weights)
        return Records(self.binding, *(None if a is None else xp.take(a, indices, axis=0) for a in arrays))

    def split(self, share: float, seed: int) -> tuple[Records, Records]:
        """Return the records to train on, and a `share` of them, drawn by the seed, to validate on.

        Raises
        ------
        InputError
            If either would have no records, or none with a weight.
        """
        kept = round(len(self) * share)
        if not 0 < kept < len(self):
            raise InputError(
                f"validation={share:g} of {len(self)} records leaves {kept} to validate on and {len(self) - kept} to "
                "train on; both need at least one"
            )
        rows = randomness.generator(seed, "validation").permutation(len(self))
        train, held_out = self.take(rows[kept:]), self.take(rows[:kept])
        for part, purpose in ((train, "train"), (held_out, "validate")):
            if not part.total_weight:
                raise InputError(
                    f"none of the {len(part)} records to {purpose} on has a weight above 0: leave out those that do "
                    "not count, or give validation records of your own"
                )
        return train, held_out


@dataclass(frozen=True)
class Piece:
    """Records that are on the device at a time, the order in which an epoch uses them, and its steps `first` to `last`.

    The last step is not among them.
    """

    records: Records
    order: npt.NDArray[np.int64] | KeyedOrder
    first: int
    last: int


class OrderedRecords:
    """Records in the order of an epoch, in a single piece.

    Parameters
    ----------
    keyed
        Whether a keyed order may stay one; if not, its numbers are computed once.
    """

    def __init__(
        self, records: Records, order: npt.NDArray[np.int64] | KeyedOrder, batch: int, *, keyed: bool = False
    ) -> None:
        self._records, self._drawn = records, order
        self._order = order if keyed else np.asarray(order)
        self.steps = -(-len(order) // batch)

    def digest(self) -> str:
        """Return the SHA-256 of the order, whoever computes it."""
        drawn = self._drawn
        return sha256(drawn.text.encode() if isinstance(drawn, KeyedOrder) else drawn.tobytes()).hexdigest()

    def pieces(self, step: int) -> Generator[Piece]:
        """Yield the piece in which the epoch's step `step` is."""
        yield Piece(self._records, self._order, 0, self.steps)


def changed(data: Records, order: npt.NDArray[np.int64] | KeyedOrder, of: str = "") -> tuple[int, str] | None:
    """Find values that are no longer finite because something has written into the memory of the data.

    Parameters
    ----------
    order
        Rows in the order in which they are used.
    of
        The beginning of the message, before the names.

    Returns
    -------
    tuple
        The place in `order` of the first such row, and the value; None if all are finite.
    """
    found, order = None, np.asarray(order)
    for name, array in (("X", data.x), ("Y", data.y), ("sample_weight", data.weights)):
        if array is None or isinstance(array, SparseRows):
            continue
        host = data.binding.to_numpy(array)[order]
        places = np.argwhere(~np.isfinite(host))
        if len(places) and (found is None or places[0][0] < found[0]):
            place, *column = places[0].tolist()
            where = f"row {order[place]}" + (f", column {column[0]}" if column else "")
            found = place, f"{of}{name} holds {host[tuple(places[0])]} in {where}"
    return found


def place_records(binding: Binding, X: Any, Y: Any, sample_weight: Any, *, spec: RecordSpec, of: str = "") -> Records:
    """Return the user's data on the device, checked; messages put `of` before the names."""
    x = place_inputs(binding, X, spec.inputs, f"{of}X", spec.names.inputs, spec.codes)
    records = x.shape[0]
    y = place_targets(binding, Y, records, spec.outputs, spec.loss, f"{of}Y", f"{of}X", spec.names.outputs)
    if sample_weight is None:
        return Records(binding, x, y)
    weights = place_weights(binding, sample_weight, records, f"{of}sample_weight", f"{of}X")
    if not bool(binding.xp.any(weights > 0)):
        raise InputError(f"{of}sample_weight is 0 for every record; at least one has to count")
    return Records(binding, x, y, weights)


def records_in(X: Any) -> int:
    """Return the length of X, or 0 if it has none, which a later check rejects."""
    shape = getattr(X, "shape", None)
    if shape is not None:
        if len(shape) and not hasattr(shape[0], "__index__"):
            raise InputError(f"X is a {type(X).__name__} that nothing has computed, as of Dask: pass X.compute()")
        return int(shape[0]) if len(shape) else 0
    return len(X) if isinstance(X, Sized) else 0
