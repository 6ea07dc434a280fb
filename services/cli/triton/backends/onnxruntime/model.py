"""ONNX models on the CPU, in the place of Triton's native backend.

Runs in Triton's Python processes, whose environment has NumPy 1 and none of our packages. Triton gathers requests for
each `execute`; they are computed as one batch here, and one by one where that fails, so that each request answers for
its own values only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Its makers are told of its use over the network, unless it finds this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort
import triton_python_backend_utils as triton

_DATATYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
_THREADS = "intra_op_thread_count"


@dataclass(frozen=True)
class Tensor:
    """An input or output of the configuration. `shape` is what the model sees, without the batch; -1 varies."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, config: dict[str, Any]) -> Tensor:
        """Read it from the configuration, which counts dimensions as numbers or texts."""
        dims = config["reshape"].get("shape", []) if config.get("reshape") is not None else config["dims"]
        return cls(config["name"], config["data_type"], tuple(int(size) for size in dims))


class NotText(ValueError):
    """A value is not UTF-8."""


class TritonPythonModel:
    """One instance of one version."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and compare it with its configuration; an error fails the load with its text."""
        config = json.loads(args["model_config"])
        self._batches = int(config["max_batch_size"]) > 0
        self._inputs = [Tensor.of(each) for each in config["input"]]
        self._outputs = [Tensor.of(each) for each in config["output"]]
        self._names = [each.name for each in self._outputs]
        file = Path(
            args["model_repository"], args["model_version"], config.get("default_model_filename") or "model.onnx"
        )
        parameters = {name: each["string_value"] for name, each in config.get("parameters", {}).items()}
        self._session = _open(file, int(parameters.get(_THREADS, "1")))
        differences = [
            *_differences("input", self._inputs, self._session.get_inputs(), self._batches),
            *_unfed(self._inputs, self._session.get_inputs()),
            *_differences("output", self._outputs, self._session.get_outputs(), self._batches),
        ]
        if differences:
            raise triton.TritonModelException(f"the model does not match its configuration: {'; '.join(differences)}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request, with its outputs or its own error."""
        if self._batches and len(requests) > 1:
            try:
                return self._answers([self._read(request) for request in requests])
            except Exception:  # noqa: BLE001, S110 - one request's fault, or none's: computed alone it will show
                pass
        return [self._alone(request) for request in requests]

    def _alone(self, request: Any) -> Any:  # noqa: ANN401 - Triton's own type
        try:
            return self._answers([self._read(request)])[0]
        except NotText as error:
            return _failed(str(error), triton.TritonError.INVALID_ARG)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base
            return _failed(f"ONNX Runtime failed on this input: {error}", triton.TritonError.INTERNAL)

    def _read(self, request: Any) -> dict[str, Any]:  # noqa: ANN401 - Triton's own type
        return {
            each.name: _to_model(each, triton.get_input_tensor_by_name(request, each.name).as_numpy())
            for each in self._inputs
        }

    def _answers(self, requests: list[dict[str, Any]]) -> list[Any]:
        """Compute requests as one batch."""
        batch = requests[0]
        if len(requests) > 1:
            batch = {name: np.concatenate([request[name] for request in requests]) for name in batch}
        values = self._session.run(self._names, batch)
        if not self._batches:
            return [self._answer(values)]
        ends = np.cumsum([len(next(iter(request.values()))) for request in requests])
        if any(len(each) != ends[-1] for each in values):
            shapes = ", ".join(f"{name} {list(each.shape)}" for name, each in zip(self._names, values, strict=True))
            raise ValueError(f"{ends[-1]} rows went in, and the outputs are {shapes}")
        starts = [0, *ends[:-1]]
        return [self._answer([each[start:end] for each in values]) for start, end in zip(starts, ends, strict=True)]

    def _answer(self, values: Sequence[Any]) -> Any:  # noqa: ANN401 - Triton's own type
        return triton.InferenceResponse(
            [triton.Tensor(name, np.ascontiguousarray(each)) for name, each in zip(self._names, values, strict=True)]
        )


def _open(file: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A pattern is planned and kept for every batch size that is seen: memory without gain.
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base
        raise triton.TritonModelException(f"ONNX Runtime does not load the model: {error}") from error


def _differences(kind: str, wanted: list[Tensor], declared: list[Any], batches: bool) -> Iterator[str]:
    by_name = {each.name: each for each in declared}
    for each in wanted:
        if each.name not in by_name:
            yield f"it has no {kind} {each.name!r}, it has: {', '.join(by_name) or 'none'}"
            continue
        own = by_name[each.name]
        datatype = _DATATYPES.get(own.type, own.type)
        if datatype != each.datatype:
            yield f"{kind} {each.name!r} is {datatype} in the model, {each.datatype} in the configuration"
        # An unknown rank and a scalar both have no dimensions here.
        shape = [size if isinstance(size, int) else -1 for size in own.shape]
        full = [-1, *each.shape] if batches else list(each.shape)
        if shape and not _fits(shape, full):
            yield f"{kind} {each.name!r} is {shape} in the model, {full} in the configuration"


def _fits(shape: list[int], wanted: list[int]) -> bool:
    return len(shape) == len(wanted) and all(own in {-1, size} for own, size in zip(shape, wanted, strict=True))


def _unfed(inputs: list[Tensor], declared: list[Any]) -> Iterator[str]:
    known = {each.name for each in inputs}
    for own in declared:
        if own.name not in known:
            yield f"the model's input {own.name!r} is not in the configuration"


def _to_model(tensor: Tensor, values: Any) -> Any:  # noqa: ANN401 - an array of any type
    if tensor.datatype == "TYPE_BOOL":
        # A byte of 2 viewed as a bool is neither True nor False to native code.
        return np.not_equal(values.view(np.uint8), 0)
    if tensor.datatype != "TYPE_STRING":
        return values
    # ONNX strings are text: given bytes, ONNX Runtime would take their Python notation, b'...', for the value.
    try:
        texts = [value.decode() for value in values.ravel()]
    except UnicodeDecodeError:
        raise NotText(f"input {tensor.name!r} is text for this model, and a value is not UTF-8") from None
    converted = np.empty(len(texts), object)
    converted[:] = texts
    return converted.reshape(values.shape)


def _failed(message: str, code: Any) -> Any:  # noqa: ANN401 - Triton's own types
    return triton.InferenceResponse(error=triton.TritonError(message, code))
