"""The suite itself. A plug-in's own tests can run it too, and add theirs::

    from gdkernels.testing import BackendConformance

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self):
            return MyBackend()

Every program is compared with the definition in float64 on NumPy, array by array (`gdkernels.backend.verification`):
the relative error ‖a − a64‖ / ‖a64‖ is at most max(1e-5, twice NumPy's own) after one step and max(1e-4, three times
NumPy's own) after a hundred, NumPy's own being its error in the same precision; in float64 it is at most 1e-10.
"""

import inspect
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from gdkernels.backend import PRECISIONS, Backend, Executable, Job, Plan, storage_dtype, verification
from gdkernels.backend.definition_executable import bind
from gdkernels.definition import network
from gdkernels.definition.blocks import Dense
from gdkernels.dispatch import registry
from gdkernels.graph import forget_traces
from gdkernels.testing.cases import CASES, compare, data_of, on_backend, on_numpy, on_numpy_once, put_on
from gdkernels.testing.cases.bound_case import BoundCase, assert_same_bits, check_run, predict_on_numpy
from gdkernels.testing.cases.given_arrays import OnlyDLPack, with_gaps

__all__ = ["BackendConformance"]


def _scaled(function: Callable[..., Any], factor: float) -> Callable[..., Any]:
    """Return a definition's `function` with the first of its results, or all of its gradients, times `factor`."""

    def changed(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, tuple):
            first, gradients = result
            return first, {name: factor * g for name, g in gradients.items()}
        return factor * result

    return changed


