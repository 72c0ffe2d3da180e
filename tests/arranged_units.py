"""A block that is made of functions of the standard which are made of others, for several tests of blocks."""

from dataclasses import dataclass

from computed_weights import drawn

from gdkernels.definition.blocks import Block, Dense, Parameter, Sequential

__all__ = ["ARRANGED"]


@dataclass(frozen=True)
class Arranged(Block):
    """Reshaped and rolled weights, and units that are turned, joined and summed so far."""

    def parameters(self, inputs):
        shapes = {"h": (3, inputs * 4), "z": (3,), "w": (inputs,), "t": (4,)}
        return {name: Parameter(shape, drawn) for name, shape in shapes.items()}

    def outputs(self, inputs):
        return 4

    def __call__(self, p, a, *, xp, random=None):
        made = xp.reshape(p["z"] @ p["h"], (a.shape[1], 4))
        turned = a @ xp.stack([xp.roll(p["w"], k) for k in range(4)], axis=1) + xp.flip(a, axis=1) @ made
        so_far = xp.sinh(xp.cumulative_sum(turned, axis=1)) * xp.cumulative_prod(1.0 + 0.1 * turned, axis=-1)
        norms = xp.linalg.vector_norm(a[:, ::2], axis=1, keepdims=True)
        pairs = xp.repeat(turned[:, :2], 2, axis=1) - xp.tile(xp.diff(turned[:, 1:]), (1, 2))
        ordered = xp.reshape(a[:, 1], (-1, 1)) - xp.cumulative_sum(xp.exp(p["t"]))
        return xp.tanh(0.1 * so_far * norms + pairs * xp.prod(a[:, :3], axis=1)[:, None]) + ordered


@dataclass(frozen=True)
class Recurrent(Block):
    """Units in groups, beside one that all records share, mixed by a matrix, and read one after the other."""

    def parameters(self, inputs):
        shapes = {"first": (1, 2), "mixing": (3, 3), "U": (2, 2)}
        return {name: Parameter(shape, drawn) for name, shape in shapes.items()}

    def outputs(self, inputs):
        return 2

    def __call__(self, p, a, *, xp, random=None):
        first = xp.broadcast_to(p["first"], (a.shape[0], 2))[:, None, :]
        groups = p["mixing"] @ xp.concat([first, xp.reshape(a, (-1, 2, 2))], axis=1)
        state = xp.zeros_like(groups[:, 0])
        for k in range(3):
            state = xp.tanh(groups[:, k] + state @ p["U"])
        return state


ARRANGED = Sequential(Dense(7, "tanh"), Arranged(), Recurrent(), Dense(3))
