"""The choice by estimates: the same from the same, and explained."""

import json
import logging

import numpy as np
import pytest
from made_prices import NUMPY, ONE, TWO, VERSIONS, made, work
from plugins import working

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.dispatch import choosing, registry
from gdkernels.dispatch.calibration import Candidate, keep
from gdkernels.dispatch.estimates import plan_choices
from gdkernels.dispatch.workload import Workload
from gdkernels.testing.cases import varied


@pytest.mark.usefixtures("kept")
class TestChoice:
    SMALL, LARGE = work((16, 16, 16)), work((256, 256, 256))

    def test_threads_follow_the_work(self):
        numba = registry.get("numba")
        assert plan_choices(numba, "cpu", "float32", self.SMALL, VERSIONS) == {"threads": 1}
        assert plan_choices(numba, "cpu", "float32", self.LARGE, VERSIONS) == {"threads": 2}

    def test_more_threads_must_be_worth_it(self):
        for share, threads in ((0.95, 1), (0.85, 2)):
            keep(made({TWO: {"steps": share}, ONE: {"steps": 1.0}}))
            assert plan_choices(registry.get("numba"), "cpu", "float32", self.SMALL, VERSIONS) == {"threads": threads}

    def test_threads_compare_with_fewer_at_their_place_and_places_with_each_other(self):
        keep(made({TWO: {"steps": 0.92}, ONE: {"steps": 1.0}, NUMPY: {"steps": 0.95}}))
        assert choosing.choose(work=self.SMALL).backend.name == "numpy"  # one thread of numba's is what it beats

    def test_threads_that_may_not_run_are_not_chosen(self, monkeypatch):
        monkeypatch.setattr("gdkernels_numba.NumbaBackend.threads", lambda self, device: (1,))
        assert plan_choices(registry.get("numba"), "cpu", "float32", self.LARGE, VERSIONS) == {}
        assert [str(e.candidate) for e in choosing.choose(work=self.LARGE).estimates] == [
            "numba on cpu, 1 thread",
            "numpy on cpu",
        ]

    def test_the_fastest_is_chosen_and_told_why(self, caplog):
        with caplog.at_level(logging.INFO, "gdkernels"):
            choice = choosing.choose(work=self.SMALL)
        assert (choice.backend.name, choice.device) == ("numba", "cpu")
        assert choice.reason.startswith("estimated at 164 µs a step by the calibration of this machine, numpy at 1 s")
        assert choice.reason in caplog.text
        keep(made({ONE: {"steps": 1.0}, NUMPY: {"steps": 1e-3}}))
        assert choosing.choose(work=self.SMALL).backend.name == "numpy"

    def test_the_same_work_and_prices_give_the_same_choice(self):
        first, second = (choosing.decide(work=self.LARGE)[0] for _ in range(2))
        assert first == second

    def test_without_work_it_goes_by_priority(self):
        keep(made({ONE: {"steps": 1.0}, NUMPY: {"steps": 1e-3}}))
        choice = choosing.choose()
        assert (choice.backend.name, choice.estimates) == ("numba", ())

    def test_training_has_the_threads_in_its_plan(self):
        X = np.ones((64, 16), np.float32)
        for width, threads in ((16, 1), (1024, 2)):
            mlp = gd.MLP([16, width, 16], seed=0)
            history = mlp.fit(X, X, epochs=1, optimizer="sgd")
            assert (history.backend, history.plan.choices["threads"]) == ("numba", threads)
            assert "by the calibration of this machine" in history.reason
        trainer = gd.Trainer(mlp, batch_size=2)  # a smaller batch is another job
        trainer.epoch(X, X)
        assert trainer.runner.executable.plan.choices["threads"] == 1

    def test_a_prediction_is_a_choice_too(self):
        keep(made({ONE: {"steps": 1.0}, NUMPY: {"product_flops": 1e-9}}))
        for rows, name in ((8, "numpy"), (1 << 17, "numba")):
            mlp = gd.MLP([64, 64], seed=0)
            mlp.predict(np.ones((rows, 64), np.float32))
            assert mlp.backend == name

    def test_what_is_asked_for_goes_before_estimates(self, monkeypatch):
        keep(made({ONE: {"steps": 1.0}, NUMPY: {"steps": 1e-3}}))
        assert choosing.choose("numba", work=self.SMALL).reason == "as asked for"
        monkeypatch.setenv("GDKERNELS_BACKEND", "numba")
        assert choosing.choose(work=self.SMALL).reason == "set by GDKERNELS_BACKEND"

    def test_what_cannot_be_recorded_goes_by_priority(self):
        def odd(z, *, xp):
            raise RuntimeError("not like this")

        job = Workload(varied(self.SMALL.program, activations=(odd, odd), widths=(4, 4, 4)), 8, 80)
        choice = choosing.choose(work=job)
        assert choice.backend.name == "numba"
        assert all("cannot be recorded" in e.source for e in choice.estimates)


