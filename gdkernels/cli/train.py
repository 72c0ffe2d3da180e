"""``gdkernels train``: turns arguments into one call of `gdkernels.TabularPredictor`, and prints its results."""

from __future__ import annotations

import json
from argparse import Namespace
from functools import partial
from typing import Any

from gdkernels.cli import pictures
from gdkernels.cli.outputs import say_beside, write_or_beside
from gdkernels.cli.streams import say
from gdkernels.cli.train_options import add_train
from gdkernels.cli.watching import watched
from gdkernels.errors import DivergenceError, InputError
from gdkernels.groups import joined
from gdkernels.groups.agreement import from_rank_0
from gdkernels.plots import loss_curves
from gdkernels.system.atomic_files import check_destination
from gdkernels.system.profiling import phase
from gdkernels.tabular import TabularPredictor, TabularResult

__all__ = ["add_to", "keywords"]

# Arguments that are no keywords of `TabularPredictor`: what is read, and how to report.
_NO_KEYWORDS = frozenset(
    ["data", "out", "plot", "force", "log_json", "profile", "json", "debug", "run", "arguments", "stdout_is_closed"]
)


def add_to(commands: Any) -> None:
    """Add the subcommand to those of the command line."""
    add_train(commands).set_defaults(run=run)


def keywords(args: Namespace) -> dict[str, Any]:
    """Return the keywords of `TabularPredictor` that the arguments mean."""
    given = {name: value for name, value in vars(args).items() if name not in _NO_KEYWORDS}
    given["read"] = dict(given["read"])
    return {"keep_columns" if name == "keep" else name: value for name, value in given.items()}


def run(args: Namespace) -> None:
    """Train as the command line says, after a check of all of it."""
    with watched(args):
        _check_files(args)
        predictor = TabularPredictor(**keywords(args))
        try:
            predictor.fit(args.data)
        except DivergenceError as error:
            raise DivergenceError(f"{error}; nothing was written") from error
        group = joined(args.group)

        def deliver() -> bytes:
            _deliver(args, predictor)
            return b""

        from_rank_0(group, None if group.rank else deliver)  # nobody ends before the results are written


def _deliver(args: Namespace, predictor: TabularPredictor) -> None:
    """Write the model and the picture that you asked for, and print the summary."""
    result = predictor.result_
    written: dict[str, str | None] = {"model": None, "plot": None}
    force = args.force
    try:
        with phase("writing"):
            if args.out is not None:
                written["model"] = write_or_beside(partial(predictor.save, overwrite=force), args.out)
            if args.plot is not None:
                panels: list[pictures.Panel] = [partial(loss_curves, result.histories)]
                if result.test is not None:
                    panels += pictures.matching(result.preparation, result.test)
                picture = partial(pictures.write, pictures.draw(panels), overwrite=force)
                written["plot"] = write_or_beside(picture, args.plot)
    finally:
        # Even if a file cannot be written: the results of the training are not lost then.
        say(_json(args, result, written) if args.json else _text(args, result, written))
    say_beside({args.out: written["model"], args.plot: written["plot"]})


def _json(args: Namespace, result: TabularResult, written: dict[str, str | None]) -> str:
    told = result.as_dict()
    explanation = {"explanation": told.pop("explanation")}
    profile = {"profile": None if args.profile is None else args.profile.as_dict()}
    return json.dumps(told | written | explanation | profile, indent=2, allow_nan=False)


def _text(args: Namespace, result: TabularResult, written: dict[str, str | None]) -> str:
    text = result.as_text({name: path for name, path in written.items() if path is not None})
    return text if args.profile is None else f"{text}\n{args.profile.as_text()}"


def _check_files(args: Namespace) -> None:
    if args.out is None and args.plot is None and args.force:
        raise InputError("--force says that --out or --plot may replace a file; give --out MODEL or --plot FILE too")
    if args.out is not None:
        check_destination(args.out, overwrite=args.force)
    if args.plot is not None:
        pictures.check(args.plot, overwrite=args.force)
