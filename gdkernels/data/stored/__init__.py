"""Records that stay in files: trained on window by window, without ever being in memory all at once."""

from gdkernels.data.stored.stored import Stored

__all__ = ["Stored"]
