"""The choice by estimates: prices from times, calibrations kept and distrusted, the same choice from the same."""

import json
import logging
import os
from dataclasses import replace

import numpy as np
import pytest
from plugins import working

import gdkernels as gd
from gdkernels import calibration, registry
from gdkernels.bench import calibrating
from gdkernels.bench.calibrating import JOBS, BusyError, Measured, calibrate, fit_prices
from gdkernels.calibration import Calibration, Candidate, current, keep
from gdkernels.cli import main
from gdkernels.errors import FileError
from gdkernels.estimates import plan_choices
from gdkernels.machine import machine
from gdkernels.work import QUANTITIES, Work

VERSIONS = {"numpy": "2", "backend numba": "gdkernels 1"}
ONE, TWO, NUMPY = Candidate("numba", "cpu", 1), Candidate("numba", "cpu", 2), Candidate("numpy", "cpu")
# One thread costs 1 ns a FLOP, two cost half of that and 1 ms a step: they cross over at 2 MFLOP.
PRICES = {ONE: {"product_flops": 1e-9}, TWO: {"product_flops": 0.5e-9, "steps": 1e-3}, NUMPY: {"steps": 1.0}}


def made(prices=PRICES, **changes):
    content = {
        "precision": "float32",
        "prices": prices,
        "machine": machine(),
        "versions": VERSIONS,
        "noise": 0.01,
        "misfit": dict.fromkeys(prices, 0.1),
        "date": "2026-11-21",
    }
    return Calibration(**content | changes)


def work(sizes=(16, 16, 16), batch=64, records=640, epochs=1, **settings):
    return gd.Trainer(gd.MLP(sizes, seed=0), batch_size=batch, **settings).work(records, epochs)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kept(cache, monkeypatch):
    monkeypatch.setattr(registry, "versions", lambda: VERSIONS)
    monkeypatch.setattr("gdkernels.binding.versions", lambda: VERSIONS)
    monkeypatch.setattr("gdkernels_numba.NumbaBackend.threads", lambda self, device: (1, 2))
    keep(made())


class TestQuantities:
    def test_by_hand(self):
        # One layer of 16 inputs and 32 outputs, widths that fill whole lines, batches of 10 in two steps: forward and
        # the gradient of W are 2·10·16·32 FLOPs each.
        q = work((16, 32), batch=10, records=20, epochs=3, optimizer="sgd").quantities("float32")
        assert tuple(q) == QUANTITIES
        assert (q["runs"], q["steps"]) == (3, 6)
        assert q["product_flops"] == 6 * 2 * (2 * 10 * 16 * 32)
        assert q["parameter_flops"] == 6 * 2 * (16 * 32 + 32)  # η·g and w − η·g
        assert q["transferred_bytes"] == 20 * (16 + 32) * 4
        assert q["run_bytes"] == 3 * 4 * (2 * (16 * 32 + 32) + 1)  # read and written, and the loss

    def test_narrow_layers_take_whole_lines(self):
        narrow, wide = (work((16, n)).quantities("float32")["product_flops"] for n in (1, 16))
        assert narrow == wide

    def test_what_has_no_records_does_not_grow_with_the_batch(self):
        small, large = (work(batch=b, records=b).quantities("float64") for b in (8, 80))
        assert small["parameter_bytes"] == large["parameter_bytes"]
        assert large["batch_bytes"] == 10 * small["batch_bytes"]

    def test_there_are_no_more_records_in_a_batch_than_in_all(self):
        assert work(batch=64, records=10).batch == 10
        assert work(batch=64, records=10, epochs=2).steps == 2


