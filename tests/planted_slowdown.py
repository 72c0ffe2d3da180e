"""Two real measurements of the same code, and a third of it made slower: what `gdkernels compare` says of them.

``python tests/planted_slowdown.py FOLDER [SHARE]`` writes a.json, again.json and slower.json there and prints the
verdicts; by default the slowdown is 0.1. It takes about thirteen minutes on a machine that does nothing else.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugins import Plugins

from gdkernels.bench.comparing.verdicts import compare
from gdkernels.bench.results import read

# Both CPU backends, with executables that wait after their work for a share of the time that it took.
SLOWED = """
import os, time
from {package} import {kind}
from gdkernels.backend.definition_executable import DefinitionExecutable
SHARE = float(os.environ["PLANTED_SHARE"])
def slowed(call):
    def run(*arguments, **named):
        began = time.perf_counter()
        result = call(*arguments, **named)
        end = began + (time.perf_counter() - began) * (1 + SHARE)
        while time.perf_counter() < end: pass
        return result
    return run
class Backend({kind}):
    name = "slowed-{name}"
    contract = 2
    def compile(self, program, plan):
        made = super().compile(program, plan) or DefinitionExecutable(self, program, plan)
        made.run, made.predict = slowed(made.run), slowed(made.predict)
        return made
"""
KINDS = {"numpy": ("gdkernels_numpy", "NumPyBackend"), "numba": ("gdkernels_numba", "NumbaBackend")}
BACKENDS = "slowed-numba,slowed-numpy"
SIZES = ("16-64-1", "32-64-64-1", "64-128-128-10", "128-256-10", "256-256-256-10")


def main(folder: Path, share: str = "0.1") -> None:
    """Measure three times, and compare the second and the third with the first."""
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        plugins = Plugins(folder, patch)
        for name, (package, kind) in KINDS.items():
            plugins.add(f"slowed-{name}", SLOWED.format(name=name, package=package, kind=kind))
    sizes = [part for size in SIZES for part in ("--sizes", size)]
    command = [sys.executable, "-m", "gdkernels", "bench", *sizes, "--backends", BACKENDS, "--threads", "1"]
    for name, planted in (("a", "0"), ("again", "0"), ("slower", share)):
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
            "PLANTED_SHARE": planted,
        }
        out = ["--repeats", "5", "--time-limit", "260", "--out", str(folder / f"{name}.json")]
        subprocess.run([*command, *out], env=environment, check=True, stdout=subprocess.DEVNULL)
    a = read(folder / "a.json")
    for name in ("again", "slower"):
        found = compare(a, read(folder / f"{name}.json"))
        print(name, found.counts)
        for compared in found.rows:
            row, verdict = compared.row, compared.verdict
            figures = (
                f"{verdict.ratio:.3f} [{verdict.low:.3f}, {verdict.high:.3f}]" if verdict.ratio else verdict.reason
            )
            print(f"  {verdict.verdict:10} {figures} {row.case} {row.stage} {row.participant.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
