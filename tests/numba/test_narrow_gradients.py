"""Gradients of few columns, which are computed as their transposes: the bits are those of the plain way."""

import pytest
from engine_runs import Data, assert_agrees, bits, compiled, program
from gdkernels_numba.bytecode import gradients

from gdkernels.definition import activations

relu, tanh = activations.relu, activations.tanh
CASES = [((5, 40, 2), 50), ((27, 64, 64, 3), 64), ((70, 130, 90, 3), 50), ((3, 100, 2), 33)]


def turned(executable):
    """Return how many gradients are computed as their transposes."""
    (bound,) = executable._bound.by_use.values()
    layout = bound.layout.gradients
    return sum(layout.room_to_transpose(a, 0) > 0 for a in bound.task.schedule.accumulations)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_they_have_the_bits_of_the_plain_way(case, threads, precision, monkeypatch):
    widths, batch = case
    data = Data(program(*[relu, tanh][: len(widths) - 2]), widths, 3 * batch - 7)
    found = []
    for gain in (gradients._GAIN, 0.0):
        monkeypatch.setattr(gradients, "_GAIN", gain)
        executable = compiled(data.program, precision, threads=threads, depth_first=False)
        loss, state = data.run(executable, batch, precision)
        found.append((loss, bits(state)))
        assert (turned(executable) > 0) == (gain > 0)
    assert found[0] == found[1]


def test_they_agree_with_the_definition():
    data = Data(program(relu, tanh), (27, 64, 64, 3), 150)
    executable = compiled(data.program, threads=1, depth_first=False)
    assert_agrees(data, executable, 64)
    assert turned(executable) == 1
