"""A program as machine code: its loops compiled, and the schedules that say when each runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from llvmlite import ir

from gdkernels.backend.program import Program
from gdkernels.errors import ScheduleError
from gdkernels.graph import remembered
from gdkernels.lowering.elementwise import Recipe
from gdkernels.lowering.steps import RowProduct, Step
from gdkernels.lowering.task import ScheduledTask, schedule_prediction, schedule_training
from gdkernels_numba.cpu import jit
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.functions import FUNCTIONS
from gdkernels_numba.kernels.bfloat16 import BF16_PACKING, write_bf16_packing
from gdkernels_numba.kernels.coded import CODED_MOVES, write_coded_moves
from gdkernels_numba.kernels.elementwise import write_loop
from gdkernels_numba.kernels.matmul import products_of, write_products
from gdkernels_numba.kernels.pack import MOVES, write_moves
from gdkernels_numba.plan import StepFootprint
from gdkernels_numba.vm.instructions import INTERPRETER, MOVES_BY_NUMBER, generated_constants
from gdkernels_numba.vm.job_fields import DRAWER, JOB_TAKER, ORDERER

__all__ = ["Compiled", "Kernels", "code_of_loops", "compile_program", "kernels_of", "loop_name", "tasks_of"]

_MATRIX = 32768  # numbers of a matrix that a record is multiplied by: a copy of it is on the stack, in whole vectors
_VECTOR = 16  # numbers of the widest


@dataclass(frozen=True)
class Kernels:
    """Addresses of machine code: of what every program shares, and of the loops of one.

    Attributes
    ----------
    interpreter, job_taker, order_memory, draw_orders
        `interpret` in `gdkernels_numba.vm.run`, `take_jobs` and `order_memory` in `gdkernels_numba.vm.jobs`, and
        `draw_orders` in `gdkernels_numba.vm.orders`.
    loops
        For the ``id`` of each loop of the program's schedules, the address of its code.
    """

    format: Format
    owner: tuple[jit.Code, ...]
    address: dict[str, int]
    interpreter: Callable[[int], None]
    job_taker: Callable[[int], None]
    order_memory: Callable[[], None]
    draw_orders: Callable[[int], None]
    loops: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Compiled:
    """A program's prediction and, unless it only predicts, its training step.

    Attributes
    ----------
    footprints
        What is known of their sizes, by whether it is the step's, by the batch, and by the entries of a row.
    """

    kernels: Kernels
    prediction: ScheduledTask
    step: ScheduledTask | None
    footprints: dict[tuple[bool, int, float], StepFootprint] = field(default_factory=dict, compare=False)


def compile_program(program: Program, format: Format, *, entries: bool = False) -> Compiled:
    """Return the code for `program`.

    Parameters
    ----------
    entries
        Whether x comes as its entries that are not 0.

    Raises
    ------
    TraceError, ScheduleError
        If this engine cannot run the program.
    """
    return _compiled(program.without_numbers, format, entries)


@remembered(16)  # sparse rows come and go between a few widths
def _compiled(program: Program, format: Format, entries: bool) -> Compiled:
    prediction, step = tasks_of(program, entries)
    kernels = kernels_of([prediction] if step is None else [prediction, step], format)
    return Compiled(kernels, prediction, step)


def kernels_of(tasks: Sequence[ScheduledTask], format: Format) -> Kernels:
    """Return the machine code that some tasks need."""
    names: dict[Recipe, str] = {}
    for task in tasks:
        for recipe in task.recipes.values():
            names.setdefault(recipe, loop_name(len(names)))
    code = code_of_loops(format, tuple(names))
    loops = {loop: code.address(names[recipe]) for task in tasks for loop, recipe in task.recipes.items()}
    shared = shared_kernels(format)
    moves = (task.values is not None and task.values.moves for task in tasks)
    if any(moves) or any(task.schedule.moves or task.schedule.takes_entries for task in tasks):
        moving = _moves_by_number(format)
        address = {**shared.address, **{name: moving.address(name) for name in CODED_MOVES}}
        shared = replace(shared, owner=(*shared.owner, moving), address=address)
    if format.bf16 and any(task.values is not None and task.values.multiplies for task in tasks):
        # Few products, which lose nothing: those of parameters with each other are not rounded.
        plain = shared_kernels(Format("float32", format.lanes))
        address = {**shared.address, "product_of_values": plain.address["product"]}
        shared = replace(shared, owner=(*shared.owner, *plain.owner), address=address)
    return replace(shared, owner=(*shared.owner, code), loops=loops)


@remembered(16)  # sparse rows come and go between a few widths
def tasks_of(program: Program, entries: bool) -> tuple[ScheduledTask, ScheduledTask | None]:
    """Return a program's prediction and, unless it only predicts, its training step, in order."""
    step = None if program.optimizer is None else schedule_training(program, FUNCTIONS.keys(), entries=entries)
    prediction = schedule_prediction(program, FUNCTIONS.keys(), entries=entries)
    for task in (prediction, step):
        _check_row_products(() if task is None else task.schedule.moves)
    return prediction, step


