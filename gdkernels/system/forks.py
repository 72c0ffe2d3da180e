"""What a fork must not cut in two: the child has a copy of every lock, and not the thread that would let go of it."""

from __future__ import annotations

import os
import threading

__all__ = ["undivided"]

# Held while a thread imports a library or is in LLVM, both of which have locks of their own: who forks waits for it.
undivided = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=undivided.acquire, after_in_parent=undivided.release, after_in_child=undivided.release)
