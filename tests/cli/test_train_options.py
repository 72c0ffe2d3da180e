"""Each option of `gdkernels train` does what it says: optimizers, losses, rows set aside, kinds of targets."""

import numpy as np
import pytest
from made_up import made_up
from training_commands import LEARNS, QUICK, train


def test_same_seed_same_figures_other_seed_other_figures(command, numbers):
    def figures(seed):
        result = train(command, numbers, *QUICK, "--seed", seed)
        return result["metrics"]

    assert figures(3) == figures(3)
    assert figures(3) != figures(4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optimizer", "sgd"], {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": False}),
        (
            ["--optimizer", "sgd", "--learning-rate", "0.1", "--momentum", "0.5", "--nesterov"],
            {"name": "sgd", "learning_rate": 0.1, "momentum": 0.5, "nesterov": True},
        ),
        (["--optimizer", "rmsprop"], {"name": "rmsprop", "learning_rate": 0.001, "rho": 0.9, "epsilon": 1e-8}),
        (["--optimizer", "rmsprop", "--learning-rate", "3e-3"], {"name": "rmsprop", "learning_rate": 0.003}),
    ],
)
def test_optimizers(command, numbers, arguments, expected):
    assert train(command, numbers, *QUICK, *arguments)["settings"]["optimizer"].items() >= expected.items()


def test_adamw_decays_weights_itself(command, numbers):
    assert train(command, numbers, *QUICK, "--optimizer", "adamw")["settings"]["l2"] == 0
    assert train(command, numbers, *QUICK, "--optimizer", "adamw", "--l2", 0.5)["settings"]["l2"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--l2", "0.5"], {"settings": {"l2": 0.5}}),
        (["--clip-norm", "0.5"], {"settings": {"clip_norm": 0.5}}),
        (["--schedule", "cosine"], {"settings": {"schedule": "cosine"}}),
        (["--batch-size", "7"], {"settings": {"batch_size": 7}}),
        (["--batch-size", "100000"], {"settings": {"batch_size": 100000}}),
        (["--activation", "gelu"], {"activation": ["gelu"]}),
        (["--hidden", "5,4"], {"sizes": [3, 5, 4, 1]}),
        (["--hidden", "none"], {"sizes": [3, 1], "activation": []}),
        (["--precision", "float64"], {"precision": "float64"}),
        (["--backend", "numpy"], {"reason": "as asked for"}),
        (["--device", "cpu"], {"device": "cpu"}),
        (["--test", "0.5", "--validation", "0.25"], {"rows": {"train": 90, "validation": 30, "test": 120}}),
        (["--validation", "0"], {"rows": {"train": 192, "validation": 0, "test": 48}, "settings": {"patience": 0}}),
    ],
)
def test_options_do_what_they_say(command, numbers, arguments, changes):
    plain, changed = (train(command, numbers, *QUICK, *more) for more in ([], arguments))
    for name, value in changes.items():
        if isinstance(value, dict) and name == "settings":
            assert value.items() <= changed[name].items()
        else:
            assert changed[name] == value
    if arguments[0] not in ("--backend", "--device"):  # the others change what is computed
        assert changed["metrics"] != plain["metrics"]


def test_patience_ends_training(command, numbers):
    result = train(command, numbers, "--hidden", 256, "--patience", 2, "--learning-rate", 0.1)
    assert result["epochs"] < 200
    assert result["stopped"] == "the validation loss has not fallen for 2 epochs"
    assert result["best_epoch"] == result["epochs"] - 2
    assert train(command, numbers, *QUICK, "--patience", 0)["stopped"] == "all 5 epochs are done"


def test_patience_without_validation_watches_the_training_loss(command, numbers):
    result = train(command, numbers, "--validation", 0, "--patience", 1, "--learning-rate", 0.5, "--batch-size", 8)
    assert result["stopped"] == "the loss has not fallen for 1 epochs"


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_losses_of_numbers(command, numbers, loss):
    result = train(command, numbers, "--loss", loss, *LEARNS)
    assert result["settings"]["loss"] == loss
    assert result["metrics"]["r2"] > 0.9


@pytest.mark.parametrize("loss", ["sse", "mse", "huber"])
def test_losses_of_numbers_on_classes_give_probabilities(command, classes, loss):
    result = train(command, classes, "--loss", loss, *LEARNS)
    assert result["task"] == "classification"
    assert result["sizes"][-1] == 3
    assert result["metrics"]["accuracy"] > 0.8
    assert 0 < result["metrics"]["log_loss"] < 0.6


@pytest.mark.parametrize(("loss", "outputs"), [("cross_entropy", 2), ("binary_cross_entropy", 1)])
def test_two_classes(command, tmp_path, loss, outputs):
    x, y = made_up()
    np.savez(tmp_path / "two.npz", X=x, Y=np.where(y > np.median(y), 7, -7))
    result = command("train", tmp_path / "two.npz", "--json", "--loss", loss, *LEARNS).json
    assert result["classes"] == [-7, 7]
    assert result["sizes"][-1] == outputs
    assert result["metrics"]["accuracy"] > 0.9
    assert result["metrics"]["log_loss"] < 0.4


def test_counts(command, tmp_path):
    x, _ = made_up(records=1000)
    counts = np.random.default_rng(0).poisson(np.exp(0.5 * x[:, 0])).astype(float)
    np.savez(tmp_path / "counts.npz", X=x, Y=counts)
    result = command("train", tmp_path / "counts.npz", "--json", "--loss", "poisson", *LEARNS).json
    assert result["task"] == "regression"
    assert result["metrics"]["r2"] > 0.1


def test_the_task_can_be_said(command, classes, numbers):
    assert train(command, classes, *QUICK, "--task", "regression")["metrics"].keys() == {"r2", "rmse", "mae"}
    assert train(command, classes, *QUICK, "--loss", "cross_entropy")["task"] == "classification"


def test_one_hot_and_several_targets(command, tmp_path):
    x, y = made_up(classes=True)
    np.savez(tmp_path / "hot.npz", X=x, Y=np.eye(3)[(y / 10).astype(int)])
    np.savez(tmp_path / "two.npz", X=x, Y=np.column_stack([x[:, 0], 1e4 * x[:, 2]]))
    hot = command("train", tmp_path / "hot.npz", "--json", *LEARNS).json
    assert (hot["task"], hot["classes"]) == ("classification", [0, 1, 2])
    assert hot["metrics"]["accuracy"] > 0.8
    two = command("train", tmp_path / "two.npz", "--json", *LEARNS).json
    assert (two["task"], two["sizes"][-1]) == ("regression", 2)
    assert two["metrics"]["r2"] > 0.95


def test_npy_and_tabs(command, tmp_path):
    x, y = made_up()
    np.save(tmp_path / "a.npy", np.column_stack([y, x]))
    (tmp_path / "t.tsv").write_text(
        "y\ta\tb\tc\n" + "\n".join("\t".join(map(repr, row)) for row in np.column_stack([y, x]).tolist())
    )
    results = [
        command("train", tmp_path / name, "--target", target, "--json", *QUICK).json
        for name, target in (("a.npy", "0"), ("t.tsv", "y"))
    ]
    assert results[0]["metrics"] == results[1]["metrics"]
