"""The group of MPI: `mpiexec -n 4 gdkernels train …`, by mpi4py and any MPI that it finds.

Starting and stopping ranks, and carrying bytes between them, belong here. README.md in this folder explains what runs.
Only the calls of mpi4py on buffers are used, whose names begin with a capital: the others pickle.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from gdkernels.errors import BackendError, InputError
from gdkernels.groups.agreement import end_together
from gdkernels.groups.contract import Bytes, Group, offsets
from gdkernels.groups.launchers import Launched, forget_launcher, launched
from gdkernels.system.libraries import first_line
from gdkernels.system.machine import cores
from gdkernels_mpi.calls_apart import GRADIENTS, PARTS, TOLD, CallsApart, RankCall

__all__ = ["MPIGroup"]

_SPIN = 50e-6  # seconds of asking without a pause
_YIELD = 2e-3  # and of leaving the core to others in between; then the rank sleeps
_SLEEP = 50e-6
_EARLY, _IN_A_ROW = 2e-4, 2  # where so many waits in a row were longer than all that, a rank sleeps sooner in the next
_LONG, _SOUND_SLEEP = 1.0, 1e-3  # beyond so many seconds: those 50 µs take 8 % of a core
_SLOWEST = 2e8  # bytes a second of a message on its way
_ASK = 0.25  # seconds between two looks whether the rank that others wait for has ended
_LAST = 2.0  # seconds in which what it sent before may still arrive
_APART = 0.2
_ENDED, _SUMS = 1, 2  # the tags by which a rank tells the others that it ends, and of messages from rank to rank
_INSTALL = 'pip install "gdkernels[mpi]" mpich, and start by the mpiexec beside that Python'


class MPIGroup(Group):
    """The processes that one mpiexec has started.

    Raises
    ------
    BackendError
        If a launcher says that there are others, but MPI finds none: it belongs to another MPI.
    """

    name = "mpi"

    @classmethod
    def unavailable(cls) -> str | None:
        try:
            _mpi()
        except Exception as error:  # mpi4py raises what the dynamic linker says
            started = launched()
            who = (
                "" if started is None else f"{started.variable}={started.size} says that {started.size} were started, "
            )
            return f"{who}MPI cannot be loaded ({first_line(error)}): {_INSTALL}"
        return None

    def __init__(self) -> None:
        self._mpi: Any = _mpi()
        started = launched()
        if started is not None and _is_of_another(started.variable, self._mpi.get_vendor()[0]):
            raise _another(started, self._mpi)  # which would end this process when it begins
        try:
            self._begin(started)
        except BaseException as error:
            if isinstance(error, BackendError) or not self._mpi.Is_initialized():
                raise
            print(f"gdkernels: {type(error).__name__} while the ranks join", file=sys.__stderr__, flush=True)
            self._mpi.COMM_WORLD.Abort(130 if isinstance(error, KeyboardInterrupt) else 1)  # others wait for us there
            raise
        self._crowded = self.local_size > cores()
        self._process = os.getpid()  # one that is forked from it is no rank
        self._code = 0  # with which the script ends, as far as it says so by sys.exit
        self._calls, self._calls_apart = 0, CallsApart(self, self._ends, self._mpi)
        self._long_waits = [0, 0, 0]  # in a row, of each kind of call
        self._underway = False  # a message that an interrupt left alone: MPI could not be finished
        forget_launcher()
        atexit.register(self._at_exit)
        sys.excepthook = self._uncaught(sys.excepthook)
        sys.exit = self._noting_the_code(sys.exit)

    def _begin(self, started: Launched | None) -> None:
        """Begin MPI and find the other ranks, which do the same meanwhile."""
        if not self._mpi.Is_initialized():
            self._mpi.Init_thread(self._mpi.THREAD_SERIALIZED)
        world = self._mpi.COMM_WORLD
        if started is not None and world.Get_size() != started.size:
            raise _another(started, self._mpi)
        self._world, self._ends = world.Dup(), world.Dup()
        self.rank, self.size = world.Get_rank(), world.Get_size()
        here = world.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = here.Get_rank(), here.Get_size()
        here.Free()

    def carry_to_each(self, send: Bytes, sent: Sequence[int], got: Bytes, received: Sequence[int]) -> None:
        byte = self._mpi.BYTE
        request = self._world.Ialltoallv(
            [send, (sent, offsets(sent)), byte], [got, (received, offsets(received)), byte]
        )
        self._wait([request], send.size + got.size, PARTS)

    def carry_to_all(self, send: Bytes, got: Bytes, received: Sequence[int]) -> None:
        byte = self._mpi.BYTE
        request = self._world.Iallgatherv([send, send.size, byte], [got, (received, offsets(received)), byte])
        self._wait([request], send.size + got.size, TOLD, got.size)

    def carry_messages(self, sent: Sequence[tuple[int, Bytes]], got: Sequence[tuple[int, Bytes]]) -> None:
        byte = self._mpi.BYTE
        requests = [self._world.Irecv([part, part.size, byte], rank, _SUMS) for rank, part in got]
        requests += [self._world.Isend([part, part.size, byte], rank, _SUMS) for rank, part in sent]
        came = [self._mpi.Status() for _ in requests]
        self._wait(requests, sum(part.size for _, part in (*sent, *got)), GRADIENTS, came=came)
        self._check_lengths(got, came)

    def carry_repeatedly(
        self, sent: Sequence[tuple[int, Bytes]], got: Sequence[tuple[int, Bytes]]
    ) -> Callable[[], None]:
        byte, world = self._mpi.BYTE, self._world
        requests = [world.Recv_init([part, part.size, byte], rank, _SUMS) for rank, part in got]
        requests += [world.Send_init([part, part.size, byte], rank, _SUMS) for rank, part in sent]
        came, size = [self._mpi.Status() for _ in requests], sum(part.size for _, part in (*sent, *got))
        start = self._mpi.Prequest.Startall

        def carry() -> None:
            start(requests)
            self._wait(requests, size, GRADIENTS, came=came)
            self._check_lengths(got, came)

        weakref.finalize(carry, self._free, requests)
        return carry

    def _free(self, requests: Sequence[Any]) -> None:
        if os.getpid() == self._process and not self._mpi.Is_finalized():
            for request in requests:
                request.Free()

    def _check_lengths(self, got: Sequence[tuple[int, Bytes]], came: Sequence[Any]) -> None:
        byte = self._mpi.BYTE
        for (rank, part), status in zip(got, came, strict=False):
            if status.Get_count(byte) != part.size:
                raise InputError(f"rank {rank} has sent {status.Get_count(byte)} bytes where {part.size} were to come")

    def abort(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(code)
        os._exit(code)  # an MPI that has ended already does not end us

    def all_stop_here(self, seconds: float) -> bool:
        request, until = self._ends.Ibarrier(), time.monotonic() + seconds
        while not request.Test():
            if time.monotonic() > until:
                return False
            time.sleep(1e-3)
        return True

    def _wait(self, requests: list[Any], size: int, kind: int, alike: int = 0, came: list[Any] | None = None) -> None:
        """Wait for messages without keeping a core that another rank needs; signals are heard meanwhile.

        Parameters
        ----------
        size
            The bytes that are on their way.
        kind, alike
            What this call of all ranks is about, and how many bytes it has on each of them.
        """
        self._calls += 1
        try:
            self._until_done(requests, size, RankCall(self._calls, kind, alike), came)
        except self._mpi.Exception as error:
            if error.Get_error_class() != self._mpi.ERR_TRUNCATE:
                raise
            raise InputError(
                "another rank sends more than this one takes: the ranks do not make the same calls; have all of them "
                "train alike, in callbacks too"
            ) from error

    def _until_done(self, requests: list[Any], size: int, call: RankCall, came: list[Any] | None) -> None:
        done = self._mpi.Request.Testall
        if done(requests, came):
            return
        self._underway = True
        yields = _EARLY if self._long_waits[call.kind] >= _IN_A_ROW else _YIELD
        began, patience, looked, waited = time.perf_counter(), yields + size / _SLOWEST, 0.0, 0.0
        while not done(requests, came):
            waited = time.perf_counter() - began
            if waited > patience:  # nobody sends yet; a message on its way goes on only while it is asked for
                time.sleep(_SLEEP if waited < patience + _LONG else _SOUND_SLEEP)
                if waited - looked > _ASK:
                    looked = waited
                    self._end_without(partial(done, requests, came))
                    if waited > _LONG:
                        self._calls_apart.look(call)
            elif self._crowded or waited > _SPIN:
                os.sched_yield()
        self._underway = False
        self._long_waits[call.kind] = self._long_waits[call.kind] + 1 if waited > _YIELD else 0

    def _uncaught(self, before: Callable[..., Any]) -> Callable[..., Any]:
        """Return what ends all ranks where a script fails on this one alone: MPI would wait for it for ever."""

        def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
            before(kind, error, trace)
            end_together(self, error)

        return hook

    def _noting_the_code(self, before: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
        """Return what notes the exit code: where others wait for this rank, all end with it."""

        def ends(status: Any = None, /) -> NoReturn:
            self._code = 0 if status is None else status & 0xFF if isinstance(status, int) else 1
            before(status)

        return ends

    def _end_without(self, done: Callable[[], bool]) -> None:
        """End all ranks if one has ended whose message this one waits for, with the exit code of that one."""
        status = self._mpi.Status()
        if not self._ends.Iprobe(self._mpi.ANY_SOURCE, _ENDED, status):
            return
        until = time.monotonic() + _LAST + _APART * min(self.rank, 8)  # two that abort at once make up another code
        while not done():
            if time.monotonic() > until:
                code = bytearray(1)
                self._ends.Recv([code, self._mpi.BYTE], status.Get_source(), _ENDED)
                told = f"rank {status.Get_source()} has ended its script, and this rank waits for it"
                print(f"gdkernels: rank {self.rank} of {self.size}: {told}", file=sys.__stderr__, flush=True)
                self.abort(code[0] or 1)
            time.sleep(1e-3)

    def _at_exit(self) -> None:
        if os.getpid() != self._process or self._mpi.Is_finalized():
            return
        if self._underway:
            self.abort(130)
        try:
            self._end_with_all()
        except KeyboardInterrupt:
            self.abort(130)

    def _end_with_all(self) -> None:
        """Tell the others that this rank ends, and wait until they do, as MPI would; one that waits for it ends all."""
        byte, others = self._mpi.BYTE, [rank for rank in range(self.size) if rank != self.rank]
        sent, got = bytearray([self._code]), [bytearray(1) for _ in others]
        requests = [self._ends.Isend([sent, byte], rank, _ENDED) for rank in others]
        requests += [self._ends.Irecv([one, byte], rank, _ENDED) for one, rank in zip(got, others, strict=True)]
        while not self._mpi.Request.Testall(requests):
            time.sleep(1e-3)
        self._calls_apart.clear()


def _mpi() -> Any:
    """Return mpi4py's module; MPI itself begins later, once it is known to be the launcher's."""
    import mpi4py

    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc.initialize = False
        mpi4py.rc.finalize = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that the launcher is suspicious, which is refused
        from mpi4py import MPI

    return MPI


def _is_of_another(variable: str, vendor: str) -> bool:
    """Return whether the launcher that sets a variable cannot start processes of this MPI."""
    if variable.startswith("OMPI_"):
        return vendor != "Open MPI"
    return variable.startswith("PMI_") and vendor == "Open MPI"


def _another(started: Launched, mpi: Any) -> BackendError:
    library = mpi.Get_library_version().splitlines()[0].split(",")[0].strip("\0 ")
    return BackendError(
        f"{started.size} processes were started ({started.variable}), but each is alone in {library}: the launcher "
        f"belongs to another MPI; start by the mpiexec beside {sys.executable}, or by srun --mpi=pmix or --mpi=pmi2"
    )
