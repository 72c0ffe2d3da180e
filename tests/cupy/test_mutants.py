"""Planted errors, in lists and in kernels, are caught by the comparisons that everything has to pass."""

from dataclasses import replace

import pytest
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.jobs import fixed_source, kernel_source
from gdkernels_cupy.graphs.source import preamble
from interpreted import Interpreted
from programs import list_of, training
from test_kernels import differences, is_exact
from twin import Twin

from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD, Adam
from gdkernels.testing.cases import CASES, compare, on_backend, on_numpy_once, varied

SQUARE = replace(
    CASES["wide"],
    program=varied(CASES["wide"].program, widths=(6, 6, 6, 6)),
    records=12,
    batch_size=8,
    steps=2,
    learning_rate=0.1,
)
DESCENT = replace(SQUARE, program=replace(SQUARE.program, optimizer=SGD()))
GELU = replace(DESCENT, program=varied(DESCENT.program, activations=(activations.gelu,) * 2 + (activations.identity,)))
ADAM = replace(SQUARE, program=varied(SQUARE.program, optimizer=Adam(), activations=(activations.tanh,) * 3))


def products(op_list):
    return [op for op in op_list.operations if isinstance(op, ops.MatrixProduct)]


def changed(select, change, which=0):
    """Return a mutant that changes one of the operations that `select` takes."""

    def mutate(op_list):
        found = [op for op in op_list.operations if select(op)]
        target = found[which]
        return replace(op_list, operations=tuple(change(op) if op is target else op for op in op_list.operations))

    return mutate


def without(select, which=0):
    def mutate(op_list):
        target = [op for op in op_list.operations if select(op)][which]
        return replace(op_list, operations=tuple(op for op in op_list.operations if op is not target))

    return mutate


def update_too_early(op_list):
    """Move the update of some weights before the product that needs them as they were."""
    listed = list(op_list.operations)
    update = next(op for op in products(op_list) if isinstance(op.alpha, int) and op.out.name == "W2")
    listed.remove(update)
    at = next(k for k, op in enumerate(listed) if isinstance(op, ops.MatrixProduct) and op.transpose_right)
    return replace(op_list, operations=(*listed[:at], update, *listed[at:]))


def is_product(op):
    return isinstance(op, ops.MatrixProduct)


def is_back(op):
    return is_product(op) and op.transpose_right


def is_gradient(op):
    return is_product(op) and op.transpose_left


def of_epilogue(kind):
    return lambda op: is_product(op) and op.epilogue.kind == kind


def with_the_value(op):
    """Let gelu's slope be taken at what enters the product instead of at gelu's argument."""
    return replace(op, epilogue=replace(op.epilogue, auxiliary=op.left))


def repitched(op):
    return replace(op, left=replace(op.left, pitch=op.left.pitch - 1))


LISTS = {
    "a product's right transposed": (DESCENT, changed(is_product, lambda op: replace(op, transpose_right=True))),
    "the way back not transposed": (DESCENT, changed(is_back, lambda op: replace(op, transpose_right=False))),
    "a gradient's left not transposed": (DESCENT, None),
    "a wrong pitch": (DESCENT, changed(is_product, repitched, 1)),
    "alpha is one": (DESCENT, changed(is_gradient, lambda op: replace(op, alpha=1))),
    "beta is zero": (DESCENT, changed(is_gradient, lambda op: replace(op, beta=0))),
    "an update before its weights are read": (DESCENT, update_too_early),
    "relu left out": (DESCENT, changed(of_epilogue("relu"), lambda op: replace(op, epilogue=ops.ProductEpilogue()))),
    "relu's slope left out": (
        DESCENT,
        changed(of_epilogue("drelu"), lambda op: replace(op, epilogue=ops.ProductEpilogue())),
    ),
    "gelu left out": (GELU, changed(of_epilogue("gelu"), lambda op: replace(op, epilogue=ops.ProductEpilogue()))),
    "gelu's slope left out": (
        GELU,
        changed(of_epilogue("dgelu"), lambda op: replace(op, epilogue=ops.ProductEpilogue())),
    ),
    "gelu's slope at another place": (GELU, changed(of_epilogue("dgelu"), with_the_value, 0)),
    "a slope's sums left out": (
        DESCENT,
        changed(of_epilogue("drelu"), lambda op: replace(op, epilogue=replace(op.epilogue, bias=None))),
    ),
    "sums left out": (DESCENT, changed(of_epilogue("sums"), lambda op: replace(op, epilogue=ops.ProductEpilogue()))),
    "the loss not recorded": (DESCENT, without(lambda op: isinstance(op, ops.RecordNumbers))),
    "a loop left out": (ADAM, without(lambda op: isinstance(op, ops.LoopPass), 1)),
    "an update left out": (ADAM, without(lambda op: isinstance(op, ops.LoopPass), -1)),
    "rows from elsewhere": (ADAM, changed(lambda op: isinstance(op, ops.GatherRows), lambda op: replace(op, first=1))),
    "rows summed twice": (
        ADAM,
        changed(lambda op: isinstance(op, ops.Total), lambda op: replace(op, accumulate=True)),
    ),
}
LISTS["a gradient's left not transposed"] = (
    replace(DESCENT, batch_size=6),
    changed(is_gradient, lambda op: replace(op, transpose_left=False)),
)


