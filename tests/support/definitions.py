"""Small valid definitions for the registry's tests; each argument replaces one part."""

from __future__ import annotations

import hashlib
from typing import Any

from services.registry.definitions import (
    Artifact,
    DataType,
    Endpoint,
    Entity,
    FeatureField,
    FeatureView,
    FieldSource,
    InputBinding,
    KeyColumn,
    KeyType,
    Model,
    Route,
    Signature,
    Source,
    Tensor,
    TensorSpec,
    Version,
)

CONTENT = b"the bytes of a model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def field(name: str = "trips", data_type: DataType = DataType.FP32, **parts: Any) -> FeatureField:
    """A single FP32 value without a default."""
    return FeatureField(name=name, data_type=data_type, **parts)


def entity(name: str = "rider", **keys: KeyType) -> Entity:
    """Keyed by one text column, rider_id, unless told otherwise."""
    columns = keys or {"rider_id": KeyType.STRING}
    return Entity(name, tuple(KeyColumn(key, key_type) for key, key_type in columns.items()))


def view(name: str = "rider_stats", **parts: Any) -> FeatureView:
    """Two FP32 fields of a rider: trips and rating."""
    standard: dict[str, Any] = {"name": name, "entity": entity(), "fields": (field(), field("rating"))}
    return FeatureView(**standard | parts)


def stored(name: str, view: str = "rider_stats") -> Source:
    """A stored field."""
    return Source(field=FieldSource(view, name))


def age(view: str = "rider_stats") -> Source:
    """A view's age."""
    return Source(age_of_view=view)


def asked(name: str) -> Source:
    """A request-time value."""
    return Source(request=name)


def spec(name: str = "x", data_type: DataType = DataType.FP32, **parts: Any) -> TensorSpec:
    """One FP32 value a row."""
    return TensorSpec(name=name, data_type=data_type, **parts)


def version(number: str = "1.0.0", **parts: Any) -> Version:
    """One input of four elements: two stored, an age and a request-time value."""
    sources = (stored("trips"), stored("rating"), age(), asked("hour"))
    standard: dict[str, Any] = {
        "version": number,
        "signature": Signature((spec(shape=(4,)),), (spec("y"),)),
        "bindings": (InputBinding("x", sources),),
        "artifacts": (Artifact("onnx", SHA256),),
        "metrics": {"auc": 0.75},
    }
    return Version(**standard | parts)


def model(name: str = "churn", **aliases: str) -> Model:
    """A model with these aliases."""
    return Model(name=name, aliases=aliases)


def endpoint(name: str = "churn", **parts: Any) -> Endpoint:
    """Routed to the model of the same name, by the alias champion."""
    standard: dict[str, Any] = {"name": name, "model": "churn", "route": Route(alias="champion")}
    return Endpoint(**standard | parts)


def column(name: str, **values: Any) -> Tensor:
    """Named values."""
    return Tensor(name=name, **values)
