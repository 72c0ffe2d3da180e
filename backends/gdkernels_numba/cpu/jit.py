"""From LLVM IR to machine code that can be called: compiled once, kept in a directory of the user's, loaded again."""

import ctypes
import hashlib
import logging
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gdkernels.errors import FileError
from gdkernels.system.atomic_files import write_atomically
from gdkernels.system.cache_folder import cache_folder, unusable
from gdkernels.system.forks import undivided
from gdkernels.system.libraries import lack_of
from gdkernels.system.progress import announce
from gdkernels_numba.cpu.features import machine_name, target_features

__all__ = ["Code", "digest", "function_of", "load", "why_no_llvm"]

_log = logging.getLogger("gdkernels")

_INSTALL = 'pip install "gdkernels[numba]"'

_REVISION = "2"  # raised when other code is made of the same IR
_SUFFIX = ".o"
_CHECKSUM = 32  # bytes of SHA-256 in front of the code: a damaged file is compiled again


class Code:
    """Machine code in memory; keep it as long as anything may call it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def address(self, name: str) -> int:
        with undivided:
            return int(self._engine.get_function_address(name))


def digest(*parts: str) -> str:
    """Return a name for code that is made of these parts, by these compilers, for this machine."""
    whole = "\0".join((version("llvmlite"), machine_name(), _REVISION, *parts))
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


@cache
def why_no_llvm() -> str | None:
    """Return why llvmlite, which is installed, cannot be imported, with what would mend that; None where it can."""
    try:
        with undivided:
            import llvmlite.binding  # noqa: F401
    except Exception as error:  # a library that is broken raises anything
        return f"it takes llvmlite, {lack_of('llvmlite', error, _INSTALL)}"
    return None


def load(key: str, write_ir: Callable[[], str], what: str, *, announced: bool = False, decides: bool = False) -> Code:
    """Return the code called `key`: from the cache, or compiled from the IR that `write_ir` returns.

    Parameters
    ----------
    what
        The code's name in the message that is logged if compiling takes more than a second.
    announced
        Whether to say before it is compiled that this takes a while.
    decides
        Whether the code decides what to do next, as the interpreter does, rather than compute with vectors.
    """
    with undivided:
        return _loaded(key, write_ir, what, announced, decides)


def _loaded(key: str, write_ir: Callable[[], str], what: str, announced: bool, decides: bool) -> Code:
    folder = _folder()
    machine_code = None if folder is None else _read(folder / (key + _SUFFIX))
    if machine_code is None:
        if announced:
            later = "" if folder is None else f"; the next start finds it in {folder}"
            announce(f"compiling the engine for this processor, which takes some seconds{later}")
        started = time.perf_counter()
        text = write_ir()
        machine_code = _compile(text, decides)
        if folder is not None:
            _keep(folder / (key + _SUFFIX), hashlib.sha256(machine_code).digest() + machine_code)
            _keep(folder / (key + ".ll"), text.encode())
        seconds = time.perf_counter() - started
        _log.log(logging.INFO if seconds > 1 else logging.DEBUG, "compiled %s in %.1f s", what, seconds)
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
        features=target_features(),
        opt=3,
        jit=True,
        codemodel="jitdefault",
    )


def _compile(text: str, decides: bool = False) -> bytes:
    machine = _target()
    return bytes(machine.emit_object(_optimised(text, machine, decides)))


def _optimised(text: str, machine: Any, decides: bool = False) -> Any:
    """Return the module that LLVM makes of this IR for `machine`."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    options = llvm.PipelineTuningOptions(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    passes = builder.getModulePassManager() if decides else _passes_of_vectors()
    passes.run(module, builder)
    return module


def _passes_of_vectors() -> Any:
    """Return what is left to do for kernels, whose vectors and unrolled rows are written as such.

    Variables become registers, and what is computed twice is computed once; LLVM allocates registers, computes
    addresses and schedules after that anyway. All passes of its level 3 take four times as long, most of that to unroll
    loops again, and the code is not faster for them.
    """
    import llvmlite.binding as llvm

    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_new_gvn_pass()
    passes.add_simplify_cfg_pass()
    return passes


def _link(machine_code: bytes) -> Code:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
    engine.finalize_object()
    return Code(engine)


@cache
def _folder() -> Path | None:
    """Return the folder of compiled code, or None with one warning if it cannot be trusted or written."""
    path = cache_folder()
    problem = unusable(path)
    if problem is None:
        return path
    _log.warning(
        "compiled code is not kept, so each process compiles anew: %s %s; GDKERNELS_CACHE names another place",
        path,
        problem,
    )
    return None


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, machine_code = content[:_CHECKSUM], content[_CHECKSUM:]
    return machine_code if hashlib.sha256(machine_code).digest() == checksum else None


def _keep(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, lambda file: file.write(content), overwrite=True, lasting=False)
    except FileError as error:
        _log.warning("compiled code is not kept, so the next process compiles anew: %s", error)
