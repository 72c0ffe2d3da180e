"""The values of options, checked as they are parsed: an error names the option, the value and the choices."""

import math
import re
import shlex
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from gdkernels.errors import InputError, unknown_name
from gdkernels.system import ranges
from gdkernels.system.memory import parse_bytes
from gdkernels.system.ranges import NumberRange

__all__ = [
    "Parser",
    "at_least",
    "column_format",
    "finite",
    "layers",
    "name_of",
    "names_of",
    "network_sizes",
    "number",
    "option",
    "positive",
    "size",
    "sizes",
    "whole",
]


# Keywords whose option has another name: `keep` is the number of checkpoints, and solvers are among the optimizers.
_OPTIONS = {"keep_columns": "keep", "overwrite": "force", "solver": "optimizer"}
# As other tools call them.
_ELSEWHERE = {
    **dict.fromkeys(("--lr", "--learning-rate-init", "--eta"), "--learning-rate"),
    **dict.fromkeys(("--test-size", "--test-split", "--holdout"), "--test"),
    **dict.fromkeys(("--val", "--validation-split", "--validation-size", "--validation-fraction"), "--validation"),
    **dict.fromkeys(("--hidden-layer-sizes", "--layers", "--units"), "--hidden"),
    **dict.fromkeys(("--label", "--y", "--outcome", "--response", "--predict"), "--target"),
    **dict.fromkeys(("--output", "--save", "--save-model", "--model-out"), "--out"),
    **dict.fromkeys(("--alpha", "--weight-decay"), "--l2"),
    **dict.fromkeys(("--random-state", "--random-seed"), "--seed"),
    **dict.fromkeys(("--early-stopping", "--n-iter-no-change"), "--patience"),
    **dict.fromkeys(("--max-iter", "--iterations", "--num-epochs"), "--epochs"),
    **dict.fromkeys(("--n-jobs", "--workers", "--num-threads"), "--threads"),
    **dict.fromkeys(("--drop", "--exclude", "--drop-columns"), "--ignore"),
    **dict.fromkeys(("--na-values", "--na"), "--missing"),
    **dict.fromkeys(("--overwrite", "-f"), "--force"),
    **dict.fromkeys(("--gpu", "--cuda", "--use-gpu"), "--device"),
}


def option(keyword: str, value: object = None) -> str:
    """Return a keyword with its value, as the command line spells it."""
    name = f"--{_OPTIONS.get(keyword, keyword).replace('_', '-')}"
    if value is False:
        return name.replace("--", "--no-", 1)
    if value is None or value is True:
        return name
    if keyword == "hidden" and isinstance(value, (list, tuple)):
        return f"{name} {','.join(map(str, value)) or 'none'}"
    if isinstance(value, Mapping):
        return " ".join(f"{name} {shlex.quote(f'{column}={words}')}" for column, words in value.items())
    values = value if isinstance(value, list) else [value]
    return " ".join(_given(name, str(one)) for one in values)


def _given(name: str, value: str) -> str:
    """Return an option with its value, as a shell and argparse take it: ``-x`` by itself would be an option."""
    divider = "=" if re.match("-[^0-9.]", value) else " "
    return f"{name}{divider}{shlex.quote(value)}"


class Parser(ArgumentParser):
    """An argument parser whose errors are errors of ours: one line, without the usage in front."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}{_nearest_choice(message)} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse here what no option is: here it is known which command was asked for."""
        found, others = super().parse_known_args(args, namespace)
        unknown = [text for text in others if text.startswith("-")]
        if unknown:
            name = unknown[0].partition("=")[0]
            self.error(f"there is no option {name}{_nearest(name, _OPTION.findall(self.format_help()))}")
        if others:
            self.error(f"one argument too many: {others[0]!r}")
        return found, others


_OPTION = re.compile(r"^ +(?:-\w, )?(--[a-z0-9-]+)", re.MULTILINE)  # where help tells of one
_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")


def _nearest_choice(message: str) -> str:
    """Return a guess behind an error of argparse about a word that is none of its choices."""
    match = _CHOICE.search(message)
    return "" if match is None else _nearest(match[1], [one.strip(" '") for one in match[2].split(",")])


def _nearest(word: str, choices: Iterable[str]) -> str:
    from difflib import get_close_matches

    known = list(choices)
    close = [name for name in (_ELSEWHERE.get(word),) if name in known] or get_close_matches(word, known, n=1)
    return f". Did you mean {close[0]}?" if close else ""


def number(allowed: NumberRange) -> Callable[[str], Any]:
    """Return what reads a number that is `allowed`."""

    def read(text: str) -> float:
        value: float
        try:
            value = int(text) if allowed.whole else float(text)
        except ValueError:
            value = math.nan
        if not allowed.has(value):
            raise ArgumentTypeError(f"must be {allowed.wanted}, got {text!r}")
        return value

    return read


def whole(least: int) -> Callable[[str], int]:
    """Return what reads a whole number of at least `least`."""
    return number(ranges.whole(least))


def at_least(least: float) -> Callable[[str], float]:
    """Return what reads a finite number of at least `least`."""
    return number(ranges.at_least(least))


def finite(text: str) -> float:
    """Read a finite number."""
    return float(number(ranges.FINITE)(text))


def positive(text: str) -> float:
    """Read a finite number above 0."""
    return float(number(ranges.POSITIVE)(text))


def size(text: str) -> int:
    """Read bytes, as in 512MB or 2GB."""
    try:
        return parse_bytes(text)
    except InputError:
        raise ArgumentTypeError(f"must be a size such as 512MB or 2GB, got {text!r}") from None


def layers(text: str) -> tuple[int, ...]:
    """Read the units of each hidden layer, as in 128,64; "none" is no hidden layer."""
    if text.strip().lower() == "none":
        return ()
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise ArgumentTypeError(f"must be the units of each hidden layer, such as 128,64, or none; got {text!r}")
    return sizes


def network_sizes(text: str) -> tuple[int, ...]:
    """Read the sizes of a network, as in 784-512-10: inputs, units of each hidden layer, outputs."""
    parts = text.split("-")
    if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ArgumentTypeError(f"must be inputs, hidden layers and outputs, such as 784-512-10; got {text!r}")
    return tuple(map(int, parts))


def column_format(text: str) -> tuple[str, str]:
    """Read a column and a format, as in price=1.234,5."""
    column, equals, words = text.rpartition("=")
    if not equals or not column or not words:
        raise ArgumentTypeError(f"must be a column and a format, such as price=1.234,5; got {text!r}")
    return column, words


def name_of(kind: str, choices: Iterable[str], hint: str = "") -> Callable[[str], str]:
    """Return what reads one of the names `choices`; the error for another ends with the `hint`."""
    known = tuple(choices)

    def read(text: str) -> str:
        if text not in known:
            raise ArgumentTypeError(str(unknown_name(kind, text, known, hint=hint)))
        return text

    return read


def names_of(kind: str, choices: Iterable[str] | None = None) -> Callable[[str], tuple[str, ...]]:
    """Return what reads names with commas between them, of `choices` if there are any."""
    one = str if choices is None else name_of(kind, choices)

    def read(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(one(part.strip()) for part in text.split(",")))
        if "" in names:
            raise ArgumentTypeError(f"must be names with commas between them, got {text!r}")
        return names

    return read


def sizes(text: str) -> tuple[int, ...]:
    """Read the sizes of layers, as in 784-512-10."""
    try:
        widths = tuple(int(part) for part in text.split("-"))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise ArgumentTypeError(f"must be sizes of layers, such as 784-512-10; got {text!r}")
    return widths
