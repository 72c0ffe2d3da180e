"""Prices from times: what a job is about, and what fits to how long it took."""

import os

import numpy as np
import pytest
from made_prices import work

from gdkernels.bench.calibrating import calibrate as calibrating
from gdkernels.bench.calibrating.calibrate import JOBS, BusyError, calibrate
from gdkernels.bench.calibrating.prices import JobTimes, fit_prices, fit_sharing
from gdkernels.cli import main
from gdkernels.dispatch import registry
from gdkernels.dispatch.calibration import Calibration, current
from gdkernels.dispatch.workload import QUANTITIES
from gdkernels.errors import BackendError


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
    def rows(self, prices, noise=0.0):
        names, random = list(prices), np.random.default_rng(5)
        for _ in range(40):
            q = dict.fromkeys(QUANTITIES, 0.0) | {n: float(10 ** random.uniform(0, 4)) for n in names}
            q["product_flops"] *= 1e4  # or nobody could tell their price from the others
            t = sum(prices[n] * q[n] for n in names) * float(np.exp(noise * random.standard_normal()))
            yield JobTimes(q, [0.95 * t, t, 0.9 * t, 2.0 * t, 0.97 * t])  # t is their upper quartile

    def test_exact_times_give_their_prices(self):
        prices = {"steps": 3e-6, "product_flops": 2e-9, "parameter_bytes": 5e-8}
        fitted = fit_prices(list(self.rows(prices)))
        found, misfit = fitted.prices, fitted.misfit
        assert found == pytest.approx(prices, rel=1e-4)
        assert misfit < 1e-4

    def test_noisy_times_give_prices_nearby_and_none_is_negative(self):
        prices = {"steps": 3e-6, "product_flops": 2e-9, "parameter_bytes": 0.0}
        fitted = fit_prices(list(self.rows(prices, noise=0.1)))
        found, misfit = fitted.prices, fitted.misfit
        assert found["product_flops"] == pytest.approx(2e-9, rel=0.15)
        assert found["steps"] == pytest.approx(3e-6, rel=0.15)
        assert min(found.values()) > 0
        assert 0.05 < misfit < 0.2

    def test_on_more_threads_a_share_of_the_time_and_the_meetings(self):
        alone = {"runs": 1e-5, "steps": 3e-6, "product_flops": 2e-9}
        shared = {"runs": 7e-5, "steps": 0.55 * 3e-6 + 2e-6, "product_flops": 0.55 * 2e-9}
        quantities = [row.quantities for row in self.rows(alone)]
        one, two = (
            [JobTimes(q, [sum(p * q[n] for n, p in prices.items())] * 5) for q in quantities]
            for prices in (alone, shared)
        )
        fitted = fit_sharing(two, one, alone)
        found, misfit = fitted.prices, fitted.misfit
        assert found == pytest.approx(shared | {"operations": 0.0}, rel=1e-4)
        assert misfit < 1e-4

    @pytest.fixture
    def planted(self, monkeypatch):
        """Return what plants the samples of every job, and the share of a core that a thread gets."""

        def plant(samples, core):
            monkeypatch.setattr(calibrating, "interleave", lambda timers, *_, **__: dict.fromkeys(timers, samples))
            monkeypatch.setattr(calibrating, "_share_of_core", lambda threads: core)

        return plant

    def test_a_busy_machine_is_refused_unless_it_is_wished(self, planted):
        planted([1.0, 2.0, 3.0], 1.0)
        with pytest.raises(BusyError, match="took 100% longer at the median than at best, and at most 15% is allowed"):
            calibrate(jobs=JOBS[:1])
        assert calibrate(jobs=JOBS[:1], anyway=True).noise == 1.0

    def test_what_nothing_can_do_is_not_calibrated(self, monkeypatch):
        monkeypatch.setattr(calibrating, "candidates", lambda precision: [])
        monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
        with pytest.raises(BackendError, match="'numpy' cannot do precision 'tf32'; it can do float64, float32"):
            calibrate("tf32")

    def test_a_core_that_is_missing_throughout_is_noticed(self, planted):
        planted([1.0, 1.0, 1.0], 0.5)
        with pytest.raises(BusyError, match="one got 50% of a core at the median, and at least 80% is needed"):
            calibrate(jobs=JOBS[:1])
        assert calibrate(jobs=JOBS[:1], anyway=True).noise == 0.0

    def test_threads_on_one_core_share_it(self):
        if not hasattr(os, "sched_setaffinity"):
            pytest.skip("threads cannot be bound to a core here")
        cores = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(cores)})
            assert calibrating._share_of_core(3) < 0.6
        finally:
            os.sched_setaffinity(0, cores)

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
