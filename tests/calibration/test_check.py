"""The check of the choices, by planted times and by measured ones."""

import json

import numpy as np
import pytest


class TestCheck:
    """The check of the choices, by planted times."""

    @pytest.fixture
    def checked(self, cache, monkeypatch, capsys):
        """Return what runs the check on shapes with these samples, and with those of `again` when it repeats some."""
        from benchmarks import choice
        from gdkernels.bench.participants.task import TrainingTask

        monkeypatch.setattr(
            choice, "random_tasks", lambda count, seed, threads: [TrainingTask((8, 8, 1), 4, 16)] * count
        )

        def run(*shapes, again=(), minutes="5"):
            coming = iter([*shapes, *again])

            def planted(timers, width, library):
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
    from benchmarks import choice
    from gdkernels.bench.participants.task import TrainingTask

    task = TrainingTask((8, 8, 1), 4, 16)
    monkeypatch.setattr(choice, "random_tasks", lambda count, seed, threads: [task] * count)
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
