"""Weights of records in compiled steps: however the rows are cut up, and never overlooked."""

import numpy as np
import pytest
from engine_runs import Data, compiled, program
from gdkernels_numba import NumbaBackend

from gdkernels.backend import Plan, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.definition import activations, losses
from gdkernels.testing.cases import varied

PROGRAM = program(
    activations.gelu, activations.tanh, loss=losses.huber, weighted=True, clip_norm=0.5, gradient_norm=True
)
DATA = Data(PROGRAM, (9, 33, 17, 5), 301)
PROGRAM = DATA.program
WEIGHTS = np.random.default_rng(4).exponential(size=301).astype("float32") * (np.arange(301) % 7 > 0)


def test_weighted_programs_are_compiled():
    assert bind(NumbaBackend(), PROGRAM, Plan("numba", "cpu", "float32")).origin == "compiled"


@pytest.mark.parametrize("choices", [{"threads": 3}, {"threads": 2, "depth_first": True, "tile_rows": 11}], ids=str)
def test_rows_in_tiles_and_threads(choices):
    found, own, wanted = (DATA.start(precision) for precision in ("float32", "float32", "float64"))
    arguments = (DATA.order, 100, DATA.rates(100))
    loss, norm = compiled(PROGRAM, **choices).run(found, DATA.x, DATA.y, *arguments, WEIGHTS)
    for state, precision in ((own, "float32"), (wanted, "float64")):
        loss64, norm64 = verification.continue_on_numpy(
            PROGRAM, state, DATA.x, DATA.y, *arguments, precision, sample_weight=WEIGHTS
        )
    assert loss == pytest.approx(loss64, rel=1e-5)
    assert norm == pytest.approx(norm64, rel=1e-5)
    arrays = (dict(verification.named_arrays(s)) for s in (found, own, wanted))
    for (name, a), yardstick, a64 in zip(*(d.values() if k else d.items() for k, d in enumerate(arrays)), strict=True):
        allowed = verification.bound(verification.relative_error(yardstick, a64), "float32", 1)
        assert verification.relative_error(a, a64) <= allowed, name


@pytest.mark.parametrize("weights", [None, WEIGHTS[:300], WEIGHTS[:, None]], ids=["none", "short", "a matrix"])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match=r"takes sample_weight \[301\], got"):
        compiled(PROGRAM).run(DATA.start("float32"), DATA.x, DATA.y, DATA.order, 100, DATA.rates(100), weights)


def test_weights_that_nobody_asked_for_are_refused():
    with pytest.raises(ValueError, match="takes no sample_weight"):
        compiled(varied(PROGRAM, weighted=False)).run(
            DATA.start("float32"), DATA.x, DATA.y, DATA.order, 100, DATA.rates(100), WEIGHTS
        )
