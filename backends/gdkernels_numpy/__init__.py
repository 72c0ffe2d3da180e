"""The reference backend: the definition on NumPy, on any CPU.

It compiles nothing: its namespace and its threads are all that belongs here. README.md in this folder explains them.
"""

from gdkernels_numpy.host import HostBackend

__all__ = ["NumPyBackend"]


class NumPyBackend(HostBackend):
    """NumPy arrays on the host; runs wherever Python does."""

    name = "numpy"

    def unavailable(self) -> str | None:
        return None
