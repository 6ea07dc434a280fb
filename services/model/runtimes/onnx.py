"""ONNX Runtime on the CPU, in this process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

# Its makers are told of its use over the network, unless it finds this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as _NotImplementedHere

from services.mesh.errors import InvalidArgument
from services.model.cost import BatchCost
from services.model.datatypes import BYTES, Array
from services.model.errors import InvalidArtifact, RuntimeFailed
from services.model.runtimes.signature import DeclaredTensor, check_signature
from services.model.versions import Placement, Signature

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": BYTES,
}

# A hop to a thread and back costs about 0.1 ms and a switch of the interpreter lock, a small model 0.01 ms a batch.
# Below this the event loop waits for the model, above it a thread does, so that the loop never stands for longer.
_INLINE_S = 0.001

T = TypeVar("T")


class OnnxRuntime:
    """Loads ONNX models; all of them share one pool of threads."""

    name = "onnx"

    def __init__(self, threads: int, intra_op_threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnx")
        self._threads = threads
        self._intra_op_threads = intra_op_threads

    async def load(self, placement: Placement, artifact: Path | None) -> OnnxModel:
        """Load a model in a thread of its own, so that no batch waits for it."""
        if artifact is None:
            raise InvalidArtifact("ONNX Runtime needs an artifact")
        version = placement.version
        session = await asyncio.to_thread(_open, artifact, _options(self._intra_op_threads))
        _check(session, version.signature)
        return OnnxModel(session, version.signature, self._pool, self._threads)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def check_onnx(artifact: Path, signature: Signature) -> None:
    """Compare a model with a signature, for a runtime that loads it elsewhere; InvalidArtifact or SignatureMismatch."""
    options = _options(1)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # it will not run
    try:
        session = await asyncio.to_thread(_open, artifact, options)
    except InvalidArtifact as error:
        if isinstance(error.__cause__, _NotImplementedHere):
            return  # it may have operators that only a GPU has
        raise
    _check(session, signature)


def _options(intra_op_threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    # A pattern is planned and kept for every batch size that is seen: memory without gain.
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    return options


def _open(artifact: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base
        text = str(error).replace(str(artifact), artifact.name)
        raise InvalidArtifact(f"ONNX Runtime does not load the model: {text}") from error


def _check(session: ort.InferenceSession, signature: Signature) -> None:
    check_signature(signature, _declared(session.get_inputs()), _declared(session.get_outputs()))


class OnnxModel:
    """One session, which any number of threads may run at once."""

    platform = "onnxruntime_onnx"
    ahead = 0

    def __init__(
        self, session: ort.InferenceSession, signature: Signature, pool: ThreadPoolExecutor, parallel: int
    ) -> None:
        self.parallel = parallel
        self._session = session
        self._pool = pool
        self._cost = BatchCost()
        self._outputs = [spec.name for spec in signature.outputs]
        self._text_inputs = tuple(spec.name for spec in signature.inputs if spec.datatype == BYTES)
        self._text_outputs = tuple(spec.name for spec in signature.outputs if spec.datatype == BYTES)

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:  # noqa: ARG002 - it cannot be stopped
        """Run one batch: at once when it is expected to be short, else in a thread."""
        rows = len(next(iter(inputs.values())))
        if self._text_inputs:
            inputs = {**inputs, **{name: _to_text(name, inputs[name]) for name in self._text_inputs}}
        if self._cost.expect_s(rows) < _INLINE_S:
            outputs, seconds = self._run(inputs)
        else:
            outputs, seconds = await asyncio.get_running_loop().run_in_executor(self._pool, self._run, inputs)
        self._cost.learn(rows, seconds)
        for name in self._text_outputs:
            outputs[name] = _to_bytes(outputs[name])
        return outputs

    async def revive(self) -> None:
        """Nothing is lost while the process lives."""

    async def close(self) -> None:
        """Let the session go; a cancelled batch that a thread still runs keeps it until it ends."""
        del self._session

    def _run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], float]:
        started = time.perf_counter()
        try:
            values = self._session.run(self._outputs, inputs)
        except Exception as error:
            raise RuntimeFailed("ONNX Runtime failed on this input") from error
        return dict(zip(self._outputs, values, strict=True)), time.perf_counter() - started


def _declared(tensors: list[ort.NodeArg]) -> list[DeclaredTensor]:
    return [DeclaredTensor(tensor.name, _DATATYPES.get(tensor.type, tensor.type), _shape(tensor)) for tensor in tensors]


def _shape(tensor: ort.NodeArg) -> tuple[int | None, ...] | None:
    # An unknown rank and a scalar both have no dimensions here: the warm-up tells them apart.
    return tuple(size if isinstance(size, int) else None for size in tensor.shape) or None


def _to_text(name: str, values: Array) -> Array:
    # ONNX strings are text: given bytes, ONNX Runtime would take their Python notation, b'...', for the value.
    try:
        return _each(bytes.decode, values)
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"input {name!r} is text for this model, and a value is not UTF-8") from error


def _to_bytes(values: Array) -> Array:
    return _each(str.encode, values)


def _each(convert: Callable[[T], object], values: Array) -> Array:
    converted = np.empty(values.size, object)
    converted[:] = [convert(value) for value in values.ravel()]
    return converted.reshape(values.shape)
