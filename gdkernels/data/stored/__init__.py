"""Records that stay in files: training reads them window by window, and never has all of them in memory.

Code here reads, shuffles and prefetches records of a network. Turning a raw table into such files belongs to
`gdkernels.tabular`.
"""

from gdkernels.data.stored.stored import Stored

__all__ = ["Stored"]
