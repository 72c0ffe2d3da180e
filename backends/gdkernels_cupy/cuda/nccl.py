"""NCCL by CuPy: carries bytes between the GPUs of ranks, in the order of a stream, also while that is captured.

The group starts it and checks it. What is added, and in which order, is the engine's: NCCL's own sums depend on the
number of ranks.
"""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Iterable
from time import perf_counter
from typing import Any

import numpy as np

from gdkernels.groups import Group
from gdkernels_cupy.cuda.device import CudaDevice, describe
from gdkernels_cupy.cuda.errors import last_line

__all__ = ["NcclRanks", "problem_of_ranks"]

_INSTALL = "pip install nvidia-nccl-cu13 (with CUDA 12: nvidia-nccl-cu12)"
_REPEATS = 5
_OLDEST = 2_10_00  # the first whose groups of sends and receives can be captured safely

# From a rank, an address there, and the bytes.
Message = tuple[int, int, int]


def problem_of_ranks(group: Group, number: int) -> str | None:
    """Return why NCCL cannot carry between the GPUs of all ranks; all of them get the same answer."""
    uuid = describe(number)["uuid"]
    mine = {"problem": _problem(), "host": socket.gethostname(), "gpu": uuid or f"cuda:{number}"}
    everybody = group.gather_json(mine)
    for rank, told in enumerate(everybody):
        if told["problem"]:
            return f"rank {rank}: {told['problem']}"
        for other, before in enumerate(everybody[:rank]):
            if (before["host"], before["gpu"]) == (told["host"], told["gpu"]):
                return (
                    f"ranks {other} and {rank} share a GPU of {told['host']}, and NCCL wants one for each: let the "
                    "launcher set CUDA_VISIBLE_DEVICES, or give each rank a device"
                )
    return None


class NcclRanks:
    """The ranks of a group as NCCL knows them, each on the GPU that is the current one.

    All ranks make one at the same time, and call the same methods in the same order.
    """

    def __init__(self, group: Group, device: CudaDevice) -> None:
        from cupy.cuda import nccl

        os.environ.setdefault("NCCL_NVLS_ENABLE", "0")  # whose sums may differ from call to call; it adds nothing here
        told = None if group.rank else json.dumps(list(nccl.get_unique_id())).encode()
        self._nccl, self._stream, self._byte = nccl, device.stream, nccl.NCCL_UINT8
        number = tuple(json.loads(group.broadcast(told)))
        with device.working():
            self._ranks = nccl.NcclCommunicator(group.size, number, group.rank)

    def exchange(self, sent: Iterable[Message], received: Iterable[Message]) -> None:
        """Send bytes to other ranks, and receive theirs: what one sends is what the other expects, in order."""
        self._nccl.groupStart()
        for rank, address, size in sent:
            self._ranks.send(address, size, self._byte, rank, self._stream.ptr)
        for rank, address, size in received:
            self._ranks.recv(address, size, self._byte, rank, self._stream.ptr)
        self._nccl.groupEnd()

    def gather(self, mine: int, size: int, whole: int) -> None:
        """Bring the bytes of all ranks, each as many, to `whole`, one behind the other."""
        self._ranks.allGather(mine, whole, size, self._byte, self._stream.ptr)

    def seconds(self, size: int, group: Group, device: CudaDevice) -> float:
        """Return the seconds in which ranks exchange so many bytes with each other rank, and gather as many of each."""
        others = [r for r in range(group.size) if r != group.rank]
        times = []
        with device.working():
            mine, there = device.allocate(size), device.allocate(size * group.size)
            for _ in range(_REPEATS):
                device.stream.synchronize()
                group.barrier()
                began = perf_counter()
                self.exchange(
                    [(r, mine.address, size) for r in others], [(r, there.address + r * size, size) for r in others]
                )
                self.gather(mine.address, size, there.address)
                device.stream.synchronize()
                times.append(perf_counter() - began)
        return float(group.gather_numbers([min(times)]).max())

    def problem(self, group: Group, device: CudaDevice) -> str | None:
        """Return what is wrong with bytes that were carried; all ranks ask together, and get the same answer."""
        size, rank = group.size, group.rank
        numbers = np.arange(3.0) + 10 * rank
        others = [r for r in range(size) if r != rank]
        with device.working():
            mine, there = device.put(numbers), device.put(np.zeros((2, size, 3)))
            at, bytes_ = there.address, numbers.nbytes
            device.copy_rows(at + rank * bytes_, bytes_, mine.address, bytes_, bytes_, 1)

            def carry() -> None:
                sent = [(r, mine.address, bytes_) for r in others]
                self.exchange(sent, [(r, at + r * bytes_, bytes_) for r in others])
                self.gather(mine.address, bytes_, at + size * bytes_)

            carry()
            captured: Any = device.captured([carry])
            captured.launch(device.stream)
            found = np.empty((2, size, 3))
            device.download(found, at)
        wrong = not (found == np.arange(3.0) + 10 * np.arange(size)[:, None]).all()
        return "NCCL does not bring what other ranks send" if group.any(wrong) else None


def _problem() -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # CuPy's, that the library is not there
            from cupy.cuda import nccl
    except Exception as error:  # what the dynamic linker says
        return f"NCCL cannot be loaded ({last_line(error)}): {_INSTALL}"
    if not getattr(nccl, "available", True):
        return f"NCCL is not installed: {_INSTALL}"
    version = int(nccl.get_version())
    return None if version >= _OLDEST else f"NCCL {version} is too old: {_INSTALL}"
