"""PyTorch's modules as blocks with their weights: `gdkernels.from_torch` builds on it.

A module that is not known by its very class is refused by its name: a subclass may compute anything.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gdkernels.definition import activations
from gdkernels.definition.activations import Activation, identity
from gdkernels.definition.blocks import Activated, Block, Dense, Dropout, Embedding, LayerNorm, Scale, Sequential
from gdkernels.definition.blocks.names import inside
from gdkernels.definition.chain import NO_BATCH_NORM
from gdkernels.definition.naming import resolve
from gdkernels.errors import InputError

__all__ = ["TorchNetwork", "is_module", "torch_network"]

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class TorchNetwork:
    """What a module computes, and with which weights.

    Attributes
    ----------
    block, inputs, output
        As for `gdkernels.Network`.
    parameters
        NumPy arrays by the names of the block.
    """

    block: Block
    inputs: int
    output: Activation
    parameters: dict[str, Any] = field(repr=False)

    @property
    def precision(self) -> str:
        """The precision that holds these weights."""
        return "float64" if any(a.dtype == np.float64 for a in self.parameters.values()) else "float32"


class _Placed(NamedTuple):
    """A block, its weights by its own names, how many inputs it takes if it says so, and the module's name."""

    block: Block
    parameters: dict[str, Any]
    inputs: int | None
    told: str


def is_module(value: Any) -> bool:
    """Return whether it is a module of PyTorch, without loading that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def torch_network(model: Any, objects: Mapping[str, Activation] | None = None) -> TorchNetwork:
    """Return the network of an ``nn.Sequential``; see `gdkernels.from_torch`.

    Raises
    ------
    InputError
        For what it cannot take, by its name.
    """
    placed: list[_Placed] = []
    output: Activation = identity  # an activation, until a module follows it
    flat = list(_flat(model, ""))
    _check_apart(flat)
    frozen = [told for told, module in flat if not all(p.requires_grad for p in module.parameters())]
    if frozen:
        _log.warning("%s: parameters that require no gradient are trained like others here", ", ".join(frozen))
    for told, module in flat:
        found = _taken(module, told, objects or {})
        if not found:
            continue
        if isinstance(found, list):
            placed, output = [*_activated(placed, output), *found], identity
        elif output is identity:
            output = found
        else:
            placed, output = _activated(placed, output), found
    inputs = next((one.inputs for one in placed if one.inputs is not None), None)
    if inputs is None:
        raise InputError(f"{type(model).__name__} holds no Linear layer, which would tell its number of inputs")
    block = Sequential(*(one.block for one in placed))
    _check_widths(placed, inputs)
    named = {inside(name, k): a for k, one in enumerate(placed) for name, a in one.parameters.items()}
    return TorchNetwork(block, inputs, output, {name: _array(name, a) for name, a in named.items()})


def _flat(module: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the modules of a Sequential and of those in it, in order, with what messages call them."""
    told = f"{type(module).__name__} at {place}" if place else type(module).__name__
    if type(module) is not sys.modules["torch"].nn.Sequential:
        yield told, module
        return
    _check_unhooked(module, told)
    for k, inner in enumerate(module):
        yield from _flat(inner, f"{place}.{k}" if place else str(k))


def _check_unhooked(module: Any, told: str) -> None:
    own = vars(module)
    if any(own.get(hooks) for hooks in ("_forward_hooks", "_forward_pre_hooks")) or "forward" in own:
        raise InputError(
            f"{told} has hooks, which may change what it computes, as those of weight_norm and pruning do: remove them "
            "first, for instance by torch.nn.utils.prune.remove or torch.nn.utils.remove_weight_norm"
        )


def _taken(module: Any, told: str, objects: Mapping[str, Activation]) -> list[_Placed] | Activation:
    """Return blocks with their weights, none of what does nothing to flat records; or an activation."""
    kind = type(module).__name__
    if kind in objects:
        if next(module.parameters(), None) is not None:
            raise InputError(f"{told} has parameters, and objects[{kind!r}] is an activation, which has none")
        given: Activation = resolve("activation", objects[kind])
        return given
    if type(module) is getattr(sys.modules["torch"].nn, kind, None):
        _check_unhooked(module, told)
        if kind in _ACTIVATIONS:
            return _ACTIVATIONS[kind](module, told)
        if kind in _BLOCKS:
            return _BLOCKS[kind](module, told)
    known = ", ".join(sorted({*_BLOCKS, *_ACTIVATIONS, "Sequential"}))
    why = _REFUSED.get(kind, f"it takes {known}; of an activation pass a function f(z, *, xp): objects={{{kind!r}: f}}")
    raise InputError(f"from_torch cannot take {told}: {why}")


def _activated(placed: list[_Placed], f: Activation) -> list[_Placed]:
    """Return the blocks with `f` after the last."""
    if f is identity:
        return placed
    *before, last = placed or [_Placed(Sequential(), {}, None, "")]
    block = last.block
    if isinstance(block, Dense) and block.activation is identity:
        return [*before, last._replace(block=Dense(block.units, f, block.bias))]
    return [*before, last._replace(block=Activated(block, f))]


