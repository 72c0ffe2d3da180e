"""Runs the comparison, and prints where each method was after a tenth, a third and all of the time, and the goals."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

from threadpoolctl import threadpool_limits

import gdkernels as gd
from benchmarks import checkout
from benchmarks.least_squares.methods import MATLABS, METHODS, Path, evidence_and_adam, missing, to_matlabs_goal
from benchmarks.least_squares.problems import PROBLEMS, FitProblem, diabetes, parameter_count
from benchmarks.least_squares.product import measured_products
from benchmarks.least_squares.summary import lowest, sooner, thinned
from gdkernels.bench.environment import environment

_SOLVERS = {"lm": gd.LevenbergMarquardt(), "lbfgs": gd.LBFGS()}
_USUAL = "lm,adam,lbfgs,scipy-trf,torch-lm"


def main(arguments: list[str] | None = None) -> int:
    """Run the study and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.least_squares", description=__doc__)
    parser.add_argument(
        "--problems", default=",".join(PROBLEMS), metavar="NAMES", help=f"of {', '.join(PROBLEMS)} (all)"
    )
    parser.add_argument("--methods", default=_USUAL, metavar="NAMES", help=f"of {', '.join(METHODS)} (those installed)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="initial weights (3)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="CPU seconds of each (3)")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    problems, methods = options.problems.split(","), options.methods.split(",")
    unknown = [n for n in problems if n not in PROBLEMS and n != "none"] + [n for n in methods if n not in METHODS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}", file=sys.stderr)
        return 2
    for name in methods:
        if (package := missing(name)) is not None:
            print(f"{name} is left out: {package} is not installed")
    methods = [name for name in methods if missing(name) is None]
    results: dict[str, Any] = {
        "command": checkout.command("least_squares", sys.argv[1:] if arguments is None else arguments),
        "environment": environment(),
        "seconds": options.seconds,
        "paths": {},
    }
    with threadpool_limits(1):
        for name in problems:
            if name == "none":
                continue
            for seed in range(options.seeds):
                every = {m: METHODS[m](PROBLEMS[name], seed, options.seconds) for m in methods}
                found = {m: path for m, path in every.items() if path}
                results["paths"][f"{name}, seed {seed}"] = {m: thinned(path) for m, path in found.items()}
                print("\n".join(_lines(PROBLEMS[name], seed, found, options.seconds)), flush=True)
        results["products"] = [speed.as_dict() for speed in _shown(measured_products())]
        results["MATLAB's problems"] = [_on_matlabs(problem, name) for problem in MATLABS for name in _SOLVERS]
        results["diabetes"] = [_told(seed) for seed in range(options.seeds)]
    if options.json:
        checkout.write_json(options.json, results)
    return 0


def _shown(speeds: list[Any]) -> list[Any]:
    for speed in speeds:
        print(speed, flush=True)
    return speeds


def _on_matlabs(problem: str, name: str) -> dict[str, Any]:
    seconds, reached_it = to_matlabs_goal(problem, _SOLVERS[name])
    print(f"MATLAB's {problem}: {name} {1e3 * seconds:.1f} ms, {reached_it} of 30 trials reach its goal", flush=True)
    return {"problem": problem, "solver": name, "seconds": seconds, "reached": reached_it}


def _told(seed: int) -> dict[str, Any]:
    found = evidence_and_adam(*diabetes(), seed)
    shown = "; ".join(f"{name} R² {r2:.3f} in {seconds:.3f} s" for name, (r2, seconds) in found.items())
    print(f"diabetes, seed {seed}: {shown}", flush=True)
    return {"seed": seed, **found}


def _lines(problem: FitProblem, seed: int, found: dict[str, Path], seconds: float) -> list[str]:
    records = len(problem.records()[0])
    lines = [f"{problem.name}: {records:,} records, {parameter_count(problem.sizes)} parameters, seed {seed}"]
    for name, path in found.items():
        errors = ", ".join(f"{lowest(path, share * seconds):8.2g}" for share in (0.1, 1 / 3, 1.0))
        lines.append(f"  {name:12} mse {errors}  ({len(path):,} looks)")
    lm = found.get("lm")
    for name, path in found.items():
        if lm is None or name == "lm":
            continue
        times, share = sooner(lm, path, seconds), lowest(lm, seconds) / lowest(path, seconds)
        when = "never" if times is None else f"{times:.1f} × sooner"
        lines.append(f"    lm reaches the end of {name}: {when}; the share of its error in the end: {share:.2g}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
