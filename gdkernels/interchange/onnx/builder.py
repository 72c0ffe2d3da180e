"""The parts of an ONNX model: nodes, constants, inputs and outputs, with names of our own making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Builder"]

# Reductions take their axes as an input from 18 on; ONNX Runtime runs it since 1.14.
_OPSET, _IR = 18, 8
_REGEX_OPSET, _REGEX_IR = 20, 9  # since 1.17


class Builder:
    """Collects the nodes of a model; a value is known by its name."""

    def __init__(self) -> None:
        from onnx import helper

        self._helper = helper
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._opset, self._ir = _OPSET, _IR

    def op(self, kind: str, *operands: str, **attributes: Any) -> str:
        """Add a node with one result, and return its name."""
        name = f"gdkernels/{len(self._nodes)}"  # no name of a column
        self._nodes.append(self._helper.make_node(kind, list(operands), [name], **attributes))
        return name

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """Return the name of a constant array; equal ones are one."""
        array = np.asarray(value, dtype)
        content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
        key = (array.dtype.str, array.shape, content)
        if key not in self._constants:
            from onnx import numpy_helper

            name = f"gdkernels/constant{len(self._initializers)}"
            self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
            self._constants[key] = name
        return self._constants[key]

    def matches(self, text: str, pattern: str) -> str:
        """Return whether all of a text matches a regular expression of RE2."""
        self._opset, self._ir = max(self._opset, _REGEX_OPSET), max(self._ir, _REGEX_IR)
        return self.op("RegexFullMatch", text, pattern=pattern)

    def cast(self, value: str, dtype: npt.DTypeLike) -> str:
        return self.op("Cast", value, to=self._type(dtype))

    def input(self, name: str, dtype: npt.DTypeLike, units: int) -> str:
        """Add an input [records, units]; the dtype `object` is text."""
        self._inputs.append(self._helper.make_tensor_value_info(name, self._type(dtype), ["records", units]))
        return name

    def output(self, name: str, value: str, dtype: npt.DTypeLike, *units: int) -> None:
        """Give a value the name of an output [records, units] or [records]; a column of that name gives it a _."""
        while any(name == i.name for i in self._inputs):
            name += "_"
        self._nodes.append(self._helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._helper.make_tensor_value_info(name, self._type(dtype), ["records", *units]))

    def model(self, name: str, version: str, metadata: Mapping[str, str]) -> Any:
        """Return the model, checked.

        Parameters
        ----------
        version
            That of gdkernels.
        metadata
            What readers are told about it, text by text.
        """
        import onnx

        graph = self._helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._initializers)
        opsets = [self._helper.make_opsetid("", self._opset)]
        model = self._helper.make_model(graph, opset_imports=opsets, ir_version=self._ir)
        model.producer_name, model.producer_version = "gdkernels", version
        self._helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model

    def columns(self, parts: Sequence[str]) -> str:
        """Return values [records, ·] side by side."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=1)

    def _type(self, dtype: npt.DTypeLike) -> int:
        return int(self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
