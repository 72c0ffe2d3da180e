"""The arguments of `fit_many`, checked before any model is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.values import check_unmasked
from gdkernels.data.records import Records
from gdkernels.errors import InputError, shown
from gdkernels.models.network import Network
from gdkernels.system.given import items_of
from gdkernels.training.jobs.fit_job import Rows

__all__ = [
    "TRAINER_SETTINGS", "check_share", "checked_models", "checked_rows", "checked_settings", "of_model",
    "rows_of",
]  # fmt: skip

TRAINER_SETTINGS = (
    "optimizer", "loss", "batch_size", "schedule", "l2", "l2_in_loss", "clip_norm", "reduction", "solver",
)  # fmt: skip

_Given = npt.NDArray[Any] | None

_BEYOND = np.iinfo(np.int64)
_NO_LISTS = str, bytes, bytearray, Set, Mapping  # which have no order, or are no numbers


@contextmanager
def of_model(k: int, count: int) -> Iterator[None]:
    """Have errors inside say which of several models they are about."""
    try:
        yield
    except InputError as error:
        raise error if count == 1 else type(error)(f"models[{k}]: {error}") from error.__cause__


def checked_models(models: Any) -> list[Network]:
    """Return the models; raise `InputError` for anything else among them, and if there are none."""
    found = None if isinstance(models, Network) else items_of(models)
    if found is None:
        raise InputError(f"fit_many takes a list of models, got {type(models).__name__}; a single one is [model]")
    if not found:
        raise InputError("fit_many takes at least one model")
    for k, model in enumerate(found):
        if not isinstance(model, Network):
            raise InputError(f"models[{k}] must be a Network or an MLP, got {type(model).__name__}")
    if len({id(model) for model in found}) < len(found):
        raise InputError("a model is among the models twice; make another one, such as MLP(…) with another seed")
    owners: dict[int, int] = {}
    for k, model in enumerate(found):
        if (first := owners.setdefault(id(model.network), k)) != k:
            raise InputError(
                f"models[{first}] and models[{k}] share their parameters, as copy.copy leaves them: use copy.deepcopy"
            )
    return list(found)


def checked_settings(given: Any, count: int) -> list[dict[str, Any]]:
    """Return the settings of each model."""
    each = ({},) * count if given is None else (given,) * count if isinstance(given, Mapping) else items_of(given)
    if each is None:
        raise InputError(f"settings must be a dictionary, or one for each of the {count} models, got {shown(given)}")
    if len(each) != count and each:
        raise InputError(f"settings must be a dictionary, or one for each of the {count} models, got {len(each)}")
    found = []
    for k, one in enumerate(each or ({},) * count):
        if not (one is None or isinstance(one, Mapping)):
            raise InputError(f"settings[{k}] must be a dictionary of keywords of Trainer, got {shown(one)}")
        if unknown := sorted(map(str, (one or {}).keys() - {*TRAINER_SETTINGS, "order"})):
            raise InputError(
                f"settings[{k}] has {', '.join(map(repr, unknown))}; known are {', '.join(TRAINER_SETTINGS)}"
            )
        found.append(dict(one or {}))
    return found


def checked_rows(given: Any, count: int, what: str = "rows") -> list[_Given]:
    """Return the rows of each model as numbers, or True and False; None is all."""
    if given is None:
        return [None] * count
    each = items_of(given)
    if each is None:
        raise InputError(f"{what} must be a list with an entry for each model, got {type(given).__name__}")
    if len(each) != count:
        raise InputError(f"{what} must have an entry for each of the {count} models, got {len(each)}")
    return [None if one is None else _numbers(one, f"{what}[{k}]") for k, one in enumerate(each)]


def _numbers(one: Any, what: str) -> npt.NDArray[Any]:
    check_unmasked(one, what)
    listed = isinstance(one, Iterable) and not (hasattr(one, "dtype") or isinstance(one, _NO_LISTS))
    items = list(one) if listed else one
    try:
        array = np.asarray(items)
    except ValueError:  # lists of different lengths
        array = np.empty((0, 0))
    if array.shape == (0,):
        raise InputError(f"{what} has no rows: a model needs at least one")
    if array.ndim == 1 and (array.dtype == object or (listed and array.dtype.kind == "i")):
        array = _of_python(array.tolist() if array.dtype == object else items, array)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise InputError(f"{what} must be a list of numbers of rows, or True and False for each row, got {shown(one)}")
    return array


def _of_python(items: Sequence[Any], array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array of these numbers. Among them, True and False are none, though NumPy would count with them."""
    switches = sum(isinstance(n, (bool, np.bool_)) for n in items)
    if switches == len(items):
        return np.array(items, bool)
    if switches or not all(isinstance(n, (int, np.integer)) for n in items):
        return np.empty(len(items), object)
    if array.dtype != object:
        return array
    # What is beyond 64 bits is beyond all data.
    return np.array([min(max(n, _BEYOND.min), _BEYOND.max) for n in items], np.int64)


def rows_of(given: _Given, records: Records, what: str) -> Rows | None:
    """Return the numbers of rows, which are rows of these records, and of which at least one counts."""
    if given is None:
        return None
    count = len(records)
    if given.dtype == bool and len(given) != count:
        raise InputError(f"{what} has True or False for {len(given)} rows, and there are {count}")
    if given.dtype == bool:
        found = np.flatnonzero(given)
        if not found.size:
            raise InputError(f"{what} has no rows: all are False")
    else:
        least, most = int(given.min()), int(given.max())
        if least < 0 or most >= count:
            raise InputError(
                f"{what} names row {least if least < 0 else most:,}, and there are {count:,}: 0 to {count - 1:,}"
            )
        found = given.astype(np.int64)
    if records.weighted and not records.binding.to_numpy(records.weights)[found].any():
        raise InputError(f"none of the rows of {what} has a weight above 0: leave out those that do not count")
    return found


def check_share(share: float, rows: Sized, k: int) -> None:
    """Raise `InputError` if a share of the rows of a model leaves none to train or to validate on."""
    kept = round(len(rows) * share)
    if not 0 < kept < len(rows):
        raise InputError(
            f"models[{k}]: validation={share:g} of {len(rows)} records leaves {kept} to validate on and "
            f"{len(rows) - kept} to train on; both need at least one"
        )
