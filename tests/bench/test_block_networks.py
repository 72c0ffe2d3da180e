"""Networks of blocks in a benchmark: who takes part does the same work, with the same masks; others say why not."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from made_results import CASE, OURS, THEIRS, repeat, results

from gdkernels.bench.checking import Checker
from gdkernels.bench.comparing.ratios import crossovers
from gdkernels.bench.comparing.verdicts import compare
from gdkernels.bench.participants.adapter import LibraryEpochs
from gdkernels.bench.participants.adapters.choose import adapter_of
from gdkernels.bench.participants.networks import NETWORKS, in_words
from gdkernels.bench.participants.participant import LIBRARIES, Participant, UnsuitableError
from gdkernels.bench.participants.stages import STAGES, BackendStages, PlacedStage
from gdkernels.bench.participants.task import BLOCK_GRID, TrainingTask, errors_by_array
from gdkernels.bench.results.file import read, write
from gdkernels.bench.results.model import BenchRow
from gdkernels.cli import bench

KINDS = [name for name in NETWORKS if name != "chain"]
SETTINGS = {"sizes": (5, 8, 8, 3), "batch": 8, "records": 24, "learning_rate": 0.01}
TASKS = {name: TrainingTask(**SETTINGS, activation=NETWORKS[name].activation, network=name) for name in KINDS}


@pytest.fixture(params=KINDS)
def task(request):
    return TASKS[request.param]


def test_the_names_on_the_command_line_are_those_of_the_networks():
    assert list(NETWORKS) == list(bench._NETWORKS)


def test_the_grid_has_the_networks_of_the_issue():
    assert [str(task).rpartition(" × ")[0] for task in BLOCK_GRID] == [
        "128-128×6-10 residual",
        "256-256×3-10 gated",
        "512-512-512-10 dropout",
    ]
    assert in_words((64, 64, 64, 64, 64, 4), "chain") == "64-64-64-64-64-4"
    assert [t.flops_per_record() for t in BLOCK_GRID] == [
        6 * (6 * 128 * 128 + 1280) - 2 * 128 * 128,
        6 * (6 * 256 * 256 + 2560) - 4 * 256 * 256,
        6 * (2 * 512 * 512 + 5120) - 2 * 512 * 512,
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_the_definition_and_a_small_fault_is_found(task, stage):
    stages, checker = BackendStages(task, "numpy"), Checker(task)
    work = stages.stage(PlacedStage(stage))
    for again in range(2):  # the second epoch goes on with the steps of the first
        start = work.start()
        work.launch()
        found = work.results()
        assert checker.check(stage, "float32", start, found).holds, again
    for name in found if stage == "forward" else task.program().trained:
        moved = found[name] - start[name] if stage in ("update", "epoch") else found[name]
        check = checker.check(stage, "float32", start, found | {name: found[name] + moved * np.float32(0.01)})
        assert (check.holds, check.array) == (False, name)


def test_another_mask_is_something_else():
    task = TASKS["dropout"]
    work = BackendStages(task, "numpy").stage(PlacedStage("epoch"))
    work.launch()
    work.restart()
    start = work.start()
    assert start["step"] == 0
    work.launch()
    assert Checker(task).check("epoch", "float32", start, work.results()).holds
    assert not Checker(task).check("epoch", "float32", start | {"step": np.asarray(1)}, work.results()).holds


def steps_errors(name, task, **settings):
    """Return the errors of a participant's first steps, and the check of the pass that follows."""
    adapter = adapter_of(Participant(name, **settings))
    adapter.ready()
    adapter.load(task)
    adapter.train_on(np.arange(task.checked_records()))
    errors = errors_by_array(task, adapter.parameters(), task.checked_records())
    work = adapter.stage(PlacedStage("epoch"), in_order=True)
    assert isinstance(work, LibraryEpochs) == adapter.participant.external
    start = work.start()
    work.launch()
    return max(errors.values()), Checker(task).check("epoch", "float32", start, work.results())


@pytest.mark.filterwarnings("ignore")  # of what torch loads
@pytest.mark.parametrize("name", ["numpy", "numba", "jax", "torch", "torch-compile-step"])
def test_participants_do_the_steps_of_the_definition(name, task, monkeypatch):
    if name == "numba":
        pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    external = name in LIBRARIES
    if external:
        library = pytest.importorskip(LIBRARIES[name].module, reason=f"{name} is not installed")
    if LIBRARIES.get(name, LIBRARIES["jax"]).compiled:  # one graph, whatever compiles it
        monkeypatch.setattr(library, "compile", partial(library.compile, backend="eager"))
        library._dynamo.reset()
    error, check = steps_errors(name, task, external=external)
    assert error < 1e-4
    assert check.holds, check


@pytest.mark.parametrize("name", ["sklearn", "thinc", "numpy-loop", "torch-bf16"])
def test_who_cannot_take_blocks_says_so(name, task):
    library = LIBRARIES[name]
    adapter = adapter_of(Participant(name, True, precision=library.precision))
    if name == "torch-bf16":
        pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(UnsuitableError, match=f"only with chains .* this network is {task.network}|only in float32"):
        adapter.load(task)


def test_results_of_blocks_are_kept_apart_from_those_of_chains(tmp_path):
    chain = results().rows[0]
    gated = replace(chain, case=replace(CASE, activation="sigmoid", network="gated"))
    found = results(rows=(chain, gated))
    write(found, tmp_path / "found.json", overwrite=False)
    assert read(tmp_path / "found.json") == found
    assert str(gated.case) == "8-32-1 gated × 32"
    assert len(compare(found, found).rows) == 2
    before = results(rows=(chain,))
    assert compare(before, found).unknown == compare(before, before).unknown
    assert len(compare(before, found).missing) == 1


def test_the_lead_changes_among_chains_alone():
    def row(participant, width, seconds, network):
        case = replace(CASE, sizes=(width, width, 1), network=network)
        taken = tuple(seconds * (1 + k / 1000) for k in range(6))
        return BenchRow(case, "epoch", "resident", participant, "measured", records=1024, flops=width**2 * 1024,
                        repeats=(repeat(*taken),))  # fmt: skip

    def rows(network):
        small = row(OURS, 8, 1.0, "chain"), row(THEIRS, 8, 2.0, "chain")
        return [*small, row(OURS, 64, 2.0, network), row(THEIRS, 64, 1.0, network)]

    assert len(crossovers(rows("chain"))) == 1
    assert crossovers(rows("gated")) == []
