"""What is computed of parameters alone: loops, products and sums of columns, each on a whole matrix or vector."""

from gdkernels_numba.vm.context import address, terms_at_once, vectors
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import (
    HEADER,
    LOOP_OVER_VALUE,
    MULTIPLY_VALUES,
    SUM_COLUMNS_OF_VALUE,
)
from gdkernels_numba.vm.intrinsics import word
from gdkernels_numba.vm.tape import issue, issue_loop
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["run_on_value"]


def run_loop_over_value(context: int, i: int) -> None:
    at, width = LOOP_OVER_VALUE.at, word(context, CONTEXT.panel)
    columns, panel = word(i, at.columns), 0
    while columns > 0:
        operands, count, first = i + WORD * LOOP_OVER_VALUE.size, word(i, at.operands), 1 if panel == 0 else 0
        rows, wide, pitch = word(i, at.rows), min(width, columns), word(i, at.pitch)
        issue_loop(context, word(i, at.kernel), rows, wide, pitch, operands, count, 0, panel, first)
        panel += 1
        columns -= width


def multiply_values(context: int, i: int) -> None:
    at = MULTIPLY_VALUES.at
    width = word(context, CONTEXT.panel)
    chunk_panels = max(1, word(context, CONTEXT.product_depth) // width)
    chunk = chunk_panels * width
    depth, columns, panel = word(i, at.depth), word(i, at.columns), 0
    a_pitch, a_panel = word(i, at.a.down), word(i, at.a.across)
    b_pitch, c_pitch = word(i, at.b.down), word(i, at.c.down)
    while columns > 0:
        across = vectors(context, min(width, columns))
        ahead, behind, k = word(i, at.a.base), address(i, at.b, 0, panel), 0
        while k < depth:
            here, c = terms_at_once(chunk, depth - k), address(i, at.c, 0, panel)
            issue(
                context,
                word(i, at.kernel),
                (word(i, at.rows), here, across, ahead, a_pitch, a_panel, behind, b_pitch, c, c_pitch, k, 0),
            )
            ahead += a_panel * chunk_panels
            behind += b_pitch * chunk
            k += here
        panel += 1
        columns -= width


def sum_columns_of_value(context: int, i: int) -> None:
    at, width = SUM_COLUMNS_OF_VALUE.at, word(context, CONTEXT.panel)
    columns, panel = word(i, at.columns), 0
    while columns > 0:
        across = vectors(context, min(width, columns))
        source, to = address(i, at.source, 0, panel), address(i, at.to, 0, panel)
        issue(context, word(i, at.kernel), (word(i, at.rows), across, source, word(i, at.source.down), to, 0))
        panel += 1
        columns -= width


def run_on_value(context: int, i: int) -> None:
    """Run an instruction on values that are computed of parameters."""
    opcode = word(i, HEADER.opcode)
    if opcode == LOOP_OVER_VALUE.opcode:
        run_loop_over_value(context, i)
    elif opcode == MULTIPLY_VALUES.opcode:
        multiply_values(context, i)
    elif opcode == SUM_COLUMNS_OF_VALUE.opcode:
        sum_columns_of_value(context, i)
