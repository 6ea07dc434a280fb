"""Applying definitions."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.feature_view_pb2 import StalePolicy
from services.mesh.errors import Code, MeshError, Reason
from services.registry.definitions import DataType, Route, Tensor
from tests.support.definitions import column, endpoint, field, model, version, view
from tests.support.registry import Client


async def test_definitions_come_back_as_they_were_given(full: Client) -> None:
    """The snapshot holds every definition, with what the registry adds."""
    snapshot = await full.snapshot()
    (given,), (churn,), (route,) = snapshot.feature_views, snapshot.models, snapshot.endpoints
    assert snapshot.revision == 3
    assert (given.name, given.schema_id, given.stale_policy) == ("rider_stats", 1, StalePolicy.STALE_POLICY_SERVE)
    assert [(schema.id, schema.field_count) for schema in given.schemas] == [(1, 2)]
    assert dict(churn.aliases) == {"champion": "1.0.0"}
    assert [each.version for each in churn.versions] == ["1.0.0"]
    assert (route.model, route.route.alias) == ("churn", "champion")


async def test_what_one_resource_needs_may_come_in_the_same_request(full: Client) -> None:
    """Resources are checked together, in whatever order they stand."""
    response = await full.apply(
        endpoint("b", route=Route(alias="candidate")), model(champion="1.0.0", candidate="1.0.0")
    )
    assert [change.action for change in response.changes] == [pb.CHANGE_ACTION_CREATED, pb.CHANGE_ACTION_UPDATED]


async def test_each_change_is_told_by_field(full: Client) -> None:
    """A diff names the innermost fields, as JSON before and after."""
    grown = view(fields=(*view().fields, field("city", DataType.BYTES)), max_age_ms=1000)
    (change,) = (await full.apply(grown)).changes
    assert (change.kind, change.name, change.action) == ("FeatureView", "rider_stats", pb.CHANGE_ACTION_UPDATED)
    told = {field.path: (field.before, field.after) for field in change.fields}
    assert told["max_age_ms"] == ("", "1000")
    assert told["fields[2].name"] == ("", '"city"')
    assert told["schema_id"] == ("1", "2")


async def test_the_same_again_changes_nothing(full: Client) -> None:
    """Applying what is there writes no event."""
    response = await full.apply(view(), model(champion="1.0.0"), endpoint())
    assert {change.action for change in response.changes} == {pb.CHANGE_ACTION_UNCHANGED}
    assert response.revision == 3
    assert len(await full.events()) == 3


async def test_a_dry_run_answers_the_same_and_does_nothing(full: Client) -> None:
    """The diff and the faults of a dry run are those of the real thing."""
    before = await full.snapshot()
    changed = (view(max_age_ms=5), view("other"))
    dry = await full.apply(*changed, dry_run=True)
    assert await full.snapshot() == before
    wet = await full.apply(*changed)
    assert (dry.revision, wet.revision) == (3, 4)
    assert list(dry.changes) == list(wet.changes)
    with pytest.raises(MeshError) as caught:
        await full.apply(view(fields=()), dry_run=True)
    assert caught.value.reason == Reason.INVALID_DEFINITION


async def test_one_fault_stops_all(full: Client) -> None:
    """Resources change together or not at all."""
    before = await full.snapshot()
    with pytest.raises(MeshError):
        await full.apply(view("fine"), view("Not fine"))
    assert await full.snapshot() == before


async def test_every_fault_is_told_at_once(full: Client) -> None:
    """The author of a request sees each fault with its path."""
    wrong = view("Wrong", fields=(field(data_type=DataType.UNSPECIFIED),), max_age_ms=-1)
    with pytest.raises(MeshError) as caught:
        await full.apply(view("fine"), wrong, endpoint("e", model="nobody"))
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == [
        "resources[1].feature_view.name",
        "resources[1].feature_view.fields[0].data_type",
        "resources[1].feature_view.max_age_ms",
        "resources[2].endpoint.model",
    ]


async def test_of_two_writers_at_one_revision_one_wins(full: Client) -> None:
    """The other is told where the registry is, and nothing of its change is made."""
    attempts = [full.apply(view(f"v{number}"), expected_revision=3) for number in range(2)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    (conflict,) = [result for result in results if isinstance(result, MeshError)]
    assert (conflict.code, conflict.reason) == (Code.ABORTED, Reason.REVISION_CONFLICT)
    assert conflict.metadata["revision"] == "4"
    assert len((await full.snapshot()).feature_views) == 2


async def test_writers_without_expectations_all_win(full: Client) -> None:
    """Writes are put in a row; each is one event."""
    responses = await asyncio.gather(*(full.apply(view(f"v{number}")) for number in range(10)))
    assert sorted(response.revision for response in responses) == list(range(4, 14))
    assert {each.schema_id for each in (await full.snapshot()).feature_views} == set(range(1, 12))


async def test_a_schema_number_is_never_given_again(full: Client) -> None:
    """Rows of a deleted view can never be taken for those of another."""
    await full.apply(view("short_lived"))
    await full.stub.Delete(pb.DeleteRequest(feature_view="short_lived"))
    await full.apply(view("next"))
    assert [each.schema_id for each in (await full.snapshot()).feature_views] == [1, 3]


async def test_an_alias_moves_only_to_what_is_ready(full: Client) -> None:
    """A version nobody has loaded cannot answer, so nothing may be routed to it."""
    await full.register(version("1.1.0"))
    versions = (await full.snapshot()).models[0].versions
    moved = model(champion="1.1.0")
    with pytest.raises(MeshError) as caught:
        await full.apply(moved, allow_unready=False)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.VERSION_NOT_READY)
    assert caught.value.violations[0].field == "resources[0].model.aliases.champion"
    await full.report(versions[1])
    assert (await full.apply(moved, allow_unready=False)).revision == 5


async def test_a_report_of_other_content_does_not_count(full: Client) -> None:
    """READY is said of a digest: a version deleted and made anew is another."""
    await full.register(version("1.1.0"))
    await full.report((await full.snapshot()).models[0].versions[1], digest="0" * 64)
    with pytest.raises(MeshError, match="READY"):
        await full.apply(model(champion="1.1.0"), allow_unready=False)


async def test_only_what_moves_must_be_ready(full: Client) -> None:
    """While no model process runs, a description can be mended, and a route that leads to the same version; no other."""
    await full.apply(replace(model(champion="1.0.0"), description="new"), allow_unready=False)
    await full.apply(endpoint(default_timeout_ms=5), allow_unready=False)
    await full.apply(endpoint(route=Route(version="1.0.0")), allow_unready=False)
    await full.register(version("1.1.0"))
    with pytest.raises(MeshError) as caught:
        await full.apply(endpoint(route=Route(version="1.1.0")), allow_unready=False)
    assert caught.value.violations[0].field == "resources[0].endpoint.route"


async def test_a_sample_request_is_kept(full: Client) -> None:
    """Key columns, a request-time feature given as a whole number, and a stored one by its long name."""
    sample = endpoint(
        sample_entities=(column("rider_id", strings=("r1",)),),
        sample_features=(column("hour", ints=(7,)), column("rider_stats:trips", floats=(1.5,))),
    )
    await full.apply(sample)
    (kept,) = (await full.snapshot()).endpoints
    assert [tensor.name for tensor in kept.sample_features] == ["hour", "rider_stats:trips"]


async def test_numbers_are_told_as_they_were_written(full: Client) -> None:
    """A float32 of 0.1 is 0.1 in the log and in the diff, and unchanged for readers."""
    default = Tensor(floats=(0.1,))
    (change,) = (await full.apply(view("rates", fields=(field(default_value=default),)))).changes
    assert '"floats":[0.1]' in next(each.after for each in change.fields if each.path == "fields")
    assert "0.1]" in (await full.events())[-1].payload
    stored = (await full.snapshot()).feature_views[1].fields[0].default_value.floats[0]
    assert abs(stored - 0.1) < 1e-8
