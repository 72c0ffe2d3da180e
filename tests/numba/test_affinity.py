"""Threads of a run do not share a core while another is free."""

import os

import pytest
from gdkernels_numba.cpu import affinity
from gdkernels_numba.cpu.affinity import TakenCores
from gdkernels_numba.cpu.threads import run_on_threads

pytestmark = pytest.mark.skipif(affinity._core is None, reason="threads cannot be moved here")


@pytest.fixture
def moves(monkeypatch):
    """Plant cores on which threads are, one after another, and return to where they are moved."""
    moved = []

    def plant(*cores, allowed):
        coming = iter(cores)
        monkeypatch.setattr(affinity, "_core", lambda: next(coming))
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(allowed))
        monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: moved.append(set(cores)))
        return moved

    return plant


def test_who_wakes_on_a_taken_core_is_moved_and_may_then_go_anywhere(moves):
    moved = moves(1, 1, 0, allowed=range(2))  # the first thread; the second, before and after
    TakenCores().take()
    assert moved == [{0}, {0, 1}]


def test_a_third_avoids_both(moves):
    moved = moves(0, 1, 1, 0, 2, allowed=range(3))
    three = TakenCores()
    three.take()
    assert moved == []
    three.take()
    assert moved == [{2}, {0, 1, 2}]


def test_where_all_cores_are_taken_nothing_is_done(moves):
    moved = moves(0, 0, 0, allowed=[0])
    TakenCores().take()
    assert moved == []


def test_where_moving_is_not_permitted_the_run_goes_on(moves, monkeypatch):
    moves(0, 0, 0, allowed=range(2))

    def refuse(pid, cores):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    TakenCores().take()


def test_the_threads_of_a_run_take_their_places_and_keep_what_they_may_use():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one core")
    before = os.sched_getaffinity(0)
    found = []

    def where():
        found.append((affinity._core(), os.sched_getaffinity(0)))

    for _ in range(20):
        run_on_threads([where, where])
    assert all(allowed == before for _, allowed in found)
