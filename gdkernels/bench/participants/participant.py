"""Who is compared: gdkernels on a backend, or a peer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

__all__ = ["PEERS", "Contender", "PeerKind", "labels"]


class PeerKind(NamedTuple):
    """One of `gdkernels.bench.participants.players.PLAYERS`, the module that it imports, and its precision."""

    player: str
    module: str
    precision: str = "float32"


# By the names of the command line.
PEERS = {
    "torch": PeerKind("torch", "torch"),
    "jax": PeerKind("jax", "jax"),
    "sklearn": PeerKind("sklearn", "sklearn.neural_network"),
    "thinc": PeerKind("thinc", "thinc.api"),
    "numpy-loop": PeerKind("numpy", "numpy"),
    "torch-compile": PeerKind("torch-compile", "torch"),
    "torch-bf16": PeerKind("torch-bf16", "torch", "bfloat16"),
}


@dataclass(frozen=True)
class Contender:
    """A program with its device, its precision and its number of threads: what a process of its own runs.

    Attributes
    ----------
    name
        A backend of gdkernels, or one of `PEERS`.
    """

    name: str
    peer: bool
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.name} {self.device} {self.precision}, {self.threads} thread{'s' * (self.threads > 1)}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def labels(contenders: Iterable[Contender]) -> tuple[dict[Contender, str], str]:
    """Return a short name for each, and in words what they have in common."""
    known = list(dict.fromkeys(contenders))
    words = {c: (c.device, c.precision, f"{c.threads} thread{'s' * (c.threads > 1)}") for c in known}
    shared = [len({parts[k] for parts in words.values()}) == 1 for k in range(3)]
    short = {
        c: " ".join([c.name, *(part for part, same in zip(parts, shared, strict=True) if not same)])
        for c, parts in words.items()
    }
    common = [part for part, same in zip(words[known[0]], shared, strict=True) if same] if known else []
    return short, ", ".join(common)
