"""The kernels of a list of operations as jobs: functions of a place, of which kernels and groups of jobs are made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from gdkernels_cupy.graphs.operations import LoopKernel
from gdkernels_cupy.graphs.source import fixed_text, kernel_name, loop_job, loop_parameters

__all__ = [
    "FIXED",
    "KernelBody",
    "KernelJob",
    "fixed_source",
    "group_kernel",
    "group_name",
    "group_source",
    "job_of_loop",
    "kernel_source",
]


@dataclass(frozen=True)
class KernelJob:
    """A function of a place.

    Attributes
    ----------
    name
        That of the kernel which does nothing else.
    function
        As it is called.
    parameters
        Those after the place, each as "type name".
    """

    name: str
    function: str
    parameters: tuple[str, ...]

    def called(self, place: str, suffix: str = "", address: str = "{}") -> str:
        """Return the call with the parameters as arguments; `address` is how that of a place in memory is written."""
        names = [
            (address if "*" in kind else "{}").format(f"{name}{suffix}")
            for kind, name in (p.rsplit(" ", 1) for p in self.parameters)
        ]
        return f"{self.function}({', '.join([place, *names])});"

    def declared(self, suffix: str = "") -> list[str]:
        """Return the parameters."""
        return [f"{p}{suffix}" for p in self.parameters]

    def kernel(self, address: str = "{}") -> KernelBody:
        """Return the kernel that does nothing else."""
        return KernelBody(self.name, tuple(self.declared()), (self.called("here()", address=address),))


@dataclass(frozen=True)
class KernelBody:
    """A kernel: its name, its parameters as "type name", and its lines."""

    name: str
    parameters: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The kernel in CUDA C++."""
        lines = "".join(f"    {line}\n" for line in self.lines)
        return f'extern "C" __global__ void {self.name}({", ".join(self.parameters)}) {{\n{lines}}}\n'


def _job(name: str, function: str, parameters: str) -> KernelJob:
    return KernelJob(name, function, tuple(parameters.split(", ")))


def _fixed() -> dict[str, KernelJob]:
    cuda = {"float64": "double", "float32": "float", "bfloat16": "bfloat16"}
    found = [
        _job("begin", "begin_job", "const Control* control, int count, double* numbers, float* float32_numbers"),
        _job("record", "record_job", _RECORD),
        _job(
            "cast_float32_bfloat16", "cast_job",
            "int rows, int columns, const float* from, long long pitch, bfloat16* to, long long to_pitch",
        ),
        _job(
            "bias_rows", "bias_rows_job",
            "int all_rows, int all_columns, int rows, int columns, int terms, int ones, const float* bias, "
            "bfloat16* to, long long pitch",
        ),
    ]  # fmt: skip
    for storage in ("float64", "float32"):
        total = _TOTAL.replace("double* parts", f"{cuda[storage]}* parts")
        both = f"{total.replace('int count', 'int parts_count')}, {_RECORD}"
        found += [
            _job(f"total_{storage}", "total_job", total),
            _job(f"total_record_{storage}", "total_record_job", both),
            _job(
                f"transpose_{storage}", "transpose_job",
                f"int rows, int columns, const {cuda[storage]}* from, long long from_pitch, {cuda[storage]}* to, "
                "long long pitch",
            ),
            _job(
                f"sum_by_code_{storage}", "sum_by_code_job",
                f"int rows, int columns, const {cuda[storage]}* codes, long long codes_pitch, int last, "
                f"const {cuda[storage]}* values, long long values_pitch, {cuda[storage]}* to, long long pitch",
            ),
            _job(
                f"row_outer_{storage}", "row_outer_job",
                f"int rows, int left_columns, int columns, const {cuda[storage]}* left, long long left_pitch, "
                f"const {cuda[storage]}* right, long long right_pitch, {cuda[storage]}* to, long long pitch",
            ),
        ]  # fmt: skip
    for real, storage in (("float64", "float64"), ("float32", "float32"), ("float32", "bfloat16")):
        types, to = f"<{cuda[real]}, {cuda[storage]}>", cuda[storage]
        found += [
            _job(
                f"gather_{real}_{storage}", f"gather_job{types}",
                f"const Control* control, int source, long long first, int rows, int columns, {to}* to, "
                "long long pitch, int ones",
            ),
            _job(
                f"copy_columns_{real}_{storage}", f"copy_columns_job{types}",
                f"int rows, int count, const {cuda[real]}* from, long long from_pitch, {to}* to, long long pitch",
            ),
            _job(
                f"look_up_{real}_{storage}", f"look_up_job{types}",
                f"int rows, int columns, const {cuda[real]}* codes, long long codes_pitch, int last, "
                f"const {cuda[real]}* table, long long table_pitch, {to}* to, long long pitch",
            ),
            _job(
                f"column_sums_{real}_{storage}", f"column_sums_job{types}",
                f"int rows, int columns, const {to}* values, long long pitch, int chunk, {cuda[real]}* out, "
                "long long out_pitch, int accumulate",
            ),
        ]  # fmt: skip
    return {job.name: job for job in found}


_TOTAL = "int count, const double* parts, double factor, double* number, int accumulate"
_RECORD = "int count, const double* first, const double* second, double* sums, Control* control, long long batch"

FIXED = _fixed()


def fixed_source() -> str:
    """Return the kernels that are the same for every program."""
    return fixed_text() + "".join(job.kernel().text for job in FIXED.values())


def job_of_loop(kernel: LoopKernel) -> KernelJob:
    """Return the job of a loop, whose text is to be there."""
    name = kernel_name(kernel)
    return KernelJob(name, f"{name}_job", tuple(loop_parameters(kernel)))


def kernel_source(kernel: LoopKernel) -> str:
    """Return the text of a loop's job and kernel.

    The parameters are the rows and columns, then a pointer for every read, output and reduction, in order; a matrix'
    pointer is followed by its pitch.
    """
    return loop_job(kernel) + job_of_loop(kernel).kernel().text


def group_name(jobs: Iterable[KernelJob]) -> str:
    """Return the name of the kernel of a group."""
    return f"group_{hashlib.sha256(' '.join(job.name for job in jobs).encode()).hexdigest()[:16]}"


def group_source(jobs: tuple[KernelJob, ...]) -> str:
    """Return the text of the kernel of a group."""
    return group_kernel(jobs).text


def group_kernel(jobs: tuple[KernelJob, ...], address: str = "{}") -> KernelBody:
    """Return the kernel of a group: for each job its blocks and threads along both dimensions, then its parameters."""
    shape = ("blocks_x", "blocks_y", "threads_x", "threads_y")
    parameters, body = [], ["int block = blockIdx.x;"]
    for k, job in enumerate(jobs):
        here = [f"{name}{k}" for name in shape]
        parameters += [f"int {name}" for name in here] + job.declared(f"_{k}")
        place = f"place_in(block, {', '.join(here)})"
        body += [
            f"if (block < {here[0]} * {here[1]}) {{",
            f"    if (threadIdx.x < {here[2]} * {here[3]}) {job.called(place, f'_{k}', address)}",
            "    return;",
            "}",
            f"block -= {here[0]} * {here[1]};",
        ]
    return KernelBody(group_name(jobs), tuple(parameters), tuple(body))
