"""``gdkernels inspect``: the content of a model file."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from gdkernels.cli.options import add_output
from gdkernels.definition.naming import describe
from gdkernels.tables.preparation.report import columns_line
from gdkernels.tabular import TabularPredictor
from gdkernels.tabular.results import shape_in_words

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    parser = commands.add_parser(
        "inspect",
        help="show what is in a model file",
        description="Show a model's layers, what it does with each column, how it was trained, and by which versions.",
    )
    parser.add_argument("model", metavar="MODEL", help="what gdkernels train --out wrote")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: Namespace) -> None:
    """Print the report."""
    predictor = TabularPredictor.load(args.model)
    mlp, preparation = predictor.network, predictor.preparation_
    told: dict[str, Any] = {
        "model": args.model,
        "task": preparation.task,
        "targets": list(preparation.targets),
        "classes": None if preparation.classes is None else preparation.classes.tolist(),
        "network": shape_in_words(mlp),
        "sizes": list(mlp.sizes),
        "activation": [describe(f)["name"] for f in mlp.activations],
        "parameters": mlp.parameter_count,
        "precision": mlp.precision,
        "columns": preparation.describe(),
        **{name: mlp.extra.get(name) for name in ("data", "rows", "metrics", "settings", "history", "versions")},
    }
    if args.json:
        print(json.dumps(told, indent=2, allow_nan=False))
        return
    task = told["task"] + (f" in {len(told['classes'])} classes" if told["classes"] else "")
    print(f"{args.model}: {task} of {', '.join(told['targets'])!r}, trained on {told['data']}")
    print(f"layers   {told['network']}, {told['parameters']:,} parameters, {told['precision']}")
    print(f"columns  {columns_line(preparation)}")
    figures = ", ".join(f"{k} {v:.4g}" for k, v in (told["metrics"] or {}).items() if v is not None)
    print(f"test     {figures or 'none'}")
    for k, history in enumerate(told["history"] or [], 1):
        losses = [v for v in (history["validation_loss"] or []) if v is not None] or history["loss"]
        print(f"network {k}: {len(history['loss'])} epochs, lowest loss {min(losses):.4g}, parameters of epoch "
              f"{history['best_epoch']}; {history['stopped']}")  # fmt: skip
    print("versions " + ", ".join(f"{k} {v}" for k, v in (told["versions"] or {}).items()))
    for c in told["columns"]:
        inputs = "input" if c["features"] == 1 else "inputs"
        print(f"  {c['name']}: {c['kind']}, {c['features']} {inputs}{'; ' if c['why'] else ''}{c['why']}")
