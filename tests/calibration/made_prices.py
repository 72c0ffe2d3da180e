"""Calibrations and jobs that are made up."""

import gdkernels as gd
from gdkernels.dispatch.calibration import Calibration, Candidate
from gdkernels.system.machine import machine

VERSIONS = {"numpy": "2", "backend numba": "gdkernels 1"}
ONE, TWO, NUMPY = Candidate("numba", "cpu", 1), Candidate("numba", "cpu", 2), Candidate("numpy", "cpu")
# One thread costs 1 ns a FLOP, two cost half of that and 1 ms a step: they cross over at 2 MFLOP.
PRICES = {ONE: {"product_flops": 1e-9}, TWO: {"product_flops": 0.5e-9, "steps": 1e-3}, NUMPY: {"steps": 1.0}}


def made(prices=PRICES, **changes):
    content = {
        "precision": "float32",
        "prices": prices,
        "machine": machine(),
        "versions": VERSIONS,
        "noise": 0.01,
        "misfit": dict.fromkeys(prices, 0.1),
        "date": "2026-11-21",
    }
    return Calibration(**content | changes)


def work(sizes=(16, 16, 16), batch=64, records=640, epochs=1, **settings):
    return gd.Trainer(gd.MLP(sizes, seed=0), batch_size=batch, **settings).workload(records, epochs)
