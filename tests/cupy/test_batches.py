"""Models of one structure as strided batches: each as the definition has it, and as it comes out alone."""


import numpy as np
import pytest
from host_runs import OnHost

from gdkernels.backend import Job, Plan, verification
from gdkernels.testing.cases import CASES, data_of


class Models:
    """Models of a case, each with its own parameters, orders, rates and numbers."""

    def __init__(self, name, precision="float32", epochs=2, **choices):
        self.case, self.precision, self.epochs, self.backend = CASES[name], precision, epochs, OnHost()
        self.data = data_of(self.case)
        self.plan = Plan("cupy", "cuda:0", precision, {"many": True, "kernel": "batches", **choices})
        self.first = self.backend.compile(self.case.program, self.plan)
        self.dtype = "float64" if precision == "float64" else "float32"

    def put(self, a):
        return self.backend.asarray(np.asarray(a), dtype=self.dtype, device="cuda:0")

    def job(self, k, epochs=None, records=None):
        random = np.random.default_rng(k)
        case, epochs = self.case, epochs or self.epochs
        program = case.program
        executable = self.first.with_program(program)
        parameters = {n: (a * (1 + 0.1 * k)).astype(a.dtype) for n, a in self.data.parameters.items()}
        state = verification.start(program, parameters, self.put)
        state.seed = k
        n = records or case.records
        orders = np.stack([random.permutation(case.records)[:n] for _ in range(epochs)])
        rates = random.uniform(0.5, 1.0, (epochs, -(-n // case.batch_size))) * case.learning_rate
        weights = getattr(self.data, "sample_weight", None)
        x, y = self.put(self.data.x), self.put(self.data.y)
        more = () if weights is None else (self.put(weights),)
        return Job(executable, state, x, y, orders, case.batch_size, rates, *more)

    def run(self, jobs):
        return list(self.first.run_many(jobs))


def bits(job):
    return {name: np.asarray(a).tobytes() for name, a in verification.named_arrays(job.state)}


@pytest.mark.parametrize("name", ["wide", "adam", "softmax-cross_entropy"])
def test_first(host, name):
    models = Models(name)
    jobs = [models.job(k) for k in range(3)]
    found = models.run(jobs)
    assert models.first.remark, models.first.remark
    for k, job in enumerate(jobs):
        print(job.executable.plan.choices["kernel"], job.executable.remark)
        alone = models.job(k)
        assert models.run([alone]) == [found[k]]
        assert bits(alone) == bits(job)