class TestFit:
    RNG = np.random.default_rng(5)

    def rows(self, prices, noise=0.0):
        names = list(prices)
        for _ in range(40):
            q = dict.fromkeys(QUANTITIES, 0.0) | {n: float(10 ** self.RNG.uniform(0, 4)) for n in names}
            t = sum(prices[n] * q[n] for n in names) * float(np.exp(noise * self.RNG.standard_normal()))
            yield Measured(q, [0.95 * t, t, 0.9 * t, 2.0 * t, 0.97 * t])  # t is their upper quartile

    def test_exact_times_give_their_prices(self):
        prices = {"steps": 3e-6, "product_flops": 2e-9, "parameter_bytes": 5e-8}
        found, misfit = fit_prices(list(self.rows(prices)))
        assert found == pytest.approx(prices, rel=1e-4)
        assert misfit < 1e-4

    def test_noisy_times_give_prices_nearby_and_none_is_negative(self):
        prices = {"steps": 3e-6, "product_flops": 2e-9, "parameter_bytes": 0.0}
        found, misfit = fit_prices(list(self.rows(prices, noise=0.1)))
        assert found["product_flops"] == pytest.approx(2e-9, rel=0.15)
        assert found["steps"] == pytest.approx(3e-6, rel=0.15)
        assert min(found.values()) > 0
        assert 0.05 < misfit < 0.2

    def test_a_busy_machine_is_refused_unless_it_is_wished(self, monkeypatch):
        monkeypatch.setattr(calibrating, "interleave", lambda timers, width: {key: [1.0, 2.0, 3.0] for key in timers})
        with pytest.raises(BusyError, match="took 100% longer at the median than at best, and 15% is the limit"):
            calibrate(jobs=JOBS[:1])
        assert calibrate(jobs=JOBS[:1], anyway=True).noise == 1.0

    def test_a_short_calibration_of_this_machine(self, capsys, cache, monkeypatch):
        monkeypatch.setattr(
            calibrating.calibrate, "__kwdefaults__", calibrating.calibrate.__kwdefaults__ | {"jobs": JOBS[:4]}
        )
        assert main(["calibrate", "--seconds", "0.1", "--force", "--json"]) == 0
        printed = Calibration.from_json(capsys.readouterr().out)
        found, source = current("float32", registry.versions())
        assert found == printed
        assert source == "by the calibration of this machine"
        assert {c.backend for c in found.prices} >= {"numpy", "numba"}
        assert all(found.seconds(c, JOBS[0].quantities("float32")) > 0 for c in found.prices)
        if hasattr(os, "getuid"):
            assert cache.stat().st_mode & 0o077 == 0


class TestKept:
    def test_it_comes_back(self, cache):
        keep(made())
        assert current("float32", VERSIONS) == (made(), "by the calibration of this machine")
        assert current("float64", VERSIONS)[1] == "by the shipped table"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b'{"format": 1}',
            b"\xff\xfe",
            made().as_json().replace('"format": 1', '"format": 2').encode(),
        ]
        + [made().as_json().replace("1e-09", text).encode() for text in ("-1", "NaN", '"x"', "true", "1e999")]
        + [made().as_json().replace("product_flops", "wishes").encode()],
    )
    def test_a_damaged_one_is_ignored_and_said(self, cache, content, caplog):
        keep(made()).write_bytes(content)
        assert current("float32", VERSIONS)[1] == "by the shipped table"
        assert current("float32", VERSIONS)[1] == "by the shipped table"
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "is ignored" in caplog.text
        assert "`gdkernels calibrate` makes a new one" in caplog.text

    def test_one_of_other_versions_is_ignored_and_said(self, cache, caplog):
        keep(made())
        assert current("float32", VERSIONS | {"numpy": "3"})[1] == "by the shipped table"
        assert "is of other versions" in caplog.text

    def test_one_of_another_machine_is_not_used(self, cache, monkeypatch):
        keep(made())
        monkeypatch.setattr(calibration, "machine", lambda: {**machine(), "cores": 999})
        assert current("float32", VERSIONS)[1] == "by the shipped table"

    def test_one_that_others_can_write_is_ignored(self, cache, caplog):
        keep(made())
        cache.chmod(0o777)
        assert current("float32", VERSIONS)[1] == "by the shipped table"
        assert "can be written by others" in caplog.text

    def test_where_nothing_can_be_kept_that_is_said(self, cache):
        cache.write_text("")
        with pytest.raises(FileError, match="no calibration can be kept.*GDKERNELS_CACHE names another place"):
            keep(made())

    def test_a_folder_that_is_only_read_still_serves(self, cache, monkeypatch):
        keep(made())
        cache.chmod(0o500)
        assert current("float32", VERSIONS)[1] == "by the calibration of this machine"
        monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs this may be root
        with pytest.raises(FileError, match="is read-only"):
            keep(made())
        cache.chmod(0o700)

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    def test_the_shipped_table(self, cache, precision):
        table, source = current(precision, VERSIONS)
        assert source == "by the shipped table"
        assert table.precision == precision
        assert {(c.backend, c.device, c.threads) for c in table.prices} == {
            ("numba", "cpu", None),
            ("numpy", "cpu", None),
        }

    def test_nothing_is_known_of_the_other_precisions(self, cache):
        assert current("tf32", VERSIONS)[0] is None


