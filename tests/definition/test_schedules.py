"""Schedules, each value by hand."""

import math

import numpy as np
import pytest

from gdkernels.definition.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    ReduceOnPlateau,
    Schedule,
    Step,
)
from gdkernels.errors import InputError


def at(schedule, epoch, *, epochs=None, losses=()):
    return schedule(epoch, epochs=epochs, losses=losses)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(), {0: 1.0, 0.5: 1.0, 100: 1.0}),
        (Step(every=2, gamma=0.5), {0: 1.0, 1.99: 1.0, 2: 0.5, 3.5: 0.5, 4: 0.25, 6.0: 0.125}),
        (Step(every=0.5, gamma=0.1), {0.49: 1.0, 0.5: 0.1, 1.0: 0.01}),
        (Exponential(gamma=0.25), {0: 1.0, 0.5: 0.5, 1: 0.25, 2: 0.0625}),
        (InverseScaling(), {0: 1.0, 3: 0.5, 8: 1 / 3, 0.5: 1 / math.sqrt(1.5)}),
        (InverseScaling(power=1.0), {1: 0.5, 3: 0.25}),
    ],
    ids=repr,
)
def test_values_without_warm_up(schedule, values):
    for epoch, factor in values.items():
        assert at(schedule, epoch) == pytest.approx(factor, rel=1e-15)


def test_cosine_falls_from_one_to_its_floor():
    values = {0: 1.0, 2.5: 0.5 + 0.25 * math.sqrt(2), 5: 0.5, 7.5: 0.5 - 0.25 * math.sqrt(2), 10: 0.0, 12: 0.0}
    for epoch, factor in values.items():
        assert at(Cosine(), epoch, epochs=10) == pytest.approx(factor, abs=1e-15)
        assert at(Cosine(floor=0.2), epoch, epochs=10) == pytest.approx(0.2 + 0.8 * factor, abs=1e-15)


def test_cosine_has_to_know_the_end():
    with pytest.raises(InputError, match=r"how many epochs .* fit\(epochs=…\)"):
        at(Cosine(), 0.5)


def test_warm_up_rises_linearly_to_the_schedules_own_start():
    schedule = Exponential(gamma=0.5, warmup=2)
    values = {0: 0.0, 0.5: 0.25, 1: 0.5, 2: 1.0, 3: 0.5, 4: 0.25}
    assert {epoch: at(schedule, epoch) for epoch in values} == pytest.approx(values)


def test_cosine_after_a_warm_up_ends_with_the_last_epoch():
    values = {1: 0.5, 2: 1.0, 6: 0.5, 10: 0.0}
    assert {e: at(Cosine(warmup=2), e, epochs=10) for e in values} == pytest.approx(values, abs=1e-15)
    assert at(Cosine(warmup=10), 5, epochs=10) == 0.5
    assert at(Cosine(warmup=20), 10, epochs=10) == 0.5


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(),
        Constant(warmup=2),
        Step(every=2),
        Exponential(warmup=1.5),
        Cosine(floor=0.1, warmup=1),
        InverseScaling(),
        ReduceOnPlateau(patience=1, warmup=3),
    ],
    ids=repr,
)
def test_the_rates_of_an_epoch_in_one_call_are_those_one_by_one(schedule):
    positions = np.linspace(0.0, 4.0, 17)
    together = np.broadcast_to(at(schedule, positions, epochs=4, losses=[1.0, 1.0]), positions.shape)
    one_by_one = [at(schedule, float(p), epochs=4, losses=[1.0, 1.0]) for p in positions]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-15)


def test_reduce_on_plateau_waits_for_the_loss():
    schedule = ReduceOnPlateau(gamma=0.5, patience=2, threshold=0.1)
    assert at(schedule, 0) == 1.0
    assert at(schedule, 3, losses=[8.0, 4.0, 2.0]) == 1.0
    assert at(schedule, 4, losses=[8.0, 4.0, 2.0, 1.9]) == 1.0  # not a tenth less: one epoch without progress
    assert at(schedule, 5, losses=[8.0, 4.0, 2.0, 1.9, 1.85]) == 0.5  # two
    assert at(schedule, 6, losses=[8.0, 4.0, 2.0, 1.9, 1.85, 1.0]) == 0.5
    assert at(schedule, 7, losses=[8.0, 4.0, 2.0, 1.9, 1.85, 1.84, 1.83]) == 0.25  # waits anew after a reduction
    assert at(schedule, 5, losses=[8.0, 4.0, 2.0, 1.9, 1.7]) == 1.0  # 15 % below the best, not below the last


def test_reduce_on_plateau_with_losses_below_zero():
    schedule = ReduceOnPlateau(gamma=0.5, patience=1, threshold=0.1)
    assert at(schedule, 2, losses=[-1.0, -1.2]) == 1.0
    assert at(schedule, 2, losses=[-1.0, -1.05]) == 0.5


def test_asking_twice_gives_the_same():
    schedule = ReduceOnPlateau(patience=1)
    assert at(schedule, 2, losses=[1.0, 1.0]) == at(schedule, 2, losses=[1.0, 1.0]) == 0.1


@pytest.mark.parametrize(
    ("schedule", "parameters", "message"),
    [
        (Constant, {"warmup": -1}, "warmup must be a number of epochs of at least 0, got -1"),
        (Constant, {"warmup": math.inf}, "got inf"),
        (Constant, {"warmup": "2"}, "got '2'"),
        (Step, {"every": 0}, "every must be a number of epochs above 0, got 0"),
        (Step, {"gamma": 0.0}, "gamma must be a finite number above 0"),
        (Step, {"gamma": math.nan}, "gamma must be .* got nan"),
        (Step, {"warmup": -0.5}, "warmup"),
        (Exponential, {"gamma": -0.5}, "Exponential: gamma"),
        (Exponential, {"gamma": True}, "Exponential: gamma"),
        (Cosine, {"floor": 1.5}, "floor must be a number from 0 to 1"),
        (InverseScaling, {"power": -1}, "power"),
        (ReduceOnPlateau, {"patience": 0}, "patience must be a whole number of epochs of at least 1"),
        (ReduceOnPlateau, {"patience": 1.5}, "patience must be a whole number"),
        (ReduceOnPlateau, {"threshold": 1.0}, "threshold"),
        (ReduceOnPlateau, {"gamma": 0}, "gamma"),
        (ReduceOnPlateau, {"warmup": -1}, "warmup"),
    ],
)
def test_parameters_out_of_range_are_refused(schedule, parameters, message):
    with pytest.raises(InputError, match=message):
        schedule(**parameters)


def test_a_schedule_without_a_factor_is_no_schedule():
    with pytest.raises(TypeError, match="abstract"):
        Schedule()
