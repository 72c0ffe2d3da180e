"""Blocks in which records meet parameters in every way that there is."""

from gdkernels.definition import blocks
from gdkernels.definition.blocks.block import Block, Parameter

__all__ = ["BLOCKS", "Own"]


def normal(shape, generator):
    return generator.normal(size=shape)


class Own(Block):
    """A block of a few parameters and one function."""

    def __init__(self, shapes, f, outputs):
        self.shapes, self.f, self.count = shapes, f, outputs

    def parameters(self, inputs):
        return {name: Parameter(shape, normal) for name, shape in self.shapes.items()}

    def outputs(self, inputs):
        return self.count

    def __call__(self, p, a, *, xp, random=None):
        return self.f(p, a, xp=xp)


def scaled(p, a, *, xp):
    size = xp.sqrt(xp.sum(p["W"] * p["W"], axis=0, keepdims=True))
    return xp.matmul(a, p["W"] / size * p["g"])


BLOCKS = {
    "dense": blocks.Sequential(blocks.Dense(4, "tanh"), blocks.Dense(2)),
    "no bias": blocks.Sequential(blocks.Dense(4, "tanh", bias=False), blocks.Dense(1, bias=False)),
    "softmax": blocks.Sequential(blocks.Dense(4, "softmax"), blocks.Dense(2)),
    "residual": blocks.Sequential(
        blocks.Dense(4, "tanh"), blocks.Residual(blocks.LayerNorm(), blocks.Dense(4, "softplus")), blocks.Dense(2)
    ),
    "periodic": blocks.Sequential(blocks.Periodic(2), blocks.Dense(2)),
    "gated": blocks.Sequential(blocks.Gated(3, "silu"), blocks.Dense(2)),
    "mean": blocks.Mean(blocks.Dense(2, "tanh"), blocks.Sequential(blocks.Dense(3, "tanh"), blocks.Dense(2))),
    "embedding": blocks.Sequential(blocks.Columns({0: blocks.Embedding(3, 2)}, rest="passthrough"), blocks.Dense(2)),
    "transposed": Own({"W": (2, 3)}, lambda p, a, *, xp: xp.matmul(a, p["W"].T), 2),
    "other way round": Own({"W": (2, 3)}, lambda p, a, *, xp: xp.matmul(p["W"], a.T).T, 2),
    "computed of parameters": Own({"W": (3, 2), "g": (2,)}, scaled, 2),
    "itself and computed of": Own(
        {"u": (3,), "U": (3, 2)}, lambda p, a, *, xp: (a @ p["u"])[:, None] + p["u"] @ p["U"], 2
    ),
    "used twice": Own({"W": (3, 3)}, lambda p, a, *, xp: xp.matmul(xp.tanh(xp.matmul(a, p["W"])), p["W"]), 3),
    "a number": Own({"s": (2,)}, lambda p, a, *, xp: xp.tanh(a * xp.sum(p["s"] * p["s"])), 3),
    "a column": Own({"s": (3,)}, lambda p, a, *, xp: xp.sum(a * p["s"], axis=1, keepdims=True), 1),
    "bias of a transpose": Own({"b": (3,)}, lambda p, a, *, xp: xp.tanh(a.T + p["b"][:, None]).T, 3),
    "unused": Own({"W": (3, 2), "z": (4,)}, lambda p, a, *, xp: xp.matmul(a, p["W"]), 2),
}
