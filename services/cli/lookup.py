"""Stored values of some keys: each field of a view, with its origin and age."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from predictmesh.features.v1.features_service_pb2 import (
    ElementOrigin,
    FeaturePlan,
    FeatureState,
    GetFeaturesRequest,
    GetFeaturesResponse,
    PlanTensor,
    PlanView,
)
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.registry.v1.model_pb2 import FieldSource, Source
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.labels import words
from services.cli.packing import unpack

_ABSENT_US = -(2**63)


@dataclass(frozen=True)
class StoredValue:
    """A field of one row. `age_us` counts from the event time, and is None where nothing is stored."""

    row: int
    field: str
    value: object
    origin: str
    age_us: int | None
    state: str


def ask(view: FeatureView, keys: Sequence[Tensor], as_of_us: int) -> GetFeaturesRequest:
    """Return the request for every field of `view`, each as a tensor of its own."""
    plan = FeaturePlan(
        views=[PlanView(view=view.name, schema_id=view.schema_id)],
        tensors=[
            PlanTensor(
                name=field.name,
                data_type=field.data_type,
                sources=[Source(field=FieldSource(view=view.name, field=field.name))],
            )
            for field in view.fields
        ],
    )
    return GetFeaturesRequest(
        plan_id=hashlib.sha256(plan.SerializeToString(deterministic=True)).digest(),
        plan=plan,
        keys=keys,
        as_of_us=[as_of_us],
        want_origins=True,
    )


def read(view: FeatureView, rows: int, response: GetFeaturesResponse) -> Iterator[StoredValue]:
    """Yield every field of every row of the answer to `ask`."""
    ages = struct.unpack(f"<{rows}q", response.ages_us)
    states = {status.row: status.state for status in response.statuses}
    columns = [unpack(packed, field.data_type) for packed, field in zip(response.tensors, view.fields, strict=True)]
    for row in range(rows):
        state = words(FeatureState.Name, "FEATURE_STATE_", states[row]) if row in states else "fresh"
        for index, field in enumerate(view.fields):
            width = field.length or 1
            values = columns[index][row * width : (row + 1) * width]
            origin = ElementOrigin.ValueType(response.origins[index][row])
            yield StoredValue(
                row=row,
                field=field.name,
                value=values if field.length else values[0],
                origin=words(ElementOrigin.Name, "ELEMENT_ORIGIN_", origin),
                age_us=None if ages[row] == _ABSENT_US else ages[row],
                state=state,
            )
