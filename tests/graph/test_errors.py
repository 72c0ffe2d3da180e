"""Errors of tracing name the operation and the line of your code, and say what to do."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
from layered import Layer, gradient, train_step

from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import GdkernelsError, InputError, TraceError
from gdkernels.graph import Graph, interpret, value_and_derivative, value_and_pullback
from gdkernels.testing.cases import chained

Z = np.asarray([[1.0, -2.0], [3.0, 4.0]])
OUTSIDE = np.asarray([1.0, 2.0])


def branch(z, *, xp):
    if z > 0:  # the line
        return z
    return 0.0 * z


def loop(z, *, xp):
    total = 0.0
    for unit in z:  # the line
        total = total + unit
    return total


def in_place(z, *, xp):
    z[z > 0] = 0.0  # the line
    return z


def compared_size(z, *, xp):
    if z.shape[1] == 3:  # the line
        return z
    return -z


def branch_on_size(z, *, xp):
    return z if z.shape[1] > 3 else -z  # the line


def through_a_built_in(z, *, xp):
    return activations.softmax(z[0], xp=xp)  # the line


def deeper(z, *, xp):
    return activations.tanh(OUTSIDE, xp=xp)  # the line


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda z, *, xp: xp.erf(z), r"xp\.erf is not an operation that can be traced .* those are abs, add, .*where"),
        (
            lambda z, *, xp: xp.linalg.inv(z),
            r"xp\.linalg\.inv is not an operation .*; it can be computed in NumPy before",
        ),
        (lambda z, *, xp: xp.linalg.multi_dot(z), r"xp\.linalg\.multi_dot is not .*; those are diagonal, matmul"),
        (lambda z, *, xp: xp.einsum("bi,bi->b", z, z), r"xp\.einsum is not .*; it is not of the Array API standard: "),
        (lambda z, *, xp: xp.sort(z, axis=1), r"xp\.sort is not .*; compare units two by two"),
        (branch, r"Python cannot branch on it .*; use xp\.where\(condition, a, b\)"),
        (lambda z, *, xp: z if (z > 0) & (z < 3) else -z, "Python cannot branch"),
        (lambda z, *, xp: max(z, 0.0), "Python cannot branch"),
        (lambda z, *, xp: float(z) * z, "cannot become a Python number .* use xp.exp and such rather than math.exp"),
        (lambda z, *, xp: z * math.tanh(z), "cannot become a Python number"),
        (lambda z, *, xp: sum(z * k for k in range(z.shape[1])), "cannot become a Python number"),
        (lambda z, *, xp: z * round(z.shape[1] / 2), "cannot become a Python number"),
        (
            lambda z, *, xp: xp.reshape(z, (2, -1)),
            r"reshape of \[B, n\] to \[2, -1\] .* it parts records or joins them",
        ),
        (lambda z, *, xp: z * (z.shape[1] // 2), r"// , % and divmod cannot be traced"),
        (lambda z, *, xp: 1.0 % z, r"// , % and divmod cannot be traced"),
        (loop, r"cannot be iterated over .* xp\.sum\(a, axis=-1\)"),
        (lambda z, *, xp: z if 0.0 in z else -z, "Python cannot branch"),
        (lambda z, *, xp: next(a for a, b in zip(z, z, strict=True)), "cannot be iterated over"),
        (lambda z, *, xp: z * len(z), r"has no length .* a\.shape\[0\]"),
        (lambda z, *, xp: z[0], r"indexing an array of 2 dimensions with \[0\] .* new axes .*: use xp\.where"),
        (lambda z, *, xp: z[:, ::2], r"of any width, so that its columns cannot be counted"),
        (lambda z, *, xp: z[:, 1:2], r"of any width, so that its columns cannot be counted"),
        (lambda z, *, xp: z[z > 0], r"with \[an array\]"),
        (lambda z, *, xp: z[:, :, :], r"with \[:, :, :\]"),
        (lambda z, *, xp: z["W"], r"with \['W'\]"),
        (in_place, r"cannot be changed in place .*; use xp\.where"),
        (lambda z, *, xp: z + OUTSIDE, r"type numpy\.ndarray cannot enter a trace .* what the function is given"),
        (lambda z, *, xp: OUTSIDE * z, r"type numpy\.ndarray cannot enter a trace"),
        (lambda z, *, xp: xp.maximum(z, OUTSIDE), r"type numpy\.ndarray cannot enter a trace"),
        (lambda z, *, xp: xp.where(z > 0, z, None), r"type builtins\.NoneType cannot enter a trace"),
        (lambda z, *, xp: z + "1", r"type builtins\.str cannot enter a trace"),
        (lambda z, *, xp: np.tanh(z), r"numpy\.tanh cannot be traced .*; use xp\.tanh, the namespace that"),
        (lambda z, *, xp: np.add.reduce(z), r"numpy\.add cannot be traced"),
        (lambda z, *, xp: np.sinh(z), r"numpy\.sinh cannot be traced .*; use functions of xp only"),
        (lambda z, *, xp: np.where(z > 0, z, 0.0), r"numpy\.where cannot be traced .*; use xp\.where"),
        (lambda z, *, xp: np.sum(z), r"numpy\.sum cannot be traced .*; use xp\.sum"),
        (lambda z, *, xp: z + np.asarray(z), "cannot become a NumPy array"),
        (lambda z, *, xp: z - z.mean(), r"an array has no \.mean while it is traced .*; use xp\.mean\(a\)"),
        (lambda z, *, xp: z.reshape(-1), r"an array has no \.reshape .*; use xp\.reshape\(a\)"),
        (compared_size, "the size n is a symbol .* cannot be compared with 3 .* outside of the function"),
        (branch_on_size, "Python cannot branch"),
        (lambda z, *, xp: xp.matmul(z, z), r"matmul: shapes \[B, n\] and \[B, n\] do not fit"),
        (lambda z, *, xp: xp.matmul(z, xp.sum(z, axis=1)), r"matmul: shapes \[B, n\] and \[B\] do not fit"),
        (lambda z, *, xp: z + xp.sum(z, axis=1), r"add: shapes \[B, n\] and \[B\] do not fit"),
        (lambda z, *, xp: z + z.T, r"add: shapes \[B, n\] and \[n, B\] do not fit"),
        (lambda z, *, xp: xp.broadcast_to(z, z.shape[:1]), r"\[B, n\].*\[B\]"),
        (lambda z, *, xp: (z > 0) * z, r"multiply of a condition .* xp\.where\(condition, 1\.0, 0\.0\)"),
        (lambda z, *, xp: -(z > 0), "negative of a condition"),
        (lambda z, *, xp: xp.sum(z > 0, axis=-1, keepdims=True), r"xp\.sum of a condition"),
        (lambda z, *, xp: xp.where(z, z, 0.0), r"xp\.where needs a condition such as z > 0"),
        (lambda z, *, xp: xp.logical_and(z > 0, z), r"xp\.logical_and needs a condition"),
        (lambda z, *, xp: ~z, r"xp\.logical_not needs a condition"),
        (lambda z, *, xp: xp.exp(z, z), r"xp\.exp takes 1 operands, got 2"),
        (lambda z, *, xp: xp.sum(z, axis=2), r"axis 2 is out of range for \[B, n\]"),
        (lambda z, *, xp: xp.expand_dims(z, axis=4), r"expand_dims: axis 4 is out of range for \[B, n\]"),
        (lambda z, *, xp: xp.squeeze(z, axis=0), r"squeeze: \[B, n\] is not of size 1"),
        (lambda z, *, xp: xp.permute_dims(z, (0, 2)), r"permute_dims: axes \(0, 2\) do not fit \[B, n\]"),
        (lambda z, *, xp: xp.sum(z, axis=0).T, r"a transpose needs two dimensions, got \[n\]"),
        (lambda z, *, xp: xp.astype(z, "int32"), r"xp\.astype to 'int32' cannot be traced"),
        (through_a_built_in, r"indexing .* with \[0\]"),
        (deeper, r"type numpy\.ndarray"),
    ],
)
def test_what_cannot_be_traced_names_the_operation_the_line_and_the_way_out(f, message):
    with pytest.raises(TraceError, match=message) as caught:
        value_and_derivative(f)(Z, xp=np)
    text = str(caught.value)
    assert isinstance(caught.value, GdkernelsError)
    file, line, source = re.search(r" \(in .+?, (.+?):(\d+): `(.*)`\)", text).groups()
    assert file == __file__
    if f.__name__ == "<lambda>":
        assert int(line) == f.__code__.co_firstlineno
        assert "lambda" in source
    else:
        assert source.endswith("# the line")


def test_asking_whether_an_operation_exists_is_allowed():
    def f(z, *, xp):
        return xp.erf(z) if hasattr(xp, "erf") else xp.tanh(z)

    np.testing.assert_array_equal(value_and_derivative(f)(Z, xp=np)[0], np.tanh(Z))


def test_numbers_of_numpy_are_numbers():
    def f(z, *, xp):
        return np.float64(2.0) * z + np.float32(0.5) - np.int64(1) / z

    value, slope = value_and_derivative(f)(Z, xp=np)
    np.testing.assert_allclose(value, 2 * Z + 0.5 - 1 / Z)
    np.testing.assert_allclose(slope, 2 + 1 / Z**2)
    assert value_and_derivative(f)(Z.astype(np.float32), xp=np)[0].dtype == np.float32


@dataclass(frozen=True)
class Flat:
    def __call__(self, z, *, xp):
        return xp.sum(z, axis=-1)


def numbers_only(z, *, xp):
    return 1.0


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda z, *, xp: None, r"<lambda> \(.*test_errors\.py:\d+\) returned NoneType; .* an array made with xp"),
        (lambda z, *, xp: (z, z), "returned tuple"),
        (numbers_only, r"numbers_only \(.*:\d+\) returned float"),
        (lambda z, *, xp: z > 0, r"returned a condition; .* xp\.where\(condition, 1\.0, 0\.0\)"),
        (
            Flat(),
            r"Flat \(.*test_errors\.py:\d+\) returned the shape \[B\], not \[B, n2?\]: an activation returns a number",
        ),
        (lambda z, *, xp: xp.max(z, axis=-1, keepdims=True), r"returned the shape \[B, 1\], not \[B, n2?\]"),
        (lambda z, *, xp: z.T, r"returned the shape \[n2?, B\]"),
    ],
)
@pytest.mark.parametrize("layers", [1, 2])
def test_an_activation_returns_the_shape_of_its_input(f, message, layers):
    weights = [Layer(np.ones((2, 2)), np.ones(2))] * layers
    with pytest.raises(TraceError, match=message):
        gradient(weights, Z, Z, activations=[f] * layers, loss=losses.sse, xp=np)
    with pytest.raises(TraceError, match=message):
        value_and_derivative(f)(Z, xp=np)


def whole_batch(prediction, target, *, xp):
    return xp.sum((prediction - target) ** 2)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (whole_batch, r"whole_batch \(.*:\d+\) returned the shape \[\], not \[B\]: a loss returns .* each record"),
        (lambda p, t, *, xp: (p - t) ** 2, r"returned the shape \[B, n2\], not \[B\]"),
        (lambda p, t, *, xp: xp.sum(p - t, axis=0), r"returned the shape \[n2\], not \[B\]"),
        (lambda p, t, *, xp: xp.sum(p - t, axis=-1, keepdims=True), r"returned the shape \[B, 1\], not \[B\]"),
        (lambda p, t, *, xp: None, "returned NoneType"),
        (lambda p, t, *, xp: 0.0, "returned float"),
        (lambda p, t, *, xp: xp.sum(p, axis=-1) > 0, "returned a condition"),
        (lambda p, t, *, xp: xp.sum(xp.erf(p - t), axis=-1), r"xp\.erf is not an operation .*test_errors\.py"),
    ],
)
def test_a_loss_returns_one_value_per_record(loss, message):
    with pytest.raises(TraceError, match=message):
        gradient([Layer(np.ones((2, 2)), None)], Z, Z, activations=[activations.identity], loss=loss, xp=np)
    with pytest.raises(TraceError, match=message):
        chained((activations.identity,), (2, 2), objective=Objective(loss), optimizer=SGD()).trace()


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (3, 2), (2,)])
def test_targets_are_never_broadcast(shape):
    with pytest.raises((InputError, TraceError)):
        train_step(
            [Layer(np.ones((2, 2)), None)],
            [Layer((), None)],
            Z,
            np.ones(shape),
            activations=[activations.identity],
            objective=Objective(losses.sse),
            optimizer=SGD(),
            learning_rate=0.1,
            t=1.0,
            xp=np,
        )


def test_the_interpreter_names_the_input_that_is_missing_or_does_not_fit():
    graph = Graph()
    b, n = graph.dim("B"), graph.dim("n")
    x, w = graph.input("x", (b, n)), graph.input("w", (n,))
    with pytest.raises(InputError, match="needs the input 'w'; given: x"):
        interpret([x * w], {"x": Z}, xp=np)
    with pytest.raises(InputError, match=r"w of shape \[3\] does not fit the others: n is 2, not 3"):
        interpret([x * w], {"x": Z, "w": np.ones(3)}, xp=np)
    with pytest.raises(InputError, match=r"w has to have the shape \[n\], got \[1, 2\]"):
        interpret([x * w], {"x": Z, "w": np.ones((1, 2))}, xp=np)


def test_arrays_of_two_traces_do_not_mix():
    other = Graph().input("x", ())
    with pytest.raises(TraceError, match="an array of another trace"):
        value_and_derivative(lambda z, *, xp: z + other)(Z, xp=np)


def test_more_than_two_dimensions_are_refused():
    with pytest.raises(
        InputError, match=r"softmax \(.*\) is differentiated for \[records, units\], not .* 3 dimensions"
    ):
        value_and_pullback(activations.softmax)(np.ones((2, 3, 4)), xp=np)


def test_outside_of_any_function_of_the_users_the_line_is_the_callers():
    with pytest.raises(TraceError, match=r"test_errors\.py:\d+: `Graph\(\)\.lift\(OUTSIDE\)`"):
        Graph().lift(OUTSIDE)


def test_an_unhashable_function_works_too():
    @dataclass
    class Scaled:
        factor: float

        def __call__(self, z, *, xp):
            return self.factor * z

    scaled = Scaled(2.0)
    assert value_and_pullback(scaled)(Z, xp=np)[0][0, 0] == 2.0
    scaled.factor = 3.0
    assert value_and_pullback(scaled)(Z, xp=np)[0][0, 0] == 3.0
