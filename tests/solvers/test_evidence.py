"""The evidence: the penalty that it chooses, where a fit by it ends, which start it keeps."""

import logging
import math

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.training.history import StopReason
from gdkernels.training.solvers.evidence import BayesianEvidence
from gdkernels.training.solvers.likeliest import LikeliestPoint

LINE = np.linspace(-1, 1, 120)[:, None]
SINE = np.sin(2 * np.pi * LINE)


def network(sizes=(1, 8, 1), seed=0, precision="float64"):
    return gd.MLP(list(sizes), activation="tanh", seed=seed, precision=precision, backend="numpy")


def fit(model, X=LINE, Y=SINE, epochs=200, solver="lm", **run):
    return model.fit(X, Y, epochs=epochs, solver=solver, progress=False, **run)


def test_evidence_chooses_the_penalty_of_a_linear_model():
    """At its end, α and β are those that follow from the effective number of parameters (MacKay 1992)."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(80, 6))
    Y = X @ [[1.0], [0.5], [0.0], [0.0], [0.0], [0.0]] + 0.5 * draw.normal(size=(80, 1))
    model = gd.MLP([6, 1], precision="float64", seed=0, backend="numpy")
    history = fit(model, X, Y, solver=gd.LevenbergMarquardt(bayes=True))
    assert history.ended_by(StopReason.CONVERGED)
    gamma, penalty = history.effective_parameters, history.epochs[-1].penalty
    A = np.column_stack([X, np.ones(80)])
    ((W, b),) = model.parameters
    w = np.array([*W[:, 0], *b])
    beta = (80 - gamma) / np.sum((A @ w - Y[:, 0]) ** 2)
    alpha = gamma / (w @ w)
    assert penalty == pytest.approx(alpha / beta / 80, rel=1e-2)
    values = beta * np.linalg.eigvalsh(A.T @ A)
    assert gamma == pytest.approx(np.sum(values / (values + alpha)), rel=1e-3)
    assert 2 < gamma < 7


def test_evidence_generalises_where_the_plain_fit_does_not():
    draw = np.random.default_rng(0)
    X = draw.uniform(-1, 1, (40, 1))
    Y = np.sin(3 * X) + 0.3 * draw.normal(size=(40, 1))
    truth = np.sin(3 * LINE)
    plain, bayes = network((1, 15, 1)), network((1, 15, 1))
    fit(plain, X, Y)
    history = fit(bayes, X, Y, solver=gd.LevenbergMarquardt(bayes=True))
    assert history.effective_parameters < 15 < bayes.parameter_count
    assert bayes.loss(LINE, truth) < 0.25 * plain.loss(LINE, truth)


def noisy():
    draw = np.random.default_rng(5)
    X = draw.normal(size=(60, 5))
    return X, X[:, :1] + 0.8 * draw.normal(size=(60, 1))


def test_a_fit_goes_back_to_where_the_evidence_was_greatest():
    X, Y = noisy()
    model, solver = network((5, 8, 1), seed=5), gd.LevenbergMarquardt(bayes=True)
    history = fit(model, X, Y, solver=solver)
    assert history.stopped == "converged: the evidence has not risen for 10 iterations"
    last, known = history.epochs[-1], [e for e in history.epochs if e.log_evidence is not None]
    best = max(known[:-1], key=lambda e: e.log_evidence)
    assert best.number == last.number - 10
    told = [(e.log_evidence, e.effective_parameters, e.penalty) for e in (best, last)]
    assert told[0] == told[1]
    assert history.loss[-1] == pytest.approx(model.loss(X, Y), rel=1e-12)
    assert history.loss[-1] == history.loss[best.number - 2]  # the evidence is that of where an iteration begins


def test_the_likeliest_point_is_known_in_the_next_fit_but_not_on_other_records():
    X, Y = noisy()

    def trainer():
        return gd.Trainer(network((5, 8, 1), seed=5), solver=gd.LevenbergMarquardt(bayes=True))

    expected, parts = trainer().fit(X, Y, epochs=100, progress=False), trainer()
    parts.fit(X, Y, epochs=12, progress=False)  # the sixth was the best
    history = parts.fit(X, Y, epochs=100, progress=False)
    assert len(history.epochs) == len(expected.epochs) - 12
    assert history.loss[-1] == expected.loss[-1]
    parts = trainer()
    parts.fit(X, Y, epochs=12, progress=False)
    history = parts.fit(X, Y - 3.0, epochs=100, progress=False)
    assert history.loss[-1] == pytest.approx(parts.mlp.loss(X, Y - 3.0), rel=1e-12)


def test_a_point_waits_until_the_evidence_rises_by_something():
    def at(log_evidence):
        return BayesianEvidence(1.0, 1.0, 2.0, 1.0, log_evidence)

    known = None
    assert LikeliestPoint.beside(known, np.zeros(2), 1.0, at(None)) is None
    waits = []
    for k, found in enumerate((-5.0, -6.0, -4.95, None, -4.8)):
        known = LikeliestPoint.beside(known, np.full(2, float(k)), float(k), at(found))
        waits.append((known.vector[0], known.waited))
    assert waits == [(0, 0), (0, 1), (2, 2), (2, 2), (4, 0)]
    memory = known.as_memory(np.ones(2))
    again = LikeliestPoint.of(memory, np.ones(2))
    assert (again.vector.tolist(), again.error, again.evidence, again.waited) == ([4.0, 4.0], 4.0, at(-4.8), 0)
    assert LikeliestPoint.of(memory, np.zeros(2)) is None  # somebody has set other parameters


def test_the_start_with_the_greatest_evidence_is_kept():
    draw = np.random.default_rng(4)
    X = draw.normal(size=(40, 4))
    Y = X[:, :1] + 0.8 * draw.normal(size=(40, 1))
    solver, alone = gd.LevenbergMarquardt(bayes=True), []
    for seed in range(2):
        model = network((4, 8, 1))
        if seed:
            model.network.restart(seed)
        history = fit(model, X, Y, solver=solver, epochs=60)
        alone.append((history.epochs[-1].log_evidence, history.loss[-1]))
    history = fit(network((4, 8, 1)), X, Y, solver=solver, epochs=60, starts=2)
    assert (history.epochs[-1].log_evidence, history.loss[-1]) == max(alone)
    assert alone[0][0] != alone[1][0]
    assert fit(network(), solver="lm", epochs=2).epochs[-1].log_evidence is None


def test_the_evidence_is_that_of_a_linear_model():
    """Of a network without hidden units it is known in closed form: the probability of the targets."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(30, 2))
    Y = X @ [[1.0], [-2.0]] + 0.3 * draw.normal(size=(30, 1))
    model = network((2, 1))
    last = fit(model, X, Y, solver=gd.LevenbergMarquardt(bayes=True)).epochs[-1]
    wide = np.c_[X, np.ones(30)]
    weights = np.concatenate([np.asarray(a).ravel() for layer in model.parameters for a in layer])
    beta = (30 - last.effective_parameters) / np.sum((wide @ weights - Y[:, 0]) ** 2)
    alpha = last.penalty * beta * 30
    covariance = np.eye(30) / beta + wide @ wide.T / alpha
    expected = -0.5 * (Y[:, 0] @ np.linalg.solve(covariance, Y[:, 0]) + np.linalg.slogdet(2 * math.pi * covariance)[1])
    assert last.log_evidence == pytest.approx(expected, rel=1e-3)


def test_weights_that_are_no_record_and_data_that_tell_nothing(caplog):
    solver = gd.LevenbergMarquardt(bayes=True)
    with pytest.raises(gd.InputError, match=r"takes a weight for so many records, and these add up to 0\.012"):
        fit(network(), solver=solver, sample_weight=np.full(120, 1e-4))
    X = np.random.default_rng(0).normal(size=(60, 3))
    counts = np.abs((np.sin(X[:, :1]) + X[:, 1:2]).round())
    with caplog.at_level(logging.WARNING, "gdkernels"):
        fit(network((3, 5, 1), precision="float32"), X, counts, solver=solver, epochs=40, loss="poisson")
    assert caplog.text.count("the data determine no parameter at all") == 1
