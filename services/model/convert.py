"""Between the messages of registry and model service and our domain."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.model.v1 import runtime_pb2 as pb
from predictmesh.registry.v1 import model_pb2 as registry_pb
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.model.datatypes import BYTES, DTYPES, Array
from services.model.errors import InvalidGolden
from services.model.golden import GoldenRows
from services.model.statuses import GoldenState, RuntimeStatus, State
from services.model.versions import Artifact, Catalog, GoldenSet, Signature, TensorSpec, Version

_GOLDEN_STATES = {
    GoldenState.NOT_RUN: pb.GOLDEN_STATE_UNSPECIFIED,
    GoldenState.PASSED: pb.GOLDEN_STATE_PASSED,
    GoldenState.FAILED: pb.GOLDEN_STATE_FAILED,
}
_STATES = {
    State.LOADING: pb.RUNTIME_STATE_LOADING,
    State.READY: pb.RUNTIME_STATE_READY,
    State.FAILED: pb.RUNTIME_STATE_FAILED,
    State.UNLOADING: pb.RUNTIME_STATE_UNLOADING,
}


def decode_catalog(snapshot: Snapshot) -> Catalog:
    """Take every model from a snapshot, with its versions but for composed ones, which gateways compute."""
    return {
        model.name: tuple(_version(model.name, version) for version in model.versions if not version.HasField("graph"))
        for model in snapshot.models
    }


def decode_golden(data: bytes) -> GoldenRows:
    """Read a golden set; InvalidGolden if the bytes hold none."""
    try:
        rows = registry_pb.GoldenRows.FromString(data)
        inputs, outputs = ({each.name: _array(each) for each in tensors} for tensors in (rows.inputs, rows.outputs))
    except (DecodeError, ValueError, OverflowError) as error:
        raise InvalidGolden("the bytes are no golden set") from error
    return GoldenRows(inputs, outputs)


def encode_statuses(statuses: Iterable[RuntimeStatus]) -> list[pb.RuntimeStatus]:
    """Write where each version stands."""
    return [
        pb.RuntimeStatus(
            model=status.model,
            version=status.version,
            digest=status.digest,
            runtime=status.runtime,
            state=_STATES[status.state],
            message=status.message,
            state_time=_timestamp(status.since),
            load_time_us=status.load_time_us,
            golden=_GOLDEN_STATES[status.golden],
            golden_message=status.golden_message,
        )
        for status in statuses
    ]


def _version(model: str, version: registry_pb.Version) -> Version:
    return Version(
        model=model,
        version=version.version,
        digest=version.digest,
        signature=Signature(_specs(version.signature.inputs), _specs(version.signature.outputs)),
        artifacts=tuple(
            Artifact(artifact.runtime, artifact.sha256, artifact.format or "onnx", artifact.target)
            for artifact in version.artifacts
        ),
        golden=_golden(version.golden) if version.HasField("golden") else None,
    )


def _golden(golden: registry_pb.GoldenSet) -> GoldenSet:
    return GoldenSet(golden.sha256, golden.absolute_tolerance, golden.relative_tolerance)


def _array(tensor: Tensor) -> Array:
    datatype = _datatype(tensor.data_type)
    if datatype not in DTYPES:
        raise ValueError(f"{tensor.name!r} has no data type that is known here")
    if datatype == BYTES:
        texts = [text.encode() for text in tensor.strings] or list(tensor.blobs)
        array = np.empty(len(texts), object)
        array[:] = texts
        return array.reshape(tensor.shape)
    values = tensor.bools or tensor.ints or tensor.uints or tensor.floats or tensor.doubles
    return np.array(values, DTYPES[datatype]).reshape(tensor.shape)


def _datatype(number: DataType.ValueType) -> str:
    return DataType.Name(number).removeprefix("DATA_TYPE_")


def _specs(specs: Iterable[registry_pb.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=spec.name,
            datatype=_datatype(spec.data_type),
            shape=tuple(spec.shape),
            finite=spec.finite,
        )
        for spec in specs
    )


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(int(seconds * 1e9))
    return timestamp
