"""The processor: its vectors, caches and cores."""

import ctypes
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gdkernels.system.threads import thread_bound

__all__ = [
    "AMX_BF16",
    "AVX512_BF16",
    "Caches",
    "bf16_route",
    "bf16_routes",
    "caches",
    "cores",
    "features",
    "float_lanes",
    "has_control_register",
    "machine_name",
    "target_features",
    "tiles_are_permitted",
    "why_no_bf16",
]  # fmt: skip

# The features of the processor that multiply bfloat16, by LLVM's names.
AVX512_BF16 = "avx512bf16"
AMX_BF16 = "amx-bf16"

# Linux lends the tiles to a process that asks (arch/x86/include/uapi/asm/prctl.h; its documentation: x86/xstate.rst).
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


@dataclass(frozen=True)
class Caches:
    """Bytes of a core's first- and second-level caches, and of the last level, which cores share."""

    first: int = 32 << 10
    second: int = 512 << 10
    last: int = 8 << 20


@cache
def features() -> frozenset[str]:
    """Return the names of the processor's features, as LLVM calls them."""
    import llvmlite.binding as llvm

    return frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)


@cache
def machine_name() -> str:
    """Return the machine that code is generated for: two machines of one name can run each other's code."""
    import llvmlite.binding as llvm

    return f"{platform.machine()} {llvm.get_host_cpu_name()} {','.join(sorted(features()))}"


def float_lanes() -> int:
    """Return how many float32 numbers a vector register holds."""
    if "avx512f" in features():
        return 16
    return 8 if "avx2" in features() else 4


def bf16_routes() -> tuple[str, ...]:
    """Return what can multiply bfloat16 here, as `Format.route` calls it, the fastest first."""
    if AVX512_BF16 not in features():  # all that rounds to bfloat16
        return ()
    tiles = {"amx-tile", AMX_BF16} <= features() and tiles_are_permitted()
    return (AMX_BF16, AVX512_BF16) if tiles else (AVX512_BF16,)


def bf16_route() -> str:
    """Return the fastest of `bf16_routes`; empty where there is none."""
    return next(iter(bf16_routes()), "")


def why_no_bf16() -> str | None:
    """Return why there are no `bf16_routes`, or None."""
    return None if bf16_routes() else "this processor has no AVX512-BF16, which rounds to bfloat16 and multiplies it"


@cache
def tiles_are_permitted() -> bool:
    """Ask the system for the tiles of AMX, for this process and its children, and return whether it gives them."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    call = ctypes.CDLL(None).syscall
    return bool(call(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0)


def target_features() -> str:
    """Return the processor's features for LLVM: those it has, and those it lacks."""
    import llvmlite.binding as llvm

    return ",".join([llvm.get_host_cpu_features().flatten(), *(f"+{name}" for name in sorted(features()))])


def has_control_register() -> bool:
    """Return whether denormals are flushed by x86's control register."""
    return "sse2" in features()


@cache
def caches() -> Caches:
    """Return the sizes of the caches, or cautious ones where the system does not say."""
    sizes: dict[int, int] = {}
    for entry in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size = ((entry / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                sizes[int(level)] = _bytes(size)
        except (OSError, ValueError):
            continue
    known = Caches()
    first, second = sizes.get(1, known.first), sizes.get(2, known.second)
    return Caches(first, second, sizes.get(3, max(known.last, second)))


def _bytes(size: str) -> int:
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:], 1)
    return int(size.rstrip("KMG")) * factor


def cores() -> int:
    """Return how many threads may run, each on a core of its own."""
    return thread_bound().threads
