"""A copy of a bound step for a thread of its own: the same streams, in other memory."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gdkernels_numba.bytecode.arena import allocate
from gdkernels_numba.vm.instructions import END
from gdkernels_numba.vm.job_fields import WorkspaceRecord
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["StreamPatch", "Workspace"]

Words = npt.NDArray[np.int64]

# Where a context has the address of a stream.
_STREAMS = [
    CONTEXT.before, CONTEXT.transposes, CONTEXT.tile, CONTEXT.update, CONTEXT.second_update, CONTEXT.third_update,
    CONTEXT.fourth_update, CONTEXT.fifth_update, CONTEXT.result, CONTEXT.after,
]  # fmt: skip

StreamPatch = tuple[Words, int, int, int]  # a stream, the word in it, the number of an array, and the offset there


class Workspace:
    """Streams and contexts as others, with addresses in memory of their own.

    Parameters
    ----------
    base, size
        The memory of the others. Words between are addresses: no other number is as large.
    contexts
        Those of one thread, [contexts, words].
    streams
        The streams of the others.
    patches
        The words of the streams that are addresses of the caller's.

    Attributes
    ----------
    address
        Where its `WorkspaceRecord` is.
    """

    def __init__(
        self, base: int, size: int, contexts: Words, streams: Sequence[Words], patches: Iterable[StreamPatch]
    ) -> None:
        memory, here = allocate(size)

        def moved(words: Words) -> Words:
            return words + (here - base) * ((base <= words) & (words < base + size))

        starts = np.cumsum([0, *(len(stream) for stream in streams)])
        words = moved(np.concatenate([*streams, [END]]))
        at = {
            stream.ctypes.data: words.ctypes.data + int(words.itemsize * k)
            for stream, k in zip(streams, starts[:-1], strict=True)
        }
        own = moved(contexts)
        addresses = own.ctypes.data + own.strides[0] * np.arange(len(own))
        own[:, CONTEXT.contexts] = addresses.ctypes.data
        for column in _STREAMS:
            own[:, column] = [at.get(int(address), 0) for address in contexts[:, column]]
        told = np.array(
            [(at[stream.ctypes.data] + words.itemsize * word, k, offset) for stream, word, k, offset in patches],
            np.int64,
        )
        record = WorkspaceRecord(addresses.ctypes.data, len(own), told.ctypes.data, len(told))
        found = np.array(record, np.int64)
        self._kept = memory, words, own, addresses, told, found
        self.address = found.ctypes.data
