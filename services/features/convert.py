"""Between messages and the domain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from predictmesh.features.v1 import features_service_pb2 as pb
from predictmesh.registry.v1 import feature_view_pb2 as view_pb
from predictmesh.registry.v1 import model_pb2
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.features.columns import Column
from services.features.ingest import Batch, Rejected, Written
from services.features.packing import FeatureValues
from services.features.plan import AgeSource, FieldSource, Plan, PlanTensor, PlanView, RequestSource, Source
from services.features.serving import Query
from services.features.streaming import Acknowledgement, NumberedBatch
from services.features.views import Catalog, DataType, Entity, Field, KeyColumn, KeyType, Scalar, StalePolicy, View
from services.mesh.errors import InvalidArgument, MissingField
from services.mesh.status import to_status

# The fields of a Tensor that hold values.
_FIRST_VALUES, _LAST_VALUES = Tensor.BOOLS_FIELD_NUMBER, Tensor.BLOBS_FIELD_NUMBER


def decode_catalog(snapshot: Snapshot) -> Catalog:
    """Return the views of a snapshot."""
    return Catalog(map(_view, snapshot.feature_views))


def decode_query(request: pb.GetFeaturesRequest) -> Query:
    """Return a request to read, its plan verified against its id."""
    return Query(
        request.plan_id,
        _verified_plan(request) if request.HasField("plan") else None,
        _columns(request.keys, "keys"),
        np.array(request.as_of_us, np.int64),
        request.want_origins,
    )


def encode_values(values: FeatureValues) -> pb.GetFeaturesResponse:
    """Return the answer to a read."""
    response = pb.GetFeaturesResponse(tensors=values.tensors, ages_us=values.ages_us, origins=values.origins)
    for row, view, state in values.statuses:
        response.statuses.add(row=row, view=view, state=state)
    for row, tensor, source in values.missing:
        response.missing.add(row=row, tensor=tensor, source=source)
    for view, rows in values.unreached:
        response.unreached.add(view=view, rows=rows)
    return response


def decode_batch(batch: pb.FeatureBatch) -> Batch:
    """Return rows to be written."""
    return Batch(
        batch.view,
        _columns(batch.keys, "batch.keys"),
        _columns(batch.values, "batch.values"),
        np.array(batch.event_time_us, np.int64),
    )


def decode_numbered(request: pb.StreamFeaturesRequest) -> NumberedBatch:
    """Return a batch of a stream, to be decoded where its faults concern it alone."""
    return request.sequence, partial(decode_batch, request.batch)


def encode_written(written: Written) -> pb.WriteFeaturesResponse:
    """Return the answer to a write."""
    return pb.WriteFeaturesResponse(
        written_rows=written.written,
        superseded_rows=written.superseded,
        rejected=_rejected(written.rejected),
    )


def encode_acknowledgement(acknowledgement: Acknowledgement) -> pb.StreamFeaturesResponse:
    """Return an acknowledgement of a stream."""
    response = pb.StreamFeaturesResponse(
        acknowledged_sequence=acknowledgement.sequence,
        written_rows=acknowledgement.written,
        superseded_rows=acknowledgement.superseded,
    )
    for each in acknowledgement.rejections:
        rejection = response.rejected.add(sequence=each.sequence, rows=_rejected(each.rows))
        if each.error is not None:
            rejection.batch_status.CopyFrom(to_status(each.error))
    return response


def decode_deletion(request: pb.DeleteEntityRequest) -> tuple[str, Mapping[str, Column]]:
    """Return the entity and its key columns."""
    return request.entity, _columns(request.keys, "keys")


def _rejected(rejected: Rejected) -> list[pb.RejectedRow]:
    return [pb.RejectedRow(row=row, status=to_status(error)) for row, error in rejected.items()]


def _columns(tensors: Iterable[Tensor], path: str) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for index, tensor in enumerate(tensors):
        column = _column(tensor, f"{path}[{index}]")
        if columns.setdefault(column.name, column) is not column:
            raise InvalidArgument(f"Column {column.name!r} is given twice", field=column.path)
    return columns


def _column(tensor: Tensor, path: str) -> Column:
    filled = [
        (field.name, values) for field, values in tensor.ListFields() if _FIRST_VALUES <= field.number <= _LAST_VALUES
    ]
    if len(filled) > 1:
        names = ", ".join(name for name, _ in filled)
        raise InvalidArgument(f"Values are in several fields: {names}", field=path)
    name, values = filled[0] if filled else ("", ())
    return Column(
        tensor.name,
        path,
        name,
        list(values),
        _data_type(tensor.data_type, path) if tensor.data_type else None,
        tensor.shape,
        tensor.null_rows,
    )


def _data_type(number: int, path: str) -> DataType:
    try:
        return DataType(number)
    except ValueError as error:
        raise InvalidArgument(f"{number} is no data type", field=f"{path}.data_type") from error


def _verified_plan(request: pb.GetFeaturesRequest) -> Plan:
    serialized = request.plan.SerializeToString(deterministic=True)
    if hashlib.sha256(serialized).digest() != request.plan_id:
        raise InvalidArgument("The plan's id is not the SHA-256 of the plan", field="plan_id")
    views = tuple(PlanView(each.view, each.schema_id) for each in request.plan.views)
    tensors = []
    for index, tensor in enumerate(request.plan.tensors):
        path = f"plan.tensors[{index}]"
        sources = tuple(_source(each, f"{path}.sources[{number}]") for number, each in enumerate(tensor.sources))
        tensors.append(PlanTensor(tensor.name, _data_type(tensor.data_type, path), sources))
    return Plan(views, tuple(tensors))


def _source(source: model_pb2.Source, path: str) -> Source:
    kind = source.WhichOneof("kind")
    if kind == "field":
        return FieldSource(source.field.view, source.field.field)
    if kind == "age_of_view":
        return AgeSource(source.age_of_view)
    if kind == "request":
        return RequestSource()
    raise MissingField("A source is empty", field=path)


def _view(view: view_pb.FeatureView) -> View:
    return View(
        name=view.name,
        entity=_entity(view),
        fields=tuple(map(_field, view.fields)),
        schema_id=view.schema_id,
        max_age_us=view.max_age_ms * 1000,
        policy=StalePolicy(view.stale_policy or StalePolicy.SERVE),
        ttl_ms=view.ttl_ms,
        schemas={each.id: each.field_count for each in view.schemas},
    )


def _entity(view: view_pb.FeatureView) -> Entity:
    namespace, slash, _ = view.name.rpartition("/")
    name = view.entity.name
    qualified = name if "/" in name else f"{namespace}{slash}{name}"
    return Entity(qualified, tuple(KeyColumn(each.name, KeyType(each.type)) for each in view.entity.keys))


def _field(field: view_pb.FeatureField) -> Field:
    default = _scalars(field.default_value) if field.HasField("default_value") else None
    return Field(field.name, DataType(field.data_type), field.length, default)


def _scalars(tensor: Tensor) -> tuple[Scalar, ...]:
    values = _column(tensor, "default_value").values
    return tuple(value.encode() if isinstance(value, str) else value for value in values)
