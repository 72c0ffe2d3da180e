"""The instructions on the rows of a tile; strided addresses go from row to row and from panel to panel."""

from typing import Annotated, NamedTuple

from gdkernels_numba.vm.fields import StridedAddress

__all__ = [
    "AddTileGradient", "AddTileSums", "CopyColumns", "DotRows", "GatherColumn", "GatherPanels", "LookUpRows",
    "LoopOverColumn", "LoopOverTile", "MultiplyEntries", "MultiplyMatrices", "MultiplyRows",
    "MultiplyTile", "PackTile", "ScatterRows",
]  # fmt: skip


class GatherPanels(NamedTuple):
    """Copy rows of an array of the caller's, in the order of the run, into panels."""

    kernel: Annotated[int, "`rows_in`"]
    columns: Annotated[int, "how many columns are copied"]
    plain: Annotated[int, "the caller's array, from the first of these columns on; set for every run"]
    plain_row: Annotated[int, "bytes from row to row of the caller's array"]
    to: Annotated[StridedAddress, "the panels"]
    pitch: Annotated[int, "bytes from row to row of a panel"]


class GatherColumn(NamedTuple):
    """Copy one number for each row of the tile, which the caller has put in the order of the run."""

    kernel: Annotated[int, "`rows_in`"]
    plain: Annotated[int, "the caller's array; set for every run"]
    plain_row: Annotated[int, "bytes from number to number of it"]
    to: Annotated[int, "where the numbers go, side by side"]


class MultiplyTile(NamedTuple):
    """Multiply the rows of a tile by weights, panel by panel: c = a b; then run the body on the panel."""

    kernel: Annotated[int, "`product`"]
    depth: Annotated[int, "terms of a sum: numbers, or pairs of bfloat16"]
    columns: Annotated[int, "columns of the result"]
    a: Annotated[StridedAddress, "the left operand"]
    a_pitch: Annotated[int, "bytes from row to row of it"]
    b: Annotated[StridedAddress, "the weights"]
    c: Annotated[StridedAddress, "the result"]
    c_pitch: Annotated[int, "bytes from row to row of it"]
    body: Annotated[int, "words of the instructions that are run on each panel of the result"] = 0


class DotRows(NamedTuple):
    """Multiply the rows of a tile by the weights of a layer of one unit; then run the body on the result."""

    kernel: Annotated[int, "`dots`"]
    depth: Annotated[int, "terms of a sum"]
    a: Annotated[StridedAddress, "the left operand"]
    a_pitch: Annotated[int, "bytes from row to row of it"]
    w: Annotated[int, "the weights, side by side"]
    c: Annotated[StridedAddress, "the result"]
    c_pitch: Annotated[int, "bytes from row to row of it"]
    body: Annotated[int, "words of the instructions that are run on the result"] = 0


class CopyColumns(NamedTuple):
    """Copy columns of a matrix of the tile into another."""

    kernel: Annotated[int, "`copy_columns`"]
    columns: Annotated[int, "how many columns are copied"]
    source: Annotated[StridedAddress, "the panels that they come from"]
    source_pitch: Annotated[int, "bytes from row to row of these"]
    source_column: Annotated[int, "the first column there"]
    to: Annotated[StridedAddress, "the panels that they go to"]
    pitch: Annotated[int, "bytes from row to row of these"]
    column: Annotated[int, "the first column there"]


class LookUpRows(NamedTuple):
    """Copy, for each row of the tile, the row of a table whose number stands there, and keep the number."""

    kernel: Annotated[int, "`look_up`"]
    columns: Annotated[int, "columns of the table"]
    last: Annotated[int, "the last row of the table"]
    numbers: Annotated[StridedAddress, "the number of the first row"]
    numbers_pitch: Annotated[int, "bytes from row to row of the matrix in which it is a column"]
    table: Annotated[StridedAddress, "the table"]
    to: Annotated[StridedAddress, "the panels that the rows go to"]
    pitch: Annotated[int, "bytes from row to row of these"]
    column: Annotated[int, "the column there that the first one becomes"]
    kept: Annotated[int, "where the numbers of the whole batch are kept as integers, or 0"]


class MultiplyRows(NamedTuple):
    """Multiply, for each row of the tile, all its numbers in a matrix with all those in another, side by side."""

    kernel: Annotated[int, "`multiply_rows`"]
    left_columns: Annotated[int, "columns of the first matrix"]
    right_columns: Annotated[int, "columns of the other, whose products with one number stand side by side"]
    left: Annotated[StridedAddress, "the first matrix"]
    left_pitch: Annotated[int, "bytes from row to row of it"]
    right: Annotated[StridedAddress, "the other"]
    right_pitch: Annotated[int, "bytes from row to row of it"]
    to: Annotated[StridedAddress, "the panels that the products go to"]
    pitch: Annotated[int, "bytes from row to row of these"]
    column: Annotated[int, "the column there that the first product becomes"]


