"""Definitions and tensors in a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from predictmesh.registry.v1.feature_view_pb2 import Entity, FeatureField, FeatureView, KeyColumn, KeyType, StalePolicy
from predictmesh.registry.v1.model_pb2 import FieldSource, InputBinding, Signature, Source, TensorSpec
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.model import versions

_FILLED = {bool: "bools", int: "ints", float: "floats", str: "strings", bytes: "blobs"}


def tensor(name: str, values: Sequence[Any], kind: str = "") -> Tensor:
    """A column with one value a row; None is a null row, a row of a list has several. `kind` names the field to fill."""
    nulls = [row for row, value in enumerate(values) if value is None]
    filler = next((value for value in values if value is not None), 0.0)
    flat: list[Any] = []
    for value in values:
        given = filler if value is None else value
        flat.extend(given if isinstance(given, list | tuple) else [given])
    made = Tensor(name=name, null_rows=nulls)
    if flat:
        getattr(made, kind or _FILLED[type(flat[0])]).extend(flat)
    return made


def tensors(columns: Mapping[str, Any]) -> list[Tensor]:
    """Columns by name; one may also be given as the tensor it is."""
    return [value if isinstance(value, Tensor) else tensor(name, value) for name, value in columns.items()]


def values(made: Tensor) -> list[Any]:
    """The values of a tensor as Python has them, row after row."""
    for kind in ("strings", "floats", "ints", "doubles", "bools", "uints", "blobs"):
        if found := getattr(made, kind):
            return list(found)
    return []


def field(name: str, data_type: str = "FP32", default: Any = None, length: int = 0) -> FeatureField:
    """A field; `default` is one value, or a list of them."""
    made = FeatureField(name=name, data_type=DataType.Value(f"DATA_TYPE_{data_type}"), length=length)
    if default is not None:
        filled = tensor("", default if isinstance(default, list) else [default], _kind(data_type, default))
        made.default_value.CopyFrom(filled)
    return made


def _kind(data_type: str, default: Any) -> str:
    return "doubles" if data_type == "FP64" else ("blobs" if isinstance(default, bytes) else "")


def view(
    name: str,
    *fields: FeatureField,
    entity: str,
    keys: Mapping[str, str],
    max_age_s: float = 0,
    policy: str = "UNSPECIFIED",
) -> FeatureView:
    """A view; `keys` maps its key columns to STRING or INT64."""
    columns = [KeyColumn(name=key, type=KeyType.Value(f"KEY_TYPE_{kind}")) for key, kind in keys.items()]
    return FeatureView(
        name=name,
        entity=Entity(name=entity, keys=columns),
        fields=fields,
        max_age_ms=int(max_age_s * 1000),
        stale_policy=StalePolicy.Value(f"STALE_POLICY_{policy}"),
    )


def source(text: str, namespace: str) -> Source:
    """`view:field`, `view.age` or `request:name`, views in `namespace`."""
    head, _, tail = text.partition(":")
    if head == "request":
        return Source(request=tail)
    if not tail:
        return Source(age_of_view=f"{namespace}/{text.removesuffix('.age')}")
    return Source(field=FieldSource(view=f"{namespace}/{head}", field=tail))


def bindings(given: Mapping[str, Sequence[str]], namespace: str) -> list[InputBinding]:
    """The sources of each input."""
    return [
        InputBinding(input=name, sources=[source(text, namespace) for text in texts]) for name, texts in given.items()
    ]


def signature(given: versions.Signature) -> Signature:
    """The signature of a model as the wire has it."""

    def specs(tensors: Sequence[versions.TensorSpec]) -> list[TensorSpec]:
        return [
            TensorSpec(
                name=spec.name,
                data_type=DataType.Value(f"DATA_TYPE_{spec.datatype}"),
                shape=spec.shape,
                finite=spec.finite,
            )
            for spec in tensors
        ]

    return Signature(inputs=specs(given.inputs), outputs=specs(given.outputs))
