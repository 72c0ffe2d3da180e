"""Programs that cannot be compiled run as the definition and say why; the others follow each change of it."""

import logging

import numpy as np
import pytest
from engine_runs import Data, assert_agrees, compiled, program
from gdkernels_numba import NumbaBackend
from gdkernels_numba.cpu import features

from gdkernels.backend import Plan
from gdkernels.backend.definition_executable import bind
from gdkernels.definition import activations, losses, network
from gdkernels.dispatch import choosing
from gdkernels.errors import BackendError
from gdkernels.testing.cases import varied

PLAN = Plan("numba", "cpu", "float32")


def declined(wanted, caplog):
    with caplog.at_level(logging.INFO, "gdkernels"):
        executable = bind(NumbaBackend(), wanted, PLAN)
    assert executable.origin == "definition"
    assert executable.remark in caplog.text
    return executable.remark


def test_a_line_that_has_no_fused_form(caplog):
    line = lambda z, *, xp: xp.sort(z, axis=1)  # noqa: E731
    assert "sort is not an operation" in declined(program(line), caplog)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (lambda z, xp: z - xp.mean(z, axis=0), "needs a sum over the batch"),
        (lambda z, xp: z / xp.max(xp.abs(z)), "extremum over something else"),
    ],
    ids=["over the batch", "the largest of all"],
)
def test_a_gradient_that_has_no_fused_form(line, reason, monkeypatch, caplog):
    """An activation may not look at other records; a definition that changes could."""
    gradient = network.gradient

    def changed(block, parameters, x, y, *, xp, **kwargs):
        error, gradients = gradient(block, parameters, x, y, xp=xp, **kwargs)
        delta = line(xp.matmul(x, parameters["W0"]), xp)
        return error, gradients | {"W0": gradients["W0"] + xp.matmul(x.T, delta)}

    monkeypatch.setattr(network, "gradient", changed)
    assert reason in declined(program(activations.tanh), caplog)


def test_a_definition_with_a_product_of_weights(monkeypatch):
    """Something that is computed of weights alone is computed before the update."""
    gradient = network.gradient

    def changed(block, parameters, *args, xp, **kwargs):
        error, gradients = gradient(block, parameters, *args, xp=xp, **kwargs)
        W = parameters["W0"]
        return error, gradients | {"W0": gradients["W0"] + xp.matmul(xp.matmul(W, W.T), W)}

    monkeypatch.setattr(network, "gradient", changed)
    data = Data(program(activations.tanh), (70, 90, 3), 150)
    for choices in ({}, {"threads": 2, "depth_first": True, "tile_rows": 24}):
        assert_agrees(data, compiled(data.program, **choices), 64)


def test_a_definition_that_mixes_parameters(monkeypatch, caplog):
    update = network.update

    def changed(parameters, gradients, slots, *, xp, **kwargs):
        gradients = gradients | {f"W{k}": gradients[f"W{k}"] + gradients[f"b{k}"] for k in range(2)}
        return update(parameters, gradients, slots, xp=xp, **kwargs)

    monkeypatch.setattr(network, "update", changed)
    assert "the updates of W0 and b0 both need" in declined(program(activations.tanh), caplog)


def test_two_gradients_in_one_update(monkeypatch):
    """The weights' gradient with that of the layer's input squared added: two products accumulate."""
    gradient = network.gradient

    def changed(block, parameters, x, y, *, xp, **kwargs):
        error, gradients = gradient(block, parameters, x, y, xp=xp, **kwargs)
        delta = xp.tanh(xp.matmul(x, parameters["W0"]))
        return error, gradients | {"W0": gradients["W0"] + 0.01 * xp.matmul((x * x).T, delta)}

    monkeypatch.setattr(network, "gradient", changed)
    wanted = program(activations.tanh)
    data = Data(wanted, (70, 130, 3), 150)
    for choices in ({}, {"threads": 2, "depth_first": True, "tile_rows": 24}):
        assert_agrees(data, compiled(data.program, **choices), 64)


def test_a_slope_that_is_off_by_one_per_cent_is_seen(monkeypatch):
    data = Data(program(activations.tanh), (5, 7, 3), 20)
    executable = compiled(data.program)  # before the definition changes: a stale formula
    gradient = network.gradient

    def changed(*args, **kwargs):
        error, gradients = gradient(*args, **kwargs)
        return error, {name: 1.01 * g for name, g in gradients.items()}

    monkeypatch.setattr(network, "gradient", changed)
    with pytest.raises(AssertionError):
        assert_agrees(data, executable, 8)


def test_bfloat16_is_refused_where_the_processor_has_no_product_for_it(monkeypatch):
    monkeypatch.setattr(features, "features", lambda: frozenset({"avx512f"}))
    backend = NumbaBackend()
    assert backend.precisions == ("float64", "float32")
    with pytest.raises(BackendError, match="'numba' cannot do precision 'bfloat16' here: this processor has no AVX512"):
        choosing.decide(backend, precision="bfloat16")
    assert backend.lacks("tf32") is None


def test_bfloat16_is_offered_where_the_processor_has_a_product_for_it(monkeypatch):
    monkeypatch.setattr(features, "features", lambda: frozenset({"avx512f", features.AVX512_BF16}))
    assert "bfloat16" in NumbaBackend().precisions


def test_rows_that_are_not_there_are_refused():
    data = Data(program(activations.tanh), (5, 7, 3), 20)
    executable = compiled(data.program)
    for order in ([0, 20], [-1, 3], []):
        with pytest.raises(ValueError, match=r"row|records"):
            executable.run(data.start("float32"), data.x, data.y, np.asarray(order, np.int64), 8, np.full(1, 0.1))
    with pytest.raises(ValueError, match="do not fit"):
        executable.run(data.start("float32"), data.x[:, :4], data.y, data.order, 8, data.rates(8))
    with pytest.raises(ValueError, match="columns"):
        executable.predict(data.parameters, data.x[:, :4])


def test_a_program_that_only_predicts_needs_no_loss():
    data = Data(program(activations.softmax, loss=losses.mse), (5, 7, 3), 20)
    wanted = varied(data.program, loss=None, optimizer=None)
    output = compiled(wanted).predict(data.parameters, data.x)
    assert output.shape == (20, 3)
    assert compiled(wanted).predict(data.parameters, data.x[:0]).shape == (0, 3)
