"""Epilogues are used where they gain: timed on the device, here the host's made-up clock; kept in plan and cache."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import standin
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.graphs import epilogue_tuning
from gdkernels_cupy.graphs.epilogue_fusion import EPILOGUES
from host_runs import Run

from gdkernels.definition import activations
from gdkernels.definition.optimizers import SGD
from gdkernels.testing.cases import CASES

GELU = (activations.gelu, activations.gelu, activations.identity)
DESCENT = replace(CASES["wide"].program, optimizer=SGD())


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
    return Path(epilogue_tuning.cache_folder())


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
    program = DESCENT if functions is None else replace(DESCENT, activations=functions)
    run = Run("wide", program=program)
    assert set(EPILOGUES) - set(epilogues_of(run)) == left_out


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
    every = Run("wide", program=DESCENT, epilogues=EPILOGUES)
    every.epoch()
    assert all(np.allclose(a, b, rtol=1e-5) for a, b in zip(_arrays(run), _arrays(every), strict=True))


def _arrays(run):
    return [a for layer in run.state.parameters for a in layer]


def test_it_is_timed_once(host, slow, monkeypatch, cache):
    slow.append(standin.RELU)
    first = epilogues_of(Run("wide", program=DESCENT))
    (kept,) = cache.iterdir()
    assert tuple(json.loads(kept.read_text())) == first
    with monkeypatch.context() as patch:
        patch.setattr("gdkernels_cupy.graphs.session.GraphSession.seconds", None)
        assert epilogues_of(Run("wide", program=DESCENT)) == first
    other = Run("wide", program=DESCENT)
    other.case = replace(other.case, batch_size=64)
    epilogues_of(other)
    assert len(list(cache.iterdir())) == 2, "another batch is another shape"


@pytest.mark.parametrize("text", ["", "[1, 2]", '["relu", "planted"]', '{"relu": 1}'])
def test_what_is_kept_is_not_believed_blindly(host, slow, cache, text):
    wanted = epilogues_of(Run("wide", program=DESCENT))
    (kept,) = cache.iterdir()
    kept.write_text(text)
    assert epilogues_of(Run("wide", program=DESCENT)) == wanted
    assert tuple(json.loads(kept.read_text())) == wanted


def test_a_folder_of_others_is_neither_read_nor_written(host, slow, cache):
    cache.mkdir()
    cache.chmod(0o777)
    assert epilogues_of(Run("wide", program=DESCENT)) == EPILOGUES
    assert list(cache.iterdir()) == []


def test_a_choice_may_ask_for_what_cublas_has_not(host, slow, monkeypatch):
    """Without relu and its slope's sums a gradient has to sum them, and here cannot: a loop does."""

    def choosy(handle, descriptor, *given):
        masked = descriptor[cublaslt.DescriptorAttribute.EPILOGUE] & standin.BGRADA
        wide = given[0][2][cublaslt.LayoutAttribute.ROWS] > 100
        return [] if masked and wide else standin.algorithms(handle, descriptor, *given)

    monkeypatch.setattr(cublaslt, "algorithms", choosy)
    slow.append(standin.RELU)
    run = Run("wide", program=replace(DESCENT, activations=(activations.relu, activations.tanh, activations.identity)))
    assert set(EPILOGUES) - set(epilogues_of(run)) == {"relu", "sums"}


def test_where_no_epilogue_applies_nothing_is_timed(host, monkeypatch):
    monkeypatch.setattr("gdkernels_cupy.graphs.session.GraphSession.seconds", None)
    program = replace(CASES["wide"].program, activations=(activations.tanh,) * 3, bias=False)
    assert epilogues_of(Run("adam", program=program)) == EPILOGUES


def test_in_doubt_an_epilogue_stays():
    seconds = {("a", "b"): 1.0, ("a",): 0.9, (): 0.88}
    assert epilogue_tuning.chosen(("a", "b"), seconds.get) == ("a",)
    assert epilogue_tuning.chosen(("a", "b"), {("a", "b"): 1.0, ("b",): None, ("a",): None}.get) == ("a", "b")
    assert epilogue_tuning.chosen(("a", "b"), lambda epilogues: None) == ("a", "b")


def test_a_plan_s_epilogue_that_is_wrong_here_is_not_used(host, monkeypatch, caplog):
    monkeypatch.setattr(
        "gdkernels_cupy.graphs.executable.trusted_epilogues", lambda number, precision: ("bias", "update")
    )
    with caplog.at_level(logging.WARNING, "gdkernels"):
        run = Run("wide", program=DESCENT, epilogues=("bias", "relu"))
        assert epilogues_of(run) == ("bias",)
    assert "the plan's epilogues relu are not to be had, or are wrong, on cuda:0: bits may differ" in caplog.text
