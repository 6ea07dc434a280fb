"""A feature view of many types and files with rows of it."""

from __future__ import annotations

from predictmesh.registry.v1.feature_view_pb2 import Entity, FeatureField, FeatureView, KeyColumn, KeyType
from services.cli.values import DATA_TYPES


def view(*fields: tuple[str, str, int]) -> FeatureView:
    """Return a view keyed by tail (text) and hour (int64), of `fields` as name, type and length; late FP32 by default."""
    return FeatureView(
        name="plane",
        schema_id=1,
        entity=Entity(
            name="plane",
            keys=[
                KeyColumn(name="tail", type=KeyType.KEY_TYPE_STRING),
                KeyColumn(name="hour", type=KeyType.KEY_TYPE_INT64),
            ],
        ),
        fields=[
            FeatureField(name=name, data_type=DATA_TYPES[kind], length=length)
            for name, kind, length in fields or [("late", "FP32", 0)]
        ],
    )