def _check_row_products(steps: Iterable[Step]) -> None:
    for step in steps:
        if isinstance(step, RowProduct):
            _, terms, width, *_ = step.node.attribute
            if terms * -(-width // _VECTOR) * _VECTOR > _MATRIX:
                raise ScheduleError(
                    f"each record is multiplied by a matrix of its own of {terms} by {width} numbers; the engine keeps "
                    f"{_MATRIX} at most"
                )


@lru_cache(maxsize=256)
def code_of_loops(format: Format, recipes: tuple[Recipe, ...]) -> jit.Code:
    """Return the kernels of `recipes`, cached for those who try many settings of one network."""
    module = ir.Module("loops")
    for k, recipe in enumerate(recipes):
        write_loop(module, loop_name(k), recipe, format)
    text = str(module)
    return jit.load(jit.digest(text), lambda: text, "the loops of a program")


@lru_cache(maxsize=8)
def _moves_by_number(format: Format) -> jit.Code:
    """Return the kernels of `CODED_MOVES`, for the programs that need them."""
    module = ir.Module("moves")
    write_coded_moves(module, format, {name: layout.at for name, layout in MOVES_BY_NUMBER.items()})
    text = str(module)
    return jit.load(jit.digest(text), lambda: text, "moves by number")


def loop_name(k: int) -> str:
    return f"loop{k}"


_shared: dict[Format, Kernels] = {}


def shared_kernels(format: Format) -> Kernels:
    """Return the products, the moves and the interpreter for vectors of this format."""
    if format not in _shared:
        module = ir.Module("kernels")
        write_products(module, format)
        write_moves(module, format)
        if format.bf16:
            write_bf16_packing(module, format)
        text = str(module)
        what = f"products of {format.dtype}, {format.lanes} at a time"
        kernels = jit.load(jit.digest(text), lambda: text, what, announced=True)
        key = jit.digest(*interpreter_sources())
        interpreter = jit.load(key, _interpreter_ir, "the interpreter", decides=True)
        names = (*products_of(format), *MOVES, *(BF16_PACKING if format.bf16 else ()))
        address = {name: kernels.address(name) for name in names}
        interpret, take_jobs, draw = (jit.function_of(interpreter, n, 1) for n in (INTERPRETER, JOB_TAKER, DRAWER))
        order_memory = jit.function_of(interpreter, ORDERER, 0)
        _shared[format] = Kernels(format, (kernels, interpreter), address, interpret, take_jobs, order_memory, draw)
    return _shared[format]


def interpreter_sources() -> list[str]:
    """Return the text that the interpreter is made of: its code is kept by that, and a kept one need not be written."""
    from importlib.resources import files

    package = files("gdkernels_numba")
    room = sorted(
        (file for file in (package / "vm").iterdir() if file.name.endswith(".py")), key=lambda file: file.name
    )
    writers = [package / "ir" / name for name in ("emit.py", "expressions.py", "format.py", "translate.py")]
    writers.append(files("gdkernels.groups") / "tree.py")  # of which the interpreter has functions
    return [generated_constants(), *(file.read_text("utf-8") for file in (*room, *writers))]


def _interpreter_ir() -> str:
    from gdkernels_numba.vm.code import interpreter_ir

    return interpreter_ir()
