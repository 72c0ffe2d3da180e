"""Epilogues are used where they gain: timed on the device, here the host's made-up clock; kept in plan and cache."""

import dataclasses
import json
import logging
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import standin
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.graphs import epilogue_tuning
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs import step_text as step_text_module
from gdkernels_cupy.graphs.epilogue_fusion import applicable
from gdkernels_cupy.graphs.step_text import step_text
from host_runs import Run
from programs import list_of, training

from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD
from gdkernels.system.cache_folder import cache_folder
from gdkernels.testing.cases import CASES, varied

GELU = (activations.gelu, activations.gelu, activations.identity)
DESCENT = replace(CASES["wide"].program, optimizer=SGD())
IN_FLOAT32 = applicable("float32")


@pytest.fixture
def slow(host, monkeypatch):
    """Return the bits of cublasLt's epilogues that take a millisecond more on this device."""
    bits = []

    def matmul(*given):
        def work():
            standin.matmul(*given)
            epilogue = given[1][cublaslt.DescriptorAttribute.EPILOGUE]
            host.clock += 1e-3 * any(epilogue & b for b in bits)

        host.execute(work)

    monkeypatch.setattr(cublaslt, "matmul", matmul)
    return bits


@pytest.fixture
def cache():
    return Path(cache_folder())


def epilogues_of(run):
    run.epoch()
    return run.executable.plan.choices["epilogues"]


@pytest.mark.parametrize(
    ("bits", "functions", "left_out"),
    [
        ([], GELU, set()),
        ([standin.RELU], None, {"relu"}),
        ([standin.GELU], GELU, {"dgelu"}),
        ([standin.DGELU], GELU, {"dgelu"}),
        ([standin.BGRAD], None, {"drelu sums"}),
        ([standin.BGRAD, standin.BGRADA], None, {"drelu sums", "sums"}),
    ],
)
def test_what_costs_time_is_left_out(slow, bits, functions, left_out):
    slow += bits
    program = DESCENT if functions is None else varied(DESCENT, activations=functions)
    run = Run("wide", program=program)
    assert set(IN_FLOAT32) - set(epilogues_of(run)) == left_out


