"""The command that sets our estimators beside scikit-learn's."""

import json

from benchmarks.estimators import main


def test_the_scores_are_those_of_scikit_learn(tmp_path, capsys):
    assert main(["--tables", "wine,diabetes", "--seeds", "2", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert str(tmp_path) not in str(found["command"])
    rows = {(row["table"], row["estimator"]): row for row in found["rows"]}
    for table in ("wine", "diabetes"):
        theirs, ours = rows[table, "scikit-learn"], rows[table, "gdkernels"]
        assert ours["epochs"] == theirs["epochs"]
        assert all(abs(a - b) < 1e-6 for a, b in zip(ours["scores"], theirs["scores"], strict=True))
        assert all(seconds > 0 for seconds in ours["seconds"])
    assert "gdkernels float32" in capsys.readouterr().out
    assert main(["--tables", "nine"]) == 2
    assert "choices: digits, breast cancer, wine, diabetes" in capsys.readouterr().err
