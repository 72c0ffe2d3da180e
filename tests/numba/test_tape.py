"""The calls that a thread notes in its first step: the next steps make them, and come to the same bits."""

import numpy as np
import pytest
from engine_runs import Data, bits, compiled, program
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.tape import TAPE

from gdkernels.definition import activations
from gdkernels.definition.optimizers import Adam

relu, tanh = activations.relu, activations.tanh
CLIPPED = {"clip_norm": 0.1, "gradient_norm": True, "optimizer": Adam()}
# Networks, batches, pieces, and whether the calls of a step have room.
CASES = {
    "a batch of one tile": ((8, 32, 32, 1), 32, {"pieces": 1}, {}, True),
    "two updates": ((8, 16, 16, 3), 33, {"pieces": 1}, CLIPPED, True),
    "several tiles": ((8, 16, 16, 1), 100, {"pieces": 2, "depth_first": True, "tile_rows": 36}, CLIPPED, True),
    "gradients of all rows": ((8, 16, 16, 1), 100, {"pieces": 2, "depth_first": False, "tile_rows": 24}, {}, True),
    "by units": ((70, 130, 3), 20, {"pieces": 2, "by_units": True, "depth_first": False}, {}, True),
    "too many calls": ((8, 16, 16, 1), 2000, {"pieces": 2, "depth_first": True, "tile_rows": 4}, {}, False),
}  # fmt: skip


def steps_on_tape(executable):
    """Return whether the last run has noted the calls of a step."""
    (bound,) = executable._bound.by_use.values()
    words = np.frombuffer(bound.memory, np.int64, 2, bound.layout.tape - bound.memory.ctypes.data)
    assert words[TAPE.next] == 0, "it still notes"
    return words[TAPE.end] > bound.layout.tape + WORD * len(TAPE)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_steps_have_the_bits_that_each_has_in_a_run_of_its_own(case):
    widths, batch, choices, told, has_room = case
    data = Data(program(*[relu, tanh][: len(widths) - 2], **told), widths, 4 * batch)
    executable = compiled(data.program, threads=1, **choices)
    _, together = data.run(executable, batch)
    assert steps_on_tape(executable) == has_room

    state, rates = data.start("float32"), data.rates(batch)
    for k in range(4):
        one = slice(k * batch, k * batch + batch)
        executable.run(state, data.x, data.y, data.order[one], batch, rates[k : k + 1])
    assert not steps_on_tape(executable), "a single step has none that it could serve"
    assert bits(state) == bits(together)


def test_a_smaller_batch_does_not_make_the_calls_of_a_full_one():
    data = Data(program(relu, tanh), (8, 32, 32, 1), 3 * 32 + 5)
    executable, epochs = compiled(data.program, threads=1, pieces=1), 3
    rates = np.stack([data.rates(32)] * epochs)
    together, apart = data.start("float32"), data.start("float32")
    found = executable.run_epochs(together, data.x, data.y, np.stack([data.order] * epochs), 32, rates)
    assert [executable.run(apart, data.x, data.y, data.order, 32, rates[k]) for k in range(epochs)] == found
    assert bits(together) == bits(apart)
    assert steps_on_tape(executable)
