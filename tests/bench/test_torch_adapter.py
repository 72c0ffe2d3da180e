"""PyTorch's steps against the definition: eager, compiled, and compiled with the gather and the update inside."""

import numpy as np
import pytest

from gdkernels.bench.participants.adapters.choose import adapter_of
from gdkernels.bench.participants.participant import LIBRARIES, Participant
from gdkernels.bench.participants.task import TrainingTask, errors_by_array

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.filterwarnings("ignore")  # of what torch.compile loads
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["torch", "torch-compile", "torch-compile-step"])
def test_it_does_the_steps_of_the_definition(name, optimizer):
    task = TrainingTask((5, 8, 3), 16, 64, optimizer=optimizer, learning_rate=0.01)
    adapter = adapter_of(Participant(name, external=True))
    adapter.load(task)
    adapter.train_on(np.arange(task.checked_records()))
    errors = errors_by_array(task, adapter.parameters(), task.checked_records())
    assert max(errors.values()) < 1e-4, errors


@pytest.mark.filterwarnings("ignore")
def test_the_whole_step_is_one_graph():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    adapter = adapter_of(Participant("torch-compile-step", external=True))
    adapter.load(TrainingTask((5, 8, 3), 16, 64, optimizer="adam"))
    adapter.epoch()
    adapter.epoch()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    assert LIBRARIES["torch-compile-step"].whole_step
