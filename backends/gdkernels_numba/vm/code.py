"""The functions that the host calls, as LLVM IR, with all that they call."""

from llvmlite import ir

from gdkernels_numba.ir.translate import translate
from gdkernels_numba.vm.instructions import INTERPRETER
from gdkernels_numba.vm.job_fields import JOB_TAKER, ORDERER
from gdkernels_numba.vm.jobs import order_memory, take_jobs
from gdkernels_numba.vm.run import interpret

__all__ = ["interpreter_ir"]


def interpreter_ir() -> str:
    """Return `interpret` as a function `INTERPRETER`, `take_jobs` as `JOB_TAKER`, and `order_memory` as `ORDERER`."""
    module = ir.Module("interpreter")
    translate(module, {INTERPRETER: interpret, JOB_TAKER: take_jobs, ORDERER: order_memory})
    return str(module)
