"""Work that is dealt to ranks in whole parts: many models, the networks of a table, rows to predict, files to read."""

import numpy as np
import pytest
from shared_fits import CLASSES, X, Y, digest
from thread_group import on_ranks

import gdkernels as gd
from gdkernels.errors import InputError
from gdkernels.groups import SerialGroup
from gdkernels.tabular.in_parts import conversion, surveying
from gdkernels.tabular.ranks import by_ranks


def test_many_models_and_tables_are_dealt_to_ranks_as_jobs():
    def many(group):
        models = [gd.MLP([6, 4, 3], seed=seed, backend="numpy") for seed in range(5)]
        histories = gd.fit_many(models, X, Y, epochs=2, group=group)
        histories += gd.fit_many(models, X, Y, epochs=1, group=group)  # it goes on where the first ended
        return [digest(m) for m in models], [h.loss for h in histories]

    one = many(None)
    assert on_ranks(3, many) == [one] * 3

    table = {f"x{k}": X[:, k] for k in range(6)} | {"y": Y[:, 0], "c": CLASSES.astype(str)}

    def tabular(group):
        predictor = gd.TabularPredictor("y", epochs=3, average=5, seed=0, group=group, backend="numpy").fit(table)
        return digest(predictor.network), predictor.metrics_, predictor.result_.cross_validation

    assert on_ranks(2, tabular) == [tabular(None)] * 2

    def single(group):
        settings = {"hidden": 8, "epochs": 3, "seed": 0, "shards": 4, "backend": "numpy"}
        predictor = gd.TabularPredictor("y", group=group, **settings).fit(table)
        return digest(predictor.network), predictor.result_.history.ranks.shards

    assert on_ranks(2, single) == [single(None)] * 2


def test_a_table_that_one_rank_cannot_read_ends_all(capfd, tmp_path):
    def fitted(group):
        data = {"x": X[:, 0], "y": Y[:, 0]} if group.rank else str(tmp_path / "missing.csv")
        gd.TabularPredictor("y", epochs=2, average=3, group=group).fit(data)

    with pytest.raises(SystemExit):
        on_ranks(2, fitted)
    assert "gdkernels: rank 0 of 2: there is no file" in capfd.readouterr().err


def test_rows_that_are_tested_are_predicted_by_one_rank_each():
    made = []

    def predicted(group, parts):
        def part(number):
            made.append(number)
            return np.full((number, 2), number, np.float32)

        return [(a.dtype, a.tolist()) for a in by_ranks(group, parts, part)]

    for parts in (0, 2, 7):
        one, alone = predicted(SerialGroup(), parts), sorted(made)
        made.clear()
        assert on_ranks(3, lambda group, parts=parts: predicted(group, parts)) == [one] * 3
        assert sorted(made) == alone == list(range(parts))
        made.clear()


@pytest.mark.parametrize("target", ["y", "c"])
def test_a_table_to_test_on_is_read_by_rank_0_alone(monkeypatch, tmp_path, target):
    columns = [*(X[:, k] for k in range(6)), Y[:, 0] if target == "y" else CLASSES]
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    head = ",".join([*(f"x{k}" for k in range(6)), target])
    for name, part in (("learn", rows[:150]), ("test", rows[150:]), ("bad", ["1,2,3,4,5,six,0"])):
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *part]))
    monkeypatch.setattr(
        "gdkernels.tabular.model.prediction.PIECE", 1 << 10
    )  # so that there are parts, and pieces of them
    monkeypatch.setattr("gdkernels.tabular.model.prediction._ROUND", 8)

    def tested(group, test="test"):
        mine = tmp_path / f"{test}.csv" if group is None or not group.rank else tmp_path / "missing.csv"
        settings = {"epochs": 2, "average": 2, "seed": 0, "backend": "numpy", "test_file": mine}
        predictor = gd.TabularPredictor(target, group=group, **settings).fit(tmp_path / "learn.csv")
        return digest(predictor.network), predictor.result_.test.as_dict(), predictor.result_.as_dict()["test_rows"]

    one = tested(None)
    assert one[1]["records"] == 53
    rank_0, rank_1 = on_ranks(2, tested)
    assert rank_0 == one
    assert rank_1[:2] == one[:2]
    with pytest.raises(InputError, match=r"bad.csv.*'six'"):
        on_ranks(2, lambda group: tested(group, "bad"))


def test_one_rank_surveys_a_table_in_files_for_all_and_one_of_a_machine_prepares_it(monkeypatch, tmp_path):
    folders, surveys = [], []
    write, findings = conversion._write, surveying.findings_in
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(conversion, "_write", lambda files, *rest: (folders.append(files.folder), write(files, *rest)))
    monkeypatch.setattr(surveying, "findings_in", lambda *a, **more: (surveys.append(1), findings(*a, **more))[1])
    names = ("red", "blue", "", "Ü;x")
    lines = [
        f"{a},{b if k % 7 else ''},{names[k % 4]},2024-{1 + k // 28:02}-{1 + k % 28:02},g{k % 40},{2**55 + k},{y:.3f}"
        for k, ((a, b), y) in enumerate(zip(X[:, :2].tolist(), Y[:, 1].tolist(), strict=True))
    ]
    (tmp_path / "t.csv").write_text("a,b,name,day,of,whole,y\n" + "\n".join(lines))

    def fitted(group, target="y", **more):
        settings = {"epochs": 2, "batch_size": 40, "hidden": 4, "backend": "numpy", "progress": False}
        memory = "1MB" if group is None or group.rank else "2MB"  # the least of all ranks
        predictor = gd.TabularPredictor(target, group=group, shards=2, seed=0, memory=memory, **settings, **more)
        found = predictor.fit(str(tmp_path / "t.csv"))
        return digest(found.network), found.metrics_, found.result_.remarks

    settings = (
        {"split": "time:day", "ignore": ["of"]},
        {"split": "group:of"},
        {"target": "name", "drop_missing": True},
    )
    for more in settings:
        assert on_ranks(2, lambda group, more=more: fitted(group, **more)) == [fitted(None, **more)] * 2
    assert (len(surveys), len(folders)) == (6, 6), "one for both ranks, and one for the process alone"
    with pytest.raises(InputError, match="no column 'z'"):
        on_ranks(2, lambda group: fitted(group, "z"))
    assert not any(folder.exists() for folder in folders)


def test_shards_of_several_networks_are_refused_before_anything_is_tried(monkeypatch):
    monkeypatch.setattr("gdkernels.tabular.in_memory.decided", None)
    with pytest.raises(InputError, match="shards splits the batches of a single network, and 3 are trained here"):
        gd.TabularPredictor("y", average=3, epochs=1, shards=4).fit({"x": X[:, 0], "y": Y[:, 0]})
