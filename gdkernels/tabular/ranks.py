"""What ranks that train on a table must have in common, before they deal its networks among them; files they share."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.dispatch import registry
from gdkernels.errors import FileError, InputError, keyword
from gdkernels.groups import Group
from gdkernels.groups.agreement import agree
from gdkernels.system.hashing import sha256
from gdkernels.tabular.in_parts.conversion import PreparedFiles
from gdkernels.tabular.networks.fitting import kth
from gdkernels.training.own_functions import agree_on_functions
from gdkernels.training.trainer import Trainer

__all__ = [
    "agree_on_data",
    "agree_on_keywords",
    "agree_on_networks",
    "by_ranks",
    "least_of_ranks",
    "shared_on_a_machine",
]

# What may differ from rank to rank: where things are, and who says what.
_OWN = {"group", "device", "threads", "keep", "progress", "memory"}
_FOLDERS = {"checkpoint", "test_file"}  # of rank 0 alone, which tells the others: all have one, or none


def agree_on_keywords(group: Group, keywords: Mapping[str, Any]) -> None:
    """Compare the keywords of a predictor, before its table is read.

    Raises
    ------
    InputError
        If the ranks differ; it names the first difference and its rank.
    """
    if group.size == 1:
        return
    agree(group, {"call": "TabularPredictor.fit", "versions": registry.versions()})
    told = {name: _plain(value) for name, value in keywords.items() if name not in _OWN}
    told |= {name: keywords.get(name) is not None for name in _FOLDERS}
    everybody = group.gather_json(told)
    for rank, one in enumerate(everybody):
        for name, first in everybody[0].items():
            if one[name] != first:
                has = _has(f"rank {rank}", name, one[name], "rank 0", first)
                raise InputError(f"{has}: give all ranks the same")


def agree_on_data(group: Group, x: Any, y: Any) -> None:
    """Compare the prepared records; raises as `agree_on_keywords`."""
    if group.size > 1:
        digest = sha256()
        for array in (x, y):
            digest.update(np.ascontiguousarray(array).tobytes())
        agree(group, {"records": len(x), "columns": x.shape[1], "data": digest.hexdigest()})


def agree_on_networks(group: Group, network: dict[str, Any], trainer: Mapping[str, Any]) -> None:
    """Compare the functions of the networks that are trained, given the arguments of `network_of` and of `Trainer`."""
    if group.size > 1:
        own = {name: value for name, value in trainer.items() if name not in ("group", "shards")}
        first = Trainer(kth(network, 0), **own, group="none")
        agree_on_functions(group, [(first.mlp.network.structure, first.settings)])


def least_of_ranks(group: Group, memory: int | None) -> int | None:
    """Return the least memory in which a rank has to train, as all then do; None if each has enough for all records."""
    if group.size == 1:
        return memory
    told = group.gather_numbers([-1 if memory is None else memory], np.int64).ravel().tolist()
    return min((one for one in told if one >= 0), default=None)


def by_ranks(group: Group, parts: int, made: Callable[[int], npt.NDArray[Any]]) -> Iterator[npt.NDArray[Any]]:
    """Yield the array that `made` returns for each part, in their order; each rank makes those of every so many."""
    if group.size == 1:
        yield from map(made, range(parts))
        return
    for first in range(0, parts, group.size):
        mine = io.BytesIO()
        if first + group.rank < parts:
            np.save(mine, made(first + group.rank), allow_pickle=False)
        for data in group.gather_bytes(mine.getvalue())[: parts - first]:
            yield np.load(io.BytesIO(data), allow_pickle=False)


@contextmanager
def shared_on_a_machine(group: Group, made: AbstractContextManager[PreparedFiles]) -> Iterator[PreparedFiles]:
    """Yield files that the first rank of each machine makes, and that its others read; they last until all are done."""
    if group.size == 1:
        with made as files:
            yield files
        return
    import socket  # a single process needs no name

    with ExitStack() as stack:
        own = stack.enter_context(made) if group.local_rank == 0 else None
        host = socket.gethostname()
        told = group.gather_json([host, None if own is None else os.fspath(own.folder)])
        # Containers may share a name, but not a folder that was made a moment ago.
        here = [folder for name, folder in told if name == host and folder is not None and Path(folder).is_dir()]
        if own is None and not here:
            raise FileError(
                f"{host} has no folder of records that its first rank has prepared: give the ranks of a machine the "
                "same GDKERNELS_CACHE, which all of them see"
            )
        yield own or PreparedFiles(Path(here[0]))
        group.barrier()


def _has(who: str, name: str, value: Any, other: str, others: Any) -> str:
    """Return in words that two ranks were given something else, as their user gave it: ``--seed 1``, or ``seed=1``."""
    if _is_nothing(name, value):
        return f"{who} lacks {_given(name, others)}, which {other} has"
    if _is_nothing(name, others):
        return f"{who} has {_given(name, value)}, which {other} lacks"
    return f"{who} has {_given(name, value)}, and {other} {_given(name, others)}"


def _given(name: str, value: Any) -> str:
    return keyword(name) if name in _FOLDERS else keyword(name, value)


def _is_nothing(name: str, value: Any) -> bool:
    """Return whether a value is what a keyword has that nobody gave."""
    return value is None or (value is False and name != "header") or (value in ([], {}) and name != "hidden")


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a value: of a function or an object, its kind."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return type(value).__name__
