"""What a graph may not hold: each mistake is refused while it is captured, or when it is launched again."""

from dataclasses import replace

import numpy as np
import pytest
from gdkernels_cupy.cuda import device as device_module
from gdkernels_cupy.cuda.keyed_order import order_words
from gdkernels_cupy.graphs.bound_steps import bound_call
from gdkernels_cupy.graphs.calls import fill_order, next_batch
from gdkernels_cupy.graphs.operations import MatrixProduct, matrix
from gdkernels_cupy.graphs.products import Matmul
from gdkernels_cupy.graphs.session_memory import SessionAddresses
from host_arrays import CaptureError
from host_runs import Run
from programs import text_with

from gdkernels.randomness import KeyedOrder


class Work:
    """A kernel and a product on memory of a device."""

    def __init__(self, host):
        self.host, self.gpu = host, device_module.device(0)
        self.memory = self.gpu.put(np.resize(order_words(KeyedOrder.of(0, 0, 10)), 4096))
        self.module = self.gpu.kernels(text_with([]))
        self.kernel = self.bound(self.memory.address)
        self.before = self.gpu.stream.record()

    def bound(self, words):
        return bound_call(fill_order(words, 0, 1, self.memory.address + 4096), self.module)

    def product(self):
        buffers = [matrix(name, 8, 8, "float32") for name in "abc"]
        at = SessionAddresses(self.memory.address, {"a": 0, "b": 1024, "c": 2048}, self.memory.address, 2)
        found = Matmul(MatrixProduct(*buffers), "float32", at)
        assert found.choose(self.gpu.handle, None)
        return lambda: found(self.gpu.handle, self.gpu.workspace.address, self.gpu.stream.ptr)


def on_another_stream(work):
    with work.gpu.copying:
        work.kernel()


MISTAKES = {
    "memory": (lambda work: lambda: work.gpu.allocate(8), "allocating"),
    "pinned memory": (lambda work: lambda: work.host.cupy.cuda.PinnedMemory(8, 1), "allocating"),
    "an array": (lambda work: lambda: work.host.cupy.asarray(np.zeros(2)), "allocating"),
    "numbers of the host": (lambda work: lambda: work.gpu.upload(work.memory.address, np.zeros(2)), "copying"),
    "a result": (lambda work: lambda: work.gpu.download(np.zeros(2), work.memory.address), "copying"),
    "an array on the host": (lambda work: lambda: work.host.cupy.asnumpy(np.zeros(2)), "copying"),
    "waiting": (lambda work: work.gpu.stream.synchronize, "waiting"),
    "memory that is given back": (lambda work: work.host.cupy.get_default_memory_pool().free_all_blocks, "freeing"),
    "an event from before": (lambda work: lambda: work.gpu.stream.wait_event(work.before), "from outside"),
    "another stream": (lambda work: lambda: on_another_stream(work), "not in the capture"),
    "a kernel that is new": (
        lambda work: bound_call(next_batch(1, SessionAddresses(0, {}, work.memory.address, 2)), work.module),
        "next_batch has never run",
    ),
    "a product that is new": (lambda work: work.product(), "a product that has never run"),
    "an array of the caller's": (lambda work: work.bound(np.zeros(8).ctypes.data), "not the device's own"),
    "a heuristic": (lambda work: work.product, "a heuristic"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_it_is_refused(host, what):
    mistake, said = MISTAKES[what]
    gpu = device_module.device(0)
    with gpu.working():
        work = Work(host)
        work.kernel()
        wrong = mistake(work)
        with pytest.raises(CaptureError, match=said):
            gpu.captured([work.kernel, wrong])
        gpu.captured([work.kernel]).launch(gpu.stream)


def test_a_graph_whose_memory_was_freed_is_not_launched(host):
    gpu = device_module.device(0)
    with gpu.working():
        work = Work(host)
        work.kernel()
        graph = gpu.captured([work.kernel])
        graph.launch(gpu.stream)
        work.memory = None
        with pytest.raises(CaptureError, match="was freed"):
            graph.launch(gpu.stream)


def test_an_event_of_a_capture_is_none_afterwards(host):
    gpu, events = device_module.device(0), []
    with gpu.working():
        gpu.captured([lambda: events.append(gpu.stream.record())])
        with pytest.raises(CaptureError, match="has ended"):
            gpu.copying.wait_event(events[0])


@pytest.mark.parametrize("name", ["computed weights, everything", "embeddings, everything", "dropout in a residual"])
def test_what_changes_from_run_to_run_is_no_part_of_a_graph(host, name):
    """Rates, orders, arrays, the step and the keys of what is drawn: by graphs of other runs as by those of its own."""

    def second(run):
        run.x, run.y = run.put(run.data.x[::-1]), run.put(run.data.y[::-1])
        order = np.random.default_rng(0).integers(0, len(run.x), len(run.x))  # a record may come twice
        rates = np.linspace(0.03, 0.01, -(-len(order) // run.case.batch_size))
        given = {} if run.data.sample_weight is None else {"sample_weight": run.put(run.data.sample_weight[::-1])}
        return run.executable.run(run.state, run.x, run.y, order, run.case.batch_size, rates, **given)

    weights = {}
    first = Run(name, micro_batches=2)
    assert len(first.x) % first.case.batch_size, "there is a smaller last batch"
    if first.data.sample_weight is not None:
        weights = {"sample_weight": first.put(first.data.sample_weight)}
    first.epoch(**weights)
    other = Run(name, micro_batches=2)
    parameters = {n: other.put(np.array(a)) for n, a in first.state.parameters.items()}
    slots = {n: tuple(other.put(np.array(a)) for a in moved) for n, moved in first.state.slots.items()}
    other.state = replace(first.state, parameters=parameters, slots=slots)
    captured = host.graphs
    found = second(first)
    assert host.graphs == captured
    assert second(other) == found
    assert other.bits == first.bits
