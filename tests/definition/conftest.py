"""Faults that tests of the definition plant, to see that they would be noticed."""

import pytest

from gdkernels.graph import derivative, forget_traces


@pytest.fixture
def plant_one_percent(monkeypatch):
    """Return what makes the derivative of an operation 1 % too large."""

    def plant(op):
        rule = derivative._RULES[op]

        def wrong(graph, node, cotangent):
            return tuple(None if part is None else 1.01 * part for part in rule(graph, node, cotangent))

        monkeypatch.setitem(derivative._RULES, op, wrong)
        forget_traces()

    yield plant
    forget_traces()