def agrees(case, pieces=1, precision="float64", change=lambda op_list: op_list):
    try:
        found = on_backend(Interpreted(pieces=pieces, change=change), "cpu", precision, case, 1)
        compare(found, [on_numpy_once(case, precision, 1)], on_numpy_once(case, "float64", 1), precision)
    except (AssertionError, IndexError, KeyError, ValueError):
        return False
    return True


@pytest.mark.parametrize("what", LISTS)
def test_a_wrong_list_is_caught(what):
    case, change = LISTS[what]
    assert agrees(case)
    assert not agrees(case, change=change)


def test_a_wrong_micro_batch_is_caught():
    """The second micro-batch has its own rows, and adds to what the first found."""

    assert agrees(ADAM, pieces=2)
    for select, change in [
        (lambda op: isinstance(op, ops.GatherRows) and op.first > 0, lambda op: replace(op, first=0)),
        (lambda op: is_gradient(op) and op.beta == 1.0, lambda op: replace(op, beta=0.0)),
        (lambda op: isinstance(op, ops.Total) and op.accumulate, lambda op: replace(op, accumulate=False)),
        (lambda op: isinstance(op, ops.ColumnSums) and op.accumulate, lambda op: replace(op, accumulate=False)),
    ]:
        assert not agrees(ADAM, pieces=2, change=changed(select, change))


def test_weights_that_are_not_rounded_again_are_caught():
    """In bfloat16 products read copies of the weights, which have to follow every update."""
    case = replace(DESCENT, records=24, steps=3, learning_rate=0.1)
    assert agrees(case, precision="bfloat16")
    assert not agrees(case, precision="bfloat16", change=without(lambda op: isinstance(op, ops.Cast)))


KERNELS = {
    "a barrier of block_total": ("    sums[thread] = value;\n    __syncthreads();\n", "    sums[thread] = value;\n"),
    "a barrier in the tree of block_total": (
        "sums[thread] += sums[thread + apart];\n        __syncthreads();",
        "sums[thread] += sums[thread + apart];",
    ),
    "a barrier of block_columns": (
        "shared[thread][k] = sums[k];\n    __syncthreads();",
        "shared[thread][k] = sums[k];",
    ),
    "a barrier in the tree of block_columns": (
        "shared[thread + apart * at.threads_x][k];\n        __syncthreads();",
        "shared[thread + apart * at.threads_x][k];",
    ),
    "the barrier of column_sums": ("= sum;\n    __syncthreads();\n    if (at.y", "= sum;\n    if (at.y"),
    "a step that stays the same": ("control->step += 1;\n    control->first", "control->first"),
    "half of the lanes": ("int apart = lanes / 2", "int apart = lanes / 4"),
    "the neighbour's columns": ("const int c = ELEMENTS * (at.block_y", "const int c = 1 + ELEMENTS * (at.block_y"),
    "rows that are not the batch's": ("control->order[next]", "control->order[next - begin]"),
    "sums that overwrite": ("*to = accumulate ? *to + sum : sum;", "*to = sum;"),
    "a total that overwrites": ("if (accumulate && at.x == 0) sum += *number;", ""),
    "a total without its factor": ("sum *= factor;", ""),
    "bfloat16 cut off": ("0x7fffu + ((bits >> 16) & 1u)", "0u"),
    "a larger that swallows NaN": ("a >= b || a != a", "a >= b"),
}


@pytest.mark.parametrize("what", KERNELS)
def test_a_wrong_kernel_is_caught(what, made):
    before, after = KERNELS[what]
    runs = [("softmax-mse", "float32", None), ("wide norm", "bfloat16", None), ("wide norm", "float32", (40, 90))]
    lists = [list_of(training(n), n, p, pieces=pieces) for n, p, pieces in runs]
    kernels = {kernel_source(op.kernel) for found in lists for op in found.operations if isinstance(op, ops.LoopPass)}
    text = preamble() + fixed_source() + "".join(sorted(kernels))
    assert text.count(before) == 1

    def caught(text):
        twin = Twin(text, made)
        results = [
            off > (0 if is_exact(op) else 8e-3)
            for n, p, pieces in runs
            for op, off in differences(n, p, twin, pieces=pieces, poison=what.endswith("NaN"))
        ]
        return any(results)

    assert not caught(text)
    assert caught(text.replace(before, after))
