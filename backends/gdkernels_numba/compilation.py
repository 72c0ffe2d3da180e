"""A program as machine code: its loops compiled, and the schedules that say when each runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from llvmlite import ir

from gdkernels.backend.program import Program
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import REAL
from gdkernels.lowering.elementwise import Recipe, recipe_of
from gdkernels.lowering.schedule import PREDICTION, schedule
from gdkernels.lowering.steps import Loop, Schedule, value_of
from gdkernels_numba.cpu import jit
from gdkernels_numba.ir.functions import FUNCTIONS
from gdkernels_numba.ir.vector import Format
from gdkernels_numba.kernels.bfloat16 import BF16_PACKING, write_bf16_packing
from gdkernels_numba.kernels.elementwise import write_loop
from gdkernels_numba.kernels.matmul import products_of, write_products
from gdkernels_numba.kernels.pack import MOVES, write_moves
from gdkernels_numba.vm.instructions import INTERPRETER, generated_constants

__all__ = ["Compiled", "SharedKernels", "Task", "compile_program"]


@dataclass(frozen=True)
class SharedKernels:
    """Addresses of what every program shares."""

    format: Format
    owner: tuple[jit.Code, ...]
    address: dict[str, int]
    interpreter: Callable[[int], None]


@dataclass(frozen=True)
class Task:
    """A schedule whose loops have code.

    Attributes
    ----------
    kernels
        For the ``id`` of each loop of the schedule, the address of its code.
    inputs
        The parameters and slots.
    """

    schedule: Schedule
    batch: Dim
    widths: tuple[Dim, ...]
    inputs: dict[str, Node]
    kernels: dict[int, int]
    prediction: Node | None = None
    error: Node | None = None
    norm: Node | None = None


@dataclass(frozen=True)
class Compiled:
    """A program's prediction and, unless it only predicts, its training step."""

    kernels: SharedKernels
    prediction: Task
    step: Task | None
    owner: jit.Code


def compile_program(program: Program, format: Format) -> Compiled:
    """Return the code for `program`.

    Raises
    ------
    TraceError, ScheduleError
        Where it is not one that this engine runs.
    """
    writer = _Loops()
    forward = program.trace_forward()
    predicting = schedule(forward.graph, forward.batch, {PREDICTION: forward.output})
    writer.add(predicting, forward.batch)
    traced = training = None
    if program.optimizer is not None:
        traced = program.trace(l2_as_input=True)
        totals = [traced.error, *([] if traced.norm is None else [traced.norm])]
        training = schedule(traced.graph, traced.batch, traced.results, totals)
        writer.add(training, traced.batch)

    loaded = _code_of_loops(format, tuple(writer.known))
    addresses = {key: loaded.address(name) for key, name in writer.names.items()}
    output = value_of(forward.output)
    prediction = Task(predicting, forward.batch, forward.widths, _parameters(forward.graph), addresses, output)
    step = None
    if traced is not None and training is not None:
        parameters = _parameters(traced.graph)
        step = Task(training, traced.batch, traced.widths, parameters, addresses, None, traced.error, traced.norm)
    return Compiled(shared_kernels(format), prediction, step, loaded)


def _parameters(graph: Graph) -> dict[str, Node]:
    inputs = [n for n in graph.nodes if n.op == "input" and n.dtype == REAL]
    return {n.attribute: n for n in inputs if n.attribute not in ("x", "y", "sample_weight")}


class _Loops:
    """The recipes of a program's loops, each once, and what the kernel of each loop is called."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.known: dict[Recipe, str] = {}

    def add(self, result: Schedule, batch: Dim) -> None:
        loops = [s for s in result.tile if isinstance(s, Loop)]
        loops += [loop for loop in result.numbers if loop is not None]
        loops += [loop for phase in result.updates for loop in phase.values()]
        for loop in loops:
            recipe = recipe_of(result, loop, batch, FUNCTIONS.keys())
            self.names[id(loop)] = self.known.setdefault(recipe, _name(len(self.known)))


@lru_cache(maxsize=256)
def _code_of_loops(format: Format, recipes: tuple[Recipe, ...]) -> jit.Code:
    """Return the kernels of `recipes`; who tries many settings of one network comes back for the same ones."""
    module = ir.Module("loops")
    for k, recipe in enumerate(recipes):
        write_loop(module, _name(k), recipe, format)
    text = str(module)
    return jit.load(jit.digest(text), lambda: text, "the loops of a program")


def _name(k: int) -> str:
    return f"loop{k}"


_shared: dict[Format, SharedKernels] = {}


def shared_kernels(format: Format) -> SharedKernels:
    """Return the products, the moves and the interpreter for vectors of this format."""
    if format not in _shared:
        module = ir.Module("kernels")
        write_products(module, format)
        write_moves(module, format)
        if format.bf16:
            write_bf16_packing(module, format)
        text = str(module)
        what = f"products of {format.dtype}, {format.lanes} at a time"
        kernels = jit.load(jit.digest(text), lambda: text, what)
        interpreter = jit.load(jit.digest(*interpreter_sources()), _interpreter_ir, "the interpreter")
        names = (*products_of(format), *MOVES, *(BF16_PACKING if format.bf16 else ()))
        address = {name: kernels.address(name) for name in names}
        interpret = jit.function_of(interpreter, INTERPRETER, 1)
        _shared[format] = SharedKernels(format, (kernels, interpreter), address, interpret)
    return _shared[format]


def interpreter_sources() -> list[str]:
    """Return the text that the interpreter is made of, without importing Numba to compile it."""
    from importlib.resources import files

    package = files("gdkernels_numba")
    room = sorted(
        (file for file in (package / "vm").iterdir() if file.name.endswith(".py")), key=lambda file: file.name
    )
    return [generated_constants(), *(file.read_text("utf-8") for file in (*room, package / "ir" / "vector.py"))]


def _interpreter_ir() -> str:
    import logging

    # Numba tells its whole inner life at DEBUG, thousands of lines, to whoever turned that on for a program of theirs.
    log = logging.getLogger("numba")
    level = log.level
    log.setLevel(max(level, logging.WARNING))
    try:
        from gdkernels_numba.vm.run import interpreter_ir

        return interpreter_ir()
    finally:
        log.setLevel(level)
