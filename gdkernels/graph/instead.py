"""What to write in place of functions that other namespaces have, and that cannot be traced."""

__all__ = ["INSTEAD"]

_PARTS = "take parts such as a[:, 2:5] or W[2:5], and put them together with xp.concat or xp.stack"
_PRODUCTS = "use xp.matmul, xp.vecdot, or products and xp.sum"
_CONSTANT = "declare it among the constants of a block"

INSTEAD = {
    **dict.fromkeys(("reshape", "flip", "roll", "repeat", "tile", "split", "unstack"), _PARTS),
    **dict.fromkeys(("einsum", "tensordot", "dot"), _PRODUCTS),
    **dict.fromkeys(("outer", "kron"), "u[:, None] * v has the products of two vectors"),
    **dict.fromkeys(("linalg", "norm"), "a norm is xp.sqrt(xp.sum(a * a, axis=1))"),
    **dict.fromkeys(("zeros", "ones", "full"), "use xp.zeros_like, xp.ones_like or xp.full_like"),
    **dict.fromkeys(("arange", "array", "eye", "linspace", "tril", "triu"), _CONSTANT),
    "sigmoid": "write 0.5 * xp.tanh(0.5 * a) + 0.5",
    "relu": "write xp.maximum(a, 0.0)",
    "softmax": "write e = xp.exp(a - xp.max(a, axis=-1, keepdims=True)), and e / xp.sum(e, axis=-1, keepdims=True)",
    "power": "write a ** b",
    "transpose": "write a.T",
}
