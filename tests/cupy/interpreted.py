"""Programs run by the interpreter of lists, behind the contract of a backend: what all comparisons then apply to."""

from dataclasses import replace

import numpy as np
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES, OVERWRITING
from gdkernels_cupy.graphs.interpret import Interpreter
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.shard_sums import DealtShards
from gdkernels_cupy.graphs.shared_steps import SharedSteps
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS
from gdkernels_numpy import NumPyBackend

from gdkernels.backend import PRECISIONS, Executable, storage_dtype, verification
from gdkernels.backend.arguments import keys_of_run
from gdkernels.backend.least_squares.products import SUM_OF_PRODUCTS, Products
from gdkernels.groups import SerialGroup
from gdkernels.groups.sharding import Sharding
from gdkernels.lowering.elementwise import as_loaded
from gdkernels.lowering.scalars import scalar_table
from gdkernels.lowering.task import schedule_prediction, schedule_products, schedule_training


class Interpreted(NumPyBackend):
    """A backend whose programs are lists that NumPy runs.

    Parameters
    ----------
    epilogues
        What products may take over.
    pieces
        How many micro-batches a batch is split into.
    change
        What is done to a list before it runs: a mutant.
    shards
        How many shards a batch is summed over, in place of micro-batches.
    """

    name = "interpreted"
    precisions = PRECISIONS
    compiles_weighted = compiles_drawing = compiles_moving = True

    def __init__(self, epilogues=EPILOGUES, pieces=1, change=lambda op_list: op_list, shards=None):
        self.epilogues, self.pieces, self.change, self.shards = epilogues, pieces, change, shards

    def compile(self, program, plan):
        return _Lists(self, program, plan)

    def compile_products(self, program, plan):
        return _Products(self, program, plan)


class _Lists(Executable):
    origin = "compiled"

    def __init__(self, backend, program, plan):
        self.plan, self._backend, self._program = plan, backend, program
        self._prediction = schedule_prediction(program, CUDA_FUNCTIONS)
        self._training = schedule_training(program, CUDA_FUNCTIONS) if program.optimizer else None

    def _interpreter(self, task, batch):
        count = min(self._backend.pieces, batch) if task.output is None else 1
        rows = [batch // count + (k < batch % count) for k in range(count)]
        sizes, epilogues, dealt = task.sizes_with(batch), self._backend.epilogues, None
        if self._backend.shards and task.output is None:
            dealt, epilogues = DealtShards(self._backend.shards), {*epilogues} - OVERWRITING
            rows = SharedSteps(Sharding(SerialGroup(), dealt.shards)).pieces(batch)
        op_list = lower(task, sizes, self.plan.precision, rows, epilogues, dealt)
        return Interpreter(self._backend.change(op_list), self.plan.precision)

    def run(self, state, x, y, order, batch_size, learning_rates, *weights):
        task = self._training
        arrays = dict(zip(("x", "y", "sample_weight"), map(np.asarray, (x, y, *weights)), strict=False))
        keys = keys_of_run(self._program, state, len(order), batch_size)
        if keys is not None:
            arrays["row_keys"] = np.empty(len(arrays["x"]), storage_dtype(self.plan.precision))
        full = self._interpreter(task, min(batch_size, len(order)))
        full.load(dict(verification.named_arrays(state)))
        lasting = max(full.offsets[b.name] + b.bytes for b in full.op_list.lasting)
        known = {**task.sizes, **self._program.numbers}
        for k, rate in enumerate(learning_rates):
            rows = order[k * batch_size : (k + 1) * batch_size]
            interpreter = full
            if len(rows) < batch_size and k:  # as on the device: what lasts is where it was
                interpreter = self._interpreter(task, len(rows))
                interpreter.memory[:lasting], interpreter.sums = full.memory[:lasting], full.sums
            state.step += 1
            known |= {"learning_rate": rate, "t": state.step, "B": len(rows)}
            if keys is not None:  # a row may come again in another batch
                arrays["row_keys"][rows] = as_loaded(keys[k * batch_size :][: len(rows)], arrays["row_keys"].dtype)
            scalars = scalar_table(interpreter.op_list.scalars, {n: float(v) for n, v in known.items()}, 1)[0]
            interpreter.step(arrays, rows, scalars)
        _put(state, interpreter.store())
        sums = interpreter.sums
        return float(sums[0]), float(sums[1]) / len(learning_rates) if self._program.gradient_norm else None

    def predict(self, parameters, x):
        x = np.asarray(x, storage_dtype(self.plan.precision))
        task = self._prediction
        interpreter = self._interpreter(task, len(x))
        interpreter.load({name: parameters[name] for name in interpreter.op_list.parameters})
        known = {name: float(n) for name, n in task.sizes_with(len(x)).items()}
        interpreter.step({"x": x}, np.arange(len(x)), scalar_table(interpreter.op_list.scalars, known, 1)[0])
        return interpreter.read(interpreter.op_list.output).copy()

    def workspace(self, batch_size):
        return batch_size


class _Products(Products):
    """A list that adds up JᵀJ, in tiles as small as a test wants."""

    choices = None

    def __init__(self, backend, program, plan):
        self._program = replace(program, objective=None, optimizer=None)
        self._lists, self._plan = _Lists(backend, self._program, plan), plan
        self._task = schedule_products(self._program, CUDA_FUNCTIONS)
        self._backend = backend

    def rows(self, dtype):
        return 16

    def add(self, arrays, x, y, r, total):
        task, count = self._task, min(self._backend.pieces, len(x))
        rows = [len(x) // count + (k < len(x) % count) for k in range(count)]
        op_list = lower(task, task.sizes_with(len(x)), total.dtype.name, rows, ())
        interpreter = Interpreter(op_list, total.dtype.name)
        known = {name: float(n) for name, n in task.sizes_with(len(x)).items()}
        given = {**arrays, SUM_OF_PRODUCTS: total}
        interpreter.load({n: given[n] for n in op_list.parameters})
        sources = {"x": x, "y": y, "sample_weight": r}
        interpreter.step(sources, np.arange(len(x)), scalar_table(op_list.scalars, known, 1)[0])
        total[...] = interpreter.store()[SUM_OF_PRODUCTS]

    def predict(self, arrays, x):
        self._lists.plan = replace(self._plan, precision=x.dtype.name)
        return self._lists.predict(arrays, x)

    def workspace(self, dtype):
        return 0


def _put(state, arrays):
    for name, target in verification.named_arrays(state):
        target[...] = arrays[name].reshape(target.shape)
