"""Backends that are fast for the wrong reasons."""

# A gradient that is too steep by 1 %, in the weights of the first layer.
STEEP = """
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels_numpy import NumPyBackend
class Steep(DefinitionExecutable):
    def run(self, state, x, y, order, batch_size, rates):
        name, before = next(iter(state.parameters.items()))
        result = super().run(state, x, y, order, batch_size, rates)
        moved = (state.parameters[name] - before) * before.dtype.type(1.01)
        state.parameters = {**state.parameters, name: before + moved}
        return result
class Backend(NumPyBackend):
    name = "steep"
    contract = 2
    def compile(self, program, plan):
        return Steep(self, program, plan) if program.optimizer else None
"""

# Work that goes on in a thread after `synchronize`; who reads an array waits for it. It is done no sooner than somebody
# waits, however long the system keeps the reader from that.
LATE = """
import threading, time
import numpy as np
from gdkernels.backend import Executable
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels_numpy import NumPyBackend
class Late(DefinitionExecutable):
    def run(self, state, x, y, order, batch_size, rates):
        self._backend.finish()
        done = state.copy(np)
        waits = self._backend.waits = threading.Event()
        def work():
            waits.wait()
            time.sleep(0.02)
            super(Late, self).run(done, x, y, order, batch_size, rates)
            for name, old in state_before.items(): old[...] = done.parameters[name]
        state_before = state.parameters
        self._backend.thread = threading.Thread(target=work, daemon=True)
        self._backend.thread.start()
        return 0.0, None
class Backend(NumPyBackend):
    name = "late"
    contract = 2
    thread = None
    def compile(self, program, plan):
        return Late(self, program, plan) if program.optimizer else None
    def finish(self):
        if self.thread is not None:
            self.waits.set()
            self.thread.join()
    def to_numpy(self, x):
        {waits}
        return np.asarray(x)
"""
WAITS, UNFINISHED = LATE.format(waits="self.finish()"), LATE.format(waits="pass")
