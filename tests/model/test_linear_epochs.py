"""An epoch costs the same however many came before it, counted in calls: a clock would depend on the machine."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.definition.loss_sequence import Losses, fold
from gdkernels.definition.schedules import BY_NAME

EARLY, LATE = 50, 400


class Calls:
    """Counts the calls between one epoch and the next."""

    def __init__(self):
        self.by_epoch, self._counted = [], 0

    def profile(self, frame, event, argument):
        self._counted += 1

    def __call__(self, epoch):
        self.by_epoch.append(self._counted)
        self._counted = 0


@pytest.mark.parametrize("schedule", sorted(BY_NAME))
def test_a_late_epoch_makes_as_many_calls_as_an_early_one(schedule):
    X = np.arange(8.0, dtype=np.float32).reshape(4, 2)
    mlp, calls, before = gd.MLP([2, 3, 1], seed=0, backend="numpy"), Calls(), sys.getprofile()
    sys.setprofile(calls.profile)
    try:
        mlp.fit(X, X[:, :1], epochs=LATE, batch_size=4, schedule=schedule, progress=False, callbacks=[calls])
    finally:
        sys.setprofile(before)
    # A few calls more are Python's own; a copy of the losses, or a look at each, is a call for each earlier epoch.
    assert abs(max(calls.by_epoch[-10:]) - max(calls.by_epoch[EARLY - 10 : EARLY])) < (LATE - EARLY) / 4


def test_what_a_schedule_is_given_does_not_grow_with_the_epochs():
    seen = []

    def schedule(epoch, *, epochs, losses):
        seen.append((losses, sys.getsizeof(losses), len(losses), tuple(losses[-2:])))
        return 1.0

    history = gd.MLP([1, 1], seed=0, backend="numpy").fit(
        np.ones((4, 1), np.float32), np.ones((4, 1), np.float32), epochs=60, schedule=schedule, progress=False
    )
    kept, sizes, counts, last = zip(*seen, strict=True)
    assert len(set(sizes)) == 1
    assert list(counts) == list(range(60))
    assert last[5] == tuple(history.loss[3:5])
    assert [tuple(each) for each in kept] == [tuple(history.loss[:k]) for k in range(60)]  # none of them changed


@dataclass(frozen=True)
class Counting:
    seen: list

    def rule(self, total, loss):
        self.seen.append(loss)
        return total + loss


def test_a_rule_looks_at_each_loss_once():
    losses, counting = Losses.of(), Counting([])
    for k in range(100):
        losses = losses.then(float(k))
        assert losses.fold(counting.rule, 0.0) == sum(range(k + 1))
    assert counting.seen == [float(k) for k in range(100)]
    assert fold(counting.rule, losses[:3], 0.0) == 3.0


def test_losses_are_a_sequence_that_never_changes():
    first = Losses.of([3.0, 2.0])
    one, other = first.then(1.0), first.then(5.0)
    assert (first, one, other) == ((3.0, 2.0), (3.0, 2.0, 1.0), (3.0, 2.0, 5.0))
    assert (one[-1], one[:2], len(one), repr(one)) == (1.0, (3.0, 2.0), 3, "(3.0, 2.0, 1.0)")
    assert min(other) == 2.0
    assert np.mean(one) == 2.0
    with pytest.raises(IndexError):
        first[2]
    assert not Losses.of()
    assert other.fold(lambda a, b: a + b, 0.0) == 10.0
    counting = Counting([])
    assert (one.fold(counting.rule, 0.0), first.fold(counting.rule, 0.0), one.fold(counting.rule, 0.0)) == (6, 5, 6)
