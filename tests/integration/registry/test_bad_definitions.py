"""Every definition that cannot be is refused with its reason and field, and changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from services.mesh.errors import Code, MeshError, Reason
from services.registry.definitions import (
    DataType,
    Entity,
    Fallback,
    KeyType,
    MetricGate,
    Resource,
    Route,
    StalePolicy,
    StaticAnswer,
    Tensor,
)
from tests.support.definitions import column, endpoint, entity, field, model, view
from tests.support.registry import Client, message

INVALID, PRECONDITION = Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION
RIDER = (column("rider_id", strings=("r1",)),)


def with_default(data_type: DataType, /, *, length: int = 0, **values: Any) -> Resource:
    """A view with one field that has a default."""
    return view("v", fields=(field(data_type=data_type, length=length, default_value=Tensor(**values)),))


def gated(*gates: MetricGate) -> Resource:
    """The model with these gates."""
    return replace(model(champion="1.0.0"), metric_gates=gates)


BAD_VIEWS: dict[str, tuple[Resource, Reason, str]] = {
    "no name": (view(""), Reason.INVALID_NAME, "name"),
    "upper case": (view("Rider"), Reason.INVALID_NAME, "name"),
    "two namespaces": (view("a/b/c"), Reason.INVALID_NAME, "name"),
    "a dot": (view("a.age"), Reason.INVALID_NAME, "name"),
    "64 letters": (view("a" * 64), Reason.INVALID_NAME, "name"),
    "a megabyte": (view("a" * 1_000_000), Reason.INVALID_NAME, "name"),
    "a name with another meaning": (view("request"), Reason.INVALID_NAME, "name"),
    "no entity name": (view("v", entity=entity("")), Reason.INVALID_NAME, "entity.name"),
    "no key": (view("v", entity=Entity("e", ())), Reason.INVALID_DEFINITION, "entity.keys"),
    "five keys": (
        view("v", entity=entity("e", **{f"k{number}": KeyType.INT64 for number in range(5)})),
        Reason.INVALID_DEFINITION,
        "entity.keys",
    ),
    "a key twice": (
        view("v", entity=Entity("e", entity().keys * 2)),
        Reason.INVALID_DEFINITION,
        "entity.keys[1].name",
    ),
    "an odd key name": (
        view("v", entity=entity("e", **{"a b": KeyType.INT64})),
        Reason.INVALID_NAME,
        "entity.keys[0].name",
    ),
    "a key without a type": (
        view("v", entity=entity("e", k=KeyType.UNSPECIFIED)),
        Reason.INVALID_DEFINITION,
        "entity.keys[0].type",
    ),
    "other keys for the entity": (
        view("v", entity=entity("rider", rider_id=KeyType.INT64)),
        Reason.INVALID_DEFINITION,
        "entity.keys",
    ),
    "no fields": (view("v", fields=()), Reason.INVALID_DEFINITION, "fields"),
    "a field twice": (view("v", fields=(field(), field())), Reason.INVALID_DEFINITION, "fields[1].name"),
    "an odd field name": (view("v", fields=(field("a:b"),)), Reason.INVALID_NAME, "fields[0].name"),
    "a field without a type": (
        view("v", fields=(field(data_type=DataType.UNSPECIFIED),)),
        Reason.INVALID_DEFINITION,
        "fields[0].data_type",
    ),
    "an endless list": (view("v", fields=(field(length=2**31),)), Reason.INVALID_DEFINITION, "fields[0].length"),
    "a default of another type": (
        with_default(DataType.INT64, floats=(1.0,)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value",
    ),
    "a default that says another type": (
        with_default(DataType.INT32, data_type=DataType.INT64, ints=(1,)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value.data_type",
    ),
    "a default out of range": (
        with_default(DataType.INT8, ints=(128,)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value.ints[0]",
    ),
    "a default that is no number": (
        with_default(DataType.FP32, floats=(math.nan,)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value.floats[0]",
    ),
    "a default too large for a half": (
        with_default(DataType.FP16, floats=(70_000.0,)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value.floats[0]",
    ),
    "a default without a value": (with_default(DataType.FP32), Reason.INVALID_DEFINITION, "fields[0].default_value"),
    "a default of another length": (
        with_default(DataType.FP32, length=3, floats=(1.0, 2.0)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value.floats",
    ),
    "a default of another shape": (
        with_default(DataType.FP32, length=2, floats=(1.0, 2.0), shape=(2, 1)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value.shape",
    ),
    "a default with nulls": (
        with_default(DataType.FP32, floats=(1.0,), null_rows=(0,)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value.null_rows",
    ),
    "a negative age": (view("v", max_age_ms=-1), Reason.INVALID_DEFINITION, "max_age_ms"),
    "an endless age": (view("v", max_age_ms=2**62), Reason.INVALID_DEFINITION, "max_age_ms"),
    "a negative ttl": (view("v", ttl_ms=-1), Reason.INVALID_DEFINITION, "ttl_ms"),
    "gone before it is stale": (view("v", max_age_ms=10, ttl_ms=9), Reason.INVALID_DEFINITION, "ttl_ms"),
    "reject without an age": (view("v", stale_policy=StalePolicy.REJECT), Reason.INVALID_DEFINITION, "stale_policy"),
    "default without an age": (view("v", stale_policy=StalePolicy.DEFAULT), Reason.INVALID_DEFINITION, "stale_policy"),
    "default with nothing to take": (
        view("v", stale_policy=StalePolicy.DEFAULT, max_age_ms=1, fields=(field(data_type=DataType.INT64),)),
        Reason.INVALID_DEFINITION,
        "fields[0].default_value",
    ),
    "another entity": (
        view(entity=entity("driver")),
        Reason.INCOMPATIBLE_CHANGE,
        "entity",
    ),
    "a field removed": (view(fields=(field(),)), Reason.INCOMPATIBLE_CHANGE, "fields"),
    "a field put first": (view(fields=(field("new"), *view().fields)), Reason.INCOMPATIBLE_CHANGE, "fields[0]"),
    "a field of another type": (
        view(fields=(field(), field("rating", DataType.FP64))),
        Reason.INCOMPATIBLE_CHANGE,
        "fields[1]",
    ),
    "a field of another length": (
        view(fields=(field(), field("rating", length=2))),
        Reason.INCOMPATIBLE_CHANGE,
        "fields[1]",
    ),
}

BAD_MODELS: dict[str, tuple[Resource, Reason, str]] = {
    "an odd name": (model("no spaces"), Reason.INVALID_NAME, "name"),
    "an unknown version": (model(champion="1.0.0", next="9.9.9"), Reason.UNKNOWN_VERSION, "aliases.next"),
    "no version": (model(champion="1.0.0", next=""), Reason.UNKNOWN_VERSION, "aliases.next"),
    "an alias like a range": (model(champion="1.0.0", **{"1": "1.0.0"}), Reason.INVALID_NAME, "aliases.1"),
    "an alias that an endpoint needs": (model(), Reason.IN_USE, "aliases"),
    "a gate without a metric": (gated(MetricGate("", min=1.0)), Reason.INVALID_DEFINITION, "metric_gates[0].metric"),
    "a gate that never acts": (gated(MetricGate("auc")), Reason.INVALID_DEFINITION, "metric_gates[0]"),
    "two gates of one metric": (
        gated(MetricGate("auc", min=0.7), MetricGate("auc", max=0.9)),
        Reason.INVALID_DEFINITION,
        "metric_gates[1].metric",
    ),
    "a bound that is no number": (
        gated(MetricGate("mae", max=math.nan)),
        Reason.INVALID_DEFINITION,
        "metric_gates[0].max",
    ),
    "an endless bound": (gated(MetricGate("mae", min=-math.inf)), Reason.INVALID_DEFINITION, "metric_gates[0].min"),
    "bounds that nothing is between": (
        gated(MetricGate("mae", min=2.0, max=1.0)),
        Reason.INVALID_DEFINITION,
        "metric_gates[0].min",
    ),
    "an AUC in percent": (gated(MetricGate("auc", min=70.0)), Reason.INVALID_DEFINITION, "metric_gates[0].min"),
    "a negative Brier score": (gated(MetricGate("brier", max=-0.1)), Reason.INVALID_DEFINITION, "metric_gates[0].max"),
}

BAD_ENDPOINTS: dict[str, tuple[Resource, Reason, str]] = {
    "an odd name": (endpoint("ä"), Reason.INVALID_NAME, "name"),
    "no model": (endpoint("e", model=""), Reason.UNKNOWN_MODEL, "model"),
    "an unknown model": (endpoint("e", model="nobody"), Reason.UNKNOWN_MODEL, "model"),
    "no route": (endpoint("e", route=Route()), Reason.INVALID_DEFINITION, "route"),
    "an unknown version": (endpoint("e", route=Route(version="2.0.0")), Reason.UNKNOWN_VERSION, "route.version"),
    "an unknown alias": (endpoint("e", route=Route(alias="best")), Reason.UNKNOWN_ALIAS, "route.alias"),
    "a negative timeout": (endpoint("e", default_timeout_ms=-1), Reason.INVALID_DEFINITION, "default_timeout_ms"),
    "an endless timeout": (endpoint("e", default_timeout_ms=2**40), Reason.INVALID_DEFINITION, "default_timeout_ms"),
    "a ladder of nothing": (endpoint("e", fallbacks=(Fallback(),)), Reason.INVALID_DEFINITION, "fallbacks[0]"),
    "a ladder to an unknown version": (
        endpoint("e", fallbacks=(Fallback(version="2.0.0"),)),
        Reason.UNKNOWN_VERSION,
        "fallbacks[0].version",
    ),
    "a last answer of last month": (
        endpoint("e", fallbacks=(Fallback(last_answer_max_age_ms=31 * 86_400_000),)),
        Reason.INVALID_DEFINITION,
        "fallbacks[0].last_answer_max_age_ms",
    ),
    "a static answer of another type": (
        endpoint("e", fallbacks=(Fallback(answer=StaticAnswer((column("y", strings=("late",)),))),)),
        Reason.INVALID_DEFINITION,
        "fallbacks[0].answer.outputs[0]",
    ),
    "a static answer of nothing": (
        endpoint("e", fallbacks=(Fallback(answer=StaticAnswer(())),)),
        Reason.INVALID_DEFINITION,
        "fallbacks[0].answer.outputs",
    ),
    "a sample with another column": (
        endpoint("e", sample_entities=(*RIDER, column("driver", strings=("d",)))),
        Reason.INVALID_DEFINITION,
        "sample_entities[1].name",
    ),
    "a sample with a column twice": (
        endpoint("e", sample_entities=RIDER * 2),
        Reason.INVALID_DEFINITION,
        "sample_entities[1].name",
    ),
    "a sample key of another type": (
        endpoint("e", sample_entities=(column("rider_id", ints=(1,)),)),
        Reason.INVALID_DEFINITION,
        "sample_entities[0]",
    ),
    "a sample with an empty key": (
        endpoint("e", sample_entities=(column("rider_id", strings=("",)),)),
        Reason.INVALID_DEFINITION,
        "sample_entities[0]",
    ),
    "a sample feature of another type": (
        endpoint("e", sample_entities=RIDER, sample_features=(column("hour", strings=("x",)),)),
        Reason.INVALID_DEFINITION,
        "sample_features[0]",
    ),
    "a sample feature that is no number": (
        endpoint("e", sample_entities=RIDER, sample_features=(column("hour", floats=(math.inf,)),)),
        Reason.INVALID_DEFINITION,
        "sample_features[0]",
    ),
    "a sample feature nobody takes": (
        endpoint("e", sample_entities=RIDER, sample_features=(column("minute", floats=(1.0,)),)),
        Reason.INVALID_DEFINITION,
        "sample_features[0].name",
    ),
    "a sample of unequal columns": (
        endpoint("e", sample_entities=RIDER, sample_features=(column("hour", floats=(1.0, 2.0)),)),
        Reason.INVALID_DEFINITION,
        "sample_features[0]",
    ),
    "a sample of too many rows": (
        endpoint("e", sample_entities=(column("rider_id", strings=("r",) * 257),)),
        Reason.INVALID_DEFINITION,
        "sample_entities[0]",
    ),
    "sample features alone": (
        endpoint("e", sample_features=(column("hour", floats=(1.0,)),)),
        Reason.INVALID_DEFINITION,
        "sample_entities",
    ),
}

CASES = [
    pytest.param(kind, *case, id=f"{kind}: {name}")
    for kind, cases in (("feature_view", BAD_VIEWS), ("model", BAD_MODELS), ("endpoint", BAD_ENDPOINTS))
    for name, case in cases.items()
]


@pytest.mark.parametrize("empty", ["inprocess"], indirect=True)
@pytest.mark.parametrize(("kind", "resource", "reason", "path"), CASES)
async def test_a_bad_definition_is_refused(
    full: Client, kind: str, resource: Resource, reason: Reason, path: str
) -> None:
    """The caller gets the reason and the field; the registry stays as it was."""
    before, events = await full.snapshot(), await full.events()
    with pytest.raises(MeshError) as caught:
        await full.apply(view("other", entity=entity("driver")), resource)
    first, *others = [violation.field for violation in caught.value.violations]
    assert (caught.value.reason, first) == (reason, f"resources[1].{kind}.{path}")
    # Of a view that no longer fits, those who read it are named too.
    assert all(other == "resources[1].feature_view" for other in others)
    assert caught.value.code == (PRECONDITION if reason in {"INCOMPATIBLE_CHANGE", "IN_USE"} else INVALID)
    assert len(caught.value.message) < 500
    assert await full.snapshot() == before
    assert await full.events() == events


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (pb.ApplyRequest(), "resources"),
        (pb.ApplyRequest(resources=[message(view("a")), pb.Resource()]), "resources[1]"),
    ],
)
async def test_a_request_without_a_resource_is_refused(full: Client, request_: pb.ApplyRequest, path: str) -> None:
    """Nothing to apply is a mistake of the caller."""
    with pytest.raises(MeshError) as caught:
        await full.stub.Apply(request_)
    assert (caught.value.reason, caught.value.violations[0].field) == (Reason.MISSING_FIELD, path)


async def test_a_resource_stands_once(full: Client) -> None:
    """Two wishes for one name contradict each other."""
    with pytest.raises(MeshError) as caught:
        await full.apply(view("a"), model("a"), view("a", max_age_ms=1))
    assert caught.value.violations[0].field == "resources[2].feature_view.name"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda given: setattr(given, "stale_policy", 99), "stale_policy"),
        (lambda given: setattr(given.entity.keys[0], "type", 99), "entity.keys[0].type"),
        (lambda given: setattr(given.fields[0], "data_type", 99), "fields[0].data_type"),
    ],
)
async def test_a_value_of_a_newer_release_is_refused(full: Client, change: Any, path: str) -> None:
    """An enum value that this release does not know is never taken for another one."""
    resource = message(view("v", max_age_ms=1))
    change(resource.feature_view)
    with pytest.raises(MeshError) as caught:
        await full.stub.Apply(pb.ApplyRequest(resources=[resource]))
    assert caught.value.violations[0].field == f"resources[0].feature_view.{path}"


async def test_what_only_the_registry_gives_is_ignored(full: Client) -> None:
    """Schema ids and versions in an Apply have no effect."""
    resource = message(view("v"))
    resource.feature_view.schema_id = 77
    resource.feature_view.schemas.add(id=77, field_count=9)
    await full.stub.Apply(pb.ApplyRequest(resources=[resource]))
    stored_view: FeatureView = (await full.snapshot()).feature_views[1]
    assert (stored_view.schema_id, len(stored_view.schemas)) == (2, 1)
