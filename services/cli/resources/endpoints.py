"""Endpoints, to and from their YAML form."""

from __future__ import annotations

from collections.abc import Iterable

from predictmesh.registry.v1.endpoint_pb2 import Endpoint
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli import durations
from services.cli.resources.cursor import Cursor
from services.cli.resources.fallbacks import read_fallbacks, show_fallbacks
from services.cli.resources.outcomes import read_outcomes, show_outcomes
from services.cli.resources.routes import read_route, read_shadow, show_route, show_shadow
from services.cli.values import fill, natural_type, values_of

_OPTIONAL = ("description", "default_timeout", "sample", "sticky_key", "shadow", "outcomes", "fallbacks")


def read_endpoint(document: Cursor) -> Endpoint:
    """Return the endpoint that `document` defines."""
    members = document.mapping(("kind", "name", "model", "route"), _OPTIONAL)
    endpoint = Endpoint(name=members["name"].text(), model=members["model"].text(), route=read_route(members["route"]))
    if "description" in members:
        endpoint.description = members["description"].text()
    if "default_timeout" in members:
        endpoint.default_timeout_ms = members["default_timeout"].parsed(durations.parse_ms)
    if "sticky_key" in members:
        endpoint.sticky_key = members["sticky_key"].text()
    if "shadow" in members:
        endpoint.shadow.CopyFrom(read_shadow(members["shadow"]))
    if "outcomes" in members:
        endpoint.outcomes.CopyFrom(read_outcomes(members["outcomes"]))
    if "fallbacks" in members:
        endpoint.fallbacks.extend(read_fallbacks(members["fallbacks"]))
    if "sample" in members:
        _read_sample(members["sample"], endpoint)
    return endpoint


def _read_sample(cursor: Cursor, endpoint: Endpoint) -> None:
    members = cursor.mapping((), ("entities", "features"))
    if "entities" in members:
        endpoint.sample_entities.extend(_read_values(members["entities"]))
    if "features" in members:
        endpoint.sample_features.extend(_read_values(members["features"]))


def _read_values(cursor: Cursor) -> list[Tensor]:
    return [_read_value(name, member) for name, member in cursor.members().items()]


def _read_value(name: str, cursor: Cursor) -> Tensor:
    """Return one row of values. Its type stays open, as the definition that it meets may come later."""
    values = [item.value for item in cursor.items()] if isinstance(cursor.value, list) else [cursor.value]
    try:
        tensor = fill(Tensor(name=name), values, natural_type(values, DataType.DATA_TYPE_FP32))
    except ValueError as error:
        cursor.fail(str(error))
    tensor.ClearField("data_type")
    if isinstance(cursor.value, list):
        tensor.shape.extend((1, len(values)))
    return tensor


def show_endpoint(endpoint: Endpoint) -> dict[str, object]:
    """Return the YAML form of `endpoint`."""
    shown: dict[str, object] = {"kind": "Endpoint", "name": endpoint.name}
    if endpoint.description:
        shown["description"] = endpoint.description
    shown |= {"model": endpoint.model, "route": show_route(endpoint.route)}
    if endpoint.sticky_key:
        shown["sticky_key"] = endpoint.sticky_key
    if endpoint.HasField("shadow"):
        shown["shadow"] = show_shadow(endpoint.shadow)
    if endpoint.HasField("outcomes"):
        shown["outcomes"] = show_outcomes(endpoint.outcomes)
    if endpoint.fallbacks:
        shown["fallbacks"] = show_fallbacks(endpoint.fallbacks)
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
