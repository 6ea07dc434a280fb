"""Whether the sources of a version give what its inputs take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from services.registry.definitions import (
    DataType,
    FeatureView,
    InputBinding,
    KeyType,
    Source,
    TensorSpec,
    Version,
)
from services.registry.errors import InvalidBinding
from services.registry.faults import Faults
from services.registry.names import check_column

Views = Mapping[str, FeatureView]


@dataclass(frozen=True, slots=True)
class Value:
    """What a source gives for a row: `count` elements of a type."""

    data_type: DataType
    count: int

    def __str__(self) -> str:
        return f"{self.data_type}[{self.count}]" if self.count != 1 else str(self.data_type)


def views_of(version: Version) -> frozenset[str]:
    """Names of the views that the version reads."""
    return frozenset(source.view for source in _sources(version) if source.view)


def field_value(view: FeatureView, name: str) -> Value | None:
    """What a field of the view gives; None if it has no such field."""
    return next((Value(field.data_type, field.length or 1) for field in view.fields if field.name == name), None)


def requested_value(binding: InputBinding, spec: TensorSpec) -> Value:
    """What a request-time source of the binding gives: all of the input where it is the only source, else one element."""
    return Value(spec.data_type, prod(spec.shape) if len(binding.sources) == 1 else 1)


def requests_of(version: Version) -> dict[str, Value]:
    """Request-time values that the version takes, and what each gives for a row."""
    specs = {spec.name: spec for spec in version.signature.inputs}
    return {
        source.request: requested_value(binding, specs[binding.input])
        for binding in version.bindings
        for source in binding.sources
        if source.request and binding.input in specs
    }


def keys_of(version: Version, views: Views) -> dict[str, KeyType]:
    """Key columns that a prediction by the version takes, and their types."""
    read = [views[name] for name in views_of(version) if name in views]
    return {key.name: key.type for view in read for key in view.entity.keys}


def check_binding(version: Version, views: Views, path: str, faults: Faults) -> None:
    """Every input is bound once, and its sources exist and fit it in type and number."""
    inputs = {spec.name: spec for spec in version.signature.inputs}
    bound: set[str] = set()
    for index, binding in enumerate(version.bindings):
        at = f"{path}.bindings[{index}]"
        if binding.input not in inputs:
            faults.add(InvalidBinding, f"{at}.input", f"the signature has no input {binding.input!r}")
        elif binding.input in bound:
            faults.add(InvalidBinding, f"{at}.input", f"{binding.input!r} is bound twice")
        else:
            _check_sources(binding, inputs[binding.input], views, at, faults)
        bound.add(binding.input)
    for name in sorted(inputs.keys() - bound):
        faults.add(InvalidBinding, f"{path}.bindings", f"input {name!r} is not bound")
    _check_requests(version, path, faults)
    _check_keys(version, views, path, faults)


def _check_sources(binding: InputBinding, spec: TensorSpec, views: Views, path: str, faults: Faults) -> None:
    if not binding.sources:
        faults.add(InvalidBinding, f"{path}.sources", "an input needs at least one source")
        return
    values = [
        _check_source(binding, source, spec, views, f"{path}.sources[{index}]", faults)
        for index, source in enumerate(binding.sources)
    ]
    known = [value for value in values if value]
    count = sum(value.count for value in known)
    if len(known) == len(values) and count != prod(spec.shape):
        faults.add(
            InvalidBinding,
            f"{path}.sources",
            f"they give {count} elements, and a row of {spec.name} {list(spec.shape)} takes {prod(spec.shape)}",
        )


def _check_source(
    binding: InputBinding, source: Source, spec: TensorSpec, views: Views, path: str, faults: Faults
) -> Value | None:
    """What the source gives; None where that is already a fault."""
    if source.request:
        check_column(source.request, f"{path}.request", faults)
        return requested_value(binding, spec)
    if not source.view:
        faults.add(InvalidBinding, path, "a source is a field of a view, the age of a view, or a request-time value")
        return None
    value = _view_value(source, views, path, faults)
    if value and value.data_type is not spec.data_type:
        faults.add(InvalidBinding, path, f"gives {value.data_type}, and input {spec.name} takes {spec.data_type}")
    return value


def _view_value(source: Source, views: Views, path: str, faults: Faults) -> Value | None:
    at = f"{path}.field.view" if source.field else f"{path}.age_of_view"
    if source.view not in views:
        faults.add(InvalidBinding, at, f"there is no feature view {source.view!r}")
        return None
    if source.field is None:
        return Value(DataType.FP32, 1)
    value = field_value(views[source.view], source.field.field)
    if value is None:
        faults.add(InvalidBinding, f"{path}.field.field", f"view {source.view} has no field {source.field.field!r}")
    return value


def _check_requests(version: Version, path: str, faults: Faults) -> None:
    """A request-time value may feed several inputs, but has one type and one length."""
    specs = {spec.name: spec for spec in version.signature.inputs}
    seen: dict[str, Value] = {}
    for at, binding, source in _located(version, path):
        if not source.request or binding.input not in specs:
            continue
        value = requested_value(binding, specs[binding.input])
        if seen.setdefault(source.request, value) != value:
            faults.add(
                InvalidBinding,
                f"{at}.request",
                f"{source.request!r} is {value} here and {seen[source.request]} in another input",
            )


def _check_keys(version: Version, views: Views, path: str, faults: Faults) -> None:
    """Views share a key column by its name, so it must have one type."""
    seen: dict[str, tuple[KeyType, str]] = {}
    done: set[str] = set()
    for at, _, source in _located(version, path):
        if source.view in done or source.view not in views:
            continue
        done.add(source.view)
        for key in views[source.view].entity.keys:
            first = seen.setdefault(key.name, (key.type, source.view))
            if first[0] is not key.type:
                faults.add(
                    InvalidBinding,
                    f"{at}.field.view" if source.field else f"{at}.age_of_view",
                    f"key column {key.name} is {key.type} in view {source.view} and {first[0]} in view {first[1]}",
                )


def _sources(version: Version) -> Iterable[Source]:
    return (source for binding in version.bindings for source in binding.sources)


def _located(version: Version, path: str) -> Iterable[tuple[str, InputBinding, Source]]:
    for index, binding in enumerate(version.bindings):
        for place, source in enumerate(binding.sources):
            yield f"{path}.bindings[{index}].sources[{place}]", binding, source
