"""Between the messages of registry and model service and our domain."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.model.v1 import runtime_pb2 as pb
from predictmesh.registry.v1 import model_pb2 as registry_pb
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1.data_type_pb2 import DataType
from services.model.statuses import RuntimeStatus, State
from services.model.versions import Artifact, Catalog, Signature, TensorSpec, Version

_STATES = {
    State.LOADING: pb.RUNTIME_STATE_LOADING,
    State.READY: pb.RUNTIME_STATE_READY,
    State.FAILED: pb.RUNTIME_STATE_FAILED,
    State.UNLOADING: pb.RUNTIME_STATE_UNLOADING,
}


def decode_catalog(snapshot: Snapshot) -> Catalog:
    """Take every model and version from a snapshot."""
    return {model.name: tuple(_version(model.name, version) for version in model.versions) for model in snapshot.models}


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
    )


def _specs(specs: Iterable[registry_pb.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=spec.name,
            datatype=DataType.Name(spec.data_type).removeprefix("DATA_TYPE_"),
            shape=tuple(spec.shape),
            finite=spec.finite,
        )
        for spec in specs
    )


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(int(seconds * 1e9))
    return timestamp
