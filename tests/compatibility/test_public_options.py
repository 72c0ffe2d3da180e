"""Every option of the command line, and every name of a built-in value, that version 0.1 had is still there.

The lists below are data, as those of `test_public_names.py` are.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

import gdkernels as gd
from gdkernels.cli import main

# By subcommand.
OPTIONS = {
    "train": """
        --activation --average --backend --batch-size --categorical --checkpoint --class-weight --clip-norm
        --debug --device --drop-missing --epochs --every --explain --force --group --hidden --ignore --json --keep
        --l2 --learning-rate --log-json --loss --memory --momentum --nesterov --numeric --optimizer --out
        --patience --plot --precision --profile --resume --retries --schedule --search --seed --shards --starts --target
        --task --test --validation
    """,
    "describe": "--categorical --debug --ignore --json --keep --numeric --target --task",
    "predict": "--backend --debug --device --force --json --keep --out",
    "evaluate": "--backend --debug --device --drop-missing --force --json --plot",
    "inspect": "--debug --json",
    "plot loss": "--debug --force --out",
    "plot predictions": "--backend --debug --device --force --out",
    "plot layers": "--debug --force --out",
    "plot slope": "--debug --force --learning-rate --optimizer --out --start --steps",
    "plot surface": "--debug --force --learning-rate --optimizer --out --seed --start --steps",
    "plot starts": "--debug --force --learning-rate --optimizer --out --seed --start --steps",
    "plot fit": "--debug --force --hidden --learning-rate --optimizer --out --seed --steps",
    "export": "--debug --force --json",
    "backends": "--backend --batch --debug --device --epochs --explain --json --precision --records --sizes",
    "calibrate": "--debug --force --json --precision --seconds",
    "bench": """
        --backends --batch --data --debug --devices --force --group --json --out --peers --precisions --repeats
        --report --run --seeds --sizes --target --threads --time-limit --to-accuracy --to-loss --width
    """,
    "compare": "--debug --json",
    "doctor": "--debug --json",
    "cache": "--clear --debug --json",
}

# Of built-in values that are chosen by name: in Python, on the command line, and in files.
CHOICES = {
    "activation": "identity sigmoid tanh relu leaky_relu elu softplus gelu silu exp softmax",
    "loss": "sse mse huber poisson cross_entropy binary_cross_entropy",
    "optimizer": "sgd rmsprop adam adamw",
    "schedule": "constant step exponential cosine inverse_scaling reduce_on_plateau",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_is_there(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*command.split(), "--help"]) == 0
    offered = re.findall(r"^ +(?:-\w, )?(--[a-z][a-z0-9-]*)", capsys.readouterr().out, re.MULTILINE)
    assert set(OPTIONS[command].split()) <= set(offered)


@pytest.mark.parametrize("kind", CHOICES)
def test_every_built_in_has_its_name(kind: str) -> None:
    for name in CHOICES[kind].split():
        if kind == "activation":
            gd.MLP([2, 3, 2], activation=name, seed=0)
        else:
            chosen: dict[str, Any] = {kind: name}
            gd.Trainer(gd.MLP([2, 3, 2], seed=0), **chosen)
