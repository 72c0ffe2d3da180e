"""Any table is learned or refused in one line; so is another one that is to be predicted."""

import csv
import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gdkernels.cli import main

CELLS = st.one_of(
    st.sampled_from(
        [
            "",
            "NA",
            "?",
            "red",
            "blue",
            "1.5",
            "007",
            "2020-01-02",
            "3/4/2021",
            "20240131",
            "1,234",
            "$5",
            "ä",
            "inf",
            "-1e300",
        ]
    ),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.integers(-3, 3).map(str),
    st.text(max_size=3),
)


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 40))
    kinds = st.sampled_from(
        [CELLS, st.sampled_from("01"), st.sampled_from("abc"), st.integers(-99, 99).map(str), st.just("7")]
    )
    columns = [draw(st.lists(draw(kinds), min_size=rows, max_size=rows)) for _ in range(3)]
    file = io.StringIO(newline="")
    csv.writer(file).writerows([draw(st.permutations(["a", "b", "y"])), *zip(*columns, strict=True)])
    return file.getvalue()


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(a) for a in arguments])
    assert code in (0, 2), (arguments, err.getvalue())
    lines = err.getvalue().splitlines()
    # A line that it failed, after one that the text is not in UTF-8, if so, and those on columns of new records.
    others = [line for line in lines if "read as Windows-1252" not in line]
    others = [line for line in others if code or not line.startswith("gdkernels: column '")]
    assert len(others) == (code == 2), err.getvalue()
    return code


@pytest.mark.filterwarnings("ignore:overflow")
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(), tables(), st.booleans())
def test_any_table(tmp_path_factory, first, second, drop):
    folder = tmp_path_factory.mktemp("any")
    for name, content in (("first.csv", first), ("second.csv", second)):
        (folder / name).write_bytes(content.encode())
    common = ("--target", "y", *(["--drop-missing"] if drop else []), "--backend", "numpy")
    code = run("train", folder / "first.csv", *common, "--epochs", 2, "--hidden", 3, "--out", folder / "m")
    event("trained" if code == 0 else "refused")
    assert (folder / "m").exists() == (code == 0)
    run("describe", folder / "first.csv", "--target", "y")
    if code == 0:
        assert run("predict", folder / "m", folder / "first.csv", "--backend", "numpy", "--json") == 0
        run("predict", folder / "m", folder / "second.csv", "--backend", "numpy", "--out", folder / "p.csv")
        run("evaluate", folder / "m", folder / "second.csv", "--backend", "numpy")
        run("inspect", folder / "m")
