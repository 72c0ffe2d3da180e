"""The NumPy backend's `where` gives the bits of NumPy's own."""

import numpy as np
import pytest
from gdkernels_numpy import namespace as xp

SPECIAL = [0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 1e-45, 3e38]


def arrays(dtype):
    rng = np.random.default_rng(0)
    a = np.concatenate([np.asarray(SPECIAL, dtype=dtype), rng.standard_normal(3991).astype(dtype)]).reshape(800, 5)
    return rng.random((800, 5)) < 0.5, a, rng.permutation(a)


def same_bits(found, wanted):
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("a", ["array", 0.0, -0.0, 1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("b", ["array", 0.0, -0.0, -3.0])
def test_the_same_bits_as_numpy(dtype, a, b):
    condition, first, second = arrays(dtype)
    if a != "array" and b != "array":
        first = np.full_like(first, a)
        same_bits(xp.where(condition, first, b), np.where(condition, first, np.asarray(b, dtype)))
        return
    operands = [v if isinstance(w, str) else w for v, w in ((first, a), (second, b))]
    plain = [np.asarray(v, dtype=dtype) for v in operands]
    same_bits(xp.where(condition, *operands), np.where(condition, *plain))
    few = [v[:9] if isinstance(v, np.ndarray) else v for v in operands]
    same_bits(xp.where(condition[:9], *few), np.where(condition[:9], *(v[:9] if v.ndim else v for v in plain)))


@pytest.mark.parametrize(("a", "b"), [("array", 0.0), (0.0, "array"), ("array", "array"), (2.0, "array")])
def test_large_arrays_are_not_left_to_numpy(a, b, monkeypatch):
    condition, first, second = arrays(np.float32)
    wanted = np.where(condition, *(v if isinstance(w, str) else np.float32(w) for v, w in ((first, a), (second, b))))

    def refuse(*_):
        raise AssertionError("NumPy's where was called")

    monkeypatch.setattr(np, "where", refuse)
    same_bits(xp.where(condition, *(v if isinstance(w, str) else w for v, w in ((first, a), (second, b)))), wanted)


def test_broadcasting_strides_and_what_is_left_to_numpy():
    condition, a, b = arrays(np.float32)
    same_bits(xp.where(condition[:, :1], a, b[0]), np.where(condition[:, :1], a, b[0]))
    same_bits(xp.where(condition.T, a.T, b.T), np.ascontiguousarray(np.where(condition.T, a.T, b.T)).reshape(5, 800))
    for step in (1, 2):  # one of them is small
        every = slice(None, None, step)
        found = xp.where(condition[every], a[every], 0.0)
        same_bits(found, np.where(condition[every], a[every], np.float32(0)))
    integers = np.arange(4000).reshape(800, 5)
    same_bits(xp.where(condition, integers, -integers), np.where(condition, integers, -integers))
    same_bits(xp.where(condition, a, b.astype(np.float64)), np.where(condition, a, b.astype(np.float64)))
    assert xp.where(np.asarray(True), a, b) is not None
    assert xp.where(True, 0.0, a[0]).tolist() == [0.0] * 5
    assert xp.where(np.asarray(True), 1.0, np.float32(2)) == 1


def test_the_rest_is_the_standard_namespace():
    import array_api_compat.numpy

    assert xp.matmul is np.matmul  # which the other calls
    assert xp.sum is array_api_compat.numpy.sum
    assert xp.isdtype is array_api_compat.numpy.isdtype
    assert xp.__array_api_version__ == array_api_compat.numpy.__array_api_version__
