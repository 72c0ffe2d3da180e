"""Writing checkpoints during a fit, and resuming from one."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np

from gdkernels.backend import Plan, State
from gdkernels.definition.network import Arrays
from gdkernels.dispatch import registry
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import FileError, Interrupted, keyword
from gdkernels.files.checkpoint_folder import Folder
from gdkernels.files.model_file import Tensors
from gdkernels.groups import Group, SerialGroup
from gdkernels.groups.agreement import from_rank_0
from gdkernels.system.profiling import phase
from gdkernels.training.checkpointing.keeping import Keeping
from gdkernels.training.checkpointing.run import Run
from gdkernels.training.checkpointing.sent import Found, in_bytes, of_bytes
from gdkernels.training.checkpointing.signals import StopSignals
from gdkernels.training.checkpointing.snapshot import checked, progress_of, put_progress, state_from, tensors_of

__all__ = ["Checkpointer"]

_log = logging.getLogger("gdkernels")

_WINDOW = "records at a time"  # a part of the identity of a fit that reads windows of files
_PLAN = {"backend": str, "device": str, "precision": str, "choices": dict}

# Between two places where a fit can stop there are at most so many FLOPs (or one step): a fraction of a second.
_SEGMENT_FLOPS = 1 << 35


class Checkpointer:
    """The checkpoints of one fit; a context, which holds the folder's lock and listens to signals.

    Parameters
    ----------
    keeping
        The folder, how often to write there, how many to keep, and whether to resume from the newest intact one.
    group
        The ranks of the fit. Rank 0 alone has the folder, and says when to write; the others are told what it reads.

    Attributes
    ----------
    plan
        The plan of the checkpoint to resume from; None if there is none.

    Raises
    ------
    FileError
        If the folder cannot be used, it has checkpoints already and `resume` is false, or none of them is intact.
    """

    def __init__(
        self,
        keeping: Keeping,
        *,
        group: Group | None = None,
    ) -> None:
        self._cadence = keeping.cadence
        self._group = group or SerialGroup()
        self._path = keeping.folder
        self._folder: Folder | None = None
        self._signals = StopSignals()
        self._last = (time.monotonic(), 0, 0)
        self._identity: dict[str, Any] = {}
        self._binding: Binding
        try:
            self._found = self._shared(partial(self._opened, keeping.count, resume=keeping.resume))
            self.plan = None if self._found is None else _plan_of(*self._found)
        except BaseException:
            self._close()
            raise

    def _opened(self, keep: int, *, resume: bool) -> Found | None:
        """Take the folder, and return the checkpoint to go on from."""
        self._folder = Folder(self._path, keep)
        if resume:
            return self._folder.newest()
        self._refuse_others(self._folder)
        return None

    def _shared(self, read: Callable[[], Found | None]) -> Found | None:
        """Return on all ranks what rank 0 reads."""
        if self._group.size == 1:
            return read()
        told = from_rank_0(self._group, None if self._group.rank else lambda: in_bytes(read()))
        return of_bytes(told)

    def _close(self) -> None:
        if self._folder is not None:
            self._folder.close()

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._close()  # before a signal can interrupt again
        finally:
            self._signals.__exit__(kind, error, traceback)

    def segment(self, multiply_adds: int, batch: int) -> int:
        """Return how many steps run at a time. Sizes alone decide, so that sums have the same order every time.

        Parameters
        ----------
        multiply_adds
            The multiply-adds of a record's forward pass.
        """
        most = max(1, _SEGMENT_FLOPS // (6 * batch * multiply_adds))
        return min(most, int(self._cadence.amount)) if self._cadence.unit == "steps" else most

    def follow(self, binding: Binding) -> None:
        """Write from another place from now on."""
        self._binding = binding

    # ---- resuming

    @staticmethod
    def _refuse_others(folder: Folder) -> None:
        """Raise `FileError` if the folder has checkpoints already, because a new fit would remove them in the end."""
        if folder.files():
            raise FileError(
                f"{folder.path} has checkpoints already; {keyword('resume', True)} goes on "
                "from them, or choose another folder"
            )

    def begin(
        self,
        identity: Mapping[str, Any],
        binding: Binding,
        run: Run,
        parameters: Arrays,
        trained: Sequence[str],
        slots: int,
    ) -> tuple[State, int] | None:
        """Restore `run` from the checkpoint; return None if there is none.

        Parameters
        ----------
        identity
            The network, settings and data that must be the same for a fit to resume, as JSON can hold them.
        binding
            Where the fit computes.
        parameters, trained, slots
            Parameters of the expected shapes, the names of those that are trained, and the number of slots of each.

        Returns
        -------
        tuple
            The state at the end of the last epoch, and the number of epochs that the trainer had done.

        Raises
        ------
        FileError
            If the checkpoint is of another fit; the message names the first difference.
        """
        self._identity, self._binding = dict(identity), binding
        if self._found is None:
            return None
        (path, tensors, told), self._found = self._found, None
        self._check_identity(path, told)
        try:
            state = state_from(tensors, parameters, trained, slots, told["step"])
            put_progress(run, told, tensors, parameters, trained, slots)
            epochs_done = checked(told["epochs_done"], int)
            self._say_where(path, checked(told["versions"], dict), run, epochs_done)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise FileError(f"cannot go on from {path}: its content is not that of a checkpoint ({error})") from error
        if run.middle is not None:
            run.middle.state = self._placed(run.middle.state)
        if run.start is not None:
            run.start = self._placed(run.start)
        if run.best is not None:
            run.best = {name: self._place(a) for name, a in run.best.items()}
        self._last = (time.monotonic(), epochs_done, (run.middle.state if run.middle else state).step)
        return self._placed(state), epochs_done

    def _placed(self, state: State) -> State:
        slots = {name: tuple(map(self._place, arrays)) for name, arrays in state.slots.items()}
        return replace(state, parameters={name: self._place(a) for name, a in state.parameters.items()}, slots=slots)

    def _place(self, a: Any) -> Any:
        return self._binding.place(a, "the checkpoint")

    def _check_identity(self, path: os.PathLike[str], told: Mapping[str, Any]) -> None:
        before = told["identity"]
        for name, now in {_WINDOW: None, **self._identity}.items():  # other windows have other digests of the data
            if before.get(name) != now and not (name == "data" and self._group.rank):
                differ = "the data differ" if name == "data" else _difference(name, now, before.get(name))
                raise FileError(
                    f"cannot go on from {path}: {differ}; resume with what it was begun with, or choose another folder"
                )

    def _say_where(self, path: os.PathLike[str], versions: dict[str, Any], run: Run, epochs_done: int) -> None:
        steps = f" and {run.middle.steps} steps" if run.middle else ""
        _log.info("going on from %s, after %d epochs%s", path, epochs_done, steps)
        assert self.plan is not None
        other = self.plan.unlike(run.history.plan)
        other += [f"{name} {before}" for name, before in versions.items() if before != registry.versions().get(name)]
        if other:
            _log.warning(
                "the checkpoint was written with another plan or other versions (%s): what follows agrees with it to "
                "rounding, not to the bit",
                ", ".join(other),
            )

    # ---- writing

    def between_steps(self, state: State, run: Run, epochs_done: int) -> None:
        """Write a checkpoint if it is time, or a signal asks for it.

        Parameters
        ----------
        state
            The state at the end of the last epoch.

        Raises
        ------
        Interrupted
            After a signal.
        """
        now = (time.monotonic(), epochs_done, (run.middle.state if run.middle else state).step)
        seconds, epochs, steps = (a - b for a, b in zip(now, self._last, strict=True))
        due = self._cadence.due(seconds=seconds, epochs=int(epochs), steps=int(steps))
        asked, due = self._agreed(self._signals.asked, due=due)
        if not (asked or due):
            return
        written = self.write(state, run, epochs_done)
        if asked:
            if self._group.size > 1:
                self._group.barrier()  # nobody ends while rank 0 writes
            where = f"its checkpoint is in {self._path}" if written else "its checkpoint could not be written"
            raise Interrupted(f"{asked.name} ended training; {where}", int(asked))

    def _agreed(self, asked: signal.Signals | None, *, due: bool) -> tuple[signal.Signals | None, bool]:
        """Return the signal that any rank has got, and whether rank 0 finds a checkpoint due: clocks differ."""
        if self._group.size == 1:
            return asked, due
        told = self._group.gather_numbers([asked or 0, due], np.int64)
        number = int(told[:, 0].max())
        return signal.Signals(number) if number else None, bool(told[0, 1])

    def rescue(self, state: State, run: Run, epochs_done: int) -> None:
        """Write a checkpoint of the end of the last epoch, if there is no newer one, before an error ends the fit.

        If the data or the backend failed, a fit can resume from there once the cause is fixed.
        """
        if state.step > self._last[2] and epochs_done == run.began + len(run.history.epochs):
            run.middle = None
            with suppress(Exception):  # what is raised is the first error
                self.write(state, run, epochs_done)

    def write(self, state: State, run: Run, epochs_done: int) -> bool:
        """Write a checkpoint, and return whether that worked: a full disk does not end training."""
        binding = self._binding
        binding.backend.synchronize(binding.device)
        step = (run.middle.state if run.middle else state).step
        self._last = (time.monotonic(), epochs_done, step)
        if self._folder is None:  # rank 0 writes
            return True
        tensors: Tensors = tensors_of(state, run, lambda a: np.ascontiguousarray(binding.to_numpy(a)))
        told = {
            "identity": dict(self._identity),
            "plan": run.history.plan.as_dict(),
            "versions": registry.versions(),
            **progress_of(state, run, epochs_done),
        }
        try:
            with phase("checkpoints"):
                path = self._folder.write(step, tensors, told)
        except FileError as error:
            _log.warning("no checkpoint was written, training goes on: %s", error)
            return False
        _log.debug("checkpoint %s", path, extra={"told": {"event": "checkpoint", "step": step, "file": str(path)}})
        return True


def _plan_of(path: os.PathLike[str], tensors: Tensors, told: Mapping[str, Any]) -> Plan:
    """Return the plan that a checkpoint was written with."""
    if not isinstance(told.get("identity"), dict):
        raise FileError(f"cannot go on from {path}: it is a model file, not a checkpoint")
    try:
        return Plan(**{name: checked(told["plan"][name], kind) for name, kind in _PLAN.items()})
    except (KeyError, ValueError, TypeError) as error:
        raise FileError(f"cannot go on from {path}: its content is not that of a checkpoint ({error})") from error


def _difference(name: str, now: Any, before: Any) -> str:
    if name == _WINDOW:
        rows, others = ("all records at once" if n is None else f"{n:,} {name}" for n in (now, before))
        return f"{rows} are read by this {keyword('memory')}, not {others} as before"
    if isinstance(now, dict) and isinstance(before, dict) and now.get("name") == before.get("name"):
        key = next(k for k in {**now, **before} if now.get(k) != before.get(k))
        return _difference(f"the {key} of {name} {now['name']}", now.get(key), before.get(key))
    if name == "block" or (name in ("sizes", "inputs") and None in (now, before)):  # a chain has sizes
        return "the network has other blocks"
    words, others = _in_words(now), _in_words(before)
    return f"{name} is {words} and was {others}" if words != others else f"{name} is {now} and was {before}"


def _in_words(value: Any) -> str:
    """Return a part of an identity as text: of a function or an object, its name."""
    if value is None:
        return "none"
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return ", ".join(map(_in_words, value)) or "none"
    return str(value)
