"""The conformance suite: what any backend has to do, ours and a third party's alike.

With a plug-in installed, one command runs it::

    GDKERNELS_BACKEND=mybackend python -m pytest --pyargs gdkernels.testing

`GDKERNELS_DEVICE` names a device other than the default one. A plug-in's own tests can run it too, and add theirs::

    from gdkernels.testing import BackendConformance

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self):
            return MyBackend()

Every program is compared with the definition in float64 on NumPy, array by array (`gdkernels.verify`): the relative
error ‖a − a64‖ / ‖a64‖ is at most max(1e-5, twice NumPy's own) after one step and max(1e-4, three times NumPy's own)
after a hundred, NumPy's own being its error in the same precision; in float64 it is at most 1e-10.
"""

import inspect
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from gdkernels import registry, verify
from gdkernels.backend import PRECISIONS, Backend, Executable, Plan, State, storage_dtype
from gdkernels.definition import activations, losses, network
from gdkernels.definition.network import Layer
from gdkernels.definition.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from gdkernels.program import Program
from gdkernels.reference import bind

__all__ = ["CASES", "BackendConformance", "Case"]


# ---- functions as a user writes them, in no table of built-in ones


def mish(z: Any, *, xp: Any) -> Any:
    """Return z·tanh(softplus(z)) (Misra 2019, arXiv:1908.08681)."""
    return z * xp.tanh(xp.logaddexp(z, 0.0))