@pytest.mark.usefixtures("kept")
class TestChoice:
    SMALL, LARGE = work((16, 16, 16)), work((256, 256, 256))

    def test_threads_follow_the_work(self):
        numba = registry.get("numba")
        assert plan_choices(numba, "cpu", "float32", self.SMALL, VERSIONS) == {"threads": 1}
        assert plan_choices(numba, "cpu", "float32", self.LARGE, VERSIONS) == {"threads": 2}

    def test_more_threads_must_be_worth_it(self):
        for share, threads in ((0.85, 1), (0.75, 2)):
            keep(made({TWO: {"steps": share}, ONE: {"steps": 1.0}}))
            assert plan_choices(registry.get("numba"), "cpu", "float32", self.SMALL, VERSIONS) == {"threads": threads}

    def test_a_step_that_is_over_before_a_thread_is_awake_is_not_shared(self):
        # Waking costs 60 µs, which are paid once for ten thousand steps.
        job = work(records=640_000)
        for step, threads in ((50e-6, 1), (70e-6, 2)):
            keep(made({TWO: {"runs": 70e-6, "steps": 0.5 * step}, ONE: {"runs": 10e-6, "steps": step}}))
            assert plan_choices(registry.get("numba"), "cpu", "float32", job, VERSIONS) == {"threads": threads}

    def test_threads_compare_with_fewer_at_their_place_and_places_with_each_other(self):
        keep(made({TWO: {"steps": 0.9}, ONE: {"steps": 1.0}, NUMPY: {"steps": 0.95}}))
        assert registry.choose(work=self.SMALL).backend.name == "numpy"  # one thread of numba's is what it beats

    def test_threads_that_may_not_run_are_not_chosen(self, monkeypatch):
        monkeypatch.setattr("gdkernels_numba.NumbaBackend.threads", lambda self, device: (1,))
        assert plan_choices(registry.get("numba"), "cpu", "float32", self.LARGE, VERSIONS) == {}
        assert [str(e.candidate) for e in registry.choose(work=self.LARGE).estimates] == [
            "numba on cpu, 1 thread",
            "numpy on cpu",
        ]

    def test_the_fastest_is_chosen_and_told_why(self, caplog):
        with caplog.at_level(logging.INFO, "gdkernels"):
            choice = registry.choose(work=self.SMALL)
        assert (choice.backend.name, choice.device) == ("numba", "cpu")
        assert choice.reason.startswith("estimated at 164 µs a step by the calibration of this machine, numpy at 1 s")
        assert choice.reason in caplog.text
        keep(made({ONE: {"steps": 1.0}, NUMPY: {"steps": 1e-3}}))
        assert registry.choose(work=self.SMALL).backend.name == "numpy"

    def test_the_same_work_and_prices_give_the_same_choice(self):
        first, second = (registry.decide(work=self.LARGE)[0] for _ in range(2))
        assert first == second

    def test_without_work_it_goes_by_priority(self):
        keep(made({ONE: {"steps": 1.0}, NUMPY: {"steps": 1e-3}}))
        choice = registry.choose()
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
        assert trainer._executable.plan.choices["threads"] == 1

    def test_a_prediction_is_a_choice_too(self):
        keep(made({ONE: {"steps": 1.0}, NUMPY: {"product_flops": 1e-9}}))
        for rows, name in ((8, "numpy"), (1 << 17, "numba")):
            mlp = gd.MLP([64, 64], seed=0)
            mlp.predict(np.ones((rows, 64), np.float32))
            assert mlp.backend == name

    def test_what_is_asked_for_goes_before_estimates(self, monkeypatch):
        keep(made({ONE: {"steps": 1.0}, NUMPY: {"steps": 1e-3}}))
        assert registry.choose("numba", work=self.SMALL).reason == "as asked for"
        monkeypatch.setenv("GDKERNELS_BACKEND", "numba")
        assert registry.choose(work=self.SMALL).reason == "set by GDKERNELS_BACKEND"

    def test_what_cannot_be_recorded_goes_by_priority(self):
        def odd(z, *, xp):
            raise RuntimeError("not like this")

        job = Work(replace(self.SMALL.program, activations=(odd, odd)), (4, 4, 4), 8, 80)
        choice = registry.choose(work=job)
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
        choice = registry.choose(work=self.JOB)
        assert (choice.backend.name, choice.reason) == ("high", "the best that can run here")
        assert [e.source for e in choice.estimates if e.seconds is None] == ["not measured: by priority"] * 3

    def test_a_lower_one_that_is_unknown_is_not_chosen(self):
        keep(made({Candidate("known", "cpu"): {"steps": 1.0}}, versions=registry.versions()))
        assert registry.choose(work=self.JOB).backend.name == "known"

    def test_moving_the_data_counts(self):
        # The card is a thousand times as fast; the data reach it at a second for each kilobyte.
        prices = {
            Candidate("known", "cpu"): {"steps": 1e-3},
            Candidate("known", "card:0"): {"steps": 1e-6, "transferred_bytes": 1e-6},
        }
        keep(made(prices, versions=registry.versions()))
        for epochs, device in ((1, "cpu"), (1000, "card:0")):
            choice = registry.choose(work=work(epochs=epochs))
            assert (choice.backend.name, choice.device) == ("known", device)
        assert registry.choose(device="cpu", work=work(epochs=1000)).device == "cpu"


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
        assert lines[2].endswith("not worth it: more than 0.8 of the time")
        assert "not worth it" not in lines[1] + lines[3]
        assert lines[4].startswith("chosen: numba on cpu: estimated at")

    def test_short_steps_are_said_to_be_too_short_for_more_threads(self, capsys):
        keep(made({TWO: {"runs": 90e-6, "steps": 5e-6}, ONE: {"runs": 10e-6, "steps": 60e-6}}))
        assert main(["backends", "--explain", "--sizes", "16-16-16", "--batch", "1", "--records", "10000"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].startswith("→ numba on cpu, 1 thread")
        assert lines[2].endswith("not worth it: a step takes less than waking a thread, 80 µs")

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
            (["--sizes", "8-1"], "--sizes is the network of --explain"),
            (["--explain", "--sizes", "8"], "must be inputs, hidden layers and outputs"),
            (["--explain", "--sizes", "8-0-1"], "must be inputs, hidden layers and outputs"),
        ],
    )
    def test_what_is_wrong_is_said(self, arguments, said, capsys):
        assert main(["backends", *arguments]) == 2
        assert said in capsys.readouterr().err


