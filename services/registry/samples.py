"""The rules of an endpoint's sample request: the versions that answer can take it."""

from __future__ import annotations

from dataclasses import dataclass

from services.registry.binding import Value, Views, field_value, keys_of, requests_of
from services.registry.definitions import Endpoint, KeyType, Tensor, Version
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.names import check_unique
from services.registry.tensors import can_be, filled_list, values_of

MAX_SAMPLE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Sample:
    """What a request may hold: key columns, and features by name or as `view:field`, each with what it is in a row."""

    keys: dict[str, KeyType]
    features: dict[str, Value]

    @classmethod
    def of(cls, version: Version, views: Views) -> Sample:
        """What a request to `version` may hold."""
        stored = {
            f"{source.field.view}:{source.field.field}": value
            for binding in version.bindings
            for source in binding.sources
            if source.field and (value := field_value(views[source.field.view], source.field.field))
        }
        return cls(keys_of(version, views), {**stored, **requests_of(version)})


def check_sample(endpoint: Endpoint, version: Version, views: Views, path: str, faults: Faults) -> None:
    """The sample request is one that `version` can answer. An alias that moves later leaves it as it is."""
    sample = Sample.of(version, views)
    if endpoint.sample_entities:
        _check_sample_keys(endpoint.sample_entities, sample.keys, f"{path}.sample_entities", faults)
    elif endpoint.sample_features and sample.keys:
        faults.add(InvalidDefinition, f"{path}.sample_entities", "sample_features never show without key columns")
    _check_sample_features(endpoint.sample_features, sample.features, f"{path}.sample_features", faults)
    _check_rows(endpoint, sample, path, faults)


def _check_sample_keys(columns: tuple[Tensor, ...], keys: dict[str, KeyType], path: str, faults: Faults) -> None:
    check_unique([column.name for column in columns], path, "name", faults)
    for index, column in enumerate(columns):
        wanted = {KeyType.STRING: "strings", KeyType.INT64: "ints"}.get(keys.get(column.name, KeyType.UNSPECIFIED))
        if wanted is None:
            known = ", ".join(sorted(keys)) or "none"
            faults.add(InvalidDefinition, f"{path}[{index}].name", f"the version's key columns are {known}")
        elif filled_list(column) != wanted or column.null_rows or not all(value != "" for value in values_of(column)):
            faults.add(InvalidDefinition, f"{path}[{index}]", f"keys are {wanted}, none empty and none null")
    missing = sorted(keys.keys() - {column.name for column in columns})
    if missing:
        faults.add(InvalidDefinition, path, f"key columns are missing: {', '.join(missing)}")


def _check_sample_features(columns: tuple[Tensor, ...], values: dict[str, Value], path: str, faults: Faults) -> None:
    check_unique([column.name for column in columns], path, "name", faults)
    for index, column in enumerate(columns):
        value = values.get(column.name)
        if value is None:
            faults.add(InvalidDefinition, f"{path}[{index}].name", f"the version takes no feature {column.name!r}")
        elif not can_be(column, value.data_type):
            faults.add(InvalidDefinition, f"{path}[{index}]", f"the version takes values of {value.data_type}")


def _check_rows(endpoint: Endpoint, sample: Sample, path: str, faults: Faults) -> None:
    keys = [
        (f"{path}.sample_entities[{index}]", len(values_of(column)), 1)
        for index, column in enumerate(endpoint.sample_entities)
    ]
    features = [
        (f"{path}.sample_features[{index}]", len(values_of(column)), _count(column, sample))
        for index, column in enumerate(endpoint.sample_features)
    ]
    columns = keys + features
    rows = columns[0][1] // columns[0][2] if columns else 1
    for at, length, count in columns:
        if length != rows * count or not 1 <= rows <= MAX_SAMPLE_ROWS:
            faults.add(
                InvalidDefinition,
                at,
                f"columns have the rows of the first, 1 to {MAX_SAMPLE_ROWS}, of {count} values here",
            )


def _count(column: Tensor, sample: Sample) -> int:
    """How many values the feature has in a row."""
    value = sample.features.get(column.name)
    return value.count if value else 1
