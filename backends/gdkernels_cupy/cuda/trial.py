"""A trial of each GPU in a process of its own, so that a process that chose a CPU makes no context on any GPU.

``python -m gdkernels_cupy.cuda.trial`` tries them all and writes what is wrong with each as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from gdkernels.system.kept import keep, kept
from gdkernels_cupy.cuda.errors import last_line

__all__ = ["problems"]

_SECONDS = 120
_SIZE = 8
_NEVER = "GDKERNELS_CHECK"


def problems(count: int) -> dict[str, str | None]:
    """Return what is wrong with each of so many GPUs, by its name; None where it computes.

    What computed once is not tried again until the driver, CuPy or the devices change.
    """
    names = [f"cuda:{k}" for k in range(count)]
    if os.environ.get(_NEVER) == "never":
        return dict.fromkeys(names)
    key = json.dumps(_surroundings(count))
    known = kept("trial", key)
    if known == names and os.environ.get(_NEVER) != "always":
        return dict.fromkeys(names)
    found = tried_elsewhere(names)
    if not any(found.values()):
        keep("trial", key, names)
    return found


def tried_elsewhere(names: list[str]) -> dict[str, str | None]:
    """Return what another process finds wrong with each."""
    command = [sys.executable, "-m", __name__, *names]
    path = os.pathsep.join([*(p for p in sys.path if p), os.environ.get("PYTHONPATH", "")])
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=os.environ | {"PYTHONPATH": path},
        )
        found = json.loads(done.stdout)
        return {name: found[name] for name in names}
    except subprocess.TimeoutExpired:
        problem = f"a product of two small matrices is not there after {_SECONDS} s"
    except (OSError, ValueError, TypeError, KeyError):
        problem = f"a process that tries it ends with code {done.returncode}: {_said(done.stderr)}"
    return dict.fromkeys(names, f"{problem}; `nvidia-smi` shows who uses the device and what the driver says")


def _said(text: str) -> str:
    return last_line(Exception(text)) if text.strip() else "it says nothing"


def _surroundings(count: int) -> list[Any]:
    import cupy

    runtime = cupy.cuda.runtime
    devices = [runtime.getDeviceProperties(k) for k in range(count)]
    ids = [[str(d.get("name")), bytes(d.get("uuid", b"")).hex()] for d in devices]
    return [runtime.driverGetVersion(), runtime.runtimeGetVersion(), str(cupy.__version__), sys.prefix, ids]


def problem_of(name: str) -> str | None:
    """Try what training needs: memory, a product (cuBLAS), a generated kernel (NVRTC); return what is missing."""
    import cupy

    libraries = f'pip install "cupy-cuda{cupy.cuda.runtime.runtimeGetVersion() // 1000}x[ctk]"'
    doing = "allocating memory"
    try:
        with cupy.cuda.Device(int(name.rpartition(":")[2])):
            ones = cupy.asarray(np.ones((_SIZE, _SIZE), dtype=np.float32))
            doing = "a matrix product (cuBLAS)"
            product = cupy.matmul(ones, ones)
            doing = "compiling a kernel (NVRTC)"
            host = cupy.asnumpy(cupy.sqrt(product))
    except Exception as error:  # its kinds differ from library to library and from release to release
        kind = type(error).__name__
        if kind == "CompileException" and "gpu-architecture" in str(error):
            return 'this CUDA no longer compiles for so old a GPU: pip install "gdkernels[cuda12]"'
        # ImportError where cuBLAS is not found, DynamicLibNotFoundError (of cuda.pathfinder) where NVRTC is not,
        # CompileException where the headers of CUDA are not.
        if isinstance(error, ImportError) or kind in ("DynamicLibNotFoundError", "CompileException"):
            return f"{doing} needs a CUDA library that is not found ({last_line(error)}): {libraries}"
        return (
            f"{doing} on {name} fails ({kind}: {last_line(error)}); "
            "`nvidia-smi` shows who uses the device and what the driver says"
        )
    if not np.allclose(host, _SIZE**0.5, rtol=1e-6):
        return f"a matrix product on {name} is wrong ({host.flat[0]} instead of {_SIZE**0.5:.6f}): {libraries}"
    return None


if __name__ == "__main__":
    print(json.dumps({name: problem_of(name) for name in sys.argv[1:]}))
