"""Releases: from step to step by evidence, by hand, against gates, against each other, and through kills."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import get_args

import pytest

from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.release_pb2 import (
    RELEASE_STATE_HELD,
    RELEASE_STATE_PROMOTED,
    RELEASE_STATE_ROLLED_BACK,
    RELEASE_STATE_RUNNING,
    ErrorRateGuard,
    ReleasePlan,
)
from services.mesh.errors import Code, MeshError, Reason
from services.registry.definitions import MetricGate, Model, Route
from tests.integration.registry.releasing import (
    LOOK_S,
    STEPS,
    changes,
    ended,
    fill,
    last,
    route_of,
    start,
)
from tests.support.definitions import endpoint, version
from tests.support.fake_gateway import FakeGateway, busy
from tests.support.registry import Client, World, registry
from tests.support.waiting import eventually_answers


@pytest.fixture(params=get_args(World))
async def ready(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """A registry that looks at its releases often: churn is routed to 1.0.0, and 1.1.0 is READY too."""
    async with registry(tmp_path, request.param, release_interval_s=LOOK_S) as client:
        await fill(client)
        yield client


async def test_a_good_candidate_goes_to_all_by_itself(ready: Client) -> None:
    """Step by step, each in the log with its reason; then the route names it."""
    await start(ready)
    async with busy(ready, FakeGateway()):
        release = await ended(ready)
    assert release.state == RELEASE_STATE_PROMOTED
    assert [(state, step) for state, step, _ in changes(await ready.events())] == [
        ("RUNNING", 0),
        ("RUNNING", 1),
        ("RUNNING", 2),
        ("PROMOTED", 3),
    ]
    assert "50 % is done: error_rate 0" in release.reason
    assert await route_of(ready) == "1.1.0"


async def test_a_failing_candidate_is_taken_back(ready: Client) -> None:
    """Early, with the figures; the route never moved."""
    await start(ready)
    async with busy(ready, FakeGateway(failing=frozenset({"1.1.0"}))):
        release = await ended(ready)
    assert (release.state, release.step) == (RELEASE_STATE_ROLLED_BACK, 0)
    assert "of 1.1.0 at 5 % against 0" in release.reason
    assert await route_of(ready) == "1.0.0"
    assert (await ready.snapshot()).models[0].released_versions == ["1.0.0"]


async def test_a_held_release_stays_where_it_is_but_is_guarded(ready: Client) -> None:
    """Enough evidence does not move it; bad evidence does."""
    await start(ready)
    held = await ready.releases.HoldRelease(pb.HoldReleaseRequest(endpoint="churn", reason="lunch"))
    assert (held.release.state, held.release.reason) == (RELEASE_STATE_HELD, "lunch")
    gateway = FakeGateway()
    for _ in range(10):
        await gateway.serve_once(ready)
    report = await ready.releases.GetRelease(pb.GetReleaseRequest(endpoint="churn"))
    assert (report.release.state, report.release.step) == (RELEASE_STATE_HELD, 0)
    assert (report.steps[0].candidate.requests, list(report.waiting_for)) == (100, ["somebody to resume it"])
    bad = FakeGateway("gateway-2", failing=frozenset({"1.1.0"}))
    async with busy(ready, bad):
        assert (await ended(ready)).state == RELEASE_STATE_ROLLED_BACK


async def test_a_held_release_goes_on_when_told(ready: Client) -> None:
    """To its end."""
    await start(ready)
    await ready.releases.HoldRelease(pb.HoldReleaseRequest(endpoint="churn"))
    resumed = await ready.releases.ResumeRelease(pb.ResumeReleaseRequest(endpoint="churn"))
    assert resumed.release.state == RELEASE_STATE_RUNNING
    async with busy(ready, FakeGateway()):
        assert (await ended(ready)).state == RELEASE_STATE_PROMOTED


async def test_promotion_and_rollback_by_hand(ready: Client) -> None:
    """At once, without evidence; and back again."""
    await start(ready)
    promoted = await ready.releases.Promote(pb.PromoteRequest(endpoint="churn", reason="sure"))
    assert (promoted.release.state, promoted.release.reason) == (RELEASE_STATE_PROMOTED, "sure")
    assert await route_of(ready) == "1.1.0"
    back = await ready.releases.Rollback(pb.RollbackRequest(endpoint="churn", reason="not so sure"))
    assert back.release.state == RELEASE_STATE_ROLLED_BACK
    assert await route_of(ready) == "1.0.0"


async def test_a_dry_run_starts_nothing(ready: Client) -> None:
    """It answers the release with every default."""
    before = await ready.snapshot()
    release = await start(ready, plan=ReleasePlan(), dry_run=True)
    assert list(release.plan.steps) == list(STEPS)
    assert await ready.snapshot() == before


async def test_a_step_without_evidence_is_held_in_the_end(ready: Client) -> None:
    """Nobody asks the endpoint: somebody should look."""
    plan = ReleasePlan(steps=STEPS, min_requests=50, min_duration_ms=1, max_duration_ms=50, error_rate=ErrorRateGuard())
    await start(ready, plan=plan)

    async def held() -> bool:
        return (await last(ready)).state == RELEASE_STATE_HELD

    await eventually_answers(held)
    assert "still waiting for 50 more requests of 1.1.0" in (await last(ready)).reason


async def test_nobody_answers_callers_who_has_not_passed_the_gates(ready: Client) -> None:
    """Neither as a candidate, nor promoted, nor by a route; each failed gate is named with its remedy."""
    await ready.register(version("1.2.0", metrics={"auc": 0.6}))
    await ready.apply(Model("churn", metric_gates=(MetricGate("auc", min=0.7),)))
    acts: list[Callable[[], Awaitable[object]]] = [
        lambda: start(ready, candidate="1.2.0"),
        lambda: ready.releases.Promote(pb.PromoteRequest(endpoint="churn", version="1.2.0")),
    ]
    for act in acts:
        with pytest.raises(MeshError) as caught:
            await act()
        assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.GATE_FAILED)
        assert {each.field for each in caught.value.violations} == {"ready", "metric/auc"}
    with pytest.raises(MeshError) as caught:
        await ready.apply(endpoint(route=Route(version="1.2.0")), allow_unready=False)
    assert {each.field for each in caught.value.violations} == {"resources[0].endpoint.route"}
    assert await route_of(ready) == "1.0.0"
    gates = (await ready.releases.CheckGates(pb.CheckGatesRequest(model="churn", version="1.2.0"))).gates
    assert {gate.name: gate.passed for gate in gates} == {
        "binding": True,
        "artifacts": True,
        "ready": False,
        "metric/auc": False,
    }
    assert all(gate.remedy for gate in gates if not gate.passed)


async def test_force_needs_a_reason_and_is_in_the_log(ready: Client) -> None:
    """Who overrides a gate says why, and everybody can read it."""
    await ready.register(version("1.2.0"))
    with pytest.raises(MeshError) as caught:
        await start(ready, candidate="1.2.0", force=True, reason=" ")
    assert (caught.value.reason, caught.value.violations[0].field) == (Reason.MISSING_FIELD, "reason")
    release = await start(ready, candidate="1.2.0", force=True, reason="the pods are being made")
    assert list(release.forced_gates) == ["ready"]
    event = (await ready.events())[-1]
    assert event.reason == "the pods are being made"
    assert json.loads(event.payload)["release"]["forced_gates"] == ["ready"]


async def test_of_two_operators_one_wins(ready: Client) -> None:
    """The other gets ABORTED with the revision that there is now, and nothing of his."""
    revision = (await ready.snapshot()).revision
    acts = [
        start(ready, candidate="1.1.0", expected_revision=revision),
        ready.releases.Promote(pb.PromoteRequest(endpoint="churn", version="1.1.0", expected_revision=revision)),
    ]
    results = await asyncio.gather(*acts, return_exceptions=True)
    (refused,) = (each for each in results if isinstance(each, BaseException))
    assert isinstance(refused, MeshError)
    assert (refused.code, refused.reason) == (Code.ABORTED, Reason.REVISION_CONFLICT)
    assert refused.metadata["revision"] == str(revision + 1)
    assert (await ready.snapshot()).revision == revision + 1
