"""The tensors of a signature as another server has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tritonclient.grpc import service_pb2 as oip

from services.model.datatypes import DTYPES
from services.model.runtimes.signature import DeclaredTensor, check_signature
from services.model.versions import Signature, TensorSpec

# Servers do not agree on whether one value a row is a dimension of its own.
_ONE_VALUE = {(), (1,)}


@dataclass(frozen=True, slots=True)
class RemoteTensor:
    """One tensor of the signature: its name at the server, and what the server calls a row of it."""

    spec: TensorSpec
    name: str
    row: tuple[int, ...]

    def fits(self, shape: tuple[int, ...], rows: int) -> bool:
        """Whether so many rows may come in this shape."""
        return shape == (rows, *self.row) or (self.spec.shape in _ONE_VALUE and shape in {(rows,), (rows, 1)})


@dataclass(frozen=True, slots=True)
class RemoteSignature:
    """Inputs and outputs, in the signature's order."""

    inputs: tuple[RemoteTensor, ...]
    outputs: tuple[RemoteTensor, ...]


def remote_signature(
    signature: Signature, metadata: oip.ModelMetadataResponse, names: Mapping[str, str] | None = None
) -> RemoteSignature:
    """Compare the server's metadata with the signature; SignatureMismatch with a violation for each difference.

    `names` are the server's names of tensors that it calls otherwise. What the server leaves open is taken as it should
    be: tensors that it does not declare, and types that the protocol does not have.
    """
    names = names or {}
    inputs = list(_declared(signature.inputs, metadata.inputs, names))
    outputs = list(_declared(signature.outputs, metadata.outputs, names))
    check_signature(signature, [_aligned(*each) for each in inputs], [_aligned(*each) for each in outputs])
    return RemoteSignature(_remote(signature.inputs, inputs, names), _remote(signature.outputs, outputs, names))


_Declared = tuple[DeclaredTensor, TensorSpec | None]


def _declared(
    specs: Sequence[TensorSpec], tensors: Iterable[oip.ModelMetadataResponse.TensorMetadata], names: Mapping[str, str]
) -> Iterator[_Declared]:
    """Give each tensor that the server declares with the spec that it stands for; the specs, if it declares none."""
    by_name = {names.get(spec.name, spec.name): spec for spec in specs}
    for tensor in tensors:
        spec = by_name.get(tensor.name)
        known = spec is None or tensor.datatype in DTYPES
        datatype = tensor.datatype if known or spec is None else spec.datatype
        shape = tuple(None if size < 0 else size for size in tensor.shape) or None
        yield DeclaredTensor(spec.name if spec else tensor.name, datatype, shape), spec
    if not tensors:
        for spec in specs:
            yield DeclaredTensor(spec.name, spec.datatype, None), spec


def _aligned(tensor: DeclaredTensor, spec: TensorSpec | None) -> DeclaredTensor:
    if spec is None or spec.shape not in _ONE_VALUE or tensor.shape is None or tensor.shape[1:] not in _ONE_VALUE:
        return tensor
    return DeclaredTensor(tensor.name, tensor.datatype, (tensor.shape[0], *spec.shape))


def _remote(
    specs: Sequence[TensorSpec], declared: Iterable[_Declared], names: Mapping[str, str]
) -> tuple[RemoteTensor, ...]:
    shapes = {tensor.name: tensor.shape for tensor, _ in declared}
    return tuple(RemoteTensor(spec, names.get(spec.name, spec.name), _row(spec, shapes[spec.name])) for spec in specs)


def _row(spec: TensorSpec, shape: tuple[int | None, ...] | None) -> tuple[int, ...]:
    if shape is None or spec.shape not in _ONE_VALUE:
        return spec.shape
    return (1,) * (len(shape) - 1)
