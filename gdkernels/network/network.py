"""A network: its structure, its parameters in their place, and what can be computed with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.backend import PRECISIONS, Backend, Executable, Plan
from gdkernels.backend.program import Program
from gdkernels.data.records import Records, records_in
from gdkernels.data.validation import place_inputs
from gdkernels.definition.activations import Activation, identity
from gdkernels.definition.initialisation import initial_parameters
from gdkernels.definition.losses import Loss, link_of
from gdkernels.definition.naming import describe, resolve
from gdkernels.definition.network import Layer, Layers, map_layers
from gdkernels.dispatch import registry
from gdkernels.dispatch.array_api import choose_for
from gdkernels.dispatch.binding import Binding, located
from gdkernels.dispatch.footprint import check_initial
from gdkernels.dispatch.workload import Work
from gdkernels.errors import InputError, unknown_name
from gdkernels.system.notebook import html_table

__all__ = ["Model"]


class Model:
    """What a `gdkernels.MLP` is and what a `gdkernels.Trainer` trains; `gdkernels.MLP` says what each argument means.

    What begins with an underscore is shared by the modules that are built on this one, and by nobody else.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
        bias: bool = True,
        seed: int | None = None,
        backend: str | Backend = "auto",
        device: str | None = None,
        precision: str | None = "float32",
    ) -> None:
        self.sizes = _checked_sizes(sizes)
        self.activations = _hidden_activations(activation, len(self.sizes) - 2)
        self.output: Activation = resolve("activation", output)
        self.bias = bool(bias)
        self.seed = randomness.checked_seed(seed)
        if precision is not None and precision not in PRECISIONS:
            raise unknown_name("precision", precision, PRECISIONS)
        self._precision = precision
        self._backend, self._device = backend, device
        self._binding: Binding | None = None
        self._executables: dict[tuple[Activation, ...], Executable] = {}
        self._loss: Loss | None = None
        self.extra: dict[str, Any] = {}
        if backend != "auto" or device is not None:  # what the user named fails now, not after loading the data
            registry.choose(backend, device, precision or "float32")
        check_initial(self.sizes, self.bias)
        self._parameters: tuple[Layer, ...] = self._initial(0)

    # ---- where it is

    @property
    def backend(self) -> str:
        """The name of the backend, "auto" until it is chosen."""
        if self._binding is not None:
            return self._binding.backend.name
        return self._backend if isinstance(self._backend, str) else self._backend.name

    @property
    def device(self) -> str:
        """The device of the parameters; "cpu" until a backend is chosen."""
        return self._binding.device if self._binding is not None else "cpu"

    @property
    def precision(self) -> str | None:
        """The precision, None until it follows from the data."""
        return self._binding.precision if self._binding is not None else self._precision

    def to(self, device: str | None = None, *, backend: str | Backend | None = None) -> Self:
        """Move to another device or backend, and return self.

        Raises
        ------
        BackendError
            If it cannot be had here; nothing has moved then.
        """
        wanted: str | Backend = "auto" if backend is None else backend
        if backend is None and self._binding is not None and device in self._binding.backend.devices():
            wanted = self._binding.backend
        choice = registry.choose(wanted, device, self.precision or "float32")
        self._backend, self._device = choice.backend, choice.device
        if self._binding is not None:
            self._rebind(Binding(choice.backend, choice.device, self._binding.precision, choice.reason))
        return self

    def _bind(self, X: Any, work: Callable[[int], Work] | None = None, planned: Plan | None = None) -> Binding:
        """Return where to compute, chosen now if it was not before: for `work` on so many records, or predicting.

        Where nobody named a place, that of the plan `planned` is taken, if it can be had here.
        """
        if self._binding is None:
            precision = self._precision or ("float64" if "float64" in _dtype_name(X) else "float32")
            records = records_in(X)
            job = (work or self._prediction)(records) if records else None
            choice = choose_for(X, self._backend, self._device, precision, job, planned)
            self._rebind(Binding(choice.backend, choice.device, precision, choice.reason))
            assert self._binding is not None
        return self._binding

    def _prediction(self, records: int) -> Work:
        return Work(Program((*self.activations, self.output), self.bias), self.sizes, records, records)

    @contextmanager
    def _bound(
        self, X: Any, work: Callable[[int], Work] | None = None, planned: Plan | None = None
    ) -> Iterator[Binding]:
        """Bind if that has not been done, and make the device the current one, for libraries that have such a thing."""
        binding = self._bind(X, work, planned)
        with binding.backend.on_device(binding.device):
            yield binding

    def _rebind(self, binding: Binding) -> None:
        old = self._binding

        def move(a: Any) -> Any:
            return binding.place(a if old is None else old.to_numpy(a), "parameters")

        self._parameters = map_layers(move, self._parameters)
        self._binding, self._executables = binding, {}

    # ---- parameters

    @property
    def parameters(self) -> tuple[Layer, ...]:
        """A copy of the weights and biases: a `Layer` for each layer, arrays of the backend."""
        if self._binding is None:
            return map_layers(np.copy, self._parameters)
        with self._bound(None) as binding:
            return map_layers(lambda a: binding.xp.asarray(a, copy=True), self._parameters)

    def _host_parameters(self) -> Layers:
        """Return the weights and biases as NumPy arrays, which are not to be changed."""
        return map_layers(np.asarray if self._binding is None else self._binding.to_numpy, self._parameters)

    def set_parameters(self, parameters: Sequence[Sequence[Any]]) -> None:
        """Set weights and biases: for each layer W [inputs, units] and b [units], or W alone without biases.

        Raises
        ------
        InputError
            For the wrong number of layers, wrong shapes, or values that are not finite.
        """
        if len(parameters) != len(self._parameters):
            raise InputError(f"parameters for {len(parameters)} layers given; the network has {len(self._parameters)}")
        placed = []
        for k, (given, now) in enumerate(zip(parameters, self._parameters, strict=True)):
            arrays = [a for a in given if a is not None]
            shapes = [tuple(a.shape) for a in now if a is not None]
            if [tuple(np.shape(a)) for a in arrays] != shapes:
                raise InputError(
                    f"parameters of layer {k} have the shapes {[tuple(np.shape(a)) for a in arrays]}; expected {shapes}"
                )
            placed.append(Layer(*(self._placed_parameter(a, f"layer {k}") for a in arrays)))
        self._parameters = tuple(placed)

    def _placed_parameter(self, a: Any, name: str) -> Any:
        if self._binding is not None:
            with self._bound(None) as binding:
                array = binding.xp.asarray(binding.place(a, name), copy=True)
                binding.check_finite(binding.xp.reshape(array, (-1, array.shape[-1])), name)
                return array
        host = np.array(a, dtype=np.float64)
        if not np.all(np.isfinite(host)):
            raise InputError(f"the parameters of {name} are not all finite")
        return host

    def _initial(self, start: int) -> tuple[Layer, ...]:
        """Return the initial parameters of one of several starts, as NumPy arrays."""
        generator = randomness.generator(self.seed, "weights", start)
        return initial_parameters(self.sizes, (*self.activations, self.output), self.bias, generator)

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(a.shape) for layer in self._parameters for a in layer if a is not None)

    # ---- what trainer and questions share

    def _set_objective(self, loss: Loss) -> None:
        """Remember what the network is trained for; a loss that takes logits sets the output to its link."""
        self._loss = loss
        link = link_of(loss)
        if link is not identity:
            self.output = link

    def _raw_activations(self, loss: Loss) -> tuple[Activation, ...]:
        """Return the activations with which the network puts out what `loss` takes: logits where it has a link."""
        return (*self.activations, self.output if link_of(loss) is identity else identity)

    def _outputs(self, X: Any) -> Any:
        x = place_inputs(self._bind(X), X, self.sizes[0])
        return self._executable((*self.activations, self.output)).predict(self._parameters, x)

    def _executable(self, activations: tuple[Activation, ...]) -> Executable:
        assert self._binding is not None
        if activations not in self._executables:
            self._executables[activations] = self._binding.executable(Program(activations, self.bias))
        return self._executables[activations]

    def _error(self, x: Any, y: Any, loss: Loss | None = None, sample_weight: Any = None) -> float:
        """Return E for records on the device."""
        function = loss or self._loss
        assert function is not None
        assert self._binding is not None
        raw = self._executable(self._raw_activations(function)).predict(self._parameters, x)
        xp = self._binding.xp
        with np.errstate(all="ignore"):
            value = function(raw, y, xp=xp)
            value = value if sample_weight is None else sample_weight * value
            return float(xp.sum(xp.astype(value, xp.float64)))

    def _judged_by(self, records: Records) -> list[npt.NDArray[Any]]:
        """Return target and prediction of records on the device, and their weights if they have some, on the host."""
        output = self._executable((*self.activations, self.output)).predict(self._parameters, records.x)
        return [records.binding.to_numpy(a) for a in (records.y, output, records.weights) if a is not None]

    def __repr__(self) -> str:
        hidden = ", ".join(dict.fromkeys(describe(f)["name"] for f in self.activations)) or "no hidden layer"
        where = located(self._binding) if self._binding is not None else f"backend {self.backend}, not yet bound"
        output = describe(self.output)["name"]
        return f"MLP({list(self.sizes)}, {hidden} → {output}, {self.parameter_count:,} parameters, {where})"

    def _repr_html_(self) -> str:
        rows = [
            (k, f"{layer.W.shape[0]:,} → {layer.W.shape[1]:,}", describe(f)["name"],
             f"{sum(math.prod(a.shape) for a in layer if a is not None):,}")
            for k, (layer, f) in enumerate(zip(self._parameters, (*self.activations, self.output), strict=True))
        ]  # fmt: skip
        return html_table(repr(self), ("layer", "inputs → units", "activation", "parameters"), rows)


def _checked_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        result = tuple(sizes)
    except TypeError:
        result = ()
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 1 for n in result)
    if len(result) < 2 or not whole:
        raise InputError(
            f"sizes must be whole numbers of at least 1: inputs, the units of each hidden layer, outputs; got {sizes!r}"
        )
    return tuple(int(n) for n in result)


def _hidden_activations(
    activation: str | Activation | Sequence[str | Activation], hidden: int
) -> tuple[Activation, ...]:
    if isinstance(activation, (list, tuple)):
        if len(activation) != hidden:
            raise InputError(f"{len(activation)} activations given for {hidden} hidden layers")
        return tuple(resolve("activation", f) for f in activation)
    return (resolve("activation", activation),) * hidden


def _dtype_name(X: Any) -> str:
    dtype = getattr(X, "dtype", None)
    return str(np.asarray(X).dtype if dtype is None else dtype)