class TestCheck:
    """The check of the choices, by planted times."""

    @pytest.fixture
    def checked(self, cache, monkeypatch, capsys):
        """Return what runs the check on shapes with these samples, and with those of `again` when it repeats some."""
        from gdkernels.bench import choice
        from gdkernels.bench.peers.task import Task

        monkeypatch.setattr(choice, "random_tasks", lambda count, seed, threads: [Task((8, 8, 1), 4, 16)] * count)

        def run(*shapes, again=(), minutes="5"):
            coming = iter([*shapes, *again])

            def planted(timers, width):
                mine, other = next(coming)
                return {c: list(mine if c.backend == "numba" else other) for c in timers}

            monkeypatch.setattr(choice, "interleave", planted)
            code = choice.main(["--no-grid", "--random", str(len(shapes)), "--minutes", minutes])
            return code, capsys.readouterr().out

        return run

    QUIET, WORSE, NOISY = [10.0] * 8, [8.0] * 8, [5.0, 55.0, 5.0, 55.0, 5.0, 55.0, 5.0, 55.0]

    def test_near_is_within_a_tenth(self, checked):
        near, far = (self.QUIET, [9.2] * 8), (self.QUIET, self.WORSE)
        assert checked(*[near] * 9, far)[0] == 0
        code, out = checked(*[near] * 8, far, far)
        assert code == 1
        assert "0 of 10 are not known" in out
        assert "within 10% of the best in 8 of 10, worst 1.25" in out

    def test_what_does_not_repeat_is_not_judged_and_marking_all_does_not_pass(self, checked):
        near, odd = (self.QUIET, [20.0] * 8), (self.NOISY, self.QUIET)
        assert checked(*[near] * 8, odd, odd, minutes="0")[0] == 0
        code, out = checked(*[near] * 7, *[odd] * 3, minutes="0")
        assert code == 1
        assert "3 of 10 are not known" in out
        assert "busy: at least 80% must be known" in out
        code, out = checked(*[odd] * 10, minutes="0")
        assert code == 1
        assert "10 of 10 are not known" in out

    def test_what_is_not_known_is_measured_again_and_judged_then(self, checked):
        near, far, odd = (self.QUIET, [20.0] * 8), (self.QUIET, self.WORSE), (self.NOISY, self.QUIET)
        assert "0 of 2 are not known" in checked(near, odd, again=[near])[1]
        code, out = checked(near, odd, again=[far])
        assert code == 1
        assert "within 10% of the best in 1 of 2, worst 1.25" in out

    def test_noise_that_cannot_hide_the_difference_is_no_excuse(self, checked):
        slow = [80.0, 120.0] * 4
        assert checked(*[(slow, self.QUIET)] * 10)[0] == 1
        assert "0 of 10 are not known" in checked(*[(slow, self.QUIET)] * 10)[1]

    def test_too_few_samples_are_not_known(self, checked):
        assert "busy" in checked(([10.0] * 5, [10.0] * 5), minutes="0")[1]


def test_the_check_measures_every_candidate_and_the_choice(cache, capsys, tmp_path, monkeypatch):
    from gdkernels.bench import choice
    from gdkernels.bench.peers.task import Task

    monkeypatch.setattr(choice, "random_tasks", lambda count, seed, threads: [Task((8, 8, 1), 4, 16)] * count)
    file = tmp_path / "check.json"
    code = choice.main(["--no-grid", "--random", "1", "--seconds", "0.05", "--json", str(file)])
    (row,) = json.loads(file.read_text())["rows"]
    times = {(c["backend"], c["threads"]): np.median(c["seconds_per_step"]) for c in row["candidates"]}
    best = min(times.values())
    assert row["ratio"] == pytest.approx(times[row["choice"]["backend"], row["choice"]["threads"]] / best)
    assert {"numba", "numpy"} <= {backend for backend, _ in times}
    assert code == (0 if row["known"] and row["ratio"] <= 1.1 else 1)
    said = f"within 10% of the best in {1 - code} of 1" if row["known"] else "busy: at least 80% must be known"
    assert said in capsys.readouterr().out
