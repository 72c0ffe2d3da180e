"""Jobs in one pass: what is abandoned, what fails, what cannot be shared; bits are the conformance suite's subject."""

import itertools
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest
from gdkernels_numba.ir.translate import translate
from gdkernels_numba.many import _Queue
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.job_fields import ORDERER, QUEUE
from gdkernels_numba.vm.jobs import order_memory
from llvmlite import ir

import gdkernels as gd
from gdkernels.backend import Job, Plan, State
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.definition.blocks import Dense, Sequential
from gdkernels.definition.losses import sse
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.dispatch import registry
from gdkernels.errors import InputError

X = np.random.default_rng(0).standard_normal((40, 3)).astype("float32")
Y = X[:, :1] * X[:, 1:2]


def executable(width=8, rate=0.01, threads=1):
    program = Program(Sequential(Dense(width, "relu"), Dense(1)), 3, Objective(sse), SGD(rate, momentum=0.5))
    return program, bind(registry.get("numba"), program, Plan("numba", "cpu", "float32", {"threads": threads}))


def job(of, k=0, epochs=2, batch=8, rows=40):
    program, made = of
    random = np.random.default_rng(k)
    parameters = {n: random.standard_normal(p.shape).astype("float32") for n, p in program.parameters.items()}
    slots = {n: (np.zeros_like(a),) for n, a in parameters.items()}
    orders = np.stack([random.permutation(rows) for _ in range(epochs)])
    return Job(made, State(parameters, slots), X, Y, orders, batch, np.full((epochs, -(-rows // batch)), 0.01))


def bits(one):
    return [a.tobytes() for a in one.state.parameters.values()]


def test_more_jobs_shapes_and_batches_than_are_kept_at_a_time():
    made = [executable(width) for width in range(4, 22)]  # 18 shapes, of which 16 are kept
    many, alone = ([job(made[k // 5], k, batch=8 if k % 5 else 16) for k in range(90)] for _ in range(2))
    wanted = [one.run() for one in alone]
    assert list(made[0][1].run_many(many, 2)) == wanted
    assert list(map(bits, many)) == list(map(bits, alone))
    assert all(one.seconds > 0 for one in many)


def test_a_job_of_several_threads_runs_among_the_others():
    made = executable(), executable(threads=2)
    many, alone = ([job(made[k % 2], k) for k in range(6)] for _ in range(2))
    assert list(made[0][1].run_many(iter(many), 2)) == [one.run() for one in alone]
    assert list(map(bits, many)) == list(map(bits, alone))


def test_who_stops_early_leaves_the_other_jobs():
    made = executable()
    many = [job(made, k) for k in range(40)]
    running = made[1].run_many(iter(many), 2)
    wanted = job(made)
    assert next(running) == wanted.run()
    running.close()
    begun = sum(bits(one) != bits(job(made, k)) for k, one in enumerate(many))
    assert begun < 40
    assert list(made[1].run_many([job(made)], 2)) == [job(made).run()]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_between_jobs_ends_all(threads):
    made = executable()

    def jobs():
        yield from (job(made, k) for k in range(5))
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(made[1].run_many(jobs(), threads))
    wrong = job(made)
    wrong.orders = wrong.orders + 1
    with pytest.raises(InputError, match="names row 1 to 40 of 40 rows"):
        list(made[1].run_many([job(made), wrong], threads))
    assert list(made[1].run_many([job(made)], threads)) == [job(made).run()]


def test_jobs_are_made_while_others_run_and_not_all_at_once():
    made, asked = executable(), itertools.count()

    def jobs():
        for k in range(60):
            next(asked)
            yield job(made, k)

    running = made[1].run_many(jobs(), 2)
    next(running)
    assert next(asked) < 20
    assert len(list(running)) == 59


def test_nobody_waits_for_threads_that_have_nothing_to_do(monkeypatch):
    """Two models in one pass: no thread is started for those that are left, and a thread without a job may end."""
    ended = []

    class Absent:  # threads that never come
        def __init__(self, *_):
            pass

        start = let_begin = rest = check = wait = __init__

    def work(queue):
        ended.append(int(queue._words[QUEUE.ended // WORD]))
        return worked(queue)

    def refused(*_):
        raise AssertionError("threads for no job")

    worked = _Queue.work
    monkeypatch.setattr("gdkernels_numba.many.OtherThreads", Absent)
    monkeypatch.setattr("gdkernels.training.jobs.threads.ThreadPoolExecutor", refused)
    monkeypatch.setattr(_Queue, "work", work)
    models = [gd.MLP([3, 4, 1], seed=k, backend="numba") for k in range(2)]
    histories = gd.fit_many(models, X, Y, epochs=2, settings={"batch_size": 8}, threads=2)
    assert [len(history.epochs) for history in histories] == [2, 2]
    assert ended == [1, 1]


def test_the_queue_is_published_in_order_on_processors_that_keep_none():
    """The host writes a job plainly, then its number: on Arm, only a barrier between the two lets both be seen so."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module("orderer")
    translate(module, {ORDERER: order_memory})
    parsed = llvm.parse_assembly(str(module))
    parsed.triple = "aarch64-unknown-linux-gnu"
    arm = llvm.Target.from_triple(parsed.triple).create_target_machine(cpu="generic", opt=2)
    assert "dmb\tish" in arm.emit_assembly(parsed)


def test_a_job_is_there_before_its_number(monkeypatch):
    of = executable()
    one = job(of)
    prepared, queue, seen = of[1].prepared(one), _Queue(1), []

    def look():
        words = queue._words
        seen.append((int(words[QUEUE.published // WORD]), bool(words[QUEUE.slots // WORD])))

    monkeypatch.setattr(prepared.bound, "kernels", replace(prepared.bound.kernels, order_memory=look))
    queue.add(one, prepared)
    assert seen == [(0, True)]
    queue.work()
    assert len(list(queue.finished())) == 1
    assert len(seen) == 2, "and a barrier before the results are read"
    queue.end(None)
