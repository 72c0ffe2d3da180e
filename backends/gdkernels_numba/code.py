"""From LLVM IR to machine code that can be called: compiled once, kept in a directory of the user's, loaded again."""

import ctypes
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gdkernels.files.cache import cache_folder, unusable
from gdkernels_numba.machine import machine_name

__all__ = ["Code", "digest", "function_of", "load"]

_log = logging.getLogger("gdkernels")

_REVISION = "1"  # raised when other code is made of the same IR
_SUFFIX = ".o"
_CHECKSUM = 32  # bytes of SHA-256 in front of the code: a damaged file is compiled again


class Code:
    """Machine code in memory; kept alive as long as anything may call it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def address(self, name: str) -> int:
        return int(self._engine.get_function_address(name))


def digest(*parts: str) -> str:
    """Return a name for code that is made of these parts, by these compilers, for this machine."""
    whole = "\0".join((version("llvmlite"), version("numba"), machine_name(), _REVISION, *parts))
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def load(key: str, write_ir: Callable[[], str], what: str) -> Code:
    """Return the code called `key`: from the cache, or compiled from the IR that `write_ir` returns.

    Parameters
    ----------
    what
        What is compiled, for the message that comes where it takes more than a second.
    """
    directory = _directory()
    machine_code = _read(directory / (key + _SUFFIX))
    if machine_code is None:
        started = time.perf_counter()
        text = write_ir()
        machine_code = _compile(text)
        _write(directory / (key + _SUFFIX), hashlib.sha256(machine_code).digest() + machine_code)
        _write(directory / (key + ".ll"), text.encode())
        seconds = time.perf_counter() - started
        _log.log(
            logging.INFO if seconds > 1 else logging.DEBUG,
            "compiled %s in %.1f s; the next process finds it in %s",
            what,
            seconds,
            directory,
        )
    return _link(machine_code)


def function_of(code: Code, name: str, arguments: int) -> Callable[..., None]:
    """Return the function `name` of `arguments` 64-bit integers; calling it releases the interpreter's lock."""
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(code.address(name))
    function.code = code  # type: ignore[attr-defined]  # keeps the memory
    return function


def _target() -> Any:
    """Return a target machine of its own for each use: an engine owns, and frees, the one that it is given."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
        codemodel="jitdefault",
    )


def _compile(text: str) -> bytes:
    machine = _target()
    return bytes(machine.emit_object(_optimised(text, machine)))


def _optimised(text: str, machine: Any) -> Any:
    """Return the module that LLVM makes of this IR for `machine`."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    # The kernels are vectors already; what is left to LLVM is registers, addresses and scheduling.
    options = llvm.PipelineTuningOptions(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module


def _link(machine_code: bytes) -> Code:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
    engine.finalize_object()
    return Code(engine)


@cache
def _directory() -> Path:
    """Return where compiled code is kept: the user's own, or a temporary one where that cannot be trusted."""
    path = cache_folder()
    problem = unusable(path)
    if problem is None:
        return path
    temporary = Path(tempfile.mkdtemp(prefix="gdkernels-"))
    _log.warning(
        "compiled code is kept in %s for this process only, because %s %s; GDKERNELS_CACHE names another place",
        temporary,
        path,
        problem,
    )
    return temporary


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, machine_code = content[:_CHECKSUM], content[_CHECKSUM:]
    return machine_code if hashlib.sha256(machine_code).digest() == checksum else None


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; whoever reads it at the same time sees the old or the new one."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise
    except OSError as error:
        _log.warning("compiled code could not be kept in %s: %s", path, error.strerror)
