"""``gdkernels export``: a model file as an ONNX model that takes raw records."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from gdkernels.cli.options import add_output
from gdkernels.cli.streams import say
from gdkernels.errors import InputError
from gdkernels.interchange.onnx import INPUTS
from gdkernels.tabular import TabularPredictor

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "export",
        help="write a model as ONNX",
        description="Write a model as ONNX, including the preparation of its table: from raw records, ONNX Runtime "
        "then predicts what gdkernels predict does. Each column is an input [records, 1].",
    )
    parser.add_argument("model", metavar="MODEL", help="what gdkernels train --out wrote")
    parser.add_argument("out", metavar="FILE.onnx", help="where to write it")
    parser.add_argument("--force", action="store_true", help="replace that file if it exists")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Write the file, and say what its inputs and outputs are."""
    if Path(args.out).suffix.lower() != ".onnx":
        raise InputError(f"cannot write {args.out}: it is to be an ONNX model; give a name that ends in .onnx")
    predictor = TabularPredictor.load(args.model)
    predictor.export_onnx(args.out, overwrite=args.force)
    kinds = {kind.name: INPUTS[kind.kind] for kind in predictor.preparation_.columns if kind.features}
    outputs = ["prediction"] if predictor.preparation_.classes is None else ["label", "probabilities"]
    if args.json:
        say(json.dumps({"model": args.model, "out": args.out, "inputs": kinds, "outputs": outputs}, indent=2))
        return
    say(f"{args.out}: {', '.join(outputs)} of {len(kinds)} columns, each an input [records, 1]")
    for what in dict.fromkeys(kinds.values()):
        say(f"  {what}: {', '.join(name for name, is_ in kinds.items() if is_ == what)}")
