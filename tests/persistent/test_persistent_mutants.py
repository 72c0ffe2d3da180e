"""Planted errors: a barrier that is missing, an index that is off, memory used too early. The twin notices each."""

import re
from functools import cache

import pytest
from persistent_runs import Run, bits, errors, normed, program
from persistent_twin import SCHEDULES, TwinDevice, TwinError

from gdkernels.definition import activations

BOUND = 1e-3

_run = cache(lambda: Run(program(activations.relu, activations.tanh, gradient_norm=True), (20, 33, 17, 5), 200, 150))
_reference = cache(lambda: _run().reference())


_normed = cache(lambda: Run(normed(19), normed(19).widths, 60, 60, "tf32"))
_reference_normed = cache(lambda: _normed().reference())


def _noticed(made, change, run=_run, reference=_reference, **choices):
    """Return what gives a changed kernel away, or None."""
    results = []
    for schedule in SCHEDULES:
        device = TwinDevice(made, schedule=schedule, change=change)
        try:
            found = run().on_twin(device, warps=4, **choices)
        except TwinError as error:
            return str(error)
        wrong = {name: e for name, e in errors(found, reference()).items() if not e <= BOUND}
        if wrong:
            return f"errors: {wrong}"
        results.append(bits(found))
    return None if results[0] == results[1] == results[2] else "bits that depend on the order of warps"


def _without(what, number):
    """Return a change that takes out one of the calls in the training kernel."""

    def change(text):
        start = text.index("KERNEL train(")
        places = [m.start() for m in re.finditer(re.escape(what), text[start:])]
        assert number < len(places), f"there are {len(places)} of {what}"
        at = start + places[number]
        return text[:at] + ";" + text[at + len(what) :]

    return change


def _instead(old, new):
    def change(text):
        assert old in text, old
        return text.replace(old, new)

    return change


MUTANTS = {
    # Barriers: that at the head of the tiles, and one after each delta.
    **{f"cta_sync {k} is missing": _without("cta_sync();", k) for k in range(4)},
    **{f"grid_sync {k} is missing": _without("grid_sync(barrier, phase);", k) for k in range(3)},
    "the copies of a tile are not waited for": _without("copies_wait();", 0),
    "the sum over a CTA does not wait": _instead("] = sum;\n    }\n    cta_sync();", "] = sum;\n    }"),
    "inputs of the tile before": _instead("second = !second;", ""),
    "the next inputs overwrite these": _instead("*const next_tile = second ?", "*const next_tile = !second ?"),
    "a gradient begins where the step before ended": _instead("if (tile == cta()) ", "if (false) "),
    "a gradient begins anew in every tile": _instead("if (tile == cta()) ", "if (true) "),
    "other rows of the gradient's left operand": _instead(
        "16 * k + 8 * (lane >> 4) + (lane & 7)", "16 * k + 8 * (lane >> 3 & 1) + (lane & 7)"
    ),
    "an operand is not transposed": _instead(
        "right_transposed<K>(b, m, k, block, lane)", "right<N>(b, m, k, block, lane)"
    ),
    "operands of a pair change places": _instead("left[k], b[2], b[3]);", "left[k], b[3], b[2]);"),
    "rows beyond the batch count": _instead("if (record[e >> 1] < 0 ||", "if ("),
    "a row of the loss counts four times": _instead(" && t == 0", ""),
    "halves of a stored row change places": _instead(
        "row + 8, 16 * k + 8 * h + column)", "row + 8, 16 * k + 8 * (1 - h) + column)"
    ),
    "one share of the rows is left out": _instead("share < 2; share++", "share < 1; share++"),
    "sums of columns leave rows out": _instead("v[n][e] + v[n][e + 2];", "v[n][e];"),
    "sums of idle CTAs too": _instead("active = tiles < ctas() ? tiles : ctas();", "active = ctas();"),
    "the bias of another unit": _instead("2 * t + (e & 1);\n", "2 * t + (e >> 1);\n"),
    "the slope by the value beside it": _instead("float_of(pair & 0xffff0000u)", "float_of(pair << 16)"),
    "what was kept comes back in another order": _instead("= own[(4 * n + e)", "= own[(4 * n + (e ^ 1))"),
    "products go on with the old weights": _instead("weights[0 + i", "if (false) weights[0 + i"),
}


def test_nothing_is_noticed_without_a_change(made):
    assert _noticed(made, lambda text: text, parked=1) is None


def test_sums_of_what_no_gradient_multiplies_wait_for_all_warps(made):
    given = _normed, _reference_normed
    assert _noticed(made, lambda text: text, *given) is None
    assert _noticed(made, _without("cta_sync();", -1), *given) is not None


# Barriers and copies always; indices of every kind where there is time.
ALWAYS = 15


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if k >= ALWAYS else name for k, name in enumerate(MUTANTS)]
)
def test_it_is_noticed(made, name):
    assert _noticed(made, MUTANTS[name], parked=1) is not None
