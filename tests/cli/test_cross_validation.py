"""Penalty and epochs are chosen by the rows that networks were trained without, where nothing else is said."""

from functools import partial

import numpy as np
import pytest
from made_up import made_up, write_csv

from gdkernels import MLP, Adam
from gdkernels.tables import folds
from gdkernels.tabular.networks.cross_validation import _follow, cross_validated
from gdkernels.tabular.networks.fitting import PreparedRows, balanced, kth

SETTINGS = {"loss": "sse", "optimizer": Adam(1e-2), "batch_size": 16, "l2": 0.02}
NETWORK = {"sizes": [3, 8, 1], "seed": 5, "backend": "numpy", "precision": "float64"}


@pytest.fixture
def draws():
    """Return for each of three networks the rows to train on and those left out; the last with weights."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 3))
    y = x @ [[1.0], [-2.0], [0.5]] + draw.normal(size=(60, 1))
    weights = balanced(draw.integers(0, 2, 60))
    parts = folds(60, 3, np.random.default_rng(1))
    return [tuple(PreparedRows(x[rows], y[rows], weights[rows]) for rows in part) for part in parts]


def losses(draws, l2, epochs):
    """Return the mean loss over all rows left out after each epoch, by plain fits."""
    total = np.zeros(epochs)
    for k, (train, left_out) in enumerate(draws):
        held_out = (left_out.x, left_out.y, left_out.weights)
        history = kth(NETWORK, k).fit(
            train.x,
            train.y,
            sample_weight=train.weights,
            validation=held_out,
            epochs=epochs,
            **SETTINGS | {"l2": l2},
        )
        total += np.array(history.validation_loss) * left_out.weights.sum()
    return total / sum(left_out.weights.sum() for _, left_out in draws)


def test_what_is_chosen_has_the_lowest_loss_of_plain_fits_of_the_same_networks(draws):
    choice = cross_validated(NETWORK, draws, settings=SETTINGS, search=True, epochs=40, patience=40)
    assert choice.networks == 3
    assert len(choice.tried) >= 3
    for l2, loss in choice.tried.items():
        expected = losses(draws, l2, 40)
        assert loss == pytest.approx(expected.min(), rel=1e-12)
        if l2 == choice.l2:
            assert choice.epochs == 1 + expected.argmin()
    assert choice.loss == min(choice.tried.values())


def test_without_a_search_the_penalty_stays_and_patience_ends_it(draws):
    choice = cross_validated(NETWORK, draws, settings=SETTINGS, search=False, epochs=500, patience=3)
    assert (choice.l2, [*choice.tried]) == (0.02, [0.02])
    expected = losses(draws, 0.02, choice.epochs + 3)
    assert 1 + expected.argmin() == choice.epochs
    assert "rows that it was trained without" in choice.as_text()
    assert "too)" not in choice.as_text()


def test_where_there_is_nothing_to_gain_no_further_penalty_is_tried():
    x = np.repeat([[0.0, 1.0, 2.0]], 60, axis=0)
    parts = [
        tuple(PreparedRows(x[rows], 0.0 * x[rows, :1]) for rows in part)
        for part in folds(60, 3, np.random.default_rng(1))
    ]
    choice = cross_validated(NETWORK, parts, settings=SETTINGS, search=True, epochs=60, patience=60)
    assert [*choice.tried] == [0.02]


def test_penalties_that_make_no_difference_end_the_search(draws, monkeypatch):
    monkeypatch.setattr("gdkernels.tabular.networks.cross_validation.GAIN", 0.05)
    choice = cross_validated(NETWORK, draws, settings=SETTINGS, search=True, epochs=5, patience=5)
    assert [*choice.tried] == [0.02, 0.08]
    assert choice.l2 == 0.02


def test_a_search_ends_when_its_work_is_done(draws, monkeypatch):
    monkeypatch.setattr("gdkernels.tabular.networks.cross_validation.MOST_WORK", 1.0)
    assert [*cross_validated(NETWORK, draws, settings=SETTINGS, search=True, epochs=9, patience=9).tried] == [0.02]


@pytest.mark.parametrize(
    ("reached", "tried"),
    [({4: 0.9, 16: 0.8, 64: 0.85}, [1, 4, 16, 64]), ({4: 1.2}, [1, 4]), ({4: 0.9, 16: 0.9}, [1, 4, 16])],
)
def test_penalties_go_on_while_the_loss_falls(reached, tried):
    found = {1: (1.0, 5)}
    _follow(found, lambda l2: (reached[l2], 5), [4, 16, 64])
    assert [*found] == tried


def test_the_model_is_the_average_of_networks_trained_as_chosen(command, tmp_path):
    path = write_csv(tmp_path / "t.csv", *made_up())
    told = partial(command, "train", path, "--target", "y", "--epochs", 12, "--test", 0, "--seed", 3)
    result = told("--json", "--out", tmp_path / "m").json
    choice = result["cross_validation"]
    assert choice["networks"] == len(result["averaged"]) == result["settings"]["average"] == 5
    assert {network["epochs"] for network in result["averaged"]} == {choice["epochs"]}
    assert result["settings"]["l2"] == choice["l2"] in [tried["l2"] for tried in choice["tried"]]
    assert f"chosen   l2 {choice['l2']:.2g} (of " in told().out
    assert told("--l2", 0.5, "--json").json["cross_validation"]["tried"] == [
        {"l2": 0.5, "loss": told("--l2", 0.5, "--json").json["cross_validation"]["loss"]}
    ]


@pytest.mark.parametrize(
    "said",
    ["--hidden 8", "--average 2", "--validation 0.1", "--patience 0", "--starts 2", "--retries 1", "--schedule cosine"],
)
def test_who_says_how_it_is_trained_gets_that(command, numbers, said):
    arguments = ("train", numbers, "--target", "y", "--epochs", 2, "--json")
    assert command(*arguments, *said.split()).json["cross_validation"] is None
    assert command(*arguments, "--checkpoint", numbers.parent / "c").json["cross_validation"] is None


def test_divergence_is_told_as_elsewhere(command, numbers):
    outcome = command("train", numbers, "--target", "y", "--optimizer", "sgd", "--learning-rate", 1e9)
    assert outcome.code == 1
    assert "gdkernels: training diverged in epoch 1; lower --learning-rate" in outcome.err


def test_folds_are_even_and_each_row_is_left_out_once():
    labels = np.repeat([0, 1, 2], [23, 9, 5])
    parts = folds(37, 5, np.random.default_rng(0), labels)
    assert sorted(np.concatenate([left_out for _, left_out in parts])) == list(range(37))
    for kept, left_out in parts:
        assert sorted([*kept, *left_out]) == list(range(37))
        assert len(left_out) in (7, 8)
        counts = np.bincount(labels[left_out], minlength=3)
        assert all(abs(counts - np.array([23, 9, 5]) / 5) < 1)


def test_networks_of_one_call_differ():
    first, second = (kth(NETWORK, k) for k in (0, 1))
    assert isinstance(first, MLP)
    assert not np.array_equal(first.parameters[0].W, second.parameters[0].W)
