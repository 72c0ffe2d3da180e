"""bfloat16 is as exact as others have it, and training ends where it does in float32."""

import numpy as np
import pytest
from engine_runs import Data, bits, compiled, needs_bf16, program

from benchmarks.low_precision import TrainingEnds, ends, prepared, step_errors
from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.definition import activations

pytestmark = needs_bf16


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_training_ends_within_the_spread_of_float32(name):
    found = ends(*prepared(name), range(10), precision="bfloat16", backend="numba")
    assert found.within, found
    assert found.float32 != found.low, "both were computed in the same precision"


def test_what_ends_elsewhere_is_beyond():
    assert TrainingEnds((1.0, 1.2, 1.4), (1.1, 1.3, 1.3)).within
    assert not TrainingEnds((1.0, 1.2, 1.4), (1.5, 1.5, 1.5)).within
    assert not TrainingEnds((1.0, 1.2, 1.4), (1.2, 1.2, 2.0)).within


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_errors_are_no_larger_than_autocasts(activation):
    pytest.importorskip("torch")
    task = TrainingTask((100, 256, 130, 10), 96, 96, activation)
    ours = step_errors(Participant("numba", external=False, precision="bfloat16"), task)
    theirs = step_errors(Participant("torch-bf16", external=True, precision="bfloat16"), task)
    assert all(1e-4 < a <= 1.1 * b for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


def test_torch_and_the_engine_take_turns_on_one_thread():
    """Both keep state in the thread, such as tiles; neither may find the other's."""
    torch = pytest.importorskip("torch")
    data = Data(program(activations.relu), (70, 130, 10), 150)
    executable = compiled(data.program, "bfloat16", threads=1)
    a = torch.from_numpy(data.x).to(torch.bfloat16)

    def take_turns():
        return (a @ a.T).to(torch.float32).numpy(), bits(data.run(executable, 64, "bfloat16")[1])

    (product, state), (product_after, state_after) = take_turns(), take_turns()
    assert np.array_equal(product, product_after)
    assert state == state_after
