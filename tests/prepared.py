"""A table with a known column or two, and what becomes of them."""

import json

import numpy as np

from gdkernels.tables import Preparation, Table

GENERATOR = np.random.default_rng(0)
N = 200
X = GENERATOR.normal(3.0, 5.0, size=(N, 3))
Y = GENERATOR.normal(-100.0, 40.0, size=N)


def table(**columns):
    return Table.of({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": Y} | columns)


def only(values, y=Y, **settings):
    """Return what becomes of one column beside three others."""
    preparation = Preparation.fit(table(v=values, y=y), "y", **settings)
    return next(kind for kind in preparation.columns if kind.name == "v"), preparation


def through_json(preparation):
    back = Preparation.from_json(json.loads(json.dumps(preparation.to_json(), allow_nan=False)))
    assert json.dumps(back.to_json()) == json.dumps(preparation.to_json())
    return back