class TestOthers:
    """Plug-ins of third parties, of which the calibration may know nothing."""

    JOB = work()

    @pytest.fixture(autouse=True)
    def installed(self, plugins, cache):
        plugins.add("known", working("known", priority=1, devices=["cpu", "card:0"]))
        plugins.add("low", working("low", priority=-1))

    def test_unknown_ones_go_by_priority(self, plugins):
        plugins.add("high", working("high", priority=9))
        keep(made({Candidate("known", "cpu"): {"steps": 1.0}}, versions=registry.versions()))
        choice = choosing.choose(work=self.JOB)
        assert (choice.backend.name, choice.reason) == ("high", "the best that can run here")
        unknown = [e.source for e in choice.estimates if e.seconds is None]
        assert unknown == ["not measured (`gdkernels calibrate` does): by priority"] * 3

    def test_each_precision_has_prices_of_its_own(self, plugins):
        plugins.add("narrow", working("narrow", precisions=["bfloat16"], devices=["cpu", "card:0"]))
        unknown = choosing.choose(precision="bfloat16", work=self.JOB)
        assert {e.source for e in unknown.estimates} == {
            "not measured (`gdkernels calibrate --precision bfloat16` does): by priority"
        }
        prices = {Candidate("narrow", "cpu"): {"steps": 1.0}, Candidate("narrow", "card:0"): {"steps": 0.5}}
        keep(made(prices, precision="bfloat16", versions=registry.versions()))
        choice = choosing.choose(precision="bfloat16", work=self.JOB)
        assert (choice.backend.name, choice.device) == ("narrow", "card:0")
        assert choice.reason.startswith("estimated at 500 ms a step by the calibration of this machine")

    def test_a_lower_one_that_is_unknown_is_not_chosen(self):
        keep(made({Candidate("known", "cpu"): {"steps": 1.0}}, versions=registry.versions()))
        assert choosing.choose(work=self.JOB).backend.name == "known"

    def test_moving_the_data_counts(self):
        # The card is a thousand times as fast; the data reach it at a second for each kilobyte.
        prices = {
            Candidate("known", "cpu"): {"steps": 1e-3},
            Candidate("known", "card:0"): {"steps": 1e-6, "transferred_bytes": 1e-6},
        }
        keep(made(prices, versions=registry.versions()))
        for epochs, device in ((1, "cpu"), (1000, "card:0")):
            choice = choosing.choose(work=work(epochs=epochs))
            assert (choice.backend.name, choice.device) == ("known", device)
        assert choosing.choose(device="cpu", work=work(epochs=1000)).device == "cpu"


@pytest.mark.usefixtures("kept")
class TestExplain:
    def test_backends(self, capsys):
        assert main(["backends", "--explain", "--sizes", "16-16-16", "--batch", "64", "--records", "640"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "estimates for 16-16-16, batches of 64, 10 epochs of 640 records"
        assert [line[:26].rstrip() for line in lines[1:4]] == [
            "→ numba on cpu, 1 thread",
            "  numba on cpu, 2 threads",
            "  numpy on cpu",
        ]
        assert all("a step" in line and "in all, by the calibration of this machine" in line for line in lines[1:4])
        assert lines[2].endswith("not worth it: more than 0.9 of the time")
        assert "not worth it" not in lines[1] + lines[3]
        assert lines[4].startswith("chosen: numba on cpu: estimated at")

    def test_backends_as_json(self, capsys):
        assert main(["backends", "--explain", "--sizes", "16-16-16", "--json", "--backend", "numpy"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["backend"], told["reason"]) == ("numpy", "as asked for")
        (estimate,) = told["estimates"]
        assert (estimate["backend"], estimate["chosen"]) == ("numpy", True)
        assert estimate["step_seconds"] == pytest.approx(1.0)

    def test_train(self, capsys):
        ask = ["train", "diabetes", "--epochs", "1", "--hidden", "4", "--explain"]
        assert main(ask) == 0
        text = capsys.readouterr().out
        assert "estimates for 10-4-1, batches of 32, 1 epochs of" in text
        assert "→ numba on cpu, 1 thread" in text
        assert main([*ask, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["reason"] == told["explanation"]["reason"]
        assert [e["chosen"] for e in told["explanation"]["estimates"]] == [True, False, False]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--explain"], "--explain needs a network: --sizes 784-512-10"),
            (["--sizes", "8-1"], "--sizes describes the network for --explain"),
            (["--explain", "--sizes", "8"], "must be inputs, hidden layers and outputs"),
            (["--explain", "--sizes", "8-0-1"], "must be inputs, hidden layers and outputs"),
        ],
    )
    def test_what_is_wrong_is_said(self, arguments, said, capsys):
        assert main(["backends", *arguments]) == 2
        assert said in capsys.readouterr().err
