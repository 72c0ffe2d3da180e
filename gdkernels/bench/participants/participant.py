"""A participant: gdkernels on one of its backends, or another library, with a device, a precision and threads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from gdkernels.errors import GdkernelsError

__all__ = ["LIBRARIES", "Library", "Participant", "ParticipantError", "UnsuitableError", "labels"]


class ParticipantError(GdkernelsError):
    """A participant has no result; the message gives the reason."""


class UnsuitableError(ParticipantError):
    """A participant cannot do what it was asked for; the message gives the reason."""


@dataclass(frozen=True)
class Library:
    """Another library as it takes part.

    Attributes
    ----------
    module
        The module that its adapter imports.
    compiled
        Whether it compiles its step, where that is a choice.
    whole_step
        Whether what it compiles also gathers the rows of a batch and updates the parameters.
    """

    module: str
    precision: str = "float32"
    compiled: bool = False
    whole_step: bool = False


# By their names on the command line.
LIBRARIES = {
    "torch": Library("torch"),
    "jax": Library("jax"),
    "sklearn": Library("sklearn.neural_network"),
    "thinc": Library("thinc.api"),
    "numpy-loop": Library("numpy"),
    "torch-compile": Library("torch", compiled=True),
    "torch-compile-step": Library("torch", compiled=True, whole_step=True),
    "torch-bf16": Library("torch", "bfloat16"),
}


@dataclass(frozen=True)
class Participant:
    """A program with its device, its precision and its number of threads; each runs in a process of its own.

    Attributes
    ----------
    name
        A backend of gdkernels, or one of `LIBRARIES`.
    external
        Whether it is a library other than gdkernels.
    threads
        Those of a process.
    group, ranks
        The group of processes that train together, and how many they are; None and 1 for a process alone.
    """

    name: str
    external: bool
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    group: str | None = None
    ranks: int = 1

    def __str__(self) -> str:
        group = f"{self.group_in_words}, " * (self.group is not None)
        return f"{self.name} {self.device} {self.precision}, {group}{self.threads} thread{'s' * (self.threads > 1)}"

    @property
    def group_in_words(self) -> str:
        """The group and its ranks; empty for a process alone."""
        return "" if self.group is None else f"group {self.group} × {self.ranks}"

    def as_dict(self) -> dict[str, Any]:
        fields = asdict(self)
        if self.group is None:
            del fields["group"], fields["ranks"]  # so that an older checkout can read it too
        return fields


def labels(participants: Iterable[Participant]) -> tuple[dict[Participant, str], str]:
    """Return a short name for each participant, and in words what all of them have in common."""
    known = list(dict.fromkeys(participants))
    words = {p: (p.group_in_words, p.device, p.precision, f"{p.threads} thread{'s' * (p.threads > 1)}") for p in known}
    shared = [len({parts[k] for parts in words.values()}) == 1 for k in range(4)]
    short = {
        p: " ".join([p.name, *(part for part, same in zip(parts, shared, strict=True) if part and not same)])
        for p, parts in words.items()
    }
    common = [part for part, same in zip(words[known[0]], shared, strict=True) if part and same] if known else []
    return short, ", ".join(common)
