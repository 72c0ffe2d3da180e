"""A device that nobody measured: small work does not go there, and the reason names the command that measures it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_prices import made, work
from plugins import working

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.dispatch import choosing, registry
from gdkernels.dispatch.calibration import Candidate, keep
from gdkernels.dispatch.preference import UNMEASURED_FLOPS
from gdkernels.testing.cases import varied

PENGUINS = work((7, 64, 3), batch=32, records=344, epochs=100)
LARGE = work((1024, 1024, 1024), batch=4096, records=60_000)
HOST, CARD, SECOND = Candidate("host", "cpu"), Candidate("card", "card:0"), Candidate("card", "card:1")


@pytest.fixture(autouse=True)
def installed(plugins, cache):
    """A device of its own, and two backends on the host, of which the better one is measured."""
    plugins.add("card", working("card", priority=20, precisions=["float32", "tf32"], devices=["card:0", "card:1"]))
    plugins.add("host", working("host", priority=10))
    plugins.add("plain", working("plain", priority=0))


def measured(prices, **changes):
    keep(made(prices, **{"versions": registry.versions(), **changes}))


def chosen(job=PENGUINS, **asked):
    choice = choosing.choose(work=job, **asked)
    return choice.backend.name, choice.device


def test_the_two_jobs_are_on_either_side():
    assert PENGUINS.step_flops == 2 * 32 * (2 * 7 * 64 + 3 * 64 * 3) < UNMEASURED_FLOPS < LARGE.step_flops


def test_small_work_stays_on_the_host_and_the_reason_says_why():
    choice = choosing.choose(work=PENGUINS)
    assert (choice.backend.name, choice.device) == ("host", "cpu")
    assert choice.reason == (
        "the best that can run here; card on card:0, which is not measured (`gdkernels calibrate` measures it), is not "
        "taken below 1 GFLOP a step, and one has 94.2 kFLOP"
    )


def test_large_work_goes_there_and_the_reason_says_so():
    choice = choosing.choose(work=LARGE)
    assert (choice.backend.name, choice.device) == ("card", "card:0")
    assert choice.reason == (
        "the best that can run here: card on card:0, which is not measured (`gdkernels calibrate` measures it), is "
        "taken from 1 GFLOP a step on, and one has 42.9 GFLOP"
    )


def test_a_place_without_a_price_does_not_end_the_comparison():
    measured({HOST: {"steps": 1.0}, Candidate("plain", "cpu"): {"steps": 1e-3}})
    assert chosen() == ("plain", "cpu")
    reason = choosing.choose(work=PENGUINS).reason
    assert reason.startswith("estimated at 1 ms a step by the calibration of this machine, host at 1 s; card on card:0")


def test_one_without_a_price_between_two_that_have_one_hides_neither(plugins):
    plugins.add("between", working("between", priority=5))
    measured({HOST: {"steps": 1.0}, Candidate("plain", "cpu"): {"steps": 1e-3}})
    assert chosen() == ("plain", "cpu")


@pytest.mark.parametrize("job", [PENGUINS, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("price", "place"), [(1e-3, ("card", "card:0")), (2.0, ("host", "cpu"))])
def test_a_measured_device_goes_by_its_price(job, price, place):
    measured({CARD: {"steps": price}, SECOND: {"steps": 3.0}, HOST: {"steps": 1.0}})
    assert chosen(job) == place
    assert "not measured" not in choosing.choose(work=job).reason


@pytest.mark.parametrize("job", [PENGUINS, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("price", "place"), [(1e-3, ("card", "card:1")), (2.0, ("host", "cpu"))])
def test_where_its_neighbour_is_measured_a_device_that_is_not_is_left_alone(job, price, place):
    """Such as a second card, seen since CUDA_VISIBLE_DEVICES changed."""
    measured({SECOND: {"steps": price}, HOST: {"steps": 1.0}})
    assert chosen(job) == place


def test_prices_of_another_version_are_none(caplog):
    measured({CARD: {"steps": 1e-6}, HOST: {"steps": 1.0}}, versions={**registry.versions(), "numpy": "0"})
    assert chosen() == ("host", "cpu")
    assert chosen(LARGE) == ("card", "card:0")
    assert "`gdkernels calibrate` measures it" in choosing.choose(work=PENGUINS).reason
    assert "is of other versions, and ignored; `gdkernels calibrate` makes a new one" in caplog.text


def test_a_precision_that_the_host_has_not_goes_there_whatever_its_size():
    choice = choosing.choose(precision="tf32", work=PENGUINS)
    assert (choice.backend.name, choice.reason.split(" (")[0]) == ("card", "the best that can run here")


def test_what_was_named_is_not_compared(monkeypatch):
    assert chosen(backend="card") == ("card", "card:0")
    assert chosen(device="card:1") == ("card", "card:1")
    monkeypatch.setenv("GDKERNELS_DEVICE", "card:0")
    assert chosen() == ("card", "card:0")


def test_what_cannot_be_recorded_goes_by_its_widths():
    def odd(z, *, xp):
        raise RuntimeError("not like this")

    small, large = (
        replace(job, program=varied(job.program, activations=(odd, odd), optimizer=optimizer))
        for job in (PENGUINS, LARGE)
        for optimizer in [job.program.optimizer]
    )
    assert chosen(small) == ("host", "cpu")
    assert chosen(large) == ("card", "card:0")
    assert large.step_flops == 6 * 4096 * 2 * 1024**2
    forward = replace(large, program=replace(large.program, optimizer=None))
    assert forward.step_flops == large.step_flops / 3


def test_training_and_predicting_say_so():
    X = np.ones((344, 7), np.float32)
    mlp = gd.MLP([7, 8, 3], seed=0)
    history = mlp.fit(X, X[:, :3], epochs=1)
    assert (history.backend, history.device) == ("host", "cpu")
    assert "card on card:0, which is not measured (`gdkernels calibrate` measures it)" in history.reason
    other = gd.MLP([7, 8, 3], seed=0)
    other.predict(X)
    assert other.backend == "host"


def test_explain_marks_what_was_chosen_without_an_estimate_too(capsys):
    ask = ["backends", "--explain", "--sizes", "1024-1024-1024", "--batch", "4096", "--records", "60000"]
    assert main(ask) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:1] for line in lines[1:5]] == ["→", " ", " ", " "]
    assert "chosen: card on card:0: the best that can run here: card on card:0, which is not measured" in lines[5]
    assert main([*ask, "--json"]) == 0
    assert [e["chosen"] for e in json.loads(capsys.readouterr().out)["estimates"]] == [True, False, False, False]