class BackendConformance:
    """All requirements on a backend; a subclass names the backend by overriding the fixture `backend`.

    Attributes
    ----------
    epochs
        The epochs that each program is trained for; None means about a hundred steps.
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
            given = OnlyDLPack(x)
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
            found = on_backend(backend, device, precision, case, epochs)
            own = [on_numpy_once(case, p, epochs) for p in verification.roundings(precision)]
            compare(found, own, on_numpy_once(case, "float64", epochs), precision)

    @pytest.mark.parametrize("what", ["forward", "gradient", "update"])
    def test_a_changed_definition_is_followed(
        self, backend: Backend, device: str, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A backend must compile the definition. One with its own copy of the formulas fails here.
        case = replace(CASES["tanh-sse"], steps=3, learning_rate=0.05)
        precision = backend.precisions[0]
        unchanged = on_numpy(case, "float64")
        home, name = {"forward": (Dense, "__call__"), "gradient": (network, "gradient"), "update": (network, "update")}[
            what
        ]
        function = getattr(home, name)
        if what == "update":

            def changed(*args: Any, **kwargs: Any) -> Any:
                parameters, slots = function(*args, **kwargs)
                return {name: 0.99 * w for name, w in parameters.items()}, slots
        else:
            changed = _scaled(function, 1.01)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(home, name, changed)
                forget_traces()
                wanted = on_numpy(case, "float64")
                assert verification.relative_error(wanted[-1]["W0"], unchanged[-1]["W0"]) > 1e-4, (
                    "the change is one that is seen"
                )
                found = on_backend(backend, device, precision, case)
                compare(found, [on_numpy(case, p) for p in verification.roundings(precision)], wanted, precision)
        finally:
            forget_traces()

    def test_rows_are_taken_in_the_order_given(self, backend: Backend, device: str) -> None:
        # Some twice, some never, as in a bootstrap or a validation split.
        check_run(backend, device, order=np.asarray([5, 2, 2, 9, 0, 5, 11, 7, 2]), batch_size=4)

    def test_a_batch_larger_than_the_rows(self, backend: Backend, device: str) -> None:
        check_run(backend, device, order=np.asarray([3, 1, 4]), batch_size=64)

    @pytest.mark.parametrize("arrange", [np.asfortranarray, with_gaps], ids=["columns first", "with gaps"])
    def test_inputs_in_any_memory_order(self, backend: Backend, device: str, arrange: Callable[[Any], Any]) -> None:
        check_run(backend, device, order=np.arange(20), batch_size=8, arrange=arrange)

    def test_what_run_returns(self, backend: Backend, device: str) -> None:
        for precision in backend.precisions:
            for name, has_norm in (("adam", False), ("gradient norm", True)):
                state, (loss, norm) = BoundCase(backend, device, precision, CASES[name]).one_epoch()
                assert type(loss) is float
                assert (type(norm) is float) if has_norm else (norm is None)
                assert state.step == 3
                assert isinstance(state.step, int)

    def test_the_same_run_gives_the_same_bits(self, backend: Backend, device: str) -> None:
        for precision in backend.precisions:
            first, returned = BoundCase(backend, device, precision, CASES["adam"]).one_epoch()
            second, again = BoundCase(backend, device, precision, CASES["adam"]).one_epoch()
            assert returned == again
            assert_same_bits(backend, first, second)

    def test_two_runs_are_one_run_continued(self, backend: Backend, device: str) -> None:
        case = CASES["adam"]
        order, rates = np.arange(20), np.linspace(0.02, 0.01, 3)
        for precision in backend.precisions:
            bound = BoundCase(backend, device, precision, case)
            executable, x, y = bound.executable, bound.x, bound.y
            one, two = bound.state(), bound.state()
            loss, _ = executable.run(one, x, y, order, 8, rates)
            parts = [
                executable.run(two, x, y, order[:8], 8, rates[:1])[0],
                executable.run(two, x, y, order[8:], 8, rates[1:])[0],
            ]
            assert one.step == two.step == 3
            assert math.isclose(loss, sum(parts), rel_tol=1e-6)
            assert_same_bits(backend, one, two)

    @pytest.mark.parametrize("threads", [1, 3])
    def test_many_jobs_are_each_one_alone(self, backend: Backend, device: str, threads: int) -> None:
        # Of two programs and two sizes of a batch, for several epochs, some with a last batch that is smaller; one job
        # is made only when others have run.
        for precision in backend.precisions:
            bound = [BoundCase(backend, device, precision, CASES[name]) for name in ("adam", "relu-sse", "adam")]

            def job(k: int, bound: list[BoundCase] = bound) -> Job:
                mine, random = bound[k % 3], np.random.default_rng(k)
                batch, epochs = 4 + 3 * (k % 2), 1 + k % 3
                orders = np.stack([random.permutation(20) for _ in range(epochs)])
                rates = random.uniform(0.01, 0.02, (epochs, -(-20 // batch)))
                return Job(mine.executable, mine.state(), mine.x, mine.y, orders, batch, rates)

            count = 11
            alone, many = [job(k) for k in range(count)], [job(k) for k in range(count)]
            wanted = [one.run() for one in alone]
            assert list(bound[0].executable.run_many(iter(many), threads)) == wanted
            for one, other in zip(many, alone, strict=True):
                assert one.state.step == other.state.step
                assert_same_bits(backend, one.state, other.state)

    def test_a_copy_of_the_state_is_left_alone(self, backend: Backend, device: str) -> None:
        bound = BoundCase(backend, device, backend.precisions[0], CASES["adam"])
        state = bound.state()
        with backend.on_device(device):
            kept = state.copy(backend.xp)
        bound.executable.run(state, bound.x, bound.y, np.arange(20), 8, np.full(3, 0.01))
        assert kept.step == 0
        assert_same_bits(backend, kept, bound.state())

    def test_inputs_are_not_modified(self, backend: Backend, device: str) -> None:
        case = CASES["relu-sse"]
        for precision in backend.precisions:
            bound = BoundCase(backend, device, precision, case)
            state = bound.state()
            order, rates = np.arange(20), np.full(3, 0.01)
            order.flags.writeable = rates.flags.writeable = False
            bound.executable.run(state, bound.x, bound.y, order, 8, rates)
            bound.executable.predict(state.parameters, bound.x)
            assert np.array_equal(backend.to_numpy(bound.x), data_of(case).x)
            assert np.array_equal(backend.to_numpy(bound.y), data_of(case).y)

    def test_what_is_not_finite_is_seen(self, backend: Backend, device: str) -> None:
        # A relu or a maximum that swallows a NaN would let training go on with it.
        for name in ("relu-sse", "leaky_relu-sse", "tanh-huber", "gelu-cross_entropy"):
            case = CASES[name]
            bound = BoundCase(backend, device, backend.precisions[0], case)
            x = data_of(case).x.copy()
            x[2, 1] = math.nan
            given = put_on(backend, device, backend.precisions[0])(x)
            loss, _ = bound.executable.run(bound.state(), given, bound.y, np.arange(8), 8, np.full(1, 0.01))
            assert math.isnan(loss), f"{name} hides a NaN"

    # ---- predicting

    @pytest.mark.parametrize("name", ["relu-sse", "softmax-mse", "no hidden layer", "no bias", "wide", "width 1"])
    @pytest.mark.parametrize("trains", [True, False], ids=["program that trains", "program that predicts"])
    def test_predicting_is_the_definition(self, backend: Backend, device: str, name: str, trains: bool) -> None:
        case, data = CASES[name], data_of(CASES[name])
        program = case.program if trains else replace(case.program, objective=None, optimizer=None)
        wanted = predict_on_numpy(program, data, "float64")
        for precision in backend.precisions:
            own = [predict_on_numpy(program, data, p) for p in verification.roundings(precision)]
            put = put_on(backend, device, precision)
            parameters = {name: put(a) for name, a in data.parameters.items()}
            executable = bind(backend, program, Plan(backend.name, device, precision))
            for rows in (len(wanted), 1):
                output = executable.predict(parameters, put(data.x[:rows]))
                assert backend.owns(output)
                found = backend.to_numpy(output)
                assert found.dtype == storage_dtype(precision)
                compare([{"ŷ": found}], [[{"ŷ": a[:rows]}] for a in own], [{"ŷ": wanted[:rows]}], precision)

    # ---- executables

    def test_executables_say_what_they_are(self, backend: Backend, device: str) -> None:
        for precision in backend.precisions:
            executable = BoundCase(backend, device, precision, CASES["adam"]).executable
            assert isinstance(executable, Executable)
            assert executable.origin in ("definition", "compiled")
            plan = executable.plan
            assert (plan.backend, plan.device, plan.precision) == (backend.name, device, precision)
            assert isinstance(executable.workspace(64), int)
            assert 0 <= executable.workspace(8) <= executable.workspace(64)

    def test_the_self_test_passes(self, backend: Backend, device: str) -> None:
        assert verification.self_test(backend, device) >= 0
