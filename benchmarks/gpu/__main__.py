"""Conformance, first checks, costs and training side by side, on a machine with a GPU.

It needs this checkout, what gdkernels depends on, CuPy and pytest; gdkernels need not be installed, and libraries that
are not become skipped rows. Each item has some time, in a process that ends with what goes badly wrong, and its result
is in the file when it is done. Start the same command again after an interruption, or when its time ran out: it goes on
where it stopped. What failed is tried again at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.gpu.device import describe
from benchmarks.gpu.item_process import ItemProcess
from benchmarks.gpu.parts import FIRST, PARTS, SHORT, Items
from benchmarks.gpu.results import GPUResults
from gdkernels.errors import GdkernelsError

__all__ = ["main"]

_SECONDS, _SHORT_SECONDS = 480, 540
_BEYOND = 45  # seconds that an item may last beyond its own: nobody has timed one yet


def main(arguments: list[str] | None = None) -> int:
    """Run one part, or all that is left, and return the exit code: 0 done, 1 something failed, 2 no GPU, 3 not done."""
    options = _parser().parse_args(arguments)
    names = list(PARTS)
    if options.list:
        for k, name in enumerate(names, start=1):
            minutes = sum(item.seconds for item in PARTS[name].values()) / 60
            print(f"{k}  {name}: {len(PARTS[name])} items, at most {minutes:.0f} minutes")
        return 0
    from gdkernels_cupy import CuPyBackend

    began = time.monotonic()
    reason = CuPyBackend().unavailable()
    if reason is not None:
        print(f"there is nothing to measure: {reason}", file=sys.stderr)
        return 2
    try:
        results = GPUResults(Path(options.out), describe())
    except GdkernelsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    parts = SHORT if options.short else PARTS
    chosen = list(parts) if options.part is None else [names[options.part - 1]]
    missing = [(part, name) for part in chosen for name in parts[part] if not results.done(part, name)]
    missing.sort(key=lambda one: results.tried(*one))  # what hung or failed shall not take the time of the others
    ends = began + (options.seconds or (_SHORT_SECONDS if options.short else _SECONDS))
    failed = left = done = 0
    proven = False
    with closing(ItemProcess()) as process:
        for part, name in missing:
            if not proven:
                proven = _is_proven(parts, results)
            item, most = parts[part][name], ends - time.monotonic()
            if done and item.seconds > most:
                left += 1
                continue
            print(f"{part}: {name} …", flush=True)
            limit = max(item.seconds, min(item.seconds + _BEYOND, most))
            result = results.run(part, name, partial(process.value, part, name, limit))
            done += 1
            failed += "failed" in result
            print(f"  {result.get('failed') or result['value']} ({result['seconds']:.1f} s)", flush=True)
    if not proven:
        _is_proven(parts, results)
    if left:
        print(f"{left} items are left for another run of the same command", file=sys.stderr)
    return 1 if failed else 3 if left else 0


def _is_proven(parts: dict[str, Items], results: GPUResults) -> bool:
    """Return whether all of the first part has passed; this machine then remembers that."""
    if FIRST not in parts or not all(results.done(FIRST, name) for name in parts[FIRST]):
        return False
    from gdkernels_cupy.persistent.proof import keep_proof

    keep_proof(0)
    print("networks of at most 64 units take the persistent kernel in float32 from now on", flush=True)
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the parts, and end")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--short",
        action="store_true",
        help="what tells most in a quarter of an hour: in a run of nine minutes, and another of those that are left",
    )
    which.add_argument(
        "--part", type=int, choices=range(1, len(PARTS) + 1), metavar="N", help="the part to run (all in turn)"
    )
    parser.add_argument(
        "--out", default="gpu.json", metavar="FILE", help="the file that results are added to (%(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"in which the items that begin should end ({_SECONDS}, with --short {_SHORT_SECONDS})",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
