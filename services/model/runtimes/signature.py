"""Compares what a model says of itself with what the registry says of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.mesh.errors import FieldViolation
from services.model.errors import SignatureMismatch
from services.model.versions import Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class DeclaredTensor:
    """One input or output as the model declares it.

    `datatype` is the protocol's name, or the runtime's own where the protocol has none. `shape` counts the batch
    dimension; None is a dimension that varies. A `shape` of None is not known before the model runs.
    """

    name: str
    datatype: str
    shape: tuple[int | None, ...] | None


def check_signature(signature: Signature, inputs: Sequence[DeclaredTensor], outputs: Sequence[DeclaredTensor]) -> None:
    """Raise SignatureMismatch with one violation for each difference. Outputs beyond the signature's are ignored."""
    violations = [
        *_differences("signature.inputs", signature.inputs, inputs),
        *_unfed(signature, inputs),
        *_differences("signature.outputs", signature.outputs, outputs),
    ]
    if violations:
        listed = "; ".join(violation.description for violation in violations)
        raise SignatureMismatch(f"the model does not match its signature: {listed}", violations=violations)


def _differences(
    path: str, specs: Sequence[TensorSpec], declared: Sequence[DeclaredTensor]
) -> Iterator[FieldViolation]:
    kind = path.removeprefix("signature.").removesuffix("s")
    by_name = {tensor.name: tensor for tensor in declared}
    for index, spec in enumerate(specs):
        tensor = by_name.get(spec.name)
        if tensor is None:
            known = ", ".join(by_name) or "none"
            yield FieldViolation(f"{path}[{index}].name", f"the model has no {kind} {spec.name!r}, it has: {known}")
            continue
        if tensor.datatype != spec.datatype:
            text = f"{kind} {spec.name!r} is {tensor.datatype} in the model, {spec.datatype} in the signature"
            yield FieldViolation(f"{path}[{index}].data_type", text)
        if difference := _shape_difference(spec, tensor.shape):
            yield FieldViolation(f"{path}[{index}].shape", f"{kind} {spec.name!r} {difference}")


def _unfed(signature: Signature, inputs: Sequence[DeclaredTensor]) -> Iterator[FieldViolation]:
    for tensor in inputs:
        if tensor.name not in signature.input_named:
            yield FieldViolation("signature.inputs", f"the model's input {tensor.name!r} is not in the signature")


def _shape_difference(spec: TensorSpec, shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return ""
    if len(shape) != len(spec.shape) + 1:
        return f"has {len(shape)} dimensions in the model, {len(spec.shape) + 1} with rows in the signature"
    if shape[0] is not None:
        return f"has a fixed batch dimension of {shape[0]}, it must vary"
    if any(own not in {None, wanted} for own, wanted in zip(shape[1:], spec.shape, strict=True)):
        own = ", ".join("?" if dimension is None else str(dimension) for dimension in shape[1:])
        return f"has rows of [{own}] in the model, {list(spec.shape)} in the signature"
    return ""
