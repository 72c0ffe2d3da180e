"""The bits of model files and networks."""

from gdkernels import files

RECORDS = 200


def content(path):
    """Return the tensors of a model file as bytes, and the description beside them."""
    tensors, description = files.read_model(path)
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in tensors.items()}, description


def same_parameters(one, other):
    """Return whether two networks have the same parameters to the bit."""
    pairs = zip(one.parameters, other.parameters, strict=True)
    return all(a.tobytes() == b.tobytes() for left, right in pairs for a, b in zip(left, right, strict=True))