def log_cosh(prediction: Any, target: Any, *, xp: Any) -> Any:
    """Return Σ_j log cosh(y_j − ŷ_j), scaled per record by the number of outputs."""
    e = prediction - target
    return xp.sum(e + xp.logaddexp(-2.0 * e, 0.0) - math.log(2.0), axis=-1) / prediction.shape[1]


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g², w ← w − (η/√t)·g / (√s + ε): two things that no built-in one does, in one rule."""

    learning_rate: float = 1e-2
    slots: ClassVar[int] = 1

    def rule(self, w: Any, g: Any, slots: Any, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Any]:
        s = slots[0] + g * g
        return w - (learning_rate / t**0.5) * g / (xp.sqrt(s) + 1e-7), (s,)


# ---- what is run


@dataclass(frozen=True)
class Case:
    """A program with the sizes that it is run at.

    Attributes
    ----------
    widths
        Of the input and of every layer.
    records, batch_size
        The last batch of an epoch is smaller where the one does not divide the other.
    steps
        How many are done at least, in whole epochs.
    """

    program: Program
    widths: tuple[int, ...] = (5, 7, 6, 3)
    records: int = 23
    batch_size: int = 8
    steps: int = 100
    learning_rate: float = 0.02


def _cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    momentum = SGD(momentum=0.9)  # its slot after one step is the gradient itself, times the rate
    for name, f in activations.BY_NAME.items():
        for loss_name, loss in losses.BY_NAME.items():
            takes_logits = losses.link_of(loss) is not activations.identity
            output = activations.identity if takes_logits else f
            program = Program((f, activations.tanh, output), loss=loss, optimizer=momentum)
            # Slow enough that training is not chaotic: there, NumPy's own error would allow everybody anything.
            rate = 0.002 if f is activations.exp else 0.005
            cases[f"{name}-{loss_name}"] = Case(program, learning_rate=rate)

    base = Program((activations.tanh, activations.softplus, activations.identity), loss=losses.sse, optimizer=momentum)
    for name, optimizer in {
        "sgd": SGD(),
        "momentum": momentum,
        "nesterov": SGD(momentum=0.9, nesterov=True),
        "rmsprop": RMSprop(),
        "adam": Adam(),
        "adamw": AdamW(weight_decay=0.1),
    }.items():
        cases[name] = Case(replace(base, optimizer=optimizer))
    changed: dict[str, dict[str, Any]] = {
        "l2": {"l2": 0.05},
        "clipping": {"clip_norm": 0.1},
        "clipping that seldom acts": {"clip_norm": 3.0},
        "gradient norm": {"gradient_norm": True},
        "norm of a clipped gradient": {"gradient_norm": True, "clip_norm": 0.1, "l2": 0.05},
        "no bias": {"bias": False},
        "sum": {"reduction": "sum"},
        "everything": {
            "l2": 0.01,
            "clip_norm": 0.5,
            "gradient_norm": True,
            "bias": False,
            "reduction": "sum",
            "optimizer": AdamW(),
        },
        "user's activation": {"activations": (mish, mish, activations.identity)},
        "user's loss": {"loss": log_cosh},
        "user's optimizer": {"optimizer": Adagrad()},
        "a mixture of activations": {"activations": (activations.relu, activations.gelu, activations.softmax)},
    }
    for name, changes in changed.items():
        cases[name] = Case(replace(base, **changes))

    def layers(f: Any, count: int) -> Program:
        return replace(base, activations=(f,) * count + (activations.identity,))

    relu, tanh = activations.relu, activations.tanh
    cases |= {
        "batch 1": Case(base, records=7, batch_size=1),
        "one record": Case(base, records=1, batch_size=8, steps=20),  # soon it is learnt, and momentum is all noise
        "a batch of all": Case(base, records=8, batch_size=8),
        "a last batch of one": Case(base, records=17, batch_size=8),
        "width 1": Case(layers(tanh, 2), widths=(1, 1, 1, 1)),
        "no hidden layer": Case(layers(relu, 0), widths=(4, 3)),
        "no hidden layer, width 1": Case(layers(relu, 0), widths=(1, 1)),
        "five hidden layers": Case(layers(tanh, 5), widths=(5, 6, 7, 8, 9, 4, 2)),
        # Beyond the sizes of tiles and vectors, and no multiples of them.
        "wide": Case(layers(relu, 2), widths=(67, 131, 65, 3), records=300, batch_size=130, steps=6),
        "narrow in, wide out": Case(layers(relu, 1), widths=(1, 5, 71), records=70, batch_size=33, steps=6),
    }
    return cases


CASES = _cases()

# NumPy arrays: what is compared, and when; with the number of steps that the bound is for.
Result = list[dict[str, npt.NDArray[Any]]]
_MOMENTS = {"after one step": 1, "after one epoch": 100, "at the end": 100}


@dataclass(frozen=True)
class _Data:
    """Inputs of a case, in float32 so that every precision starts from the same bits."""

    parameters: tuple[Layer, ...]
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]
    # (order, learning rates) of each run: the first step alone, the rest of the first epoch, then whole epochs
    runs: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = field(default_factory=list)

    @property
    def first_epoch(self) -> int:
        """How many runs the first epoch is made of."""
        return 1 if len(self.runs[0][0]) == len(self.x) else 2


@cache
def _data(case: Case) -> _Data:
    random = np.random.default_rng(sum(case.widths) + case.records)

    def draw(*shape: int) -> npt.NDArray[np.float32]:
        return random.standard_normal(shape, dtype=np.float32)

    parameters = tuple(
        Layer(draw(m, n) / np.float32(m**0.5), draw(n) / np.float32(4) if case.program.bias else None)
        for m, n in pairwise(case.widths)
    )
    x, y = draw(case.records, case.widths[0]), draw(case.records, case.widths[-1])
    loss = case.program.loss
    if loss is losses.poisson:
        y = np.floor(np.exp(y))  # counts, zeros among them
    elif loss is losses.cross_entropy:
        y = (y == y.max(axis=1, keepdims=True)).astype(np.float32)
    elif loss is losses.binary_cross_entropy:
        y = (y > 0).astype(np.float32)
    data = _Data(parameters, x, y)
    done = 0
    while done < case.steps:
        order = random.permutation(case.records)
        pieces = [order] if done else [order[: case.batch_size], order[case.batch_size :]]
        for piece in pieces:
            if len(piece):
                steps = -(-len(piece) // case.batch_size)
                # A rate of its own for each step: they have to be used one by one.
                data.runs.append((piece, case.learning_rate * random.uniform(0.5, 1.0, steps)))
                done += steps
    return data


def _all_runs(
    data: _Data, state: State, run: Callable[..., Any], to_numpy: Callable[[Any], Any], *, epochs: int | None = None
) -> Result:
    """Do the runs of all epochs, or of the first, and return what is compared at each of `_MOMENTS`."""
    results: Result = []
    total = 0.0
    moments = (1, data.first_epoch, len(data.runs))
    count = len(data.runs) if epochs is None else data.first_epoch + epochs - 1
    for k, (order, rates) in enumerate(data.runs[:count], start=1):
        loss, norm = run(state, order, rates)
        total += loss
        norms = {} if norm is None else {"the norm": np.asarray(norm)}
        results += [norms | _arrays(total, state, to_numpy)] * moments.count(k)
    return results


def _arrays(loss: float, state: State, to_numpy: Callable[[Any], Any]) -> dict[str, npt.NDArray[Any]]:
    # Copies: a compiled step goes on writing into the state's own arrays.
    arrays = {name: np.array(a) for name, a in verify.named_arrays(state, to_numpy)}
    return {"the loss": np.asarray(loss)} | arrays


def _numpy_state(case: Case, precision: str) -> State:
    dtype = storage_dtype(precision)
    return verify.start(case.program, _data(case).parameters, lambda a: np.asarray(a, dtype=dtype))


def _on_numpy(case: Case, precision: str) -> Result:
    data = _data(case)
    state = _numpy_state(case, precision)

    def run(state: State, order: Any, rates: Any) -> Any:
        return verify.continue_on_numpy(
            case.program, state, data.x, data.y, order, case.batch_size, rates, precision=precision
        )

    return _all_runs(data, state, run, np.asarray)


# Shared by all the backends of a test session.
_on_numpy_once = cache(_on_numpy)


def _put(backend: Backend, device: str, precision: str) -> Callable[[Any], Any]:
    def put(a: Any) -> Any:
        array = backend.asarray(np.array(a), dtype=storage_dtype(precision), device=device)
        if isinstance(array, np.ndarray):
            array.flags.writeable = False  # so that writing to inputs fails where it happens
        return array

    return put


def _state(backend: Backend, device: str, precision: str, program: Program, data: _Data) -> State:
    def put(a: Any) -> Any:
        return backend.asarray(np.array(a), dtype=storage_dtype(precision), device=device)

    return verify.start(program, data.parameters, put)


def _on_backend(backend: Backend, device: str, precision: str, case: Case, epochs: int | None = None) -> Result:
    data = _data(case)
    put = _put(backend, device, precision)
    x, y = put(data.x), put(data.y)
    executable = bind(backend, case.program, Plan(backend.name, device, precision))

    def run(state: State, order: Any, rates: Any) -> Any:
        return executable.run(state, x, y, order, case.batch_size, rates)

    state = _state(backend, device, precision, case.program, data)
    return _all_runs(data, state, run, backend.to_numpy, epochs=epochs)


def _compare(found: Result, own: Result, wanted: Result, precision: str) -> None:
    assert found
    for (when, steps), a, yardstick, a64 in zip(_MOMENTS.items(), found, own, wanted, strict=False):
        assert list(a) == list(a64), f"{when} there are {list(a)}, there should be {list(a64)}"
        for name in a64:
            error = verify.relative_error(a[name], a64[name])
            allowed = verify.bound(verify.relative_error(yardstick[name], a64[name]), precision, steps)
            assert error <= allowed, (
                f"in {precision}, {when}, {name} is off by {error:.1e}; at most {allowed:.1e} is allowed"
            )


def _with_gaps(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view with the values of `a` in every second column of a larger array."""
    return np.repeat(a, 2, axis=1)[:, ::2]


