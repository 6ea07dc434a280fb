"""What is absent, old, early or null: served, replaced or refused as the view says, and never in silence."""

from __future__ import annotations

import math

import pytest
import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason
from tests.worlds.failures import failure, status_failure
from tests.worlds.models import echo
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import NOON_US, Sandbox

LIMIT_S = 60
# As of this time, what became true at noon is exactly as old as a view allows, and then one microsecond older.
LAST_FRESH_US = NOON_US + LIMIT_S * 1_000_000
FIRST_STALE_US = LAST_FRESH_US + 1
RIDER = {"rider_id": "STRING"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def aged(own: Sandbox) -> Sandbox:
    """One endpoint for each policy, over a view that allows a minute; each shows the value and its age."""
    for policy in ("SERVE", "DEFAULT", "REJECT"):
        name = policy.lower()
        made = view(name, field("v", default=-1.0), entity="rider", keys=RIDER, max_age_s=LIMIT_S, policy=policy)
        await own.view(made)
        await own.serve(name, echo(x=("FP32", (2,))), {"x": [f"{name}:v", f"{name}.age"]})
        await own.write(name, {"rider_id": ["known", "other"]}, {"v": [5.0, 6.0]})
        await own.write(name, {"rider_id": ["newer"]}, {"v": [7.0]}, at_us=FIRST_STALE_US)
    return own


def degradations(answer: gateway_pb.PredictResponse) -> list[tuple[str, str, list[int]]]:
    """What an answer says is not as it should be: reason, subject without its namespace, rows."""
    return [
        (
            DegradationReason.Name(each.reason).removeprefix("DEGRADATION_REASON_"),
            each.subject.rpartition("/")[2],
            list(each.rows),
        )
        for each in answer.provenance.degradations
    ]


async def test_an_entity_never_seen(riders: Sandbox) -> None:
    """It gets the defaults; without a default a float is NaN. The answer says so, and has no age."""
    answer = await riders.predict("ride", {"rider_id": ["never-seen"]}, {"hour": [1.0]})
    trips, rating, age, hour = values(answer.outputs[0])
    assert (1.5, 1.0) == (trips, hour)
    assert math.isnan(rating)
    assert math.isnan(age)
    assert [("FEATURE_ABSENT", "rider", [])] == degradations(answer)
    assert not answer.provenance.views[0].HasField("oldest_age_ms")


async def test_only_the_rows_concerned_are_named(riders: Sandbox) -> None:
    """A degradation of some rows lists them."""
    await riders.write("rider", {"rider_id": ["seen"]}, {"trips": [2.0]})
    answer = await riders.predict("ride", {"rider_id": ["nobody", "seen", "no one"]}, {"hour": [1.0] * 3})
    assert [("FEATURE_ABSENT", "rider", [0, 2])] == degradations(answer)
    assert 0 == answer.provenance.views[0].oldest_age_ms


@pytest.mark.parametrize("policy", ["serve", "default", "reject"])
async def test_as_old_as_allowed_is_fresh(aged: Sandbox, policy: str) -> None:
    """The limit itself is still fresh."""
    answer = await aged.predict(policy, {"rider_id": ["known"]}, as_of_us=LAST_FRESH_US)
    assert [5.0, 60.0] == values(answer.outputs[0])
    assert not degradations(answer)


async def test_too_old_is_served(aged: Sandbox) -> None:
    """Policy serve: the value as it is, and a note."""
    answer = await aged.predict("serve", {"rider_id": ["known", "newer"]}, as_of_us=FIRST_STALE_US)
    assert pytest.approx([5.0, 60.000001, 7.0, 0.0]) == values(answer.outputs[0])
    assert [("FEATURE_STALE_SERVED", "serve", [0])] == degradations(answer)


async def test_too_old_is_replaced(aged: Sandbox) -> None:
    """Policy default: the default, no age for the model, and the true age for people."""
    answer = await aged.predict("default", {"rider_id": ["known"]}, as_of_us=FIRST_STALE_US + 1_000_000)
    value, age = values(answer.outputs[0])
    assert -1.0 == value
    assert math.isnan(age)
    assert [("FEATURE_STALE_DEFAULTED", "default", [])] == degradations(answer)
    assert 61_000 == answer.provenance.views[0].oldest_age_ms


async def test_too_old_is_refused_by_row(aged: Sandbox) -> None:
    """Policy reject: the row fails with its reason, the others are answered."""
    answer = await aged.predict("reject", {"rider_id": ["newer", "known"]}, as_of_us=FIRST_STALE_US)
    ((row, error),) = [(each.row, status_failure(each.status)) for each in answer.row_errors]
    assert (1, "FAILED_PRECONDITION", "STALE_FEATURE") == (row, error.code, error.reason)
    assert [7.0, 0.0] == values(answer.outputs[0])[:2]


async def test_a_call_without_a_good_row_fails(aged: Sandbox) -> None:
    """If every row is refused, the call fails as its first row does: nobody can read a filler for an answer."""
    found = await failure(aged.predict("reject", {"rider_id": ["known", "other"]}, as_of_us=FIRST_STALE_US))
    assert ("FAILED_PRECONDITION", "STALE_FEATURE") == (found.code, found.reason)
    assert "reject" in found.message


async def test_what_the_request_brings_is_never_stale(own: Sandbox) -> None:
    """A request that brings every value that the model takes of a view does not care for its age."""
    await own.view(
        view("fares", field("fare"), entity="rider", keys=RIDER, max_age_s=LIMIT_S, policy="REJECT"),
    )
    await own.serve("fares", echo(x=("FP32", (1,))), {"x": ["fares:fare"]})
    await own.write("fares", {"rider_id": ["a", "b"]}, {"fare": [1.0, 2.0]})
    answer = await own.predict(
        "fares", {"rider_id": ["a", "b"]}, {"fares:fare": [None, 9.0]}, as_of_us=NOON_US + 3_600_000_000
    )
    assert [(0, "STALE_FEATURE")] == [(each.row, status_failure(each.status).reason) for each in answer.row_errors]
    assert 9.0 == values(answer.outputs[0])[1]


async def test_newer_than_as_of(aged: Sandbox) -> None:
    """A value of the future is served with a negative age, and said to be ahead."""
    answer = await aged.predict("reject", {"rider_id": ["newer"]}, as_of_us=FIRST_STALE_US - 1_500_000)
    assert [7.0, -1.5] == values(answer.outputs[0])
    assert [("FEATURE_AHEAD", "reject", [])] == degradations(answer)
    assert -1500 == answer.provenance.views[0].oldest_age_ms


async def test_null_without_a_default(own: Sandbox) -> None:
    """A null is NaN to a float, and an error of its row to other types; the request may bring the value instead."""
    await own.view(view("tiers", field("level", "INT64"), field("share"), entity="rider", keys=RIDER))
    await own.serve("tiers", echo(n=("INT64", (1,)), x=("FP32", (1,))), {"n": ["tiers:level"], "x": ["tiers:share"]})
    await own.write("tiers", {"rider_id": ["none", "some"]}, {"level": [None, 3], "share": [None, 0.5]})
    answer = await own.predict("tiers", {"rider_id": ["some", "none", "unseen"]})
    assert [(1, "MISSING_FEATURE"), (2, "MISSING_FEATURE")] == [
        (each.row, status_failure(each.status).reason) for each in answer.row_errors
    ]
    assert (3, 0.5) == (values(answer.outputs[0])[0], values(answer.outputs[1])[0])

    given = await own.predict("tiers", {"rider_id": ["some", "none", "unseen"]}, {"tiers:level": [None, 8, 9]})
    assert not given.row_errors
    assert [3, 8, 9] == values(given.outputs[0])
    assert math.isnan(values(given.outputs[1])[1])
