"""The functions that the host calls, as LLVM IR, with all that they call."""

from collections.abc import Callable

from llvmlite import ir

from gdkernels_numba.ir.translate import translate
from gdkernels_numba.vm.instructions import INTERPRETER
from gdkernels_numba.vm.job_fields import DRAWER, JOB_TAKER, ORDERER
from gdkernels_numba.vm.jobs import order_memory, take_jobs
from gdkernels_numba.vm.orders import draw_orders
from gdkernels_numba.vm.run import interpret

__all__ = ["interpreter_ir"]


def interpreter_ir() -> str:
    """Return the functions by the names that the host calls them by."""
    module = ir.Module("interpreter")
    functions: dict[str, Callable[..., None]] = {INTERPRETER: interpret, JOB_TAKER: take_jobs}
    translate(module, {**functions, ORDERER: order_memory, DRAWER: draw_orders})
    return str(module)
