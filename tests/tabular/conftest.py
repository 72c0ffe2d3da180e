"""A small table as a file, and training on it by the command line."""

import json

import numpy as np
import pytest
from kept_models import RECORDS

from gdkernels.cli import main


@pytest.fixture
def columns():
    """Return the columns of a table with gaps, text, dates and two targets."""
    draw = np.random.default_rng(0)
    area, age = draw.uniform(50, 250, RECORDS).round(), draw.integers(0, 90, RECORDS)
    town = draw.choice(["Ames", "Nevada", "Åbo"], RECORDS)
    day = draw.integers(1, 28, RECORDS)
    price = 1000 * area + 20000 * (town == "Ames") - 100 * age + draw.normal(0, 5000, RECORDS).round()
    return {
        "area": [None if k % 9 == 0 else float(v) for k, v in enumerate(area)],
        "age": age.tolist(),
        "town": [None if k % 11 == 0 else str(v) for k, v in enumerate(town)],
        "sold": [f"2024-{1 + k % 12:02}-{d:02}" for k, d in enumerate(day.tolist())],
        "price": price.tolist(),
        "dear": ["yes" if p > np.median(price) else "no" for p in price],
    }


@pytest.fixture
def table(tmp_path, columns, monkeypatch):
    """Return the table as a CSV file."""
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    rows = [",".join("" if v is None else str(v) for v in row) for row in zip(*columns.values(), strict=True)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join(columns), *rows, ""]), encoding="utf-8")
    return path


@pytest.fixture
def trained(table, tmp_path, capsys):
    """Return what trains by the command line, and gives what it says as JSON, and the model file."""

    def run(*options):
        model = tmp_path / "command.safetensors"
        assert main(["train", str(table), *options, "--json", "--out", str(model), "--force"]) == 0
        return json.loads(capsys.readouterr().out), model

    return run
