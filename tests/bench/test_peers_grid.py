"""Side by side with peers: what is measured is kept, and an interrupted comparison goes on."""

import json

import pytest

from benchmarks import peers_grid
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.bench.processes.client import FirstSteps, LoadTimes

COMMAND = [
    "--random",
    "3",
    "--seed",
    "5",
    "--least",
    "32",
    "--threads",
    "1",
    "--peers",
    "gdkernels-numba-bf16,torch-bf16",
]


class Stand:
    """A process that measures nothing; a task beyond `stops_at` interrupts."""

    loaded = ()
    stops_at = 2

    def __init__(self, participant, environment):
        self.participant, self._rate = participant, 1.5 if participant.external else 3.0
        assert str(peers_grid.checkout.ROOT) in environment["PYTHONPATH"]

    def load(self, task):
        if not self.participant.external:
            if len(self.loaded) == self.stops_at:
                raise KeyboardInterrupt
            Stand.loaded += (task,)
        self._task = task
        return LoadTimes(0.1, None)

    def first_steps(self, records):
        return FirstSteps(self._task.parameters(), 0.1)

    def ceiling(self, kind, size):
        return 1e9

    def fit_seconds(self, seconds):
        return self._task.records / self._rate

    def close(self):
        pass


@pytest.fixture
def stand(monkeypatch):
    monkeypatch.setattr(peers_grid, "ParticipantProcess", Stand)
    monkeypatch.setattr(peers_grid, "settle", lambda: None)
    monkeypatch.setattr(peers_grid, "errors_by_array", lambda task, parameters, records: {"W0": 0.0})
    monkeypatch.setattr(peers_grid, "_limits", lambda threads: {"pair_flops": 2e9})
    monkeypatch.setattr(Stand, "loaded", ())
    return Stand


def test_what_was_interrupted_goes_on(stand, tmp_path, monkeypatch, capsys):
    file = tmp_path / "peers.json"
    command = [*COMMAND, "--json", str(file)]
    with pytest.raises(KeyboardInterrupt):
        peers_grid.main(command)
    assert len(json.loads(file.read_text())["results"]) == 2
    monkeypatch.setattr(stand, "stops_at", 3)
    capsys.readouterr()
    assert peers_grid.main([*command, "--resume"]) == 0
    content = json.loads(file.read_text())
    assert [TrainingTask.from_dict(r["task"]) for r in content["results"]] == list(stand.loaded)
    assert content["command"][3:] == command
    told = capsys.readouterr().out
    assert all(str(task) in told for task in stand.loaded)
    assert "over the best other in its precision: geometric mean 2.00, worst 2.00" in told


def test_results_of_another_command_are_not_gone_on_with(stand, tmp_path, capsys):
    file = tmp_path / "peers.json"
    file.write_text(json.dumps({"command": ["another"], "threads": 1, "environment": {}, "results": []}))
    before = file.read_bytes()
    assert peers_grid.main([*COMMAND, "--json", str(file), "--resume"]) == 2
    assert "has another command, environment; name another file" in capsys.readouterr().err
    assert (file.read_bytes(), stand.loaded) == (before, ())


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(stand, tmp_path, capsys):
    assert peers_grid.main([*COMMAND, "--json", str(tmp_path / "missing" / "peers.json")]) == 2
    assert "does not exist; create it first" in capsys.readouterr().err
    assert not stand.loaded


@pytest.mark.slow
def test_participants_train_the_same_and_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    who = "gdkernels-numpy,numpy-loop,jax,sklearn,torch"
    command = ["--sizes", "8-16-1", "--batch", "32", "--records", "128", "--threads", "1", "--peers", who]
    assert peers_grid.main([*command, "--json", "found.json"]) == 0
    (result,) = json.loads((tmp_path / "found.json").read_text())["results"]
    rows = {row["peer"]: row for row in result["rows"]}
    assert list(rows) == who.split(",")
    assert all(row["skipped"] or (row["error"] < 1e-2 and len(row["samples"]) >= 5) for row in rows.values()), rows
    assert not rows["gdkernels-numpy"]["skipped"]
