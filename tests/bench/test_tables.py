"""Tables in documents say what the committed results say."""

from made_results import results

from benchmarks import tables
from gdkernels.bench.results.file import write


def test_the_committed_tables_are_those_of_the_results(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().err


def test_what_is_typed_by_hand_is_noticed_and_written_over(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    write(results(), tmp_path / "results" / "made.json", overwrite=False)
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- results/made.json -->\ntyped\n<!-- end -->\nafter\n")
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    monkeypatch.setattr(tables, "DOCUMENTS", (document,))
    assert tables.main(["--check"]) == 1
    assert "README.md: not what the results say" in capsys.readouterr().err
    assert "typed" in document.read_text()
    assert tables.main([]) == 0
    written = document.read_text()
    assert written.startswith(
        "before\n<!-- results/made.json -->\nP, 2 cores, no GPU; cpu, float32, 2 threads; 2026-11-21"
    )
    assert "| 8-32-1 × 32, epoch | 2.93 k ± 71.4%, 1e-06 | 1.71 k, 1e-06 |" in written
    assert written.endswith("<!-- end -->\nafter\n")
    assert tables.main(["--check"]) == 0
