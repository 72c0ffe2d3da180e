"""A process of items that go wrong in every way."""

import os
import sys
import time

import numpy as np

from benchmarks.gpu import worker
from benchmarks.gpu.parts import GPUItem

broken = []


def fail():
    raise RuntimeError("as planted")


def break_device():
    broken.append(True)
    raise OSError("an illegal address")


def die():
    print("last words", file=sys.stderr, flush=True)
    os._exit(3)


ITEMS = {
    "fails": fail,
    "breaks the device": break_device,
    "dies": die,
    "hangs": lambda: time.sleep(600),
    **dict.fromkeys(
        ("works", "works again", "works at last"),
        lambda: [
            os.getpid(),
            float("nan"),
            {"all": (float("inf"), np.float32(1.5)), "kinds": {1: np.int64(3), 2: print}},
        ],
    ),
}

if __name__ == "__main__":
    worker._device_works = lambda: not broken
    worker.serve({"part": {name: GPUItem(work, 1) for name, work in ITEMS.items()}})