def test_the_choice_changes_no_result_and_the_plan_repeats_it(host, slow):
    slow.append(standin.DRELU)
    run = Run("wide", program=DESCENT)
    loss = run.epoch()
    assert run.state.step == -(-len(run.x) // run.case.batch_size)
    again = Run("wide", program=DESCENT, **run.executable.plan.choices)
    assert again.epoch() == loss
    assert again.bits == run.bits
    assert again.executable.plan == run.executable.plan
    assert "drelu" not in run.executable.plan.choices["epilogues"]
    every = Run("wide", program=DESCENT, epilogues=IN_FLOAT32)
    every.epoch()
    assert all(np.allclose(a, b, rtol=1e-5) for a, b in zip(_arrays(run), _arrays(every), strict=True))


def _arrays(run):
    return list(run.state.parameters.values())


def test_it_is_timed_once(host, slow, monkeypatch, cache):
    slow.append(standin.RELU)
    first = epilogues_of(Run("wide", program=DESCENT))
    (kept,) = cache.glob("epilogues-*")
    assert tuple(json.loads(kept.read_text())) == first
    with monkeypatch.context() as patch:
        patch.setattr("gdkernels_cupy.graphs.session.GraphSession.seconds", None)
        assert epilogues_of(Run("wide", program=DESCENT)) == first
    other = Run("wide", program=DESCENT)
    other.case = replace(other.case, batch_size=64)
    epilogues_of(other)
    assert len(list(cache.glob("epilogues-*"))) == 2, "another batch is another shape"


def test_what_is_kept_outlives_the_names_of_classes_and_buffers(host, slow, monkeypatch):
    first = epilogues_of(Run("wide", program=DESCENT))
    kinds = [kind for kind in vars(ops).values() if dataclasses.is_dataclass(kind)]
    assert len(kinds) > 10
    names = {kind: kind.__qualname__ for kind in kinds}
    monkeypatch.setattr("gdkernels_cupy.graphs.session.GraphSession.seconds", None)
    try:
        for kind in kinds:
            kind.__qualname__ = f"Renamed{kind.__name__}"  # which is what the text of a value begins with
        assert epilogues_of(Run("wide", program=DESCENT)) == first
    finally:
        for kind, name in names.items():
            kind.__qualname__ = name


def test_every_operation_has_its_word_and_other_work_another_text():
    assert set(step_text_module._WORDS) == set(typing.get_args(ops.Operation))
    listed = list_of(training("wide"), "wide", "float32").operations
    assert all(kind.__name__ not in step_text(listed) for kind in step_text_module._WORDS)
    texts = {step_text(listed)}
    for k, op in enumerate(listed):
        others = [replace(op, **{f.name: _another(getattr(op, f.name))}) for f in dataclasses.fields(op)]
        texts |= {step_text((*listed[:k], other, *listed[k + 1 :])) for other in others if other != op}
    assert len(texts) > 2 * len(listed), "each field of each operation is in it"


def _another(value):
    """Return a value like this one, but not it."""
    if isinstance(value, bool | int | float):
        return not value if isinstance(value, bool) else value + 1
    if isinstance(value, ops.DeviceBuffer):
        return replace(value, pitch=value.pitch + 8)
    if isinstance(value, ops.ProductEpilogue):
        return replace(value, kind="planted")
    if isinstance(value, ops.LoopKernel):
        return replace(value, real="float64" if value.real == "float32" else "float32")
    return f"another {value}" if isinstance(value, str) else value


@pytest.mark.parametrize("text", ["", "[1, 2]", '["relu", "planted"]', '{"relu": 1}'])
def test_what_is_kept_is_not_believed_blindly(host, slow, cache, text):
    wanted = epilogues_of(Run("wide", program=DESCENT))
    (kept,) = cache.glob("epilogues-*")
    kept.write_text(text)
    assert epilogues_of(Run("wide", program=DESCENT)) == wanted
    assert tuple(json.loads(kept.read_text())) == wanted


def test_a_folder_of_others_is_neither_read_nor_written(host, slow, cache):
    cache.mkdir()
    cache.chmod(0o777)
    assert epilogues_of(Run("wide", program=DESCENT)) == IN_FLOAT32
    assert list(cache.iterdir()) == []


def test_a_choice_may_ask_for_what_cublas_has_not(host, slow, monkeypatch):
    """Without relu and its slope's sums a gradient has to sum them, and here cannot: a loop does."""

    def choosy(handle, descriptor, *given):
        masked = descriptor[cublaslt.DescriptorAttribute.EPILOGUE] & standin.BGRADA
        wide = given[0][2][cublaslt.LayoutAttribute.ROWS] > 100
        return [] if masked and wide else standin.algorithms(handle, descriptor, *given)

    monkeypatch.setattr(cublaslt, "algorithms", choosy)
    slow.append(standin.RELU)
    run = Run("wide", program=varied(DESCENT, activations=(activations.relu, activations.tanh, activations.identity)))
    assert set(IN_FLOAT32) - set(epilogues_of(run)) == {"relu", "sums"}


def test_where_no_epilogue_applies_nothing_is_timed(host, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.graphs.session.GraphSession.seconds", None)
    program = varied(CASES["wide"].program, activations=(activations.tanh,) * 3, bias=False)
    assert epilogues_of(Run("adam", program=program)) == IN_FLOAT32


def test_in_doubt_an_epilogue_stays():
    seconds = {("a", "b"): 1.0, ("a",): 0.9, (): 0.88}
    assert epilogue_tuning.chosen(("a", "b"), seconds.get) == ("a",)
    assert epilogue_tuning.chosen(("a", "b"), {("a", "b"): 1.0, ("b",): None, ("a",): None}.get) == ("a", "b")
    assert epilogue_tuning.chosen(("a", "b"), lambda epilogues: None) == ("a", "b")


def test_a_plan_s_epilogue_that_is_wrong_here_is_not_used(host, monkeypatch, caplog):
    monkeypatch.setattr(
        "gdkernels_cupy.graphs.session_maker.trusted_epilogues", lambda number, precision: ("bias", "update")
    )
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = Run("wide", program=DESCENT, epilogues=("bias", "relu"))
        assert epilogues_of(run) == ("bias",)
    assert "the plan's epilogues relu are missing or wrong on cuda:0: bits may differ" in caplog.text
