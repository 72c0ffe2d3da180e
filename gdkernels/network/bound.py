"""A network with its parameters, its objective, and its binding to a place of computation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.backend import PRECISIONS, Backend, Executable, Plan
from gdkernels.data.frames import ColumnNames, dtype_name
from gdkernels.data.record_spec import RecordSpec
from gdkernels.definition.losses import Loss
from gdkernels.definition.network import Arrays
from gdkernels.definition.objective import Objective, checked_reduction
from gdkernels.errors import BackendError, InputError
from gdkernels.network.structure import Structure
from gdkernels.system.given import is_one_of, one_of
from gdkernels.system.thread_limits import at_most, checked_threads

if TYPE_CHECKING:  # a network that has not computed loads nothing of what does
    from gdkernels.data.records import Records
    from gdkernels.dispatch.binding import Binding
    from gdkernels.dispatch.workload import Workload
    from gdkernels.network.places import Places
    from gdkernels.network.predictor import Predictor

__all__ = ["BoundNetwork"]

Computed = TypeVar("Computed")


class BoundNetwork:
    """The network that a `gdkernels.MLP` holds, a `gdkernels.Trainer` trains, and the rest of gdkernels uses.

    This is the interface for the rooms above. Users have `gdkernels.MLP` instead. Callers know the widths in and out,
    and parameters by name; the structure knows what lies between.

    Parameters
    ----------
    structure
        The structure of the network.
    seed
        The seed of everything random; None draws one.
    backend, device, precision, threads
        As for `gdkernels.MLP`.

    Attributes
    ----------
    parameters
        The parameters by name: arrays of the binding, or of NumPy until there is one. A trainer replaces them; nobody
        writes into them.
    objective
        The last objective it was trained for; None before training.
    binding
        The place where it computes; None until that is known.
    threads
        The most threads that it computes on; None sets no bound of its own.
    names
        The columns of the frames that it was trained on; none where those were arrays.
    """

    def __init__(
        self,
        structure: Structure,
        *,
        seed: int | None = None,
        backend: str | Backend = "auto",
        device: str | None = None,
        precision: str | None = "float32",
        threads: int | None = None,
    ) -> None:
        self.structure = structure
        self.threads = checked_threads(threads)
        self.seed = randomness.checked_seed(seed)
        self.objective: Objective | None = None
        self.names = ColumnNames()
        if precision is not None:
            one_of("precision", precision, PRECISIONS)
        self._precision = precision
        self._backend, self._device = backend, device
        self.binding: Binding | None = None
        self._known_places: Places | None = None
        self._last_predictor: Predictor | None = None
        # A place that the user named fails before loading data.
        if not is_one_of(backend, ("auto",)) or device is not None:
            self._places.binding(precision or "float32")
        structure.check_memory()
        self.parameters: dict[str, Any] = structure.initial_parameters(self.seed)

    def __getstate__(self) -> dict[str, Any]:
        # A copy, also in another process, has the parameters on the host until it computes. What it computes with is
        # made anew there.
        backend = self._backend if isinstance(self._backend, str) else self._places.backend_by_name
        there = {"parameters": self.host_parameters(), "_precision": self.precision, "_backend": backend}
        return vars(self) | there | {"binding": None, "_known_places": None, "_last_predictor": None}

    @property
    def inputs(self) -> int:
        """The number of columns of the inputs."""
        return self.structure.inputs

    @property
    def outputs(self) -> int:
        """The number of columns of the outputs."""
        return self.structure.outputs

    def expects(self, objective: Objective) -> RecordSpec:
        """Return the specification of records for this objective, to train or to measure the network."""
        structure = self.structure
        return RecordSpec(self.inputs, self.outputs, structure.widest, objective.loss, self.names, structure.codes)

    # ---- where it computes

    @property
    def backend(self) -> str:
        """The name of the backend, "auto" until it is chosen."""
        if self.binding is not None:
            return self.binding.backend.name
        return self._backend if isinstance(self._backend, str) else self._backend.name

    @property
    def device(self) -> str:
        """The device of the parameters; "cpu" until a backend is chosen."""
        return self.binding.device if self.binding is not None else "cpu"

    @property
    def precision(self) -> str | None:
        """The precision, None until it follows from the data."""
        return self.binding.precision if self.binding is not None else self._precision

    def to(self, device: str | None, backend: str | Backend | None) -> None:
        """Move to another device or backend; see `gdkernels.MLP.to`."""
        wanted: str | Backend = "auto" if backend is None else backend
        if backend is None and self.binding is not None and device in self.binding.backend.devices():
            wanted = self.binding.backend
        there = self._places.named(wanted, device).binding(self.precision or "float32")
        self._known_places = self._places.named(there.backend, there.device)
        self._backend, self._device = there.backend, there.device
        if self.binding is not None:
            self._rebind(there)

    def bind(self, X: Any, workload: Callable[[int], Workload] | None = None, planned: Plan | None = None) -> Binding:
        """Return the binding, and choose it first if there is none.

        Parameters
        ----------
        X
            The data, whose device and type decide the choice.
        workload
            A function from the number of records to the job; None means a prediction.
        planned
            A plan whose backend and device are used if the user named none and they are available here.
        """
        if self.binding is None:
            self._places.first(self._rebind, X, workload or self._prediction, self._precision_for(X), planned)
            assert self.binding is not None
        return self.binding

    def join(self, binding: Binding, X: Any) -> bool:
        """Compute where another network does, and return whether this one may: it may not if it has another place.

        Parameters
        ----------
        X
            The data, whose type decides the precision if nobody has said it.
        """
        if self.binding is None and self._places.admit(binding) and self._precision_for(X) == binding.precision:
            self._rebind(binding)
        return self.binding is binding or (self.binding is not None and self.binding.same_place(binding))

    def _precision_for(self, X: Any) -> str:
        return self._precision or ("float64" if "float64" in _dtype_name(X) else "float32")

    def leave(self, error: BackendError, X: Any, workload: Callable[[int], Workload] | None = None) -> bool:
        """Move to the next backend after an `error` of this one; return whether there is one to move to.

        There is none if somebody named this one or its device has the data, if nothing else runs here, or if the
        device gives the parameters back no more.

        Parameters
        ----------
        X, workload
            As for `bind`.
        """
        if self.binding is None:
            return False
        return self._places.after(self.binding, error, self._rebind, X, workload or self._prediction)

    def computing(
        self,
        X: Any,
        compute: Callable[[Binding], Computed],
        workload: Callable[[int], Workload] | None = None,
    ) -> Computed:
        """Return what `compute` makes of the binding, which it may do again: on the next backend where one fails."""
        while True:
            try:
                binding = self.bind(X, workload)
                with binding.backend.on_device(binding.device):
                    return compute(binding)
            except BackendError as error:
                if not self.leave(error, X, workload):
                    raise

    @contextmanager
    def bound(
        self, X: Any = None, workload: Callable[[int], Workload] | None = None, planned: Plan | None = None
    ) -> Iterator[Binding]:
        """Bind as `bind` does, and make the device the current one and `threads` the most, for what computes here."""
        with at_most(self.threads):
            binding = self.bind(X, workload, planned)
            with binding.backend.on_device(binding.device):
                yield binding

    @property
    def _places(self) -> Places:
        if self._known_places is None:
            from gdkernels.network.places import Places

            self._known_places = Places(self._backend, self._device)
        return self._known_places

    def _prediction(self, records: int) -> Workload:
        from gdkernels.dispatch.workload import Workload

        return Workload(self.structure.program(), records, records)

    def _rebind(self, binding: Binding) -> None:
        there = self.host_parameters()
        if binding.on_host:  # rounded together, which takes half the time
            with np.errstate(over="ignore"):
                there = {name: np.asarray(a, binding.dtype) for name, a in there.items()}
        place, how = binding.backend.asarray, {"dtype": binding.dtype, "device": binding.device}
        self.parameters = {name: place(a, **how) for name, a in there.items()}
        self.binding, self._last_predictor = binding, None

    # ---- parameters

    def host_parameters(self) -> dict[str, Any]:
        """Return the parameters by name as NumPy arrays; do not change them."""
        to_host = np.asarray if self.binding is None else self.binding.to_numpy
        return {name: to_host(a) for name, a in self.parameters.items()}

    def copied_parameters(self) -> dict[str, Any]:
        """Return a copy of the parameters by name, arrays of the backend."""
        if self.binding is None:
            return {name: np.copy(a) for name, a in self.parameters.items()}
        with self.bound() as binding:
            return {name: binding.xp.asarray(a, copy=True) for name, a in self.parameters.items()}

    def set_parameters(self, parameters: Arrays | Sequence[Sequence[Any]]) -> None:
        """Set the parameters, by name or of a chain layer by layer; see `gdkernels.MLP.set_parameters`."""
        given = self.structure.checked_parameters(parameters, self.parameters)
        self.parameters = {name: self._checked_parameter(a, told) for name, told, a in given}

    def restart(self, number: int) -> None:
        """Set the initial parameters of one of several restarts."""
        self.set_parameters(self.structure.initial_parameters(self.seed, number))

    def _checked_parameter(self, a: Any, name: str) -> Any:
        if self.binding is not None:
            with self.bound() as binding:
                array = binding.xp.asarray(binding.place(self._places.reachable(a, binding), name), copy=True)
                binding.check_finite(binding.xp.reshape(array, (-1, array.shape[-1])), name)
                return array
        host = np.array(a, dtype=np.float64)
        if not np.all(np.isfinite(host)):
            raise InputError(f"the parameters of {name} are not all finite")
        return host

    @property
    def parameter_count(self) -> int:
        """The number of values that training changes."""
        told = self.structure.parameters
        return sum(math.prod(told[name].shape) for name in self.structure.trained)

    # ---- computing

    def train_for(self, objective: Objective) -> None:
        """Remember the objective of training; a loss that takes logits sets the output to its link.

        Raises
        ------
        InputError
            If the output contradicts the loss.
        """
        self.structure = self.structure.with_link(objective)
        self.objective = objective

    @contextmanager
    def naming(self, X: Any, Y: Any) -> Iterator[None]:
        """Know columns by the names of the frames X and Y from now on, if none are known; not after an error."""
        before = self.names
        self.names = before.learned(X, Y, self.inputs, self.outputs)
        try:
            yield
        except BaseException:
            self.names = before
            raise

    def objective_for(self, loss: str | Loss | None, reduction: str = "mean") -> Objective:
        """Return an objective to measure by: this loss, the one that the network was last trained for, or "sse"."""
        if loss is None and self.objective is not None:
            return Objective(self.objective.loss, reduction=checked_reduction(reduction))
        return Objective.checked("sse" if loss is None else loss, reduction=reduction, outputs=self.outputs)

    def predict(self, x: Any) -> Any:
        """Return the predictions [records, outputs] for placed inputs [records, inputs]."""
        return self._predictor.predict(self.structure.program(), self.parameters, x)

    def place_and_predict(self, X: Any, objective: Objective | None = None) -> Any:
        """Check and place the user's inputs, and return `predict` of them, or with an objective `raw`."""
        self.bind(X)
        x = self._predictor.place(X, self.inputs, self.names.inputs, self.structure.codes)
        return self.predict(x) if objective is None else self.raw(x, objective)

    def raw(self, x: Any, objective: Objective) -> Any:
        """Return the input of the objective's loss: logits if the loss has a link."""
        return self._predictor.predict(self.structure.program(objective), self.parameters, x)

    def error(self, records: Records, objective: Objective | None = None, by: Executable | None = None) -> float:
        """Return E, without a penalty, of records on the device, by the last objective unless one is given.

        Parameters
        ----------
        by
            An executable whose predictions are inputs of the loss; None makes one.
        """
        chosen = objective or self.objective
        assert chosen is not None
        assert self.binding is not None
        xp = self.binding.xp
        raw = self.raw(records.x, chosen) if by is None else by.predict(self.parameters, records.x)
        with np.errstate(all="ignore"):
            value = chosen.loss(raw, records.y, xp=xp)
            value = value if records.weights is None else records.weights * value
            return float(xp.sum(xp.astype(value, xp.float64)))

    def targets_and_predictions(self, records: Records) -> list[npt.NDArray[Any]]:
        """Return target and prediction of records on the device, and their weights if they have some, on the host."""
        output = self.predict(records.x)
        return [records.binding.to_numpy(a) for a in (records.y, output, records.weights) if a is not None]

    @property
    def _predictor(self) -> Predictor:
        if self._last_predictor is None:
            from gdkernels.network.predictor import Predictor

            assert self.binding is not None
            self._last_predictor = Predictor(self.binding)
        return self._last_predictor

    def __str__(self) -> str:
        where = self.binding if self.binding is not None else f"backend {self.backend}, not yet bound"
        return f"{self.structure}, {self.parameter_count:,} parameters, {where}"


def _dtype_name(X: Any) -> str:
    if (name := dtype_name(X)) is not None:
        return name
    dtype = getattr(X, "dtype", None)
    return str(np.asarray(X).dtype if dtype is None else dtype)
