"""A fork while another thread compiles and fits: the children do their work, and wait for no lock of a thread gone."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, threading, time
import numpy as np
import gdkernels as gd
from gdkernels_numba import compilation

X = np.random.default_rng(0).random((64, 3)).astype(np.float32)

def fit(seed):
    compilation._shared.clear()  # links the machine code anew, as a program does that is not known yet
    compilation.code_of_loops.cache_clear()
    return gd.MLP([3, 4, 1], seed=seed, backend="numba").fit(X, X[:, :1], epochs=2, progress=False).loss

expected = fit(0)
over = threading.Event()

def go_on():
    while not over.is_set():
        fit(1)

thread = threading.Thread(target=go_on)
thread.start()
children = []
for _ in range(CHILDREN):
    child = os.fork()
    if child == 0:
        os._exit(0 if fit(0) == expected else 1)
    children.append(child)
    time.sleep(0.01)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
over.set()
thread.join()
print(codes)
"""


def told_by(program):
    """Return what a program writes to stdout and stderr; its children end with it."""
    run = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, error = run.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, 9)
        run.communicate()
        pytest.fail("a child waits for ever")
    return out, error


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_children_of_a_program_with_another_thread_in_llvm():
    count = 6
    out, error = told_by(PROGRAM.replace("CHILDREN", str(count)))
    assert out == f"{[0] * count}\n", error


COLD = """
import os, sys, threading
from gdkernels_numba import NumbaBackend

class Held:  # keeps the thread in the middle of its import until the fork has begun
    def find_spec(self, name, path=None, target=None):
        if name == "llvmlite.binding" and threading.current_thread() is thread:
            importing.set()
            forking.wait()

importing, forking = threading.Event(), threading.Event()
sys.meta_path.insert(0, Held())
thread = threading.Thread(target=NumbaBackend().unavailable)
thread.start()
assert importing.wait(60)
threading.Timer(0.2, forking.set).start()  # the fork itself waits for the import
child = os.fork()
if child == 0:
    os._exit(0 if NumbaBackend().unavailable() is None else 1)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_a_program_whose_other_thread_imports_llvmlite():
    """Python keeps a lock for each module that is being imported, and the child would wait for it."""
    out, error = told_by(COLD)
    assert out == "0\n", error