class MultiplyMatrices(NamedTuple):
    """Multiply, for each row of the tile, two matrices whose rows or columns stand side by side in it."""

    kernel: Annotated[int, "`multiply_matrices`"]
    height: Annotated[int, "rows of the first matrix, and of the product"]
    terms: Annotated[int, "columns of the first matrix, and rows of the other"]
    width: Annotated[int, "columns of the other matrix, and of the product"]
    left: Annotated[StridedAddress, "the first matrix"]
    left_pitch: Annotated[int, "bytes from row to row of the tile in it"]
    left_row: Annotated[int, "how many columns of the tile are from row to row of the matrix"]
    left_term: Annotated[int, "how many from column to column of it"]
    right: Annotated[StridedAddress, "the other matrix"]
    right_pitch: Annotated[int, "bytes from row to row of the tile in it"]
    right_term: Annotated[int, "how many columns of the tile are from row to row of the matrix"]
    right_column: Annotated[int, "how many from column to column of it"]
    to: Annotated[StridedAddress, "the panels that the rows of the product go to, side by side"]
    pitch: Annotated[int, "bytes from row to row of these"]


class MultiplyEntries(NamedTuple):
    """Multiply the rows of a tile, of which the entries are known that are not 0, by weights: c = x w."""

    kernel: Annotated[int, "`multiply_entries`"]
    columns: Annotated[int, "columns of the result"]
    starts: Annotated[int, "where the caller's rows begin among the entries; set for every run"]
    numbers: Annotated[int, "the columns of the entries; set for every run"]
    values: Annotated[int, "the entries; set for every run"]
    w: Annotated[StridedAddress, "the weights"]
    c: Annotated[StridedAddress, "the result"]
    c_pitch: Annotated[int, "bytes from row to row of it"]


class LoopOverTile(NamedTuple):
    """Run an elementwise loop on matrices of the tile, panel by panel."""

    kernel: Annotated[int, "the loop, compiled for this program"]
    columns: Annotated[int, "columns that it runs over"]
    pitch: Annotated[int, "bytes from row to row of every matrix"]
    operands: Annotated[int, "how many strided addresses follow: what it reads, writes and reduces into"] = 0


class PackTile(NamedTuple):
    """Round a value to bfloat16, panel by panel, in each form that a product reads; a form at 0 is not wanted."""

    kernel: Annotated[int, "`pack_bf16_rows` or `pack_bf16_distant_rows`"]
    columns: Annotated[int, "columns of the value"]
    source: Annotated[StridedAddress, "the value in float32"]
    pitch: Annotated[int, "bytes from row to row of it"]
    left: Annotated[StridedAddress, "the form of a left operand"]
    right: Annotated[StridedAddress, "the form of a right operand"]
    right_pitch: Annotated[int, "bytes from pair of rows to pair of rows of it"]
    transposed: Annotated[StridedAddress, "the form of a left operand that is transposed"]


class LoopOverColumn(NamedTuple):
    """Run an elementwise loop on one number for each row of the tile."""

    kernel: Annotated[int, "the loop, compiled for this program"]
    operands: Annotated[int, "how many strided addresses follow; only their bases count"] = 0


class ScatterRows(NamedTuple):
    """Copy panels into rows of an array of the caller's: predictions."""

    kernel: Annotated[int, "`rows_out`"]
    columns: Annotated[int, "how many columns are copied"]
    plain: Annotated[int, "the caller's array; set for every run"]
    plain_row: Annotated[int, "bytes from row to row of it"]
    source: Annotated[StridedAddress, "the panels"]
    pitch: Annotated[int, "bytes from row to row of a panel"]


class AddTileGradient(NamedTuple):
    """Add the tile's part to the gradient of a weight matrix: aᵀ d, block by block."""

    kernel: Annotated[int, "`product_transposed`, or `product` of packed operands"]
    depth: Annotated[int, "rows of the gradient"]
    columns: Annotated[int, "columns of the gradient"]
    a: Annotated[StridedAddress, "the first factor; across: to the next block of its units"]
    a_pitch: Annotated[int, "what the kernel takes for `a_row`"]
    a_panel: Annotated[int, "what the kernel takes for `a_panel`"]
    d: Annotated[StridedAddress, "the second factor"]
    d_pitch: Annotated[int, "bytes from one term of the sum to the next in it"]
    to: Annotated[StridedAddress, "the gradient"]


class AddTileSums(NamedTuple):
    """Add the tile's part to the gradient of a bias: sums of columns."""

    kernel: Annotated[int, "`column_sums`"]
    columns: Annotated[int, "how many columns are summed"]
    d: Annotated[StridedAddress, "what is summed"]
    d_pitch: Annotated[int, "bytes from row to row of it"]
    to: Annotated[int, "the gradient, a row of panels"]