def _scaled(function: Callable[..., Any], factor: float) -> Callable[..., Any]:
    """Return a definition's `function` with the first of its results, or all of its gradients, times `factor`."""

    def changed(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, tuple):
            first, layers = result
            return first, network.map_layers(lambda g: factor * g, layers)
        return factor * result

    return changed


class BackendConformance:
    """Everything that is asked of a backend; subclasses say which by overriding the fixture `backend`.

    Attributes
    ----------
    epochs
        How many each program is trained for; None for about a hundred steps.
    """

    epochs: ClassVar[int | None] = None

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the backend under test: GDKERNELS_BACKEND, or NumPy."""
        return registry.get(os.environ.get("GDKERNELS_BACKEND", "numpy"))

    @pytest.fixture
    def device(self, backend: Backend) -> str:
        """Return the device under test: GDKERNELS_DEVICE, or the backend's default."""
        return os.environ.get("GDKERNELS_DEVICE") or backend.devices()[0]

    # ---- the contract

    def test_name_and_priority(self, backend: Backend) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", backend.name), f"{backend.name!r} is hard to type on a command line"
        assert isinstance(backend.priority, int)

    def test_precisions(self, backend: Backend) -> None:
        assert backend.precisions
        assert len(set(backend.precisions)) == len(backend.precisions)
        assert set(backend.precisions) <= set(PRECISIONS)

    def test_it_can_run_here(self, backend: Backend) -> None:
        assert backend.unavailable() is None

    def test_devices(self, backend: Backend, device: str) -> None:
        devices = backend.devices()
        assert devices
        assert all(isinstance(d, str) and d and d == d.strip() for d in devices)
        assert len(set(devices)) == len(devices)
        assert backend.devices() == devices
        assert device in devices

    def test_signatures(self, backend: Backend) -> None:
        for name, wanted in inspect.getmembers(Backend, inspect.isfunction):
            if name.startswith("_"):
                continue
            parameters = inspect.signature(getattr(type(backend), name)).parameters
            for parameter in inspect.signature(wanted).parameters.values():
                assert parameter.name in parameters, f"{name}() lacks the parameter {parameter.name}"
                assert parameters[parameter.name].kind == parameter.kind, (
                    f"{name}({parameter.name}) is passed otherwise"
                )
            for extra in parameters.keys() - inspect.signature(wanted).parameters.keys():
                assert parameters[extra].default is not inspect.Parameter.empty, f"{name}({extra}) needs a default"

    def test_hooks(self, backend: Backend, device: str) -> None:
        assert backend.synchronize(device) is None  # type: ignore[func-returns-value]
        assert isinstance(backend.expected(), bool)
        memory = backend.memory(device)
        if memory is not None:
            free, total = memory
            assert 0 <= free <= total
            assert total > 0
        with backend.on_device(device):
            pass

    # ---- arrays

    @pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
    @pytest.mark.parametrize("shape", [(3, 2), (4,), (1, 1), (0, 3), ()])
    def test_arrays_come_back(self, backend: Backend, device: str, dtype: str, shape: tuple[int, ...]) -> None:
        if dtype == "float64" and "float64" not in backend.precisions:
            pytest.skip("this backend has no float64")
        x = np.arange(math.prod(shape), dtype=dtype).reshape(shape) - 1
        a = backend.asarray(x, dtype=dtype, device=device)
        back = backend.to_numpy(a)
        assert isinstance(back, np.ndarray)
        assert back.dtype == np.dtype(dtype)
        assert back.shape == tuple(a.shape) == shape
        assert np.array_equal(back, x)
        again = backend.to_numpy(backend.asarray(a, dtype=dtype, device=device))
        assert np.array_equal(again, x), "its own arrays are taken too"

    @pytest.mark.parametrize("kind", ["float64", "int32", "read-only", "transposed", "strided", "big-endian", "DLPack"])
    def test_any_host_array_is_taken(self, backend: Backend, device: str, kind: str) -> None:
        x = np.asarray([[1.5, -2.0, 3.0], [4.0, 5.25, 1e-3]])
        given: Any = x
        if kind == "int32":
            given = x = x.astype(np.int32)
        elif kind == "read-only":
            x.flags.writeable = False
        elif kind == "transposed":
            given = x = x.T
        elif kind == "strided":
            given = x = x[:, ::2]
        elif kind == "big-endian":
            given = x.astype(">f8")
        elif kind == "DLPack":
            given = _OnlyDLPack(x)
        back = backend.to_numpy(backend.asarray(given, dtype="float32", device=device))
        assert back.dtype == np.float32
        assert np.array_equal(back, x.astype(np.float32))

    def test_owns(self, backend: Backend, device: str) -> None:
        assert backend.owns(backend.asarray(np.ones(2), dtype="float32", device=device))
        for stranger in ([1.0, 2.0], 1.0, "array", None, object()):
            assert not backend.owns(stranger)

    # ---- training

    @pytest.mark.parametrize("name", CASES)
    def test_training_is_the_definition(self, backend: Backend, device: str, name: str) -> None:
        case = CASES[name]
        for precision in backend.precisions:
            # In float64, where an epoch shows at 1e-10 what is wrong, a hundred steps would show no more.
            epochs = 1 if precision == "float64" else self.epochs
            found = _on_backend(backend, device, precision, case, epochs)
            _compare(found, _on_numpy_once(case, precision), _on_numpy_once(case, "float64"), precision)

    @pytest.mark.parametrize("what", ["forward", "gradient", "update"])
    def test_a_changed_definition_is_followed(
        self, backend: Backend, device: str, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Whatever a backend compiles comes from the definition. One that has the formulas a second time fails here.
        case = replace(CASES["tanh-sse"], steps=3, learning_rate=0.05)
        precision = backend.precisions[0]
        unchanged = _on_numpy(case, "float64")
        name = {"forward": "_affine", "gradient": "gradient", "update": "update"}[what]
        function = getattr(network, name)
        if what == "update":

            def changed(*args: Any, **kwargs: Any) -> Any:
                parameters, slots = function(*args, **kwargs)
                return network.map_layers(lambda w: 0.99 * w, parameters), slots
        else:
            changed = _scaled(function, 1.01)
        monkeypatch.setattr(network, name, changed)
        wanted = _on_numpy(case, "float64")
        assert verify.relative_error(wanted[-1]["W0"], unchanged[-1]["W0"]) > 1e-4, "the change is one that is seen"
        found = _on_backend(backend, device, precision, case)
        _compare(found, _on_numpy(case, precision), wanted, precision)

    def test_rows_are_taken_in_the_order_given(self, backend: Backend, device: str) -> None:
        # Some twice, some never: what a bootstrap or a validation split asks for.
        self._check_run(backend, device, order=np.asarray([5, 2, 2, 9, 0, 5, 11, 7, 2]), batch_size=4)

    def test_a_batch_larger_than_the_rows(self, backend: Backend, device: str) -> None:
        self._check_run(backend, device, order=np.asarray([3, 1, 4]), batch_size=64)

    @pytest.mark.parametrize("arrange", [np.asfortranarray, _with_gaps], ids=["columns first", "with gaps"])
    def test_inputs_in_any_memory_order(self, backend: Backend, device: str, arrange: Callable[[Any], Any]) -> None:
        self._check_run(backend, device, order=np.arange(20), batch_size=8, arrange=arrange)

    def _check_run(
        self,
        backend: Backend,
        device: str,
        order: npt.NDArray[np.int64],
        batch_size: int,
        arrange: Callable[[Any], Any] = np.asarray,
    ) -> None:
        case = CASES["adam"]
        data = _data(case)
        rates = np.linspace(0.03, 0.01, -(-len(order) // batch_size))
        for precision in backend.precisions:
            dtype = storage_dtype(precision)
            x, y = (backend.asarray(arrange(a.astype(dtype)), dtype=dtype, device=device) for a in (data.x, data.y))
            state = _state(backend, device, precision, case.program, data)
            executable = bind(backend, case.program, Plan(backend.name, device, precision))
            loss, _ = executable.run(state, x, y, order, batch_size, rates)
            found = [_arrays(loss, state, backend.to_numpy)]
            on_numpy = [self._run_on_numpy(case, p, order, batch_size, rates) for p in (precision, "float64")]
            _compare(found, on_numpy[:1], on_numpy[1:], precision)

    @staticmethod
    def _run_on_numpy(case: Case, precision: str, order: Any, batch_size: int, rates: Any) -> dict[str, Any]:
        data = _data(case)
        state = _numpy_state(case, precision)
        loss, _ = verify.continue_on_numpy(case.program, state, data.x, data.y, order, batch_size, rates, precision)
        return _arrays(loss, state, np.asarray)

    def test_what_run_returns(self, backend: Backend, device: str) -> None:
        for precision in backend.precisions:
            for name, has_norm in (("adam", False), ("gradient norm", True)):
                state, (loss, norm) = self._one_epoch(backend, device, precision, CASES[name])
                assert type(loss) is float
                assert (type(norm) is float) if has_norm else (norm is None)
                assert state.step == 3
                assert isinstance(state.step, int)

    def test_the_same_run_gives_the_same_bits(self, backend: Backend, device: str) -> None:
        for precision in backend.precisions:
            first, returned = self._one_epoch(backend, device, precision, CASES["adam"])
            second, again = self._one_epoch(backend, device, precision, CASES["adam"])
            assert returned == again
            _assert_same_bits(backend, first, second)

    def test_two_runs_are_one_run_continued(self, backend: Backend, device: str) -> None:
        case = CASES["adam"]
        order, rates = np.arange(20), np.linspace(0.02, 0.01, 3)
        for precision in backend.precisions:
            executable, x, y = self._bind(backend, device, precision, case)
            one = _state(backend, device, precision, case.program, _data(case))
            two = _state(backend, device, precision, case.program, _data(case))
            loss, _ = executable.run(one, x, y, order, 8, rates)
            parts = [
                executable.run(two, x, y, order[:8], 8, rates[:1])[0],
                executable.run(two, x, y, order[8:], 8, rates[1:])[0],
            ]
            assert one.step == two.step == 3
            assert math.isclose(loss, sum(parts), rel_tol=1e-6)
            _assert_same_bits(backend, one, two)

    def test_a_copy_of_the_state_is_left_alone(self, backend: Backend, device: str) -> None:
        case = CASES["adam"]
        precision = backend.precisions[0]
        executable, x, y = self._bind(backend, device, precision, case)
        state = _state(backend, device, precision, case.program, _data(case))
        with backend.on_device(device):
            kept = state.copy(backend.xp)
        executable.run(state, x, y, np.arange(20), 8, np.full(3, 0.01))
        assert kept.step == 0
        _assert_same_bits(backend, kept, _state(backend, device, precision, case.program, _data(case)))

    def test_inputs_are_not_modified(self, backend: Backend, device: str) -> None:
        case = CASES["relu-sse"]
        for precision in backend.precisions:
            executable, x, y = self._bind(backend, device, precision, case)
            state = _state(backend, device, precision, case.program, _data(case))
            order, rates = np.arange(20), np.full(3, 0.01)
            order.flags.writeable = rates.flags.writeable = False
            executable.run(state, x, y, order, 8, rates)
            executable.predict(state.parameters, x)
            assert np.array_equal(backend.to_numpy(x), _data(case).x)
            assert np.array_equal(backend.to_numpy(y), _data(case).y)

    def test_what_is_not_finite_is_seen(self, backend: Backend, device: str) -> None:
        # A relu or a maximum that swallows a NaN would let training go on with it.
        for name in ("relu-sse", "leaky_relu-sse", "tanh-huber", "gelu-cross_entropy"):
            case = CASES[name]
            executable, _, y = self._bind(backend, device, backend.precisions[0], case)
            x = _data(case).x.copy()
            x[2, 1] = math.nan
            given = _put(backend, device, backend.precisions[0])(x)
            state = _state(backend, device, backend.precisions[0], case.program, _data(case))
            loss, _ = executable.run(state, given, y, np.arange(8), 8, np.full(1, 0.01))
            assert math.isnan(loss), f"{name} hides a NaN"

    # ---- predicting

    @pytest.mark.parametrize("name", ["relu-sse", "softmax-mse", "no hidden layer", "no bias", "wide", "width 1"])
    @pytest.mark.parametrize("trains", [True, False], ids=["program that trains", "program that predicts"])
    def test_predicting_is_the_definition(self, backend: Backend, device: str, name: str, trains: bool) -> None:
        case, data = CASES[name], _data(CASES[name])
        program = case.program if trains else replace(case.program, loss=None, optimizer=None)
        wanted = self._predict_on_numpy(program, data, "float64")
        for precision in backend.precisions:
            own = self._predict_on_numpy(program, data, precision)
            put = _put(backend, device, precision)
            parameters = network.map_layers(put, data.parameters)
            executable = bind(backend, program, Plan(backend.name, device, precision))
            for rows in (len(wanted), 1):
                output = executable.predict(parameters, put(data.x[:rows]))
                assert backend.owns(output)
                found = backend.to_numpy(output)
                assert found.dtype == storage_dtype(precision)
                _compare([{"ŷ": found}], [{"ŷ": own[:rows]}], [{"ŷ": wanted[:rows]}], precision)

    @staticmethod
    def _predict_on_numpy(program: Program, data: _Data, precision: str) -> npt.NDArray[Any]:
        dtype = storage_dtype(precision)
        parameters = network.map_layers(lambda a: np.asarray(a, dtype=dtype), data.parameters)
        return verify.predict_on_numpy(program, parameters, np.asarray(data.x, dtype=dtype), precision)

    # ---- executables

    def test_executables_say_what_they_are(self, backend: Backend, device: str) -> None:
        for precision in backend.precisions:
            executable, _, _ = self._bind(backend, device, precision, CASES["adam"])
            assert isinstance(executable, Executable)
            assert executable.origin in ("definition", "compiled")
            plan = executable.plan
            assert (plan.backend, plan.device, plan.precision) == (backend.name, device, precision)
            assert isinstance(executable.workspace(64), int)
            assert 0 <= executable.workspace(8) <= executable.workspace(64)

    def test_the_self_test_passes(self, backend: Backend, device: str) -> None:
        assert verify.self_test(backend, device) >= 0

    @staticmethod
    def _bind(backend: Backend, device: str, precision: str, case: Case) -> tuple[Executable, Any, Any]:
        put = _put(backend, device, precision)
        executable = bind(backend, case.program, Plan(backend.name, device, precision))
        return executable, put(_data(case).x), put(_data(case).y)

    def _one_epoch(self, backend: Backend, device: str, precision: str, case: Case) -> tuple[State, Any]:
        executable, x, y = self._bind(backend, device, precision, case)
        state = _state(backend, device, precision, case.program, _data(case))
        return state, executable.run(state, x, y, np.arange(20), 8, np.linspace(0.02, 0.01, 3))


def _assert_same_bits(backend: Backend, one: State, other: State) -> None:
    wanted = dict(verify.named_arrays(other, backend.to_numpy))
    for name, array in verify.named_arrays(one, backend.to_numpy):
        assert array.tobytes() == wanted[name].tobytes(), f"{name} differs in its bits"


class _OnlyDLPack:
    """An array of a library that NumPy knows nothing about."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._values.__dlpack_device__()


class TestBackend(BackendConformance):
    """The suite on the backend that GDKERNELS_BACKEND names: what the command above collects."""
