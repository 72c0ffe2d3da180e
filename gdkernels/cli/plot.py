"""``gdkernels plot``: pictures of a trained model, and pictures that show what gradient descent is."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from typing import Any

from gdkernels import plots
from gdkernels.cli import pictures
from gdkernels.cli.arguments import Parser, finite, layers, name_of, positive, whole
from gdkernels.cli.options import add_data, add_where
from gdkernels.cli.streams import say
from gdkernels.definition import optimizers
from gdkernels.errors import FileError
from gdkernels.models import load_network
from gdkernels.plots import examples, style
from gdkernels.tabular import TabularPredictor
from gdkernels.tabular.model.kept import check_history

__all__ = ["add_to"]

_WEIGHT, _BIAS = "W0[0,0]", "b0[0]"


def add_to(commands: Any) -> None:
    """Add the subcommand, with its own, to those of the command line."""
    parser = commands.add_parser(
        "plot",
        help="draw a model, or how gradient descent works",
        description="Write a picture: PNG, SVG or PDF by the suffix of --out.",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    what = parser.add_subparsers(metavar="PICTURE", required=True, parser_class=Parser)

    of_model = {
        "loss": (_loss, "a model's training: its losses over the epochs"),
        "predictions": (
            _predictions,
            "a model on a table: predicted against true and residuals, or the confusion matrix",
        ),
        "layers": (_layers, "a model's weights by layer and, with a table, the slopes of its error there"),
    }
    for name, (run, text) in of_model.items():
        one = what.add_parser(name, help=text, description=f"Draw {text}.")
        one.add_argument("model", metavar="MODEL", help="what gdkernels train --out wrote")
        if name != "loss":
            add_data(one, "a table that has the target too", optional=name == "layers")
        if name == "predictions":
            add_where(one, precision=False)
        _add_file(one, run)

    slope = what.add_parser("slope", help="the error over one weight, its slope, and the steps down",
                            description="Descend on ŷ = w·x for the one record x = 3, y = 10.")  # fmt: skip
    _add_descent(slope, rate=0.02, steps=8)
    slope.add_argument("--start", type=finite, default=0.5, metavar="W", help="where w starts (%(default)s)")
    _add_file(slope, _slope)

    surface = what.add_parser("surface", help="the error over two parameters, from above and in 3-D, with the way down",
                              description="Fit the line ŷ = w·x + b to 40 noisy records.")  # fmt: skip
    _add_descent(surface, rate=0.15, steps=25)
    surface.add_argument(
        "--start", type=finite, nargs=2, default=(-2.0, 2.0), metavar=("W", "B"), help="where w and b start (-2 2)"
    )
    _add_seed(surface, "seed of the records")
    _add_file(surface, _surface)

    starts = what.add_parser("starts", help="descents from several starts, and the minima that they reach",
                             description="Find the frequency in ŷ = sin(w·x) from 60 noisy records.")  # fmt: skip
    _add_descent(starts, rate=0.02, steps=150)
    default = (0.3, 1.6, 3.2, 4.6, 5.4)
    starts.add_argument("--start", type=finite, nargs="+", default=default, metavar="W",
                        help=f"where w starts ({' '.join(map(str, default))})")  # fmt: skip
    _add_seed(starts, "seed of the records")
    _add_file(starts, _starts)

    fit = what.add_parser("fit", help="a fitted curve over its data, with the residuals",
                          description="Fit a small network, or a line, to 60 noisy records of a curve.")  # fmt: skip
    _add_descent(fit, rate=0.03, steps=400, optimizer="adam")
    fit.add_argument("--hidden", type=layers, default=(16,), metavar="N,N,…",
                     help="tanh units of hidden layers, or none for a line (16)")  # fmt: skip
    _add_seed(fit, "seed of the records and of the initial weights")
    _add_file(fit, _fit)


def _add_descent(parser: Any, *, rate: float, steps: int, optimizer: str = "sgd") -> None:
    names = tuple(optimizers.BY_NAME)
    parser.add_argument("--optimizer", type=name_of("optimizer", names), default=optimizer, metavar="NAME",
                        help=f"{', '.join(names)} (%(default)s; sgd is plain gradient descent)")  # fmt: skip
    parser.add_argument(
        "--learning-rate", type=positive, default=rate, metavar="RATE", help="learning rate (%(default)s)"
    )
    parser.add_argument("--steps", type=whole(1), default=steps, metavar="N", help="steps of descent (%(default)s)")


def _add_seed(parser: Any, what: str) -> None:
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help=f"{what} (%(default)s)")


def _add_file(parser: Any, draw: Any) -> None:
    parser.add_argument(
        "--out", metavar="FILE", required=True, help="write the picture to this file: .png, .svg or .pdf"
    )
    parser.add_argument("--force", action="store_true", help="replace that file if it exists")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=partial(_run, draw))


def _run(draw: Any, args: Namespace) -> None:
    """Draw and write; a file that cannot be written is refused before."""
    pictures.check(args.out, overwrite=args.force)
    pictures.write(draw(args), args.out, overwrite=args.force)
    say(args.out)


def _loss(args: Namespace) -> Any:
    extra = load_network(args.model).extra
    check_history(extra, args.model)
    history = extra.get("history")
    if not history:
        raise FileError(f"the model {args.model} keeps no history; gdkernels train --out writes models that do")
    return pictures.draw([partial(plots.loss_curves, history)])


def _predictions(args: Namespace) -> Any:
    predictor = TabularPredictor.load(args.model, backend=args.backend, device=args.device, threads=args.threads)
    predictor.set_params(header=args.header, skip_rows=args.skip_rows)
    pictures.check_classes(predictor.preparation_)
    return pictures.draw(pictures.compared(predictor.preparation_, predictor.evaluate(args.data)))


def _layers(args: Namespace) -> Any:
    if not args.data:
        return pictures.draw([partial(plots.weights_by_layer, load_network(args.model))])
    predictor = TabularPredictor.load(args.model).set_params(header=args.header, skip_rows=args.skip_rows)
    gradients = partial(plots.gradients_by_layer, predictor.network, *predictor.prepared(args.data))
    return pictures.draw([partial(plots.weights_by_layer, predictor.network), gradients])


def _slope(args: Namespace) -> Any:
    landscape, path = examples.one_weight(args.start).go(_optimizer(args), args.steps)
    return pictures.draw([partial(plots.error_over_weight, landscape, _WEIGHT, path=path, label="weight w")])


def _surface(args: Namespace) -> Any:
    landscape, path = examples.line(tuple(args.start), args.seed).go(_optimizer(args), args.steps)
    settings: dict[str, Any] = {"path": path, "labels": ("slope w", "intercept b")}
    figure, (flat, solid) = style.panels(1, 2, projections=(None, "3d"))
    plots.error_surface(landscape, (_WEIGHT, _BIAS), ax=flat, **settings)
    plots.error_surface_3d(landscape, (_WEIGHT, _BIAS), ax=solid, **settings)
    return figure


def _starts(args: Namespace) -> Any:
    descents = [examples.wave(start, args.seed).go(_optimizer(args), args.steps) for start in args.start]
    paths = [path for _, path in descents]
    return pictures.draw([partial(plots.several_starts, descents[0][0], _WEIGHT, paths, label="weight w")])


def _fit(args: Namespace) -> Any:
    descent = examples.curve(args.hidden, args.seed)
    descent.go(_optimizer(args), args.steps)
    return pictures.draw([partial(plots.fitted_curve, descent.mlp.predict, descent.X, descent.Y)])


def _optimizer(args: Namespace) -> optimizers.Optimizer:
    return optimizers.BY_NAME[args.optimizer](args.learning_rate)  # type: ignore[call-arg]
