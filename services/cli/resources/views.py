"""Feature views, to and from their YAML form."""

from __future__ import annotations

from predictmesh.registry.v1.feature_view_pb2 import Entity, FeatureField, FeatureView, KeyColumn, KeyType, StalePolicy
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli import durations
from services.cli.resources.cursor import Cursor
from services.cli.values import DATA_TYPES, fill, type_name, values_of

KEY_TYPES = {"string": KeyType.KEY_TYPE_STRING, "int64": KeyType.KEY_TYPE_INT64}
POLICIES = {
    "serve": StalePolicy.STALE_POLICY_SERVE,
    "default": StalePolicy.STALE_POLICY_DEFAULT,
    "reject": StalePolicy.STALE_POLICY_REJECT,
}
_LONGEST_LIST = 2**32 - 1


def read_view(document: Cursor) -> FeatureView:
    """Return the feature view that `document` defines."""
    members = document.mapping(("kind", "name", "entity", "fields"), ("description", "max_age", "policy", "ttl"))
    view = FeatureView(name=members["name"].text(), entity=_read_entity(members["entity"]))
    view.fields.extend(_read_field(item) for item in members["fields"].items())
    if "description" in members:
        view.description = members["description"].text()
    if "max_age" in members:
        view.max_age_ms = members["max_age"].parsed(durations.parse_ms)
    if "policy" in members:
        view.stale_policy = members["policy"].choice(POLICIES)
    if "ttl" in members:
        view.ttl_ms = members["ttl"].parsed(durations.parse_ms)
    return view


def _read_entity(cursor: Cursor) -> Entity:
    members = cursor.mapping(("name", "keys"))
    keys = []
    for item in members["keys"].items():
        key = item.mapping(("name", "type"))
        keys.append(KeyColumn(name=key["name"].text(), type=key["type"].choice(KEY_TYPES)))
    return Entity(name=members["name"].text(), keys=keys)


def _read_field(cursor: Cursor) -> FeatureField:
    members = cursor.mapping(("name", "type"), ("length", "default"))
    field = FeatureField(name=members["name"].text(), data_type=members["type"].choice(DATA_TYPES))
    if "length" in members:
        field.length = members["length"].integer(1, _LONGEST_LIST)
    if "default" in members:
        field.default_value.CopyFrom(_read_default(members["default"], field))
    return field


def _read_default(cursor: Cursor, field: FeatureField) -> Tensor:
    items = cursor.items() if field.length else [cursor]
    if field.length and len(items) != field.length:
        cursor.fail(f"must hold {field.length} values, not {len(items)}")
    tensor = Tensor(name=field.name)
    try:
        return fill(tensor, [item.value for item in items], field.data_type)
    except ValueError as error:
        cursor.fail(str(error))


def show_view(view: FeatureView) -> dict[str, object]:
    """Return the YAML form of `view`."""
    shown: dict[str, object] = {"kind": "FeatureView", "name": view.name}
    if view.description:
        shown["description"] = view.description
    keys = [{"name": key.name, "type": _name_of(KEY_TYPES, key.type)} for key in view.entity.keys]
    shown["entity"] = {"name": view.entity.name, "keys": keys}
    shown["fields"] = [_show_field(field) for field in view.fields]
    if view.max_age_ms:
        shown["max_age"] = durations.exact(view.max_age_ms)
    if view.stale_policy:
        shown["policy"] = _name_of(POLICIES, view.stale_policy)
    if view.ttl_ms:
        shown["ttl"] = durations.exact(view.ttl_ms)
    return shown


def _show_field(field: FeatureField) -> dict[str, object]:
    shown: dict[str, object] = {"name": field.name, "type": type_name(field.data_type)}
    if field.length:
        shown["length"] = field.length
    if field.HasField("default_value"):
        values = values_of(field.default_value)
        shown["default"] = values if field.length else values[0]
    return shown


def _name_of(
    names: dict[str, int] | dict[str, KeyType.ValueType] | dict[str, StalePolicy.ValueType], value: int
) -> str:
    return next((name for name, number in names.items() if number == value), "")
