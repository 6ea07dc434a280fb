"""Endpoints, to and from their YAML form."""

from __future__ import annotations

from collections.abc import Iterable

from predictmesh.registry.v1.endpoint_pb2 import Endpoint, Route
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli import durations
from services.cli.resources.cursor import Cursor
from services.cli.values import fill, values_of


def read_endpoint(document: Cursor) -> Endpoint:
    """Return the endpoint that `document` defines."""
    members = document.mapping(("kind", "name", "model", "route"), ("description", "default_timeout", "sample"))
    endpoint = Endpoint(name=members["name"].text(), model=members["model"].text(), route=_read_route(members["route"]))
    if "description" in members:
        endpoint.description = members["description"].text()
    if "default_timeout" in members:
        endpoint.default_timeout_ms = members["default_timeout"].parsed(durations.parse_ms)
    if "sample" in members:
        sample = members["sample"].mapping((), ("entities", "features"))
        if "entities" in sample:
            endpoint.sample_entities.extend(_read_values(sample["entities"]))
        if "features" in sample:
            endpoint.sample_features.extend(_read_values(sample["features"]))
    return endpoint


def _read_route(cursor: Cursor) -> Route:
    members = cursor.mapping((), ("version", "alias"))
    if len(members) != 1:
        cursor.fail("must name a version or an alias, one of both")
    if "version" in members:
        return Route(version=members["version"].text())
    return Route(alias=members["alias"].text())


def _read_values(cursor: Cursor) -> list[Tensor]:
    return [_read_value(name, member) for name, member in cursor.members().items()]


def _read_value(name: str, cursor: Cursor) -> Tensor:
    """Return one row of values. Its type stays open, as the definition that it meets may come later."""
    values = [item.value for item in cursor.items()] if isinstance(cursor.value, list) else [cursor.value]
    try:
        tensor = fill(Tensor(name=name), values, _natural_type(values))
    except ValueError as error:
        cursor.fail(str(error))
    tensor.ClearField("data_type")
    if isinstance(cursor.value, list):
        tensor.shape.extend((1, len(values)))
    return tensor


def _natural_type(values: list[object]) -> DataType.ValueType:
    if all(isinstance(value, bool) for value in values):
        return DataType.DATA_TYPE_BOOL
    if all(isinstance(value, int) for value in values):
        return DataType.DATA_TYPE_INT64
    if all(isinstance(value, int | float) for value in values):
        return DataType.DATA_TYPE_FP32
    return DataType.DATA_TYPE_BYTES


def show_endpoint(endpoint: Endpoint) -> dict[str, object]:
    """Return the YAML form of `endpoint`."""
    shown: dict[str, object] = {"kind": "Endpoint", "name": endpoint.name}
    if endpoint.description:
        shown["description"] = endpoint.description
    shown["model"] = endpoint.model
    kind = endpoint.route.WhichOneof("kind") or "version"
    shown["route"] = {kind: getattr(endpoint.route, kind)}
    if endpoint.default_timeout_ms:
        shown["default_timeout"] = durations.exact(endpoint.default_timeout_ms)
    entities, features = _show_values(endpoint.sample_entities), _show_values(endpoint.sample_features)
    sample = ({"entities": entities} if entities else {}) | ({"features": features} if features else {})
    return shown | ({"sample": sample} if sample else {})


def _show_values(tensors: Iterable[Tensor]) -> dict[str, object]:
    shown = {}
    for tensor in tensors:
        values = values_of(tensor)
        shown[tensor.name] = values if len(tensor.shape) > 1 else values[0]
    return shown
