"""Feature views, plans and requests for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from predictmesh.features.v1 import features_service_pb2 as pb
from predictmesh.registry.v1.feature_view_pb2 import (
    Entity,
    FeatureField,
    FeatureView,
    KeyColumn,
    KeyType,
    SchemaVersion,
)
from predictmesh.registry.v1.model_pb2 import FieldSource, Source
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor

# Noon of a day in 2013: an event time that replays use.
NOON_US = 1_376_913_600_000_000
SECOND_US = 1_000_000


def view(
    name: str,
    fields: Mapping[str, str] | Sequence[FeatureField],
    *,
    entity: str = "carrier",
    keys: Mapping[str, str] | None = None,
    schemas: Mapping[int, int] | None = None,
    **rest: object,
) -> FeatureView:
    """Return a view; fields and keys are names with types, e.g. {"late_rate": "FP32"} and {"carrier": "STRING"}."""
    listed = (
        [FeatureField(name=field, data_type=DataType.Value(f"DATA_TYPE_{kind}")) for field, kind in fields.items()]
        if isinstance(fields, Mapping)
        else list(fields)
    )
    columns = [
        KeyColumn(name=key, type=KeyType.Value(f"KEY_TYPE_{kind}"))
        for key, kind in (keys or {entity: "STRING"}).items()
    ]
    schemas = schemas or {1: len(listed)}
    return FeatureView(
        name=name,
        entity=Entity(name=entity, keys=columns),
        fields=listed,
        schema_id=list(schemas)[-1],
        schemas=[SchemaVersion(id=number, field_count=count) for number, count in schemas.items()],
        **rest,  # type: ignore[arg-type]
    )


def field(name: str, kind: str, default: Tensor | None = None, length: int = 0) -> FeatureField:
    """Return a field."""
    made = FeatureField(name=name, data_type=DataType.Value(f"DATA_TYPE_{kind}"), length=length)
    if default is not None:
        made.default_value.CopyFrom(default)
    return made


def snapshot(*views: FeatureView, revision: int = 1) -> Snapshot:
    """Return a snapshot of views."""
    return Snapshot(revision=revision, log_id="test", feature_views=views)


def plan(schema_ids: Mapping[str, int], tensors: Mapping[str, tuple[str, Sequence[str]]]) -> pb.FeaturePlan:
    """Return a plan; a tensor is its type and its sources `view:field`, `view.age` or `request:name`."""
    made = pb.FeaturePlan(views=[pb.PlanView(view=name, schema_id=number) for name, number in schema_ids.items()])
    for name, (kind, sources) in tensors.items():
        made.tensors.add(name=name, data_type=DataType.Value(f"DATA_TYPE_{kind}"), sources=map(source, sources))
    return made


def source(text: str) -> Source:
    """Return a source by its text form."""
    if text.startswith("request:"):
        return Source(request=text.removeprefix("request:"))
    if text.endswith(".age"):
        return Source(age_of_view=text.removesuffix(".age"))
    of_view, _, of_field = text.partition(":")
    return Source(field=FieldSource(view=of_view, field=of_field))


def plan_id(of_plan: pb.FeaturePlan) -> bytes:
    """Return the id of a plan."""
    return hashlib.sha256(of_plan.SerializeToString(deterministic=True)).digest()


def query(
    of_plan: pb.FeaturePlan, keys: Mapping[str, Sequence[str] | Sequence[int]], *as_of_us: int, origins: bool = False
) -> pb.GetFeaturesRequest:
    """Return a request to read, with the plan."""
    return pb.GetFeaturesRequest(
        plan_id=plan_id(of_plan),
        plan=of_plan,
        keys=columns(keys),
        as_of_us=as_of_us or [NOON_US],
        want_origins=origins,
    )


def batch(
    of_view: str,
    keys: Mapping[str, Sequence[str] | Sequence[int]],
    values: Mapping[str, Tensor | Sequence[float]],
    *event_time_us: int,
) -> pb.FeatureBatch:
    """Return rows to write; bare sequences of values are FP32."""
    tensors = []
    for name, given in values.items():
        tensor = Tensor()
        tensor.CopyFrom(given if isinstance(given, Tensor) else Tensor(floats=given))
        tensor.name = name
        tensors.append(tensor)
    return pb.FeatureBatch(view=of_view, keys=columns(keys), values=tensors, event_time_us=event_time_us or [NOON_US])


def columns(keys: Mapping[str, Sequence[str] | Sequence[int]]) -> list[Tensor]:
    """Return key columns."""
    made = []
    for name, values in keys.items():
        numbers = [value for value in values if isinstance(value, int)]
        made.append(Tensor(name=name, ints=numbers) if numbers else Tensor(name=name, strings=values))  # type: ignore[arg-type]
    return made
