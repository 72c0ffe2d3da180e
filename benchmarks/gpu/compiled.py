"""What a compiler makes of a kernel: the words of ptxas, kept in a file, so that nothing is compiled twice."""

from __future__ import annotations

import ctypes
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from gdkernels.system.atomic_files import write_atomically
from gdkernels.system.hashing import sha256
from gdkernels.system.strict_json import loads

__all__ = ["Compiler", "KeptRows", "Row", "row_of"]

_OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")


@dataclass(frozen=True)
class Row:
    """The figures that ptxas gives for a module: the largest over its kernels, or those of the training kernel.

    Attributes
    ----------
    seconds
        That the compiler took, of one core.
    """

    registers: int
    frame: int
    spilled: int
    static_shared: int
    seconds: float


class Compiler:
    """A library of NVRTC, by its path."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.name = f"NVRTC {major.value}.{minor.value}"

    def compile(self, text: str, capability: int) -> tuple[str, float]:
        """Return what ptxas says of a text, and the seconds of one core; a refusal is a RuntimeError."""
        program, began = ctypes.c_void_p(), time.process_time()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
        given = [f"-arch=sm_{capability}".encode(), *(option.encode() for option in _OPTIONS)]
        status = self._library.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        size = ctypes.c_size_t()
        self._call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self._call("nvrtcGetProgramLog", program, log)
        self._call("nvrtcDestroyProgram", ctypes.byref(program))
        said = log.value.decode(errors="replace")
        if status:
            raise RuntimeError(f"{self.name} refuses sm_{capability}: {said[:500]}")
        return said, time.process_time() - began

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} answers {status}")


def row_of(log: str, seconds: float, kernel: str | None = None) -> Row:
    """Return the figures of one kernel, or the largest over all of a module."""
    parts = [part for part in log.split("Compiling entry function")[1:] if kernel is None or f"'{kernel}'" in part]

    def largest(pattern: str) -> int:
        return max((int(n) for part in parts for n in re.findall(pattern, part)), default=0)

    return Row(
        largest(r"Used (\d+) registers"),
        largest(r"(\d+) bytes stack frame"),
        largest(r"(\d+) bytes spill stores"),
        largest(r"(\d+) bytes smem"),
        round(seconds, 2),
    )


class KeptRows:
    """Rows by the text that they are of, in a file that grows with each: who is interrupted goes on there.

    Parameters
    ----------
    path
        A file in JSON; what does not exist, or cannot be read, begins anew.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._used = path, set[str]()
        try:
            self._rows = {key: Row(**row) for key, row in loads(path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._rows = {}

    def row(self, compiler: Compiler, capability: int, text: str, kernel: str | None = None) -> Row:
        """Return the figures of a text, compiled if nobody has done that with this compiler and architecture."""
        told = "\0".join([compiler.name, str(capability), str(kernel), *_OPTIONS, text])
        key = sha256(told.encode()).hexdigest()[:20]
        self._used.add(key)
        if key not in self._rows:
            self._rows[key] = row_of(*compiler.compile(text, capability), kernel)
            self._write(lambda key: True)
        return self._rows[key]

    def forget_others(self) -> None:
        """Keep only the rows that were asked for."""
        self._write(self._used.__contains__)

    def _write(self, stays: Callable[[str], bool]) -> None:
        lines = [f'"{key}": {json.dumps(asdict(row))}' for key, row in sorted(self._rows.items()) if stays(key)]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        write_atomically(self._path, lambda file: file.write(text.encode()), overwrite=True)