def _check_widths(placed: list[_Placed], inputs: int) -> None:
    width, before = inputs, ""
    for one in placed:
        if one.inputs is not None and one.inputs != width:
            raise InputError(f"{one.told} takes {one.inputs} numbers, but {before} gives {width}")
        width, before = one.block.outputs(width), one.told or before


def _check_apart(flat: Sequence[tuple[str, Any]]) -> None:
    first: dict[int, str] = {}
    for told, module in flat:
        for parameter in module.parameters():
            if first.setdefault(id(parameter), told) != told:
                raise InputError(
                    f"{first[id(parameter)]} and {told} share a parameter, of which training would make two: give each "
                    "its own, by copy.deepcopy"
                )


def _array(name: str, parameter: Any) -> Any:
    """Return a tensor as an array on the host; 16-bit numbers come as float32, which holds them."""
    kind = str(parameter.dtype).removeprefix("torch.")
    if kind not in {"float64", "float32", "float16", "bfloat16"} or parameter.is_meta:
        raise InputError(f"{name} must hold real numbers, but is {kind} on {parameter.device}")
    tensor = parameter.detach().cpu()
    return np.array((tensor if kind == "float64" else tensor.float()).numpy())


# ---- the modules that it takes


def _linear(module: Any, told: str) -> list[_Placed]:
    bias = module.bias is not None
    W = module.weight.T  # torch's is [outputs, inputs]
    parameters = {"W": W, "b": module.bias} if bias else {"W": W}
    return [_Placed(Dense(module.out_features, bias=bias), parameters, module.in_features, told)]


def _layer_norm(module: Any, told: str) -> list[_Placed]:
    if len(module.normalized_shape) != 1:
        raise InputError(
            f"from_torch cannot take {told}: it normalises over {len(module.normalized_shape)} dimensions, and a "
            "record has one"
        )
    (width,), scale, shift = module.normalized_shape, module.weight, module.bias
    if scale is None or shift is not None:
        affine = {} if scale is None else {"scale": scale, "shift": shift}
        return [_Placed(LayerNorm(module.eps, bool(affine)), affine, width, told)]
    return [_Placed(LayerNorm(module.eps, False), {}, width, told), _Placed(Scale(), {"scale": scale}, width, told)]


def _dropout(module: Any, told: str) -> list[_Placed]:
    return [_Placed(Dropout(module.p), {}, None, told)] if module.p else []


def _embedding(module: Any, told: str) -> list[_Placed]:
    """Return the block for one column of codes; PyTorch has the same table for several, and a block one for each."""
    for name in ("max_norm", "padding_idx"):
        if getattr(module, name) is not None:
            raise InputError(f"from_torch cannot take {told}: {name} is {getattr(module, name)}, which no block has")
    block = Embedding(module.num_embeddings, module.embedding_dim)
    return [_Placed(block, {"table0": module.weight}, 1, told)]


def _flatten(module: Any, told: str) -> list[_Placed]:
    if (module.start_dim, module.end_dim) != (1, -1):
        raise InputError(f"from_torch cannot take {told}: records are flat already, and it would join them")
    return []


def _gelu(module: Any, told: str) -> Activation:
    if module.approximate != "tanh":
        raise InputError(
            f"from_torch cannot take {told}: gdkernels has its tanh form, which differs by less than 0.0005; make it "
            "GELU(approximate='tanh') if that is near enough"
        )
    return activations.gelu


def _softplus(module: Any, told: str) -> Activation:
    if module.beta != 1:
        raise InputError(f"from_torch cannot take {told}: beta is {module.beta:g}, and only 1 can be had")
    return activations.softplus


def _softmax(module: Any, told: str) -> Activation:
    if module.dim not in (1, -1):
        raise InputError(f"from_torch cannot take {told}: it must be over the units of a record, Softmax(dim=1)")
    return activations.softmax


def _plain(f: Activation) -> Callable[[Any, str], Activation]:
    return lambda module, told: f


_BLOCKS: dict[str, Callable[[Any, str], list[_Placed]]] = {
    "Dropout": _dropout,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "Identity": lambda module, told: [],
    "LayerNorm": _layer_norm,
    "Linear": _linear,
}

_ACTIVATIONS: dict[str, Callable[[Any, str], Activation]] = {
    "ELU": lambda module, told: activations.ELU(module.alpha),
    "GELU": _gelu,
    "LeakyReLU": lambda module, told: activations.LeakyReLU(module.negative_slope),
    "ReLU": _plain(activations.relu),
    "SiLU": _plain(activations.silu),
    "Sigmoid": _plain(activations.sigmoid),
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Tanh": _plain(activations.tanh),
}

_BATCH_NORM = f"{NO_BATCH_NORM} Use LayerNorm; or fold it into the Linear before it, by torch.nn.utils.fusion"
_REFUSED = {
    **{f"{kind}{n}d": _BATCH_NORM for kind in ("BatchNorm", "LazyBatchNorm") for n in (1, 2, 3)},
    "SyncBatchNorm": _BATCH_NORM,
    "DataParallel": "pass its .module",
    "DistributedDataParallel": "pass its .module",
    "LogSoftmax": "leave it out: the loss 'cross_entropy' takes logits",
    "OptimizedModule": "pass the module that was compiled, its ._orig_mod",
}
