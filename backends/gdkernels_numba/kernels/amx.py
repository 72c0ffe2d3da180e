"""Products of bfloat16 on AMX tiles: 32 by 32 numbers of the result in four of the eight tiles.

The tiles belong to a thread and survive calls. A thread therefore configures them once, when it enters a run, and
releases them when it leaves: other code on the thread finds them as after a start (Intel's Instruction Set Reference:
LDTILECFG, TDPBF16PS).
"""

from collections.abc import Sequence

from llvmlite import ir

from gdkernels_numba.ir.emit import VOID, Function
from gdkernels_numba.ir.format import GRANULE, LINE

__all__ = ["TILE_FLOPS", "configure_tiles", "multiply_tiles", "release_tiles", "write_tile_product"]

_I8 = ir.IntType(8)
_ROWS = 16  # of a tile, each a line of the cache
_TILES = 8
TILE_FLOPS = 2 * _ROWS * _ROWS * GRANULE  # of a product of two
_SUMS = ((0, 1), (2, 3))
_LEFT, _RIGHT = (4, 5), (6, 7)


def configure_tiles(f: Function) -> None:
    """Let every tile have 16 rows of 64 bytes."""
    palette, start_row, reserved = [1], [0], [0] * 14
    widths, heights = [LINE, 0] * _TILES + [0] * 16, [_ROWS] * _TILES + [0] * 8
    content = [*palette, *start_row, *reserved, *widths, *heights]
    kind = ir.ArrayType(_I8, len(content))
    told = ir.GlobalVariable(f.module, kind, "tile_configuration")
    told.global_constant, told.linkage, told.align = True, "internal", LINE
    told.initializer = ir.Constant(kind, bytearray(content))
    f.call("llvm.x86.ldtilecfg", VOID, told)


def release_tiles(f: Function) -> None:
    f.call("llvm.x86.tilerelease", VOID)


def write_tile_product(f: Function) -> None:
    """Write the kernel "product"; rows, columns and depth run to whole tiles, into what is padded with zeros."""
    below = f.multiply(f.c_row, _ROWS)
    with f.loop(f.vectors, step=2) as vector, f.loop(f.rows, step=GRANULE) as row:
        offset = f.multiply(vector, LINE)
        c = f.add(f.c, f.multiply(row, f.c_row), offset)
        places = [[f.add(c, offset) for offset in (0, LINE)], [f.add(c, below, offset) for offset in (0, LINE)]]
        with f.builder.if_else(f.is_less(0, f.accumulate)) as (then, otherwise):
            with then:
                _each(f, "tileloadd64", places, f.c_row)
            with otherwise:
                for line in _SUMS:
                    for tile in line:
                        f.call("llvm.x86.tilezero", VOID, _tile(tile))
        a, b = f.variable(f.add(f.a, f.multiply(row, f.a_row))), f.variable(f.add(f.b, offset))
        with f.loop(f.depth, step=_ROWS):
            for k in range(2):
                _move(f, "tileloadd64", _LEFT[k], f.add(a.get(), f.multiply(f.a_row, k * _ROWS)), f.a_row)
                _move(f, "tileloadd64", _RIGHT[k], f.add(b.get(), k * LINE), f.b_row)
            multiply_tiles(f)
            a.set(f.add(a.get(), f.a_panel))
            b.set(f.add(b.get(), f.multiply(f.b_row, _ROWS)))
        _each(f, "tilestored64", places, f.c_row)
    f.finish()


def multiply_tiles(f: Function) -> None:
    """Add each product of a left tile with a right one to the sums."""
    for line, left in zip(_SUMS, _LEFT, strict=True):
        for tile, right in zip(line, _RIGHT, strict=True):
            f.call("llvm.x86.tdpbf16ps", VOID, _tile(tile), _tile(left), _tile(right))


def _each(f: Function, name: str, places: Sequence[Sequence[ir.Value]], pitch: ir.Value) -> None:
    for tiles, line in zip(_SUMS, places, strict=True):
        for tile, place in zip(tiles, line, strict=True):
            _move(f, name, tile, place, pitch)


def _move(f: Function, name: str, tile: int, place: ir.Value, pitch: ir.Value) -> None:
    f.call(f"llvm.x86.{name}", VOID, _tile(tile), f.pointer(place), pitch)


def _tile(number: int) -> ir.Value:
    return ir.Constant(_I8, number)
