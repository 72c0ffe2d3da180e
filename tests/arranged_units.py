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


ARRANGED = Sequential(Dense(7, "tanh"), Arranged(), Dense(3))
