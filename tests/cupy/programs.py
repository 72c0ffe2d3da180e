"""The lists and kernels of everything that the conformance suite compiles."""

import hashlib
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import gdkernels_cupy
import numpy as np
import record_wise_blocks
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.calls import jobs_of
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES
from gdkernels_cupy.graphs.grouping import OperationGroup, grouped
from gdkernels_cupy.graphs.interpret import Interpreter
from gdkernels_cupy.graphs.jobs import fixed_source, group_source, kernel_source
from gdkernels_cupy.graphs.lower import lower
from gdkernels_cupy.graphs.source import CUDA_FUNCTIONS, kernel_name, preamble
from made_once import made_once

import gdkernels as gd
from gdkernels.backend import verification
from gdkernels.backend.arguments import keys_of_run
from gdkernels.backend.program import Program
from gdkernels.definition import activations
from gdkernels.lowering.elementwise import as_loaded
from gdkernels.lowering.scalars import scalar_table
from gdkernels.lowering.task import schedule_prediction, schedule_products, schedule_training
from gdkernels.testing.cases import CASES, data_of, numpy_state

# Large enough that every thread of a block has something to add.
MORE = {"wide norm": replace(CASES["wide"], program=replace(CASES["wide"].program, gradient_norm=True))}

# Networks whose JᵀJ is added up by CUDA graphs: every activation, some side by side, and what has other columns.
_WAYS = [gd.blocks.Sequential(gd.blocks.Dense(3, name), gd.blocks.Dense(2)) for name in activations.BY_NAME]
PRODUCTS = {
    **{f"activations from {k} on": Program(gd.blocks.Mean(*_WAYS[k : k + 3]), 3) for k in range(0, len(_WAYS), 3)},
    **{name: Program(record_wise_blocks.BLOCKS[name], 3) for name in ("dense", "residual", "embedding", "unused")},
}

PRECISIONS = ("float32", "bfloat16", "float64")
SOURCES = Path(gd.__file__).parent, Path(gdkernels_cupy.__file__).parent
_folder = []


def case_of(name):
    return CASES.get(name) or MORE[name]


@cache
def training(name):
    return schedule_training(case_of(name).program, CUDA_FUNCTIONS)


@cache
def prediction(name):
    return schedule_prediction(case_of(name).program, CUDA_FUNCTIONS)


def list_of(task, name, precision, epilogues=EPILOGUES, pieces=None):
    case = case_of(name)
    batch = min(case.batch_size, case.records)
    return lower(task, task.sizes_with(batch), precision, pieces or [batch], epilogues)


def _kernels_and_groups(precision):
    kernels, groups = {}, {}
    for name in CASES:
        for task, epilogues in product((training(name), prediction(name)), (EPILOGUES, ())):
            lowered = list_of(task, name, precision, epilogues)
            loops = [op.kernel for op in lowered.operations if isinstance(op, ops.LoopPass)]
            kernels |= {kernel_name(kernel): kernel for kernel in loops}
            if task is training(name):
                launches = [launch for launch in grouped(lowered) if isinstance(launch, OperationGroup)]
                groups |= dict.fromkeys(group_source(jobs_of(one)) for one in launches if len(one.members) > 1)
    if precision != "bfloat16":
        for program, rows in product(PRODUCTS.values(), (5, 40)):
            for task in (schedule_products(program, CUDA_FUNCTIONS), schedule_prediction(program, CUDA_FUNCTIONS)):
                lowered = lower(task, task.sizes_with(rows), precision, [rows], ())
                loops = [op.kernel for op in lowered.operations if isinstance(op, ops.LoopPass)]
                kernels |= {kernel_name(kernel): kernel for kernel in loops}
    return kernels, tuple(groups)


def main(path):
    """Write the kernels and groups of every precision to a file."""
    Path(path).write_bytes(pickle.dumps({p: _kernels_and_groups(p) for p in PRECISIONS}))


@cache
def _all_of_them():
    """Return the kernels and groups of every precision, which a process of its own makes for all who ask.

    It takes seconds, and a test may ask while it has changed a part of gdkernels.
    """
    sources = [p for folder in SOURCES for p in sorted(folder.rglob("*")) if p.suffix in (".py", ".cu", ".cuh")]
    sources += [Path(__file__), Path(record_wise_blocks.__file__)]
    told = [sys.version, np.__version__, *(f"{p}\0{p.read_text()}" for p in sources)]
    name = hashlib.sha256("\0".join(told).encode()).hexdigest()[:20]

    def make(part):
        code = "import programs, sys; programs.main(sys.argv[1])"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, part], env=environment, check=True)

    return pickle.loads(made_once(_folder[-1] / f"{name}.kernels", make).read_bytes())


def keep_in(folder):
    """Keep the kernels and groups in a folder."""
    _folder.append(folder)


def kernels(precision):
    """Return every kernel of every program of the conformance suite, by its name."""
    return _all_of_them()[precision][0]


def groups(precision):
    """Return the text of the kernel of every group of every program."""
    return _all_of_them()[precision][1]


@cache
def module(precision):
    """Return one text with all the kernels of a precision, groups among them."""
    return text_with(kernels(precision).values()) + "".join(sorted(groups(precision)))


def text_with(some):
    """Return one text with some kernels, and with those that every module has."""
    return preamble() + fixed_source() + "".join(map(kernel_source, some))


def started(name, precision, make=Interpreter, **options):
    """Return an interpreter of a case's step with everything loaded, and what its step is given."""
    case, data, task = case_of(name), data_of(case_of(name)), training(name)
    interpreter = make(list_of(task, name, precision, **options), precision)
    interpreter.load(dict(verification.named_arrays(numpy_state(case, precision))))
    dtype = np.float64 if precision == "float64" else np.float32
    rows = data.runs[0][0]
    rows = rows[: min(case.batch_size, case.records)]
    arrays = {"x": data.x.astype(dtype), "y": data.y.astype(dtype)}
    if getattr(data, "sample_weight", None) is not None:
        arrays["sample_weight"] = data.sample_weight.astype(dtype)
    keys = keys_of_run(case.program, numpy_state(case, precision), len(rows), len(rows))
    if keys is not None:
        arrays["row_keys"] = np.empty(len(data.x), dtype)
        arrays["row_keys"][rows] = as_loaded(keys, dtype)
    known = task.sizes_with(len(rows)) | {"learning_rate": case.learning_rate, "t": 1.0}
    known |= case.program.numbers
    scalars = scalar_table(interpreter.op_list.scalars, {n: float(v) for n, v in known.items()}, 1)[0]
    return interpreter, (arrays, rows, scalars)
