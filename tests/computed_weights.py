"""Blocks whose weights are computed of parameters, in every way that there is: what several tests of blocks take."""

from dataclasses import dataclass

import numpy as np

from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import Block, Dense, Parameter, Sequential
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD, Adam

__all__ = ["KINDS", "SETTINGS", "SHAPES", "Computed", "Table", "least_of", "program_for", "program_of"]


def drawn(shape, random):
    return random.uniform(-0.6, 0.6, size=shape)


def softmax(V, axis, xp):
    e = xp.exp(V - xp.max(V, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


# The parameters by name with their shapes, of n inputs and m units, and the weights that are computed of them; N and M
# are three more.
KINDS = {
    "by column": ({"V": "nm", "g": "m"}, lambda p, xp: p["V"] * (p["g"] / xp.sqrt(xp.sum(p["V"] ** 2, axis=0) + 0.1))),
    "by row": (
        {"V": "nm", "g": "n"},
        lambda p, xp: p["V"] * (p["g"][:, None] / xp.sqrt(xp.sum(p["V"] ** 2, axis=1, keepdims=True) + 0.1)),
    ),
    "by all": ({"V": "nm", "g": "1"}, lambda p, xp: p["V"] * (p["g"] / xp.sqrt(xp.sum(p["V"] ** 2) + 0.1))),
    "square": ({"V": "nm"}, lambda p, xp: p["V"] ** 2),
    "sum": ({"V": "nm", "U": "nm"}, lambda p, xp: p["V"] + p["U"]),
    "low rank": ({"A": "n3", "B": "3m"}, lambda p, xp: p["A"] @ p["B"]),
    "beside weights": ({"V": "nm", "A": "n3", "B": "3m"}, lambda p, xp: p["V"] + p["A"] @ p["B"]),
    "outer": ({"u": "n", "v": "m"}, lambda p, xp: p["u"][:, None] * p["v"]),
    "softmax by column": ({"V": "nm"}, lambda p, xp: softmax(p["V"], 0, xp)),
    "softmax by row": ({"V": "nm"}, lambda p, xp: softmax(p["V"], 1, xp)),
    "softmax of all": ({"V": "nm"}, lambda p, xp: softmax(p["V"], None, xp)),
    "tanh": ({"V": "nm"}, lambda p, xp: xp.tanh(p["V"])),
    "positive": ({"V": "nm"}, lambda p, xp: xp.exp(p["V"])),
    "symmetric": ({"V": "mm", "U": "nm"}, lambda p, xp: p["U"] @ (p["V"] + p["V"].T)),
    "gram": ({"V": "nm"}, lambda p, xp: p["V"] @ p["V"].T @ p["V"]),
    "masked": ({"V": "nm"}, lambda p, xp: p["M"] * p["V"]),
    "scaled": ({"V": "nm"}, lambda p, xp: 0.7 * p["V"]),
    "centred": ({"V": "nm"}, lambda p, xp: p["V"] - xp.mean(p["V"], axis=0)),
    "transposed": ({"V": "mn"}, lambda p, xp: xp.tanh(p["V"]).T),
    "columns": ({"V": "nM"}, lambda p, xp: p["V"][:, 3:] * p["V"][:, 1:2]),
    "side by side": (
        {"V": "nm", "A": "n3", "v": "n"},
        lambda p, xp: xp.tanh(xp.concat([p["A"], p["v"][:, None], p["V"]], axis=1))[:, 2:-2],
    ),
    "rows": ({"V": "Nm"}, lambda p, xp: xp.tanh(p["V"])[1:-2] + p["V"][-1]),
    "one above the other": (
        {"V": "nm", "B": "3m"},
        lambda p, xp: xp.exp(xp.concat([p["B"], p["V"]]))[: p["V"].shape[0]],
    ),
    "beside a constant": (
        {"V": "nm", "u": "m"},
        lambda p, xp: p["V"] * xp.concat([2.5 * xp.ones_like(p["u"][:1]), p["u"]])[:-1],
    ),
    "stacked": ({"V": "3m", "u": "n", "v": "n"}, lambda p, xp: xp.stack([p["u"], p["v"], p["u"]], axis=1) @ p["V"]),
    "single numbers": ({"V": "nm", "s": "3"}, lambda p, xp: p["V"] * p["s"][1] + xp.sum(p["s"][1:]) - p["V"][0, 0]),
}

# Ways to write what is multiplied, with records in columns, or as vectors.
WAYS = {
    "other way round": ({"W": "nm", "b": "m"}, lambda p, a, xp: (p["W"].T @ a.T + p["b"][:, None]).T),
    "columns throughout": (
        {"W": "nm", "V": "mm"},
        lambda p, a, xp: (p["V"] @ softmax(p["W"].T @ a.T, 0, xp)).T,
    ),
    "by vectors": (
        {"u": "n", "v": "m", "U": "nm"},
        lambda p, a, xp: (a @ p["u"])[:, None] * p["v"] + xp.vecdot(a, p["u"])[:, None] + p["u"] @ p["U"],
    ),
    "with a row of ones": (
        {"W": "Nm", "k": "m1", "v": "n"},
        lambda p, a, xp: (p["W"][2:].T @ xp.concat([a.T, xp.ones_like(a.T[:1])], axis=0) + p["k"] + p["v"] @ a.T).T,
    ),
    "beside weights of the same inputs": (
        {"W": "nm", "V": "nm", "k": "m"},
        lambda p, a, xp: a @ p["W"] + a @ xp.tanh(p["V"]) + xp.exp(p["k"]),
    ),
    "turned inside": ({"W": "nm", "s": "n"}, lambda p, a, xp: xp.tanh(p["s"][:, None] * a.T).T @ p["W"]),
}
KINDS |= WAYS


@dataclass(frozen=True)
class Computed(Block):
    """a W, with W and a bias computed of parameters; one of these is also used as it is."""

    kind: str
    units: int

    def parameters(self, inputs):
        sizes = {"n": inputs, "m": self.units, "1": 1, "3": 3, "N": inputs + 3, "M": self.units + 3}
        shapes = {**KINDS[self.kind][0], "c": "m"}
        return {name: Parameter(tuple(sizes[s] for s in shape), drawn) for name, shape in shapes.items()}

    def constants(self, inputs):
        return {"M": np.add.outer(np.arange(inputs), np.arange(self.units)) % 2.0} if self.kind == "masked" else {}

    def outputs(self, inputs):
        return self.units

    def __call__(self, p, a, *, xp, random=None):
        c, make = p["c"], KINDS[self.kind][1]
        made = make(p, a, xp) if self.kind in WAYS else xp.matmul(a, make(p, xp))
        return made + c * xp.sum(c * c) + c


@dataclass(frozen=True)
class Table(Block):
    """Rows by the codes in the first column, of a table whose columns are normed."""

    rows: int
    width: int

    def parameters(self, inputs):
        return {"E": Parameter((self.rows, self.width), drawn), "s": Parameter((self.rows,), drawn)}

    def outputs(self, inputs):
        return self.width

    def __call__(self, p, a, *, xp, random=None):
        codes = xp.astype(a[:, 0], xp.int32)
        rows = xp.take(p["E"] / xp.sqrt(xp.sum(p["E"] ** 2, axis=0) + 0.1), codes, axis=0)
        return rows * xp.take(p["s"], codes, axis=0)[:, None] + xp.sum(p["E"], axis=0)


SETTINGS = {
    "momentum": {"optimizer": SGD(momentum=0.9)},
    "Adam, clipped": {"optimizer": Adam(), "clip_norm": 0.1, "gradient_norm": True},
    "penalty in the loss": {"optimizer": SGD(momentum=0.9), "l2": 0.1, "l2_in_loss": True, "clip_norm": 0.5},
    "weights": {"optimizer": SGD(momentum=0.9), "weighted": True, "gradient_norm": True},
}
SHAPES = ((6, 5, 40, 16), (5, 1, 7, 7), (67, 90, 131, 130))  # inputs, units, records, batch


def program_of(kind, setting, inputs, units):
    return program_for(Sequential(Dense(inputs + 2, "tanh"), Computed(kind, units), Dense(3)), setting, inputs)


def program_for(network, setting, inputs):
    options = dict(SETTINGS[setting])
    optimizer, also = options.pop("optimizer"), {n: options.pop(n, False) for n in ("gradient_norm", "weighted")}
    return Program(network, inputs, Objective(losses.sse, **options), optimizer, **also)


def least_of(precision):
    """Return the error that is allowed in any case.

    In bfloat16 and tf32, products of parameters with each other are rounded elsewhere than in the definition, whose own
    error may happen to be none. tf32 has three bits more.
    """
    return {"bfloat16": 5e-2, "tf32": 5e-2 / 8}.get(precision, 0.0)
