"""Batches that the user makes: an epoch is one pass over them, each used as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import chain
from typing import Any

from gdkernels.data.records import Records, records_in
from gdkernels.data.sparse import SparseRows
from gdkernels.errors import InputError

__all__ = ["Batches", "parts"]

_WHAT = "batches are pairs (X, Y) or triples (X, Y, sample_weight)"


class Batches:
    """A source of batches: an iterable for each epoch, or a function that returns one.

    Parameters
    ----------
    source
        A list, a loader, or a function without arguments. For a single epoch, an iterator is enough.
    epochs
        The number of passes.

    Attributes
    ----------
    sample
        X, Y and the weights, or None, of the first batch: by its X, the network finds its backend.
    once
        Whether there is a single pass, so that an epoch cannot begin again.
    weighted, size, sparse
        Whether the batches have weights, how many records the first one has, and whether those are sparse.
    total_weight
        The divisor that makes E of the last pass a mean; ``len`` is its number of records.

    Raises
    ------
    InputError
        For a source that is none, or that allows only one pass.
    """

    def __init__(self, source: Any, epochs: int) -> None:
        if not callable(source) and (not isinstance(source, Iterable) or hasattr(source, "shape")):
            raise InputError(f"Y is missing, and X is no source of batches but {_described(source)}")
        if isinstance(source, Iterator) and epochs > 1:
            raise InputError(
                f"X is an iterator, which can be gone through once, not for {epochs} epochs: pass a function that "
                "returns a new one, or a list of batches"
            )
        self._source, self._passes = source, 0
        self._records, self.total_weight = 0, 0.0
        self._steps: int | None = len(source) if isinstance(source, Sized) else None
        stream = self._open()
        first = next(stream, None)
        if first is None:
            raise InputError(f"there are no batches: {_described(source)} is empty, or used up")
        self.once = isinstance(source, Iterator)
        if self.once:
            self._source = chain([first], source)
        self.sample = parts(first, "the first batch")
        self.weighted = self.sample[2] is not None
        self.size = records_in(self.sample[0])
        self.sparse = isinstance(self.sample[0], SparseRows)

    def __len__(self) -> int:
        return self._records

    @property
    def steps(self) -> int | None:
        """The number of batches in a pass, as far as that is known."""
        return self._steps

    def records(self, place: Callable[..., Records]) -> Iterator[Records]:
        """Go through the batches once; `place` puts (X, Y, sample_weight) of a named batch on the device."""
        self._passes += 1
        self._records, self.total_weight, count = 0, 0.0, 0
        for batch in self._open():
            name = f"batch {count} of pass {self._passes}"
            x, y, weights = parts(batch, name)
            if (weights is not None) != self.weighted:
                raise InputError(f"{name} has {'no' if self.weighted else 'a'} sample_weight, unlike the first batch")
            part = place(x, y, weights, of=f"{name}: ")
            count += 1
            self._records += len(part)
            self.total_weight += part.total_weight
            yield part
        if not count:
            raise InputError(
                f"there are no batches in pass {self._passes}: the function has to return a new iterator each time"
            )
        self._steps = count

    def _open(self) -> Iterator[Any]:
        found = self._source() if callable(self._source) else self._source
        if not isinstance(found, Iterable):
            raise InputError(f"the function of batches must return an iterator, it returned {_described(found)}")
        return iter(found)


def parts(batch: Any, name: str) -> tuple[Any, Any, Any]:
    """Return X, Y and the weights, or None, of a batch that the messages call `name`."""
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise InputError(f"{name} is {_described(batch)}; {_WHAT}")
    x, y, *weights = batch
    return x, y, weights[0] if weights else None


def _described(value: Any) -> str:
    size = f" of {len(value)} things" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{size}"
