"""The content of a checkpoint file, and restoring a fit from it: every number to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import State
from gdkernels.backend.program import slot_names
from gdkernels.definition.network import Arrays, Slots
from gdkernels.files.schema import is_of
from gdkernels.randomness import ORDER_STREAM
from gdkernels.training.checkpointing.run import Middle, Run
from gdkernels.training.history import Epoch, Stop

__all__ = ["checked", "progress_of", "put_progress", "state_from", "tensors_of"]

_MOST = 1 << 62  # of anything that is counted
_MEMORY = "solver/"  # before the names of what a solver keeps: no parameter is called so
_FIRST_STREAM = 1  # which shuffled the records before checkpoints said so

ToHost = Callable[[Any], npt.NDArray[Any]]
Tensors = dict[str, npt.NDArray[Any]]


def tensors_of(state: State, run: Run, to_host: ToHost) -> Tensors:
    """Return parameters and slots at the last epoch's end, those of now if they are others, the best so far, and the
    history: a file's header would not hold that of many epochs.
    """
    tensors = _named("", state.parameters, to_host) | _named_slots("", state.slots, to_host)
    tensors |= _named_memory("", state)
    tensors["history"] = _figures(run.history.epochs)
    if run.middle is not None:
        now = run.middle.state
        tensors |= _named("now.", now.parameters, to_host) | _named_slots("now.", now.slots, to_host)
    if run.best is not None:
        tensors |= _named("best.", run.best, to_host)
    if run.start is not None:
        start = run.start
        tensors |= _named("start.", start.parameters, to_host) | _named_slots("start.", start.slots, to_host)
        tensors |= _named_memory("start.", start)
    return tensors


def progress_of(state: State, run: Run, epochs_done: int) -> dict[str, Any]:
    """Return everything else, as JSON can hold it."""
    history, middle = run.history, run.middle
    return {
        "step": state.step,
        "epochs_done": epochs_done,
        "began": run.began,
        "best_loss": _text(run.best_loss),
        "best_epoch": history.best_epoch,
        "start": run.start and run.start.step,
        "retries": run.retries,
        "failed": run.failed,
        "stopped": history.stopped,
        "diverged": history.diverged,
        "order_stream": run.order_stream,
        "figures": _names(history.epochs),
        "middle": middle
        and {
            "step": middle.state.step,
            "order": middle.order,
            "steps": middle.steps,
            "error": _text(middle.error),
            "norms": _text(middle.norms),
            "seconds": middle.seconds,
        },
    }


def state_from(
    tensors: Tensors, parameters: Arrays, trained: Iterable[str], slots: int, step: int, prefix: str = ""
) -> State:
    """Return the parameters, and so many slots of those that are trained, as NumPy arrays of their own.

    Parameters
    ----------
    parameters
        Arrays of the shapes that they have.

    Raises
    ------
    KeyError, ValueError
        If the tensors are not those of such a network.
    """

    def array(name: str, like: Any) -> Any:
        tensor = tensors[f"{prefix}{name}"]
        if tensor.shape != tuple(like.shape):
            raise ValueError(f"{prefix}{name} has the shape {tensor.shape}")
        return np.array(tensor)

    return State(
        {name: array(name, a) for name, a in parameters.items()},
        {name: tuple(array(s, parameters[name]) for s in slot_names(name, slots)) for name in trained},
        checked(step, int),
        memory={
            name.removeprefix(f"{prefix}{_MEMORY}"): np.array(tensor)
            for name, tensor in tensors.items()
            if name.startswith(f"{prefix}{_MEMORY}")
        },
    )


def put_progress(
    run: Run, told: Mapping[str, Any], tensors: Tensors, parameters: Arrays, trained: Sequence[str], slots: int
) -> None:
    """Restore `run` from the checkpoint.

    Raises
    ------
    KeyError, ValueError, TypeError
        If the description is not one of ours.
    """
    history = run.history
    history.best_epoch = checked(told["best_epoch"], int | None)
    history.stop = Stop.of(checked(told["stopped"], str), diverged=checked(told["diverged"], bool))
    run.began, run.best_loss = checked(told["began"], int), _real(told["best_loss"])
    history.epochs.extend(_epochs(tensors["history"], told["figures"], run.began))
    run.retries, run.failed = checked(told["retries"], int), checked(told["failed"], int | None)
    run.order_stream = checked(told.get("order_stream", _FIRST_STREAM), int)
    if not _FIRST_STREAM <= run.order_stream <= ORDER_STREAM:
        raise ValueError(f"a newer version shuffled its records, by stream {run.order_stream}")
    if told["start"] is not None:
        run.start = state_from(tensors, parameters, trained, slots, told["start"], "start.")
    if any(name.startswith("best.") for name in tensors):
        run.best = state_from(tensors, parameters, (), 0, 0, "best.").parameters
    middle = told["middle"]
    if middle is not None:
        state = state_from(tensors, parameters, trained, slots, middle["step"], "now.")
        sums = (_real(middle[name]) for name in ("error", "norms", "seconds"))
        run.middle = Middle(state, checked(middle["order"], str), checked(middle["steps"], int), *sums)


def checked(value: Any, kind: Any) -> Any:
    """Return a value from a file; raise ValueError unless it is of the type `kind`, and a count if an int."""
    if not is_of(value, kind) or (type(value) is int and not 0 <= value < _MOST):
        raise ValueError(f"{value!r:.40} is out of place")
    return value


def _real(value: Any) -> float:
    if type(value) not in (int, float, str):
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)


def _named(prefix: str, parameters: Arrays, to_host: ToHost) -> Tensors:
    return {f"{prefix}{name}": to_host(a) for name, a in parameters.items()}


def _named_memory(prefix: str, state: State) -> Tensors:
    return {f"{prefix}{_MEMORY}{name}": np.ascontiguousarray(a) for name, a in state.memory.items()}


def _named_slots(prefix: str, slots: Slots, to_host: ToHost) -> Tensors:
    return {
        f"{prefix}{slot}": to_host(a)
        for name, arrays in slots.items()
        for slot, a in zip(slot_names(name, len(arrays)), arrays, strict=True)
    }


def _text(value: float) -> Any:
    """Return a number as JSON can hold it: infinities and NaN as their names."""
    return value if math.isfinite(value) else repr(value)


def _names(epochs: Sequence[Epoch]) -> dict[str, list[str]]:
    """Return the names of the figures of a fit's epochs, which all have the same: fields of `Epoch`, and metrics."""
    if not epochs:
        return {"fields": [], "metrics": []}
    first = vars(epochs[0])
    fields = [name for name, value in first.items() if name not in ("number", "metrics") and value is not None]
    return {"fields": fields, "metrics": [*first["metrics"]]}


def _figures(epochs: Sequence[Epoch]) -> npt.NDArray[np.float64]:
    """Return the figures that `_names` names, [epochs, figures]."""
    fields, metrics = _names(epochs).values()
    rows = [[getattr(e, name) for name in fields] + [e.metrics[name] for name in metrics] for e in epochs]
    return np.array(rows, np.float64).reshape(len(epochs), len(fields) + len(metrics))


def _epochs(figures: npt.NDArray[Any], names: Mapping[str, Any], began: int) -> Iterator[Epoch]:
    """Yield the epochs that `_figures` and `_names` describe, after so many."""
    fields, metrics = ([checked(name, str) for name in names[kind]] for kind in ("fields", "metrics"))
    if figures.dtype != np.float64 or figures.shape[1:] != (len(fields) + len(metrics),):
        raise ValueError(f"the history has the shape {figures.shape}")
    for number, row in enumerate(figures, began + 1):
        values = row.tolist()
        told = {"validation_loss": None, **dict(zip(fields, values, strict=False))}
        yield Epoch(number=number, metrics=dict(zip(metrics, values[len(fields) :], strict=True)), **told)
