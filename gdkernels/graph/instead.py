"""What to write in place of functions that other namespaces have, and that cannot be traced."""

__all__ = ["INSTEAD", "LINALG_INSTEAD"]

_PARTS = "take parts such as a[:, :k] and a[:, k:], and put them together with xp.concat"
_OF_STANDARD = "it is not of the Array API standard: "
_CONSTANT = "declare it among the constants of a block"
_PICKED = (
    "to pick or order units, declare a constant matrix P = np.eye(n)[:, indices] and write a @ p['P']; rows of a table "
    "by a column of the inputs are xp.take(table, codes, axis=0)"
)
_LARGEST = "compare with the largest: xp.where(a == xp.max(a, axis=1, keepdims=True), 1.0, 0.0)"
_ORDER = "compare units two by two with xp.maximum and xp.minimum"
_STEPS = "it has no slope: prepare such numbers before the network, or compare with edges in xp.where"
_WHETHER = "make numbers of the condition, xp.where(condition, 1.0, 0.0), and take xp.max, xp.min or xp.sum of them"
_DECLARED = "it can be computed in NumPy before training and declared among the constants of a block"

INSTEAD = {
    "einsum": f"{_OF_STANDARD}'bi,ij->bj' is a @ W, 'bi,bi->b' is xp.vecdot(a, b), 'i,j->ij' is xp.linalg.outer(u, v)",
    "dot": f"{_OF_STANDARD}use xp.matmul, xp.vecdot or xp.tensordot",
    "inner": f"{_OF_STANDARD}use xp.vecdot or xp.matmul",
    "outer": f"{_OF_STANDARD}xp.linalg.outer(u, v) is, and u[:, None] * v",
    "kron": f"{_OF_STANDARD}take products with parts, and put them side by side with xp.concat",
    "norm": f"{_OF_STANDARD}xp.linalg.vector_norm(a, axis=1) is",
    **dict.fromkeys(("split", "array_split", "hsplit", "vsplit"), f"{_OF_STANDARD}{_PARTS}"),
    **dict.fromkeys(("hstack", "vstack", "column_stack", "concatenate"), f"{_OF_STANDARD}use xp.concat or xp.stack"),
    **dict.fromkeys(("ravel", "atleast_2d"), f"{_OF_STANDARD}use xp.reshape"),
    **dict.fromkeys(("cumsum", "cumprod"), f"{_OF_STANDARD}use xp.cumulative_sum and xp.cumulative_prod"),
    **dict.fromkeys(("zeros", "ones", "full", "empty"), "use xp.zeros_like, xp.ones_like or xp.full_like"),
    **dict.fromkeys(("arange", "array", "eye", "linspace", "tril", "triu"), _CONSTANT),
    **dict.fromkeys(("take_along_axis", "gather"), _PICKED),
    **dict.fromkeys(("argmax", "argmin"), _LARGEST),
    **dict.fromkeys(("sort", "argsort"), _ORDER),
    **dict.fromkeys(("round", "floor", "ceil", "trunc", "searchsorted", "remainder", "floor_divide"), _STEPS),
    **dict.fromkeys(("any", "all", "count_nonzero"), _WHETHER),
    "fft": "declare matrices of cosines and sines among the constants of a block, and multiply by them",
    "sigmoid": "write 0.5 * xp.tanh(0.5 * a) + 0.5",
    "relu": "write xp.maximum(a, 0.0)",
    "softmax": "write e = xp.exp(a - xp.max(a, axis=-1, keepdims=True)), and e / xp.sum(e, axis=-1, keepdims=True)",
    "power": "write a ** b",
    "transpose": "write a.T",
}

LINALG_INSTEAD = {
    **dict.fromkeys(
        ("cholesky", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "pinv", "qr", "slogdet", "solve", "svd"),
        _DECLARED + "; of parameters, choose a form that is made of products, such as a low rank or reflections",
    ),
    **dict.fromkeys(("svdvals", "matrix_rank", "cond"), "steps of a power iteration are products and norms of vectors"),
    "cross": "write its three products of columns, and put them side by side with xp.stack(…, axis=1)",
    "norm": "it is not of the Array API standard: use vector_norm or matrix_norm",
}
