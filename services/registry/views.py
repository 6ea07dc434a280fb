"""The rules of feature views: what one may be, and what it may become."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from services.registry.definitions import (
    DataType,
    Entity,
    FeatureField,
    FeatureView,
    KeyType,
    SchemaVersion,
    StalePolicy,
    namespace_of,
)
from services.registry.errors import IncompatibleChange, InvalidDefinition, InvalidName
from services.registry.faults import Faults
from services.registry.names import check_column, check_name, check_part, check_unique
from services.registry.tensors import check_default

MAX_KEY_COLUMNS = 4
MAX_FIELDS = 4096
MAX_LENGTH = 65_536
# A hundred years: in microseconds it is far from the end of an int64.
MAX_DURATION_MS = 100 * 365 * 86_400_000


def check_view(view: FeatureView, path: str, faults: Faults) -> None:
    """The view by itself."""
    check_name(view.name, f"{path}.name", faults)
    if view.name == "request":
        faults.add(InvalidName, f"{path}.name", "`request:name` is how request-time values are written; choose another")
    _check_entity(view.entity, f"{path}.entity", faults)
    if not 1 <= len(view.fields) <= MAX_FIELDS:
        faults.add(InvalidDefinition, f"{path}.fields", f"a view has 1 to {MAX_FIELDS} fields")
    check_unique([field.name for field in view.fields], f"{path}.fields", "name", faults)
    for index, field in enumerate(view.fields):
        _check_field(field, f"{path}.fields[{index}]", faults)
    _check_ages(view, path, faults)


def _check_entity(entity: Entity, path: str, faults: Faults) -> None:
    check_part(entity.name, f"{path}.name", faults)
    if not 1 <= len(entity.keys) <= MAX_KEY_COLUMNS:
        faults.add(InvalidDefinition, f"{path}.keys", f"an entity has 1 to {MAX_KEY_COLUMNS} key columns")
    check_unique([key.name for key in entity.keys], f"{path}.keys", "name", faults)
    for index, key in enumerate(entity.keys):
        check_column(key.name, f"{path}.keys[{index}].name", faults)
        if key.type is KeyType.UNSPECIFIED:
            faults.add(InvalidDefinition, f"{path}.keys[{index}].type", "a key column is STRING or INT64")


def _check_field(field: FeatureField, path: str, faults: Faults) -> None:
    check_column(field.name, f"{path}.name", faults)
    if field.length > MAX_LENGTH:
        faults.add(InvalidDefinition, f"{path}.length", f"a list has at most {MAX_LENGTH} elements")
    elif field.data_type is DataType.UNSPECIFIED:
        faults.add(InvalidDefinition, f"{path}.data_type", "a field needs a data type")
    elif field.default_value:
        check_default(field.default_value, field.data_type, field.length, f"{path}.default_value", faults)


def _check_ages(view: FeatureView, path: str, faults: Faults) -> None:
    for name in ("max_age_ms", "ttl_ms"):
        if not 0 <= getattr(view, name) <= MAX_DURATION_MS:
            faults.add(InvalidDefinition, f"{path}.{name}", f"0 to {MAX_DURATION_MS} (a hundred years)")
    if 0 < view.ttl_ms < view.max_age_ms:
        faults.add(
            InvalidDefinition, f"{path}.ttl_ms", "rows would be gone before max_age_ms: make it at least as long"
        )
    _check_policy(view, path, faults)


def _check_policy(view: FeatureView, path: str, faults: Faults) -> None:
    policy = view.stale_policy
    if policy is StalePolicy.UNKNOWN:
        faults.add(InvalidDefinition, f"{path}.stale_policy", "a policy is SERVE, DEFAULT or REJECT")
    elif policy is not StalePolicy.SERVE and view.max_age_ms == 0:
        faults.add(InvalidDefinition, f"{path}.stale_policy", f"{policy} never acts without max_age_ms")
    elif policy is StalePolicy.DEFAULT:
        for index, field in enumerate(view.fields):
            if not field.default_value and not field.data_type.is_float:
                faults.add(
                    InvalidDefinition,
                    f"{path}.fields[{index}].default_value",
                    f"the policy DEFAULT has nothing to take: {field.data_type} has no null; give a default, or REJECT",
                )


def check_evolution(old: FeatureView, new: FeatureView, path: str, faults: Faults) -> None:
    """Stored rows stay readable: the same entity, and fields only appended. Defaults, ages and texts may change."""
    if new.entity != old.entity:
        faults.add(IncompatibleChange, f"{path}.entity", "stored rows are keyed by it: it cannot change")
    if len(new.fields) < len(old.fields):
        faults.add(IncompatibleChange, f"{path}.fields", f"{len(old.fields)} are stored: none can be removed")
    for index, (was, now) in enumerate(zip(old.fields, new.fields, strict=False)):
        if (was.name, was.data_type, was.length) != (now.name, now.data_type, now.length):
            faults.add(
                IncompatibleChange,
                f"{path}.fields[{index}]",
                f"{was.name} {was.data_type} (length {was.length}) is stored here: append fields, and change none",
            )
            # A field put in moves all that follow: one fault, told once.
            return


def check_entity_agrees(view: FeatureView, others: Iterable[FeatureView], path: str, faults: Faults) -> None:
    """Views of one entity have the same key columns."""
    for other in others:
        same_entity = (namespace_of(other.name), other.entity.name) == (namespace_of(view.name), view.entity.name)
        if same_entity and other.name != view.name and other.entity.keys != view.entity.keys:
            faults.add(
                InvalidDefinition, f"{path}.entity.keys", f"view {other.name} has other keys for {view.entity.name}"
            )


def with_schema(view: FeatureView, old: FeatureView | None, next_id: int) -> FeatureView:
    """The view with its schema id: the one it has, or `next_id` when its list of fields is new."""
    if old and len(old.fields) == len(view.fields):
        return replace(view, schema_id=old.schema_id, schemas=old.schemas)
    schemas = (*(old.schemas if old else ()), SchemaVersion(next_id, len(view.fields)))
    return replace(view, schema_id=next_id, schemas=schemas)


def check_schemas(view: FeatureView, path: str, faults: Faults) -> None:
    """The registry's own part of a view that comes from elsewhere: its lists of fields, oldest first."""
    counts = [schema.field_count for schema in view.schemas]
    ids = [schema.id for schema in view.schemas]
    grown = all(low < high for numbers in (counts, ids) for low, high in pairwise(numbers))
    if not grown or not ids or ids[0] < 1 or ids[-1] != view.schema_id or counts[-1] != len(view.fields):
        faults.add(InvalidDefinition, f"{path}.schemas", "its lists of fields do not grow up to the present one")


def check_schema_ids(views: Iterable[FeatureView], path: str, faults: Faults) -> None:
    """No two lists of fields have one number, in one view or in several."""
    ids = [schema.id for view in views for schema in view.schemas]
    if len(set(ids)) < len(ids):
        faults.add(InvalidDefinition, f"{path}.schemas", "two lists of fields have one number")
