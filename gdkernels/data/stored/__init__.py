"""Records that stay in files: trained on window by window, without ever being in memory all at once.

What belongs here reads, shuffles and prefetches records of a network. Turning a raw table into such files belongs to
`gdkernels.tabular`.
"""

from gdkernels.data.stored.stored import Stored

__all__ = ["Stored"]
