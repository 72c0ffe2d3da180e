"""Write files as this version of gdkernels writes them, for tests that later versions still read them.

    python tests/compatibility/make_data.py [FOLDER] [--overwrite]

Nobody runs this with the tests: it is run once for a version whose files shall be readable for good, and what it wrote
is committed. FOLDER is ``data/`` with the version's name, such as ``data/0_1``; one that exists is left alone unless
you say ``--overwrite``, as files that are written anew prove nothing of those that users have. It takes about a
minute, in which the machine had better be idle.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import kept
import numpy as np

import gdkernels as gd
from gdkernels.cli import main as command_line

NAME = "_".join(gd.__version__.split(".")[:2])


def command(*arguments: str) -> str:
    """Run the command line, and return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = command_line(list(arguments))
    if code not in (0, 1):  # 1: the doctor found something on this machine
        raise SystemExit(f"gdkernels {' '.join(arguments)} ended with {code}")
    return printed.getvalue()


def write_networks() -> None:
    x, y, _ = kept.records(Path())
    expected: dict[str, kept.Array] = {}
    for name, make in kept.MODELS.items():
        mlp = make(x, y)
        mlp.save(f"{name}.safetensors")
        expected |= {f"{name}: {what}": a for what, a in kept.answers(mlp, x, y).items()}
    np.savez_compressed("answers.npz", **expected)


def write_checkpoints() -> None:
    expected: dict[str, kept.Array] = {}
    for name in kept.CHECKPOINTS:
        with tempfile.TemporaryDirectory() as folder:
            whole = kept.run(name, Path(), Path(folder))
            files = sorted(Path(folder).glob("step-*"))
            middle = files[len(files) // 2]
            Path("checkpoints", name).mkdir(parents=True)
            shutil.copy(middle, Path("checkpoints", name))
        expected |= {f"{name}: {what}": a for what, a in whole.items()}
    np.savez_compressed("ends.npz", **expected)
    told = {"machine": kept.machine(), "versions": kept.versions()}
    Path("made_on.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def write_tables() -> None:
    kept.write_table(Path(kept.TABLE))
    for name, arguments in kept.TABLE_MODELS.items():
        command(*arguments, "--out", f"{name}.safetensors")
        command("predict", f"{name}.safetensors", kept.TABLE, "--out", f"{name}_predicted.csv")
        found = command("evaluate", f"{name}.safetensors", kept.TABLE, "--json")
        Path(f"{name}_evaluated.json").write_text(found, encoding="utf-8")
    told = json.loads(command(*kept.CHECKPOINTED, "--json"))
    Path("run_ended.json").write_text(json.dumps(told["metrics"], indent=1) + "\n", encoding="utf-8")
    for network, last in {"network-1": 24, "network-2": 8}.items():  # as if it had been stopped in the second
        for path in Path("run", network).iterdir():
            if path.name != f"step-{last:012d}.safetensors":
                path.unlink()


def write_measurements() -> None:
    command(*kept.KEPT_BENCH, "--out", "bench.json")
    content = json.loads(Path("bench.json").read_text(encoding="utf-8"))
    content["environment"]["variables"] = {}  # they name folders of this machine
    Path("bench.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    Path("calibration.json").write_text(command(*kept.CALIBRATE, "--json"), encoding="utf-8")
    del os.environ["GDKERNELS_BACKEND"]
    Path("explained.json").write_text(command(*kept.EXPLAIN, "--json"), encoding="utf-8")
    os.environ["GDKERNELS_BACKEND"] = "numpy"


def write_keys() -> None:
    found = {}
    before = set(Path().iterdir())
    for name, arguments in (kept.JSON_COMMANDS | kept.SLOW_JSON_COMMANDS).items():
        found[name] = sorted(kept.key_paths(json.loads(command(*arguments, "--json"))))
    command("train", kept.TABLE, "--target", "price", *kept.ONE, "--log-json", "run.log")
    lines = [json.loads(line) for line in Path("run.log").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        event = f"log, {line.get('event', 'message')}"
        found[event] = sorted({*found.get(event, ()), *kept.key_paths(line)})
    for made in set(Path().iterdir()) - before:
        made.unlink()
    Path("json_keys.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=kept.DATA / NAME)
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    args = parser.parse_args(arguments)
    if args.folder.exists() and not args.overwrite:
        print(f"{args.folder} exists already; --overwrite replaces it", file=sys.stderr)
        return 2
    folder = args.folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as cache:
        os.environ |= {"GDKERNELS_CACHE": cache, "GDKERNELS_BACKEND": "numpy"}
        os.chdir(made)  # commands and models name their files: without a folder in front
        for name, array in kept.made_records().items():
            np.save(f"{name}.npy", array)
        write_networks()
        write_checkpoints()
        write_tables()
        write_measurements()
        write_keys()
        os.chdir("/")
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(made, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
