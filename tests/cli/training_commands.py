"""Training from the command line on one small network, for several test modules."""

QUICK = ("--epochs", "5", "--hidden", "8")
# One small network, trained for as long as the made-up tables need.
LEARNS = ("--hidden", "64", "--learning-rate", "0.01", "--epochs", "150")


def train(command, data, *arguments):
    """Return what training says as JSON."""
    outcome = command("train", data, "--target", "y", "--json", *arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    return outcome.json
