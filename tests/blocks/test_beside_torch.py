"""The derived gradient of every block beside that of PyTorch's autograd, in float64."""

import numpy as np
import pytest
from arranged_units import ARRANGED
from computed_weights import KINDS, Computed, Table

from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.blocks import Columns, Dense, Sequential
from gdkernels.definition.blocks.block import initial_values
from gdkernels.definition.chain import layers_in
from gdkernels.definition.network import gradient
from gdkernels.randomness import RandomNumbers, row_keys
from gdkernels.testing.cases import CASES, data_of

torch = pytest.importorskip("torch")
xp = pytest.importorskip("array_api_compat.torch")

NETWORKS = [name for name, case in CASES.items() if layers_in(case.program.block) is None]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_autograd(name):
    case, data = CASES[name], data_of(CASES[name])
    start = {n: a.astype(np.float64) for n, a in data.parameters.items()}
    compare(case.program, start, *(a[:7].astype(np.float64) for a in (data.x, data.y)))


def test_the_gradient_through_computed_weights_is_that_of_autograd():
    random = np.random.default_rng(0)
    ways = [Computed(kind, 3) for kind in KINDS]
    for network in (*(Sequential(Dense(5, "tanh"), way) for way in ways), Columns([(0, Table(4, 3))], rest="drop")):
        program = Program(network, 4)
        x, y = random.standard_normal((7, 4)), random.standard_normal((7, 3))
        x[:, 0] = random.integers(0, 4, 7)
        compare(program, initial_values(program.parameters, random), x, y)


def test_the_gradient_through_arranged_units_is_that_of_autograd():
    random = np.random.default_rng(0)
    program = Program(ARRANGED, 5)
    x, y = random.standard_normal((7, 5)), random.standard_normal((7, 3))
    compare(program, initial_values(program.parameters, random), x, y)


def compare(program, start, x, y):
    keys = row_keys(3, 5, len(x), len(x)) if program.draws else None
    _, ours = gradient(
        program.block, start, x, y, trained=program.trained, loss=losses.sse, row_keys=keys, reduction="sum", xp=np
    )
    theirs = {n: torch.from_numpy(a).requires_grad_(n in program.trained) for n, a in start.items()}
    drawing = None if keys is None else RandomNumbers(torch.from_numpy(keys))
    found = program.block(theirs, torch.from_numpy(x), xp=xp, random=drawing)
    xp.sum(losses.sse(found, torch.from_numpy(y), xp=xp)).backward()
    for n in program.trained:
        np.testing.assert_allclose(ours[n], theirs[n].grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=n)
