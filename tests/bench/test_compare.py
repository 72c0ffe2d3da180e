"""Verdicts on samples whose truth is known, and on rows without times."""

from dataclasses import replace

import numpy as np
import pytest
from made_results import repeat, results

from gdkernels.bench.comparing.verdicts import compare, verdict_on
from gdkernels.bench.sampling.statistics import LEAST_PROCESSES

TRIALS = 100  # of each truth


def processes(rng, count, *, slower=1.0, noise=0.01):
    """Return the median seconds of some processes, which differ by `noise`."""
    return (0.01 * slower * np.exp(rng.normal(0.0, noise, count))).tolist()


@pytest.mark.parametrize(
    ("slower", "verdict"), [(1.0, "SAME"), (1.1, "SLOWER"), (1 / 1.1, "FASTER"), (2.0, "SLOWER"), (0.5, "FASTER")]
)
@pytest.mark.parametrize("count", [5, 9])
def test_the_truth_is_found_in_at_least_95_percent(slower, verdict, count):
    rng = np.random.default_rng(count)
    found = [verdict_on(processes(rng, count), processes(rng, count, slower=slower)).verdict for _ in range(TRIALS)]
    assert found.count(verdict) >= 0.95 * len(found)


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.2])
def test_noise_is_undecided_rather_than_wrong(noise):
    rng = np.random.default_rng(1)
    found = [verdict_on(processes(rng, 7, noise=noise), processes(rng, 7, noise=noise)).verdict for _ in range(TRIALS)]
    assert found.count("SLOWER") + found.count("FASTER") <= 0.05 * len(found)


def test_a_change_at_the_tolerance_is_not_decided_by_chance():
    rng = np.random.default_rng(2)
    found = {verdict_on(processes(rng, 5), processes(rng, 5, slower=1.05)).verdict for _ in range(TRIALS)}
    assert "FASTER" not in found
    assert "UNDECIDED" in found


def test_the_rule_at_its_edges():
    steady = [1.0] * LEAST_PROCESSES
    assert verdict_on(steady, [1.05] * 5).verdict == "SAME"
    assert verdict_on(steady, [1.051] * 5).verdict == "SLOWER"
    assert verdict_on(steady, [0.95] * 5).verdict == "SAME"
    assert verdict_on(steady, [0.949] * 5).verdict == "FASTER"
    few = verdict_on(steady, steady[:-1])
    assert few.verdict == "UNDECIDED"
    assert "4 of 5 process repeats" in few.reason
    assert few.ratio is None


def test_verdicts_are_repeatable():
    rng = np.random.default_rng(3)
    a, b = processes(rng, 6), processes(rng, 6)
    assert verdict_on(a, b) == verdict_on(a, b)


def measured(rng, *, work=0.01, waits=0.0, clock=1.0, drift=0.03, shared=()):
    """Return a row of eight processes whose clock drifts, of work that follows it and waiting that does not.

    In those that are `shared`, somebody else has a part of a core but for the last two samples.
    """
    known = []
    for process in range(8):
        clocks = clock * np.exp(rng.normal(0.0, drift, 8))
        share = np.where((np.arange(8) < 6) & (process in shared), 1.4, 1.0)
        seconds = (work * clocks * share + waits) * np.exp(rng.normal(0.0, 0.005, 8))
        products = clocks * share**0.5 * np.exp(rng.normal(0.0, 0.005, 8))
        readings = {"clock_seconds": tuple(clocks.tolist()), "product_seconds": tuple(products.tolist())}
        known.append(replace(repeat(*seconds.tolist()), **readings))
    return results(rows=(replace(results().rows[0], repeats=tuple(known)),))


def verdicts(count, before, after):
    rng = np.random.default_rng(4)
    return [compare(measured(rng, **before), measured(rng, **after)).rows[0].verdict for _ in range(count)]


def test_a_drift_of_the_clock_is_not_in_the_verdict():
    assert [v.verdict for v in verdicts(40, {}, {})].count("SAME") >= 38
    assert [v.verdict for v in verdicts(40, {}, {"work": 0.011})].count("SLOWER") >= 38
    assert [v.verdict for v in verdicts(40, {}, {"clock": 1.02})].count("SAME") >= 38


def test_a_clock_that_differs_excuses_and_condemns_nobody():
    for clock in (0.9, 1.1):
        follows = verdicts(20, {}, {"clock": clock})
        waits = verdicts(20, {"work": 0.0, "waits": 0.01}, {"work": 0.0, "waits": 0.01, "clock": clock})
        assert {v.verdict for v in (*follows, *waits)} == {"UNDECIDED"}
        assert follows[0].reason.startswith("the clocks differ too much")
        assert follows[0].clock == pytest.approx(clock, rel=0.03)
        assert {v.verdict for v in verdicts(20, {}, {"work": 0.015, "clock": clock})} == {"SLOWER"}


def test_samples_on_shared_cores_are_not_compared():
    shared = {"shared": (0, 2, 3, 5, 6)}
    for before, after in (({}, shared), (shared, {}), (shared, shared)):
        assert [v.verdict for v in verdicts(40, before, after)].count("SAME") >= 38
        assert [v.verdict for v in verdicts(40, before, {**after, "work": 0.011})].count("SLOWER") >= 38


def test_who_was_never_alone_is_not_compared():
    rng = np.random.default_rng(6)
    (row,) = measured(rng).rows
    crowded = [replace(r, product_seconds=tuple(1.5 * p for p in r.product_seconds)) for r in row.repeats]
    (verdict,) = (
        c.verdict for c in compare(results(rows=(row,)), results(rows=(replace(row, repeats=tuple(crowded)),))).rows
    )
    assert verdict.verdict == "UNDECIDED"
    assert "0 of 5 process repeats on whole cores" in verdict.reason


def test_files_without_clocks_are_compared_in_seconds():
    rng = np.random.default_rng(5)
    with_clocks = measured(rng, drift=0.0)
    (row,) = with_clocks.rows
    without = results(rows=(replace(row, repeats=tuple(replace(r, clock_seconds=()) for r in row.repeats)),))
    for a, b in ((with_clocks, without), (without, with_clocks), (without, without)):
        (verdict,) = (compared.verdict for compared in compare(a, b).rows)
        assert verdict.verdict == "SAME"
        assert verdict.ratio == 1.0


def test_rows_without_times_are_undecided_or_missing(tmp_path):
    whole, fewer = results(), results(rows=results().rows[1:])
    found = compare(whole, fewer)
    assert found.missing == ("only in A: numba cpu float32, 2 threads at 8-32-1 × 32, epoch, resident",)
    reasons = [compared.verdict.reason for compared in found.rows]
    assert any("2 of 5" in reason for reason in reasons)
    assert any("refused in A: it computes something else; refused in B" in reason for reason in reasons)
    assert len(found.rows) == 2  # what both skipped is nothing to compare
    assert [why.rpartition(": ")[2] for why in found.unknown] == [
        "missing in B",
        "2 of 5 process repeats in A (bench --repeats)",
        "refused in A and B",
    ]
