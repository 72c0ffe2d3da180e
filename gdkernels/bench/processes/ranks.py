"""A participant that is a group: the ranks that a launcher has started answer the same questions together.

Rank 0 measures, and passes each question on. The others wait for questions until it has ended. So the processes are not
new for each repeat, as those of other participants are.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from gdkernels.bench.participants.adapters.choose import adapter_of
from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.processes.piped import ProcessError, failing
from gdkernels.bench.processes.server import Server
from gdkernels.bench.sampling.interleaving import settle
from gdkernels.dispatch.sharded import device_of_rank
from gdkernels.errors import GdkernelsError
from gdkernels.groups import Group, joined
from gdkernels.groups.agreement import error_told, told_of

__all__ = ["RankProcesses", "answering_together", "leading"]

_numbers = count()  # of the participants, by which all ranks know them

_TASKS = ("load", "train")  # questions that hold a task, whose table may lie in a file of rank 0


class RankProcesses:
    """All ranks as one participant, asked by rank 0."""

    def __init__(self, participant: Participant, started: float) -> None:
        assert participant.group is not None
        self._group = joined(participant.group)
        self._told = {"participant": participant.as_dict(), "started": started}
        self._number = next(_numbers)
        self._rank: _Rank | None = None
        self._gone = False  # after an error that left the others in the middle of something

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of rank 0, when all ranks have done what was asked for.

        Raises
        ------
        ProcessError
            If a rank cannot.
        """
        if self._gone:
            raise ProcessError("a rank has failed")
        self._gone = True
        if self._rank is None:
            _tell(self._group, "begin", self._number, self._told)
            self._rank = _Rank(self._group, self._told)
        _tell(self._group, "ask", self._number, dict(question))
        answer = self._rank.answer(dict(question))
        self._gone = False
        if "failed" in answer:
            raise ProcessError(answer["failed"])
        return answer

    def close(self) -> None:
        if self._rank is not None and not self._gone:
            _tell(self._group, "close", self._number)
        self._rank = None


class _Rank:
    """The part of this rank in a participant."""

    def __init__(self, group: Group, told: Mapping[str, Any]) -> None:
        participant = Participant(**told["participant"])
        device = device_of_rank(participant.name, participant.device, group.local_rank)
        mine = replace(participant, device=device)
        self._group = group
        self._handle: Callable[[dict[str, Any]], dict[str, Any]] = failing(
            lambda: Server(adapter_of(mine), told["started"]).answer
        )()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return this rank's answer, or the first of any rank that failed."""
        with tempfile.TemporaryDirectory() as folder:
            answer = self._handle(self._with_files(question, Path(folder)))
        settle()
        bad = {name: answer[name] for name in ("failed", "unsuitable") if name in answer}
        for rank, one in enumerate(self._group.gather_json(bad)):
            if one:
                return {name: why if rank == 0 else f"rank {rank}: {why}" for name, why in one.items()}
        return answer

    def _with_files(self, question: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Return the question with the files of this rank: those of rank 0 may be on another machine."""
        if "folder" in question and self._group.rank:
            question = question | {"folder": str(folder)}
        name = next((name for name in _TASKS if name in question), None)
        if name is None or question[name]["source"] is None:
            return question
        data = self._group.broadcast(None if self._group.rank else Path(question[name]["source"]).read_bytes())
        if not self._group.rank:
            return question
        self._kept = tempfile.TemporaryDirectory()  # the task reads it again whenever it is asked for its data
        path = Path(self._kept.name, "task.npz")
        path.write_bytes(data)
        return question | {name: question[name] | {"source": str(path)}}


def answering_together(group: Group) -> None:
    """Answer the questions of rank 0 as another rank, until it has ended.

    Raises
    ------
    GdkernelsError
        The error that rank 0 ends with.
    """
    ranks: dict[int, _Rank] = {}
    while True:
        what, number, told = json.loads(group.broadcast(None))
        if what == "begin":
            ranks[number] = _Rank(group, told)
        elif what == "ask":
            ranks[number].answer(told)
        elif what == "close":
            del ranks[number]
        elif told is None:
            return
        else:
            raise error_told(told)


@contextmanager
def leading(group: Group) -> Iterator[None]:
    """Let the other ranks go in the end, with the error that this one has, if it has one.

    Where they may be in the middle of an answer, they are left to whoever ends all ranks.
    """
    try:
        yield
    except GdkernelsError as error:
        _tell(group, "end", 0, told_of(error))
        raise
    _tell(group, "end", 0)


def _tell(group: Group, what: str, number: int, told: Any = None) -> None:
    """Tell all other ranks what `answering_together` does next."""
    group.broadcast(json.dumps([what, number, told]).encode())
