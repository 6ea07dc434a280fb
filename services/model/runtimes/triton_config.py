"""Triton's configuration of a version: config.pbtxt, made from the signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.grpc import service_pb2 as oip

from services.model.errors import InvalidArtifact
from services.model.oip.datatypes import config_type, datatype_of
from services.model.oip.remote import remote_signature
from services.model.versions import Placement, Signature, TensorSpec

Kind: TypeAlias = Literal["auto", "cpu", "gpu"]
IO = TypeVar("IO", pb.ModelInput, pb.ModelOutput)

ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True)
class Instances:
    """How Triton runs each model: so many copies at once, of batches of so many rows, on a kind of device.

    "auto" is the GPUs where the server has some, else the CPU.
    """

    count: int
    kind: Kind
    batch_rows: int


@dataclass(frozen=True, slots=True)
class Format:
    """How Triton runs artifacts of one format: the backend, and the file that it looks for."""

    backend: str
    file: str


FORMATS = {
    "onnx": Format("onnxruntime", "model.onnx"),
    "tensorrt_plan": Format("tensorrt", "model.plan"),
    "pytorch": Format("pytorch", "model.pt"),
    "python": Format("python", "model.py"),
}


def model_config(name: str, placement: Placement, instances: Instances, artifact: bytes = b"") -> str:
    """Write config.pbtxt for a version under Triton's name for it; for an ensemble from the `artifact`, its own one.

    Raises InvalidArtifact, or SignatureMismatch for an ensemble. Nothing is batched or queued by Triton: order and
    deadlines are kept before it, and its queue policies hold batches up for half a second.
    """
    signature, form = placement.version.signature, placement.artifact.format
    if form == ENSEMBLE:
        return _text(_ensemble(name, signature, artifact, instances.batch_rows))
    if form not in FORMATS:
        raise InvalidArtifact(f"Triton takes no format {form!r}, it takes: {', '.join([*FORMATS, ENSEMBLE])}")
    names = server_names(placement)
    config = pb.ModelConfig(
        name=name,
        backend=FORMATS[form].backend,
        max_batch_size=instances.batch_rows,
        input=[_tensor(pb.ModelInput, spec, names) for spec in signature.inputs],
        output=[_tensor(pb.ModelOutput, spec, names) for spec in signature.outputs],
    )
    config.instance_group.add(
        count=instances.count, kind=pb.ModelInstanceGroup.Kind.Value(f"KIND_{instances.kind.upper()}")
    )
    return _text(config)


def steps_of(artifact: bytes) -> list[str]:
    """Return the models that an ensemble joins, by Triton's names for them; raises InvalidArtifact."""
    return [step.model_name for step in _parsed(artifact).ensemble_scheduling.step]


def server_names(placement: Placement) -> dict[str, str]:
    """Return what Triton calls the tensors, where it cannot call them as the signature does.

    TorchScript has no names for tensors: its backend counts them.
    """
    if placement.artifact.format != "pytorch":
        return {}
    signature = placement.version.signature
    return _counted("INPUT", signature.inputs) | _counted("OUTPUT", signature.outputs)


def _counted(kind: str, specs: Sequence[TensorSpec]) -> dict[str, str]:
    return {spec.name: f"{kind}__{index}" for index, spec in enumerate(specs)}


def _tensor(kind: type[IO], spec: TensorSpec, names: dict[str, str]) -> IO:
    tensor = kind(name=names.get(spec.name, spec.name), data_type=config_type(spec.datatype), dims=spec.shape or [1])
    if not spec.shape:
        # No dimensions are not allowed: callers send rows of [1], the model gets rows of [].
        tensor.reshape.SetInParent()
    return tensor


def _ensemble(name: str, signature: Signature, artifact: bytes, batch_rows: int) -> pb.ModelConfig:
    """Take over the scheduling of an ensemble; its steps name models as Triton knows them."""
    given = _parsed(artifact)
    if not given.ensemble_scheduling.step:
        raise InvalidArtifact("the ensemble's configuration has no ensemble_scheduling with steps")
    remote_signature(signature, _metadata(given))
    return pb.ModelConfig(
        name=name,
        platform=ENSEMBLE,
        max_batch_size=batch_rows,
        input=given.input,
        output=given.output,
        ensemble_scheduling=given.ensemble_scheduling,
    )


def _parsed(artifact: bytes) -> pb.ModelConfig:
    try:
        return text_format.Parse(artifact.decode(), pb.ModelConfig())
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise InvalidArtifact(f"the ensemble's configuration is no config.pbtxt: {error}") from error


def _metadata(config: pb.ModelConfig) -> oip.ModelMetadataResponse:
    """Return what the server will say of such a model."""
    return oip.ModelMetadataResponse(
        inputs=[_declared(each) for each in config.input], outputs=[_declared(each) for each in config.output]
    )


def _declared(tensor: pb.ModelInput | pb.ModelOutput) -> oip.ModelMetadataResponse.TensorMetadata:
    return oip.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=datatype_of(tensor.data_type), shape=(-1, *tensor.dims)
    )


def _text(config: pb.ModelConfig) -> str:
    return text_format.MessageToString(config)
